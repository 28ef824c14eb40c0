"""`db forget`: erase every row about an image and its content."""

from datetime import UTC, datetime

import typer

from actions import erasure
from actions.actor import named
from actions.erasure import MAX_NAMED, Plan
from cli.console import out, table
from shared import sources
from shared.base.settings import Settings
from shared.database import opened


def forget(settings: Settings, target: str, by: str, yes: bool) -> None:
    actor = named(by)
    with opened(settings) as database:
        plan = erasure.plan(database, sources.build(settings), target)
        _show(plan)
        if not yes:
            typer.confirm("Erase all of this for good?", abort=True)
        erasure.erase(database, plan, actor, datetime.now(UTC))
        is_sqlite = database.engine.dialect.name == "sqlite"
    out.print("Erased. Backups made before still hold these rows: delete those, or erase again after restoring one.")
    if not is_sqlite:
        out.print(
            "So do archives of PostgreSQL's log (WAL), and its files until their space is used again "
            "(VACUUM FULL writes them anew). Copies that `screen` made on other hosts are to be deleted there."
        )


def _show(plan: Plan) -> None:
    traces = plan.traces
    rows = [(s.id, s.source, s.path, s.state, f"{s.seen_at:%Y-%m-%d %H:%M}") for s in traces.sightings]
    table(("sighting", "source", "path", "state", "seen at"), rows[:MAX_NAMED], "To be erased")
    out.print(
        f"{len(rows)} sightings of {len(traces.contents)} contents with their jobs; {traces.predictions} predictions, "
        f"{traces.headers} DICOM headers, {traces.reviews} reviews; {len(plan.copies)} copies that `screen` made."
    )
