"""Has one version screen again what others did; the old results stay until the new ones are there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest
from shared.database import Database
from shared.database.audit import record
from shared.ledger import lookup, rescreening
from shared.ledger.register import parts
from shared.ledger.rescreening import Selection
from shared.models import manifest, registry
from shared.sources import Source


@dataclass(frozen=True)
class Rescreened:
    version: str
    added: int
    """Images that the version is going to screen."""
    seen_before: int
    """Images whose content it had screened: its prediction is their result already."""


def rescreen(
    database: Database,
    models: Path,
    sources: Mapping[str, Source],
    version: str,
    actor: str,
    now: datetime,
    *,
    names: Sequence[str] = (),
    source: str | None = None,
    since: datetime | None = None,
    key: SecretStr | None = None,
    advance: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rescreened:
    """Ask for all images, or for those named, of one source, or seen since a time.

    Calls `advance` with the number of images that were looked at, of how many. Raises BrokenModel for a version that
    was never published or is damaged, InvalidRequest for an unknown source, WorkFailed for a name that means no image,
    or several.
    """
    with database.read() as session:
        published = registry.published(session, version)
        _check_source(session, sources, source)
        selections = _selections(session, Selection(published.version, source, since), names)
        total = sum(rescreening.count(session, selection) for selection in selections)
    manifest.read(models / published.version, published.manifest_sha256, key)
    added = seen_before = 0
    detail = f"{version}: {total} results of other versions" if total else None
    for selection in selections:
        after: int | None = 0
        while after is not None:
            with database.write() as session:
                part = rescreening.rescreen_part(session, selection, now, after)
                if detail is not None:  # with the first part, so that it is on record exactly if something was done
                    record(session, actor, "rescreen", detail, at=now)
                    detail = None
            added, seen_before, after = added + part.added, seen_before + part.seen_before, part.last
            advance(added + seen_before, total)
    return Rescreened(published.version, added, seen_before)


def _check_source(session: Session, sources: Mapping[str, Source], source: str | None) -> None:
    known = sorted({*sources, *lookup.known_sources(session)})
    if source is not None and source not in known:
        raise InvalidRequest(f"There is no source named {source!r}; there are: {', '.join(known)}.")


def _selections(session: Session, all_of_them: Selection, names: Sequence[str]) -> list[Selection]:
    if not names:
        return [all_of_them]
    ids = sorted({image.id for name in names for image in lookup.images(session, name)})
    return [replace(all_of_them, sightings=part) for part in parts(ids)]
