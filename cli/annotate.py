"""`models note`, `models tag` and `models shadow`: call the actions and print what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from actions import annotation, shadowing
from actions.actor import named_or_user
from cli.console import out
from shared import sources
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import opened


def note(settings: Settings, version: str, text: str, by: str | None) -> None:
    with opened(settings) as database, database.write() as session:
        annotation.note(session, version, text, named_or_user(by), datetime.now(UTC))
    out.print(f"Noted: `pneumoscreen models show {version}` has it.", markup=False)


def tag(settings: Settings, version: str, tags: Sequence[str], by: str | None, *, remove: bool) -> None:
    with opened(settings) as database, database.write() as session:
        now = datetime.now(UTC)
        tagged = annotation.tag(session, version, tags, named_or_user(by), now, remove=remove)
    out.print(f"{version}: {', '.join(tagged) or 'no tag'}", markup=False)


def shadow(settings: Settings, version: str, source: str | None, share: float, by: str | None, *, end: bool) -> None:
    """Begin or end a version's shadow."""
    actor, now = named_or_user(by), datetime.now(UTC)
    if not end and source is None:
        raise InvalidRequest("Say of which source: --source NAME.")
    with opened(settings) as database:
        if end:
            ended = shadowing.end(database, version, source, actor, now)
            out.print(f"{version} is in shadow no more ({ended} ended); its scores stay.", markup=False)
            return
        assert source is not None
        known, key = sources.build(settings), settings.signing_key
        shadowing.start(database, settings.models, known, version, source, share, actor, now, key)
    out.print(
        f"{version} scores {share:.0%} of {source} from now on, and writes no result. "
        "`pneumoscreen models compare --shadow` shows where it differs.",
        markup=False,
    )
