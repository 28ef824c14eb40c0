"""`drift`: whether the images of each source still are what they were."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from actions import actor
from actions import drift as action
from actions.dismissal import parse_reason
from cli.console import out, shown, table
from queries import drift as query
from queries.drift import SourceDrift
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import opened
from shared.statistics.drift import KINDS, LEAST, SHARES


def drift(
    settings: Settings, source: str | None, format: str, *, accept: bool, by: str | None, reason: str | None
) -> None:
    """Looks at what is new, and prints the newest look at each source; exit code 1 if one of them has changed."""
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    if accept:
        _accept(settings, source, by, reason)
        return
    with opened(settings) as database:
        action.look_at_sources(database, settings.models, datetime.now(UTC), is_asked=True)
        with database.read() as session:
            found = query.overview(session, source)
            needs = list(query.needs(session, source))
            hints = [*query.hints(session, source), *query.overdue(session, datetime.now(UTC), source)]
    if source is not None and not found:
        raise InvalidRequest(f"No image ever came from a source {source!r}: `pneumoscreen sources` shows them.")
    if format == "json":
        text = json.dumps(
            {"sources": [_as_json(one) for one in found], "needs": needs, "hints": hints}, indent=2, default=_as_text
        )
        out.file.write(text + "\n")
    else:
        _print(found)
        for hint in hints:
            out.print(f"Whenever it suits: {shown(hint)}", markup=False)
        for need in needs:
            out.print(f"Needs a person: {shown(need)}", style="yellow", markup=False)
    if needs:
        raise typer.Exit(1)


def _accept(settings: Settings, source: str | None, by: str | None, reason: str | None) -> None:
    name, why = actor.named(by), parse_reason(reason or "")
    if source is None:
        raise InvalidRequest("Say which source: --source NAME.")
    with opened(settings) as database:
        version = action.begin_anew(database, source, name, why, datetime.now(UTC))
    out.print(
        f"{source} is compared with its next images from now on, under {version}: with {LEAST} of them, looks begin.",
        markup=False,
    )


def _print(found: list[SourceDrift]) -> None:
    columns = (
        *("source", "version", "images (UTC)", "compared with", "PSI of scores", "p-value"),
        *("PSI of novelty", "p-value", "PSI to held-out", *(kind.replace("_", " ") for kind in SHARES), "changed"),
    )
    table(columns, [tuple(_row(one)) for one in found])
    for one in found:
        if one.look is None:
            out.print(f"{one.source}: {one.images} of {LEAST} images have come; looks begin then.", markup=False)
        elif one.look.without_logit or one.look.reference_without_logit:
            out.print(
                f"{one.source}: {one.look.without_logit} of the {one.look.images} images, and "
                f"{one.look.reference_without_logit} of the {one.look.reference_images} that they are compared with, "
                "have no raw score: scores and positives are those of the others.",
                markup=False,
            )
        if one.accepted_by is not None:
            out.print(
                f"{one.source}: {one.accepted_by} had its reference begin anew: {shown(one.reason)}", markup=False
            )


def _row(one: SourceDrift) -> Iterator[object]:
    yield from (one.source, one.version)
    look = one.look
    if look is None:
        yield from [None] * (7 + len(SHARES) + 1)
        return
    yield f"{look.images} from {look.since:%Y-%m-%d %H:%M} to {look.until:%Y-%m-%d %H:%M}"
    yield f"{look.reference_images} {'first' if one.is_reference_complete else 'so far'}"
    yield from (look.psi, _p_value(look.p_value), look.novelty_psi, _p_value(look.novelty_p_value), look.version_psi)
    for kind in SHARES:
        share = look.shares.get(kind)
        yield f"{share.now:.1%} (was {share.before:.1%}, p {_p_value(share.p_value)})" if share else None
    yield ", ".join(kind.replace("_", " ") for kind in KINDS if kind in look.alarms) or "no"


def _p_value(value: float | None) -> str | None:
    return None if value is None else f"{value:.2g}"


def _as_json(one: SourceDrift) -> dict[str, object]:
    found = asdict(one)
    for kind, share in (found["look"] or {}).get("shares", {}).items():
        assert one.look is not None
        share |= {"now": one.look.shares[kind].now, "before": one.look.shares[kind].before}
    return found


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
