"""`dismiss`: quarantined images that need nobody."""

from datetime import UTC, datetime

from actions import actor, dismissal
from cli.console import out
from shared.base.settings import Settings
from shared.database import opened


def dismiss(settings: Settings, which: list[str], all_matching: str | None, by: str, reason: str) -> None:
    name = actor.named(by)
    with opened(settings) as database:
        done = dismissal.dismiss(database, which, all_matching, reason, name, datetime.now(UTC))
    resolved = f"; {done.resolved_before} were resolved already" if done.resolved_before else ""
    out.print(f"{done.images} images are dismissed{resolved}. `pneumoscreen retry` takes one back.")
