"""The images that reviewers labelled and from which may be learnt: content, label, file and patient."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from queries.drift_images import MAX_OF_PATIENT
from shared import sources
from shared.base.errors import ImageError
from shared.base.settings import Settings
from shared.database import AuditSample, DicomHeader, Sighting
from shared.imaging import Limits
from shared.ledger.register import as_path, parts
from shared.ledger.words import labels_that_train
from shared.models.manifest import Label, sha256
from shared.sources import Source
from trainer import patients
from trainer.patients import Owner, Pattern, Rule


@dataclass(frozen=True)
class ReviewedImage:
    """A content with a word from which to learn; label: None where none is to be learnt, whoever else labelled it."""

    sha256: str
    label: Label | None
    source: str
    path: str  # in its source
    file: Path
    patient_key: str | None  # of dicom_headers

    def owner(self, pattern: Pattern | None = None) -> Owner:
        """Whose image it is: by its header, a pattern in its path, else its name.

        The name goes without folders, as trainings took it that knew no other rule: its side of the split is as it was.
        """
        if self.patient_key is not None:
            return Owner(patients.of_key(self.patient_key), Rule.HEADER)
        if pattern is not None and (found := pattern.find(self.path)) is not None:
            return Owner(found, Rule.PATTERN)
        owner = patients.identify_by_name(self.file.name)
        if owner.rule != Rule.NAME:
            return owner
        stem = os.fsencode(owner.patient).decode("utf-8", "backslashreplace")
        return Owner(patients.of_key(stem), Rule.NAME)


def find(found: Settings, session: Session, newest: int | None = None) -> Iterator[ReviewedImage]:
    """Each content with a word on it, where a file of it is still there, wherever it is called what."""
    labels = labels_that_train(session, newest)
    audited = find_audited(session)
    for image in stored(found, session, labels):
        yield image if image.sha256 in audited else replace(image, label=labels[image.sha256])


def find_audited(session: Session) -> set[str]:
    """The contents of the site's audit sample, and the others of its patients as far as headers tell them.

    It judges versions: nothing is ever learnt from it. A key that more than MAX_OF_PATIENT images have is no patient's.
    """
    of_sample = select(DicomHeader.patient_key).join(AuditSample, AuditSample.sha256 == DicomHeader.sha256)
    is_patient = func.count() <= MAX_OF_PATIENT
    keys = select(DicomHeader.patient_key).where(DicomHeader.patient_key.in_(of_sample))
    keys = keys.group_by(DicomHeader.patient_key).having(is_patient)
    others = select(DicomHeader.sha256).where(DicomHeader.patient_key.in_(keys))
    return {*session.scalars(select(AuditSample.sha256)), *session.scalars(others)}


def stored(found: Settings, session: Session, contents: Collection[str]) -> Iterator[ReviewedImage]:
    """Of each content of which a file is still there, one, without a label."""
    known, limits = sources.build(found), Limits.of(found)
    for part in parts(sorted(contents)):
        headers = select(DicomHeader.sha256, DicomHeader.patient_key).where(DicomHeader.sha256.in_(part))
        keys = dict(session.execute(headers).all())
        taken = set()
        for sighting in session.scalars(select(Sighting).where(Sighting.sha256.in_(part)).order_by(Sighting.id.desc())):
            source = known.get(sighting.source)
            digest = str(sighting.sha256)
            if source is None or digest in taken:
                continue
            path = as_path(sighting.path, sighting.path_bytes)
            if _holds(source, path, digest, limits):
                taken.add(digest)
                copy = source.local_copy(path)
                yield ReviewedImage(digest, None, sighting.source, path, copy, keys.get(digest))


def _holds(source: Source, path: str, digest: str, limits: Limits) -> bool:
    try:
        found = source.find(path)
        return found is not None and sha256(source.read(path, found.revision, limits)) == digest
    except (ImageError, OSError):
        return False
