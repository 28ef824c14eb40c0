"""One run of the trainer service, a process of its own: gather, make, publish, judge, and go live or be rejected."""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import database, registry, settings
from shared.database import Database, DicomHeader, Review, RunState, Sighting, TrainingRun
from shared.errors import PneumoscreenError, WorkFailed
from shared.ledger.register import MOST_ROWS, as_path
from shared.manifest import sha256
from shared.settings import Settings
from trainer import datasets, gate, making, runs
from trainer.datasets import CLASSES
from trainer.runs import Lease

BY = "trainer"


def main(arguments: list[str]) -> int:
    """`python -m trainer.run RUN FENCE`; what goes wrong is told in the last line of standard error."""
    number, fence = map(int, arguments)
    try:
        run(settings.load(), number, fence, Console(stderr=False, soft_wrap=True))
    except PneumoscreenError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return error.exit_code
    return 0


def run(found: Settings, number: int, fence: int, console: Console) -> None:
    """Raises WorkFailed if the lease was lost: then nothing of it is made live."""
    with closing(database.connect(found.database)) as ledger:
        with ledger.read() as session:
            row = session.get_one(TrainingRun, number)
        lease = Lease(number, fence, row.architecture)
        folder = found.home / "training" / f"run-{number}"
        _gather(found, ledger, row.reviews, folder)
        order = making.Order(
            architecture=row.architecture,
            out=found.home / "candidates",
            work=found.home / "training",
            seed=number,
            mixed_precision=found.mixed_precision,
        )
        said = making.about(found.training_data) if found.training_data else making.About()
        made = making.make(order, folder, console, said)
        version = registry.publish(ledger, found.models, made.folder, datetime.now(UTC), BY, found.signing_key)
        with ledger.read() as session:
            live = registry.live(session)
        verdict = gate.examine(found.models, version, live, folder, console, found.signing_key)
        state = RunState.PUBLISHED if verdict.passed else RunState.REJECTED
        with ledger.write() as session:
            now = datetime.now(UTC)
            if not runs.end(session, lease, state, now, version.version, None):
                raise WorkFailed("another trainer took this run over: nothing of it is made live")
            if verdict.passed:
                registry.make_live(session, version.version, BY, now, verdict=verdict.as_json())
            else:
                registry.reject(session, version.version, BY, now, verdict.as_json())
        shutil.rmtree(folder)
        shutil.rmtree(made.folder)


def _gather(found: Settings, ledger: Database, reviews: int, folder: Path) -> None:
    """One labelled folder of links: to the labelled images, and to those that reviewers labelled, whose word wins."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    with ledger.read() as session:
        reviewed = dict(_reviewed(found, session, reviews))
    for digest, (file, label, patient) in reviewed.items():
        (folder / label / f"{patient}_{digest[:16]}{file.suffix}").symlink_to(file)
    if found.training_data is None:
        return
    sizes = {file.stat().st_size for file, _, _ in reviewed.values()}
    for number, (file, label_number) in enumerate(datasets.files(found.training_data)):
        is_reviewed = file.stat().st_size in sizes and sha256(file.read_bytes()) in reviewed
        if not is_reviewed:
            (folder / CLASSES[label_number] / f"{number:07d}_{file.name}").symlink_to(file)


def _reviewed(found: Settings, session: Session, most: int) -> Iterator[tuple[str, tuple[Path, str, str]]]:
    """Of each content that has a last word: (SHA-256, (file, label, patient)), where a file of it is still there."""
    newest = select(Review).where(Review.id <= most).order_by(Review.created_at, Review.id)
    labels = {review.sha256: review.label for review in session.scalars(newest)}
    contents = sorted(labels)
    for start in range(0, len(contents), MOST_ROWS):
        part = contents[start : start + MOST_ROWS]
        keys = dict(
            session.execute(
                select(DicomHeader.sha256, DicomHeader.patient_key).where(DicomHeader.sha256.in_(part))
            ).all()
        )
        taken = set()
        for sighting in session.scalars(select(Sighting).where(Sighting.sha256.in_(part)).order_by(Sighting.id.desc())):
            root = found.roots.get(sighting.root)
            digest = str(sighting.sha256)
            if root is None or digest in taken:
                continue
            file = root.path / as_path(sighting.path, sighting.path_bytes)
            if _is(file, digest):
                taken.add(digest)
                yield digest, (file, labels[digest], _patient(file, keys.get(digest)))


def _is(file: Path, digest: str) -> bool:
    try:
        return sha256(file.read_bytes()) == digest
    except OSError:
        return False


def _patient(file: Path, key: str | None) -> str:
    """A name from which `datasets.patient` gives the same patient for all images that are known to be of one."""
    named = datasets.patient(file.name)
    if key is None and named != file.stem:
        return named
    digest = hashlib.sha256((key or os.fsencode(named).decode("utf-8", "backslashreplace")).encode()).hexdigest()
    return f"person{int(digest[:15], 16)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
