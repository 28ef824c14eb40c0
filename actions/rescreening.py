"""Has images screened again whose result is another version's or an older decoder's; the old ones stay until then."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy.orm import Session

from queries.rights import check_override
from shared.base.decoder import DECODER_REVISION
from shared.base.errors import BrokenModel, InvalidRequest
from shared.database import Database
from shared.database.audit import record
from shared.ledger import lookup, rescreening
from shared.ledger.register import as_text, parts
from shared.ledger.rescreening import Selection
from shared.models import manifest, registry
from shared.sources import Source


@dataclass
class Rescreened:
    versions: tuple[str, ...]
    """Those that screen again; none if there is nothing to do."""
    out_of_reach: dict[str, int]
    """Results of versions that this host cannot load, which are left alone: how many, by version."""
    out_of_service: dict[str, int]
    """Results of versions that were rolled back, or were never live, which are left alone."""
    added: int = 0
    """Images that are going to be screened."""
    waiting: int = 0
    """Images that had been asked for already."""
    seen_before: int = 0
    """Images whose content the version had screened: its prediction is their result already."""
    kept: int = 0
    """As before, but read by another operating point than their source has today: that reading stays."""

    @property
    def images(self) -> int:
        return self.added + self.waiting + self.seen_before + self.kept


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
    reason: str | None = None,
    advance: Callable[[int, int], None] = lambda _done, _total: None,
) -> Rescreened:
    """Ask for all images of a selection, or for those named.

    Calls `advance` with the number of images that were looked at, of how many. Only versions that are or were live and
    were not rolled back write results; with a `reason` others do, too, if the role owns the tables. Raises BrokenModel
    if the version that the selection names was never published or is damaged, InvalidRequest for one that is not in
    service without a reason, for an unknown source or a selection that makes no sense, ServiceUnavailable if the role
    may not override, WorkFailed for a name that means no image, or several.
    """
    _check(selection)
    reason = as_text((reason or "").strip())[0] or None
    with database.read() as session:
        overrides: dict[str, str] = {}
        if selection.version is not None:
            _check_version(session, models, selection.version, key)
            overrides = _override(session, selection.version, actor, reason)
        _check_source(session, sources, selection.source)
        selections = _selections(session, selection, names)
        counts: Counter[str] = Counter()
        for part in selections:
            counts.update(rescreening.counts(session, part))
        others = counts.keys() - {selection.version}  # the one that is named was looked at
        out_of_reach = {name: counts[name] for name in others if not _loads(session, models, name, key)}
        resting = {name for name in others - out_of_reach.keys() if registry.out_of_service(session, name)}
        if reason is not None:
            for name in sorted(resting):
                overrides |= _override(session, name, actor, reason)
        out_of_service = {name: counts[name] for name in resting - overrides.keys()}
    left_alone = out_of_reach | out_of_service
    selections = [replace(part, without=sorted(left_alone), overrides=overrides) for part in selections]
    rescreened = Rescreened(tuple(sorted(counts.keys() - left_alone.keys())), out_of_reach, out_of_service)
    total = counts.total() - sum(left_alone.values())
    detail = _detail(selection, total, reason, overrides) if total else None
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
            rescreened.kept += part_done.kept
            after = part_done.last
            advance(rescreened.images, total)
    return rescreened


def _check_version(session: Session, models: Path, version: str, key: SecretStr | None) -> None:
    """Raises BrokenModel if a version was never published, or its folder is gone or damaged."""
    row = registry.published(session, version)
    manifest.read(models / row.version, row.manifest_sha256, key)


def _override(session: Session, version: str, actor: str, reason: str | None) -> dict[str, str]:
    """What is kept of a version that is not in service, with its jobs and results; empty for one that is."""
    why = registry.out_of_service(session, version)
    if why is None:
        return {}
    if reason is None:
        raise InvalidRequest(
            f"{version} {why}, so its answers may not become results. `pneumoscreen models shadow {version} --source "
            "NAME` has it score images beside the live version instead. If they are to be results all the same, say "
            "so as the owner of the tables, with --by NAME and --reason TEXT: that is recorded and stands in `results`."
        )
    check_override(session)
    return {version: f"{actor}: {reason}"}


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


def _detail(selection: Selection, total: int, reason: str | None, overridden: Collection[str]) -> str:
    which = ", where it differs" if selection.if_differs else ""
    what = "of other versions"
    if selection.decoded_before is not None:
        what = f"decoded before revision {selection.decoded_before}{which}"
    detail = f"{selection.version or 'the version of each'}: {total} results {what}"
    if overridden:
        detail += f"; not in service: {', '.join(sorted(overridden))}"
    return detail if reason is None else f"{detail}: {reason}"


def _check_source(session: Session, sources: Mapping[str, Source], source: str | None) -> None:
    known = sorted({*sources, *lookup.known_sources(session)})
    if source is not None and source not in known:
        raise InvalidRequest(f"There is no source named {source!r}; there are: {', '.join(known)}.")


def _selections(session: Session, all_of_them: Selection, names: Sequence[str]) -> list[Selection]:
    if not names:
        return [all_of_them]
    ids = sorted({image.id for name in names for image in lookup.images(session, name)})
    return [replace(all_of_them, sightings=part) for part in parts(ids)]
