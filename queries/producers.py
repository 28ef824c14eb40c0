"""The producers that give a sign of life, and the sources that none of them watches."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from queries.needs import duration
from queries.sources import SourceOverview
from queries.starting import age_of_up
from shared.base.settings import Settings
from shared.ledger.source_states import Statement


def watchers(overviews: Sequence[SourceOverview], now: datetime) -> dict[str, int]:
    """How many hosts' producers watch each source that is to be watched, at this time.

    Left out is a source that this host's settings lack, if the producer that told of it is alive and tells of others
    alone: it was taken out of that host's settings.
    """
    alive = _alive(overviews, now)
    return {
        source.name: sum(one.is_fresh(now) for one in source.statements)
        for source in overviews
        if source.is_watched
        and (source.kind is not None or any(one.is_fresh(now) or one.host not in alive for one in source.statements))
    }


def needs(settings: Settings, overviews: Sequence[SourceOverview], now: datetime) -> Iterator[str]:
    """The sources that nobody watches: one sentence for all that one producer left alone; none while `up` starts."""
    if age_of_up(settings, now) is not None:
        return
    counts = watchers(overviews, now)
    names: dict[str | None, list[str]] = defaultdict(list)
    for source in overviews:
        if counts.get(source.name) == 0:
            last = max(source.statements, key=lambda one: one.seen_at, default=None)
            names[last.host if last else None].append(source.name)
    silent = _by_host(overviews)
    for host, left in names.items():
        sources = f"the source {left[0]}" if len(left) == 1 else f"the sources {', '.join(left)}"
        silence = f" (the one on {host} has given no sign of life for {_since(silent[host], now)})" if host else ""
        yield (
            f"no producer watches {sources}{silence}: what is dropped there gets no row. `pneumoscreen up` or "
            "`pneumoscreen producer` starts one; one that hangs has to be ended first"
        )


def hints(overviews: Sequence[SourceOverview], now: datetime) -> Iterator[str]:
    """The producers that are silent while others watch their sources."""
    counts, alive = watchers(overviews, now), _alive(overviews, now)
    for host, statements in _by_host(overviews).items():
        if host not in alive and all(counts.get(one.source) for one in statements):
            since = _since(statements, now)
            yield f"the producer on {host} has given no sign of life for {since}; others watch its sources"


def _alive(overviews: Sequence[SourceOverview], now: datetime) -> set[str]:
    return {one.host for source in overviews for one in source.statements if one.is_fresh(now)}


def _by_host(overviews: Sequence[SourceOverview]) -> dict[str, list[Statement]]:
    statements: dict[str, list[Statement]] = defaultdict(list)
    for source in overviews:
        for one in source.statements:
            statements[one.host].append(one)
    return statements


def _since(statements: Sequence[Statement], now: datetime) -> str:
    return duration(now - max(one.seen_at for one in statements))
