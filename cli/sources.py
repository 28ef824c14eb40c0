"""`sources`: how each source is watched, what cannot be seen of it or is left out, and what waits."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from cli.console import out, shown, table
from queries import needs, producers
from queries import sources as query
from queries.needs import duration
from queries.sources import SourceOverview
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import opened

COUNTED = "Sources (files, ignored, not listed and links: as of the last complete sweep, see `counted`)"
"""A sweep of a large folder, or of a slow share, takes its time: what came or went since is not in its figures."""


def sources(settings: Settings, format: str) -> None:
    """Prints what there is; ends with exit code 1 if something needs a person."""
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    now = datetime.now(UTC)
    with opened(settings) as database, database.read() as session:
        overviews = query.overview(session, settings, now, count_quarantined=True)
    wanted, hints = needs.of_sources(overviews, now)
    unseen = needs.sources_out_of_reach(settings, query.with_problems(overviews, now))
    wanted = [*unseen, *producers.needs(settings, overviews, now), *wanted]
    hints = [*producers.hints(overviews, now), *hints]
    if format == "json":
        found = {"sources": [_as_json(source) for source in overviews], "needs": wanted, "hints": hints}
        out.file.write(json.dumps(found, indent=2, ensure_ascii=False, default=_as_text) + "\n")
    else:
        _print(overviews, now)
        for hint in hints:
            out.print(f"Whenever it suits: {shown(hint)}", markup=False)
        for need in wanted:
            out.print(f"Needs a person: {shown(need)}", style="yellow", markup=False)
    if wanted:
        raise typer.Exit(1)


def _print(overviews: list[SourceOverview], now: datetime) -> None:
    columns = (
        *("source", "lane", "watched by", "files", "ignored", "not listed", "links", "counted (UTC)"),
        *("last image (UTC)", "waiting", "quarantined", "place"),
    )
    table(columns, [_row(source, now) for source in overviews], COUNTED)
    ignored = [(source.name, pattern, number) for source in overviews for pattern, number in _most_first(source)]
    if ignored:
        table(("source", "ignored by", "files"), ignored, "Ignored (a folder counts once)")
    unseen = [
        (source.name, one.host, what, name)
        for source in overviews
        for one in source.statements
        for what, names in (
            ("cannot be listed", one.report.unreadable_names),
            ("link, not followed", one.report.links_names),
        )
        for name in names
    ]
    if unseen:
        table(("source", "host", "what", "name"), unseen, "Not seen (the first of each)")


def _row(source: SourceOverview, now: datetime) -> tuple[object, ...]:
    watched = [
        f"{one.report.watched_by} on {one.host}"
        + ("" if one.is_fresh(now) else f" (silent for {duration(now - one.seen_at)})")
        for one in source.statements
    ]
    return (
        source.name,
        source.lane,
        ", ".join(watched) or ("nobody" if source.is_watched else None),
        source.files,
        sum(source.ignored.values()),
        source.unreadable,
        source.links,
        _time(source.swept_at),
        _time(source.last_image),
        source.waiting,
        source.quarantined,
        source.place,
    )


def _time(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%d %H:%M}" if at else None


def _most_first(source: SourceOverview) -> list[tuple[str, int]]:
    return sorted(source.ignored.items(), key=lambda item: -item[1])


def _as_json(source: SourceOverview) -> dict[str, object]:
    found = asdict(source)
    statements = found.pop("statements")
    watchers = [{**one.pop("report"), **one} for one in statements]
    for one in watchers:
        del one["source"]
        at = one["swept_at"]
        one["swept_at"] = datetime.fromtimestamp(at, UTC) if at is not None else None
    quiet = source.quiet_after.total_seconds() if source.quiet_after else None
    counts = {"files": source.files, "unreadable": source.unreadable, "links": source.links, "ignored": source.ignored}
    return {**found, **counts, "swept_at": source.swept_at, "quiet_after": quiet, "watchers": watchers}


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
