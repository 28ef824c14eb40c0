"""`outbox`: what is on its way out of the house, and what failed is sent again."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.base.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look at what leaves the house: reports, captures, messages.")
Home = Annotated[
    Path | None,
    typer.Option(help="Home folder. Default: PNEUMOSCREEN_HOME, else the running system's, else ~/.pneumoscreen."),
]


def _load(home: Path | None) -> "Settings":
    from shared.base import settings, surroundings

    chosen = settings.load(home)
    surroundings.use(chosen.home)
    return chosen


@app.command("list", epilog="Example: pneumoscreen outbox list --state failed")
def list_rows(
    home: Home = None,
    state: Annotated[str | None, typer.Option(help="open, waiting, sending, sent, failed or superseded.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only this destination's.")] = None,
    sighting: Annotated[int | None, typer.Option(help="Only those about this sighting_id.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many rows.", min=1)] = 50,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Print how each destination is, and rows of the outbox, the newest first."""
    from cli.console import out, table
    from queries import outbox
    from shared.base.errors import InvalidRequest
    from shared.database import opened

    if format not in ("table", "json"):
        raise InvalidRequest(f"--format is table or json, not {format!r}.")
    settings, now = _load(home), datetime.now(UTC)
    with opened(settings) as database, database.read() as session:
        destinations = outbox.overview(session, settings, now)
        rows = outbox.entries(session, state, destination, sighting, limit)
    if format == "json":
        found = {"destinations": [_plain(each) for each in destinations], "rows": [_plain(each) for each in rows]}
        out.print(json.dumps(found, indent=2))
        return
    table(
        ("destination", "kind", "open", "failed within a day", "last sent", "away since", "problem"),
        [
            (d.name, d.kind, d.waiting, d.failed, _time(d.last_sent_at), _time(d.away_since), d.problem)
            for d in destinations
        ],
        "Destinations",
    )
    table(
        ("row", "destination", "kind", "sighting", "edition", "state", "attempts", "made", "settled", "problem"),
        [
            (
                *(r.id, r.destination, r.event or r.kind, r.sighting, r.edition, r.state, r.attempts),
                *(_time(r.created_at), _time(r.settled_at), r.problem),
            )
            for r in rows
        ],
        "Outbox",
    )


@app.command("retry", epilog="Example: pneumoscreen outbox retry --destination pacs --by Ada")
def retry_rows(
    rows: Annotated[list[int] | None, typer.Argument(help="Numbers of failed rows.")] = None,
    home: Home = None,
    destination: Annotated[str | None, typer.Option(help="All that failed for this destination.")] = None,
    all: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    by: Annotated[str | None, typer.Option(help="Who does it; the user's name if left out.")] = None,
) -> None:
    """Have what failed for good sent again, after what was wrong has been mended."""
    from actions import actor
    from actions import outbox as action
    from cli.console import out
    from shared.database import opened

    name = actor.named_or_user(by)
    with opened(_load(home)) as database, database.write() as session:
        count = action.retry(session, rows or [], destination, all, name, datetime.now(UTC))
    out.print(f"{count} rows of the outbox are sent again.")


def _plain(row: Any) -> dict[str, Any]:
    values = dataclasses.asdict(row)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def _time(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%d %H:%M}" if at else None
