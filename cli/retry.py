"""`retry`: quarantined images are screened again."""

from datetime import UTC, datetime

from actions import actor, retrying
from cli.console import out
from shared.base.settings import Settings
from shared.database import opened
from shared.ledger.register import parts


def retry(settings: Settings, which: list[str], reason: str | None, everything: bool, by: str | None = None) -> None:
    name, now, count = actor.named_or_user(by), datetime.now(UTC), 0
    with opened(settings) as database:
        with database.read() as session:
            chosen = retrying.choose(session, which, reason, everything)
        for part in parts(chosen):
            with database.write() as session:
                count += retrying.retry(session, part, name, now)
    out.print(f"{count} images are screened again.")
