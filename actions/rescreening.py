"""Has images screened again whose result is another version's or an older decoder's; the old ones stay until then."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.orm import Session

from shared.base.decoder import DECODER_REVISION
from shared.base.errors import BrokenModel, InvalidRequest
from shared.database import Database
from shared.database.audit import record
from shared.ledger import lookup, rescreening
from shared.ledger.register import parts
from shared.ledger.rescreening import Selection
from shared.models import manifest, registry
from shared.sources import Source


@dataclass
class Rescreened:
    versions: tuple[str, ...]
    """Those that screen again; none if there is nothing to do."""
    out_of_reach: dict[str, int]
    """Results of versions that this host cannot load, which are left alone: how many, by version."""
    added: int = 0
    """Images that are going to be screened."""
    waiting: int = 0
    """Images that had been asked for already."""
    seen_before: int = 0
    """Images whose content the version had screened: its prediction is their result already."""


def rescreen(
    database: Database,
    models: Path,
    sources: Mapping[str, Source],
    selection: Selection,
    actor: str,
    now: datetime,
    *,
    names: Sequence[str] = (),
    key: SecretStr | None = None,
    advance: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rescreened:
    """Ask for all images of a selection, or for those named.

    Calls `advance` with the number of images that were looked at, of how many. Raises BrokenModel if the version that
    the selection names was never published or is damaged, InvalidRequest for an unknown source or a selection that
    makes no sense, WorkFailed for a name that means no image, or several.
    """
    _check(selection)
    with database.read() as session:
        if selection.version is not None:
            _check_version(session, models, selection.version, key)
        _check_source(session, sources, selection.source)
        selections = _selections(session, selection, names)
        counts: Counter[str] = Counter()
        for part in selections:
            counts.update(rescreening.counts(session, part))
        others = counts.keys() - {selection.version}  # the one that is named was looked at
        out_of_reach = {name: counts[name] for name in others if not _loads(session, models, name, key)}
    selections = [replace(part, without=sorted(out_of_reach)) for part in selections]
    rescreened = Rescreened(tuple(sorted(counts.keys() - out_of_reach)), out_of_reach)
    total = counts.total() - sum(out_of_reach.values())
    detail = _detail(selection, total) if total else None
    for part_of_it in selections:
        after: int | None = 0
        while after is not None:
            with database.write() as session:
                part_done = rescreening.rescreen_part(session, part_of_it, now, after)
                if detail is not None:  # with the first part, so that it is on record exactly if something was done
                    record(session, actor, "rescreen", detail, at=now)
                    detail = None
            rescreened.added += part_done.added
            rescreened.waiting += part_done.waiting
            rescreened.seen_before += part_done.seen_before
            after = part_done.last
            advance(rescreened.added + rescreened.waiting + rescreened.seen_before, total)
    return rescreened


def _check_version(session: Session, models: Path, version: str, key: SecretStr | None) -> None:
    """Raises BrokenModel if a version was never published, or its folder is gone or damaged."""
    row = registry.published(session, version)
    manifest.read(models / row.version, row.manifest_sha256, key)


def _loads(session: Session, models: Path, version: str, key: SecretStr | None) -> bool:
    try:
        _check_version(session, models, version, key)
    except BrokenModel:
        return False
    return True


def _check(selection: Selection) -> None:
    if selection.version is None and selection.decoded_before is None:
        raise InvalidRequest(
            "Say what is to be screened again: --model VERSION for the results of other versions, "
            "--decoded-before REVISION for those of an older decoder."
        )
    if selection.decoded_before is not None and not 0 < selection.decoded_before <= DECODER_REVISION:
        raise InvalidRequest(
            f"--decoded-before must be from 1 to {DECODER_REVISION}, the revision of this program's decoder."
        )
    if selection.if_differs and (selection.decoded_before is None or selection.version is not None):
        raise InvalidRequest(
            "--where-differs compares the answer of the version that a result is of: it goes with --decoded-before, "
            "and not with --model."
        )


def _detail(selection: Selection, total: int) -> str:
    if selection.decoded_before is None:
        return f"{selection.version}: {total} results of other versions"
    by = selection.version or "the version of each"
    which = ", where it differs" if selection.if_differs else ""
    return f"{by}: {total} results decoded before revision {selection.decoded_before}{which}"


def _check_source(session: Session, sources: Mapping[str, Source], source: str | None) -> None:
    known = sorted({*sources, *lookup.known_sources(session)})
    if source is not None and source not in known:
        raise InvalidRequest(f"There is no source named {source!r}; there are: {', '.join(known)}.")


def _selections(session: Session, all_of_them: Selection, names: Sequence[str]) -> list[Selection]:
    if not names:
        return [all_of_them]
    ids = sorted({image.id for name in names for image in lookup.images(session, name)})
    return [replace(all_of_them, sightings=part) for part in parts(ids)]
