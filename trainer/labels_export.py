"""Reviewed labels as a dataset: a folder that `train --data` reads, or a CSV file alone, with a fingerprint."""

import csv
import io
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import __version__
from shared.base.errors import InvalidRequest, WorkFailed
from shared.base.filesystem import replace_file, sync
from shared.base.settings import Settings
from shared.database import Database, Review, audit
from shared.ledger.words import ClassLabel, labels_that_train
from shared.models.manifest import sha256
from trainer import datasets, description, labels_file, patients, reviewed
from trainer.labels_file import Row
from trainer.listing import CLASSES
from trainer.patients import Attribution
from trainer.reviewed import ReviewedImage

IMAGES = "images"
WORDS = "of each content the word that counts among the reviews that may train, up to number {newest}"
COLUMNS = ("path", "label", "patient", "patient_from", "sha256", "source")


@dataclass(frozen=True)
class Exported:
    """What was written. `without_label`: contents on which the word that counts names no class; `audited`: contents
    of the audit sample and of its patients, which judge and are not learnt from.
    """

    target: Path
    fingerprint: str
    images: int
    by_class: dict[str, int]
    attribution: Attribution
    newest_review: int
    without_label: int
    audited: int
    without_file: int


def export(
    found: Settings, database: Database, target: Path, actor: str, now: datetime, advance: Callable[[], object]
) -> Exported:
    """Write the images with labels from which may be learnt, and who they are of; audited, with the fingerprint.

    A target that ends with `.csv` gets the table alone, any other one is a folder, which must not exist. Raises
    InvalidRequest where it does, WorkFailed where there is nothing to write.
    """
    is_table = target.suffix.lower() == ".csv"
    if target.exists():
        raise InvalidRequest(f"{target} exists already: name another one, so that no dataset changes after its use.")
    if not target.parent.is_dir():
        raise InvalidRequest(f"There is no folder {target.parent}: make it first.")
    with database.read() as session:
        newest, labels, audited = _labels(session)
        images = [image for image in reviewed.find(found, session, newest) if image.label is not None]
    aside = target.with_name(f".{target.name}-{secrets.token_hex(8)}.part")
    try:
        if not is_table:
            images = _copy(images, aside / IMAGES, advance)
        if not images:
            raise WorkFailed("There is no image with a label by a reviewer and a file that is still there.")
        exported = _describe(found, target, images, newest, labels, audited)
        if is_table:
            replace_file(target, _table(images, found), mode=0o600)
        else:
            _write_folder(aside, images, exported, found, now)
            aside.rename(target)
            sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    with database.write() as session:
        detail = f"{exported.images} images, reviews up to {newest}, fingerprint {exported.fingerprint}"
        audit.record(session, actor, "export-labels", detail, at=now)
    return exported


def _labels(session: Session) -> tuple[int, dict[str, ClassLabel | None], int]:
    """The newest review, the label of each content, and how many of these are not learnt from, being audited."""
    newest = session.scalar(select(func.max(Review.id))) or 0
    labels = labels_that_train(session, newest)
    audited = reviewed.find_audited(session)
    return newest, labels, sum(digest in audited and label is not None for digest, label in labels.items())


def _copy(images: Iterable[ReviewedImage], folder: Path, advance: Callable[[], object]) -> list[ReviewedImage]:
    """Those whose content is still what was reviewed; they are named by it, since names may tell of a patient."""
    folder.mkdir(parents=True)
    copied = []
    for image in images:
        try:
            content = image.file.read_bytes()
        except OSError:
            content = b""
        if sha256(content) == image.sha256:
            (folder / _name(image)).write_bytes(content)
            copied.append(image)
        advance()
    return copied


def _describe(
    found: Settings, target: Path, images: Sequence[ReviewedImage], newest: int, of: Mapping[str, object], audited: int
) -> Exported:
    pattern = _pattern(found)
    owners = [image.owner(pattern) for image in images]
    labels = [str(image.label) for image in images]
    return Exported(
        target,
        datasets.fingerprint([image.sha256 for image in images], [CLASSES.index(label) for label in labels]),
        len(images),
        {name: labels.count(name) for name in CLASSES},
        patients.attribute(
            [image.file.name for image in images],
            [owner.patient for owner in owners],
            [owner.rule for owner in owners],
            pattern,
        ),
        newest,
        without_label := sum(label is None for label in of.values()),
        audited,
        len(of) - without_label - audited - len(images),
    )


def _pattern(found: Settings) -> patients.Pattern | None:
    """As in a training: that of `training_data`."""
    return description.describe(found.training_data).pattern


def _write_folder(
    folder: Path, images: Sequence[ReviewedImage], exported: Exported, found: Settings, now: datetime
) -> None:
    pattern = _pattern(found)
    rows = [
        Row(f"{IMAGES}/{_name(image)}", str(image.label), image.owner(pattern))
        for image in sorted(images, key=lambda image: image.sha256)
    ]
    labels_file.write(folder / labels_file.NAME, rows)
    facts = {
        "source": "labels by reviewers, exported by pneumoscreen " + __version__,
        "exported_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "words": WORDS.format(newest=exported.newest_review),
        "fingerprint_at_export": exported.fingerprint,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in facts.items()]
    replace_file(folder / description.FILE, ("[source]\n" + "\n".join(lines) + "\n").encode())


def _table(images: Sequence[ReviewedImage], found: Settings) -> bytes:
    pattern = _pattern(found)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in sorted(images, key=lambda image: image.sha256):
        owner = image.owner(pattern)
        writer.writerow((image.file, image.label, owner.patient, owner.rule, image.sha256, image.source))
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def _name(image: ReviewedImage) -> str:
    return f"{image.sha256}{image.file.suffix.lower()}"
