"""`dismiss`: quarantined images that need nobody."""

from datetime import UTC, datetime

from actions import actor, dismissal
from cli.console import out
from shared.base.settings import Settings
from shared.database import opened
from shared.ledger.register import parts


def dismiss(settings: Settings, which: list[str], all_matching: str | None, by: str, reason: str) -> None:
    name, text, now = actor.named(by), dismissal.parse_reason(reason), datetime.now(UTC)
    count = 0
    with opened(settings) as database:
        with database.read() as session:
            chosen = dismissal.choose(session, which, all_matching)
        for part in parts(chosen):
            with database.write() as session:
                count += dismissal.dismiss(session, part, text, name, now)
    resolved = f"; {len(chosen) - count} were resolved already" if count < len(chosen) else ""
    out.print(f"{count} images are dismissed{resolved}. `pneumoscreen retry` takes one back.")
