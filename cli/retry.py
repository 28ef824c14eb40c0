"""`retry`: quarantined images are screened again."""

from datetime import UTC, datetime

from actions import actor, retrying
from cli.console import out
from shared.base.settings import Settings
from shared.database import opened


def retry(settings: Settings, which: list[str], reason: str | None, everything: bool, by: str | None = None) -> None:
    name = actor.named_or_user(by)
    with opened(settings) as database:
        count = retrying.retry(database, which, reason, everything, name, datetime.now(UTC))
    out.print(f"{count} images are screened again.")
