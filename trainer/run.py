"""One run of the trainer service, in its own process: gather, train, publish, judge, and go live or be rejected."""

import hashlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from sqlalchemy import select
from sqlalchemy.orm import Session

from actions import promotion
from shared import database, sources
from shared.base import settings
from shared.base.errors import ImageError, PneumoscreenError, WorkFailed
from shared.base.settings import Settings
from shared.database import Database, DicomHeader, Review, ReviewLabel, RunState, Sighting, TrainingRun
from shared.imaging import Limits
from shared.ledger.register import as_path, parts
from shared.models import manifest, registry
from shared.models.manifest import sha256
from shared.sources import Source
from trainer import architectures, datasets, description, fit, gate, leases, packaging, pipeline
from trainer.datasets import CLASSES
from trainer.gate import Sample
from trainer.leases import Lease
from trainer.pipeline import Trained

BY = "trainer"
PARENT_SECONDS = 1.0
TAKEN_OVER = "another trainer took this run over, or it has ended: its version is not made live"


def main(arguments: list[str]) -> int:
    """`python -m trainer.run RUN FENCE`; the last line of standard error says what went wrong."""
    threading.Thread(target=_end_with, args=[os.getppid()], name="parent", daemon=True).start()
    number, fence = map(int, arguments)
    try:
        run(settings.load(), number, fence, Console(soft_wrap=True, markup=False, emoji=False))
    except PneumoscreenError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return error.exit_code
    return 0


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: whoever takes the run over must be alone with its checkpoints."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def run(found: Settings, number: int, fence: int, console: Console) -> None:
    """From labelled images to a verdict, or from wherever a predecessor was killed.

    Its version becomes known in the very transaction that ends the run, judged and under the run's fence. Raises
    WorkFailed if the lease was lost: then nothing of it is published. Raises ServiceUnavailable if the folder of the
    models is out of reach: without the versions that were live there is nothing to compare with.
    """
    with closing(database.connect(found.database)) as ledger:
        lease, row = _lease(ledger, number, fence)
        registry.check(ledger, found.models, found.signing_key)  # now, and not after hours of work
        _clear(found, number)
        folder = found.home / "training" / f"run-{number}"
        _gather(found, ledger, row.reviews, folder)
        trained = _train(found, row, folder, console)
        registry.check(ledger, found.models, found.signing_key)
        for half in found.models.glob(f".{trained.manifest.version}.*"):  # a predecessor was killed as it copied
            shutil.rmtree(half)
        version, _ = registry.place(ledger, found.models, trained.folder, found.signing_key)
        while not _judge(found, ledger, lease, trained, version, folder, console):
            console.print("another version went live meanwhile: it is compared with that one now")
    pipeline.discard(folder, trained.folder.parent)


def _judge(
    found: Settings,
    ledger: Database,
    lease: Lease,
    trained: Trained,
    version: registry.Published,
    folder: Path,
    console: Console,
) -> bool:
    """Compare a version with those that are or were live and end the run; false if another went live meanwhile."""
    with ledger.read() as session:
        live, champion = registry.live(session), registry.newest_promotion(session)
    samples = [Sample(folder, "held-out patients of the labelled folders and of the reviews")]
    verdict = gate.examine(found.models, version, live, samples, console, found.signing_key)
    state = RunState.PUBLISHED if verdict.passed else RunState.REJECTED
    with ledger.write() as session:
        if registry.newest_promotion(session) != champion:
            return False
        now = datetime.now(UTC)
        if not leases.end(session, lease, state, now, version.version, None):
            raise WorkFailed(TAKEN_OVER)
        promotion.make_known(session, version, trained.manifest.created_at, BY, now)
        if verdict.passed:
            promotion.make_live(session, version.version, BY, now, verdict=verdict)
        else:
            promotion.reject(session, version.version, BY, now, verdict.as_json())
    return True


def _lease(ledger: Database, number: int, fence: int) -> tuple[Lease, TrainingRun]:
    """The lease and its run; raises WorkFailed if it is lost already.

    A message may reach a trainer long after it was sent, and another works in this folder by then.
    """
    with ledger.write() as session:
        row = session.get_one(TrainingRun, number)
        lease = Lease(number, fence, row.architecture)
        if not leases.keep(session, lease, datetime.now(UTC)):
            raise WorkFailed(TAKEN_OVER)
        return lease, row


def _clear(found: Settings, number: int) -> None:
    """Remove what earlier runs left that were given up, or killed after they had ended."""
    for part in ("training", "candidates"):
        pipeline.discard(*(left for left in (found.home / part).glob("run-*") if left.name != f"run-{number}"))


def _train(found: Settings, row: TrainingRun, folder: Path, console: Console) -> Trained:
    """The run's version; one that a predecessor finished is not trained again, since its checkpoints are gone."""
    plan = pipeline.Plan(
        architecture=row.architecture,
        out=found.home / "candidates" / f"run-{row.id}",
        work=found.home / "training",
        seed=row.id,
        mixed_precision=found.mixed_precision,
        tells_names=False,
    )
    finished = packaging.finished(plan.out, row.started_at)
    if finished is not None:
        console.print(f"{finished.name} was finished before: it is judged now", soft_wrap=True)
        trained = Trained(finished, manifest.read(finished))
        _forget(plan, row, trained.manifest.created_at)
        return trained
    return pipeline.train(plan, folder, console, description.describe(found.training_data))


def _forget(plan: pipeline.Plan, row: TrainingRun, until: datetime) -> None:
    """Remove the checkpoints of a run that was killed between its version and this; not those of a training by hand."""
    name = f"{architectures.file_name(plan.architecture)}-[0-9]*-{row.id}-????????"
    for history in plan.work.glob(f"{name}/{fit.HISTORY}"):
        if row.started_at.timestamp() <= history.stat().st_mtime < until.timestamp() + 1:
            fit.forget(history.parent)


def _gather(found: Settings, ledger: Database, reviews: int, folder: Path) -> None:
    """One labelled folder of links: to the labelled images, and to those that reviewers labelled, which win."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    with ledger.read() as session:
        reviewed = dict(_reviewed(found, session, reviews))
    for digest, (file, label, patient) in reviewed.items():
        if label not in CLASSES:  # UNCLEAR: the image is not learned from under any label
            continue
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
    # NOT_READABLE is no word on the content: it is of one sighting alone.
    on_content = (Review.id <= most) & Review.sha256.is_not(None) & (Review.label != ReviewLabel.NOT_READABLE)
    oldest_first = select(Review).where(on_content).order_by(Review.created_at, Review.id)
    labels = {str(review.sha256): review.label for review in session.scalars(oldest_first)}
    contents, known, limits = sorted(labels), sources.build(found), Limits.of(found)
    for part in parts(contents):
        keys = dict(
            session.execute(
                select(DicomHeader.sha256, DicomHeader.patient_key).where(DicomHeader.sha256.in_(part))
            ).all()
        )
        taken = set()
        for sighting in session.scalars(select(Sighting).where(Sighting.sha256.in_(part)).order_by(Sighting.id.desc())):
            source = known.get(sighting.source)
            digest = str(sighting.sha256)
            if source is None or digest in taken:
                continue
            path = as_path(sighting.path, sighting.path_bytes)
            if _holds(source, path, digest, limits):
                file = source.local_copy(path)
                taken.add(digest)
                yield digest, (file, labels[digest], _patient(file, keys.get(digest)))


def _holds(source: Source, path: str, digest: str, limits: Limits) -> bool:
    try:
        found = source.find(path)
        return found is not None and sha256(source.read(path, found.revision, limits)) == digest
    except (ImageError, OSError):
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
