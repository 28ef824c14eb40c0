"""Notes and tags on versions: what data scientists write down about them. They change nothing that screens."""

import json
import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest
from shared.database import ModelVersion, VersionNote, audit
from shared.ledger.register import as_text
from shared.models import registry

TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
MAX_NOTE = 10_000


def note(session: Session, version: str, text: str, author: str, now: datetime) -> None:
    """Add a note; none is ever changed. Raises BrokenModel for an unknown version, InvalidRequest for an empty text."""
    registry.published(session, version)
    text = as_text(text.strip())[0]
    if not 0 < len(text) <= MAX_NOTE:
        raise InvalidRequest(f"A note has between 1 and {MAX_NOTE:,} characters.")
    session.add(VersionNote(version=version, author=author, note=text, created_at=now))
    audit.record(session, author, "note", version, at=now)


def tag(
    session: Session, version: str, tags: Sequence[str], actor: str, now: datetime, *, remove: bool = False
) -> list[str]:
    """Add tags, or remove them; returns those that the version has then, sorted.

    Raises BrokenModel for an unknown version, InvalidRequest for a tag of other characters than a-z, 0-9, . _ and -.
    """
    registry.published(session, version)
    if wrong := [each for each in tags if not TAG.fullmatch(each)]:
        raise InvalidRequest(f"A tag has at most 32 of the characters a-z, 0-9, . _ and -, unlike {wrong[0]!r}.")
    row = session.get_one(ModelVersion, version, with_for_update=True)
    before = set(json.loads(row.tags))
    after = before - set(tags) if remove else before | set(tags)
    if after != before:
        row.tags = json.dumps(sorted(after))
        audit.record(session, actor, "tag", f"{version}: {', '.join(sorted(after)) or 'none'}", at=now)
    return sorted(after)
