"""One run of the trainer service, in its own process: gather, train, publish, judge, and go live or be rejected."""

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from actions import promotion
from shared import database
from shared.base import settings
from shared.base.errors import PneumoscreenError, WorkFailed
from shared.base.settings import Settings
from shared.database import Database, RunState, TrainingRun
from shared.imaging import is_dicom
from shared.ledger.words import labels_of_draws
from shared.models import manifest, registry
from shared.models.manifest import sha256
from trainer import (
    architectures,
    audit_sample,
    description,
    fit,
    gate,
    labels_file,
    leases,
    listing,
    packaging,
    pipeline,
    reviewed,
)
from trainer.gate import Sample
from trainer.leases import Lease
from trainer.listing import CLASSES, LabelledFile, Site
from trainer.patients import Owner, Pattern
from trainer.pipeline import Trained
from trainer.reviewed import ReviewedImage

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
        chosen = _gather(found, ledger, row.reviews, folder, console)
        trained = _train(found, row, folder, console)
        registry.check(ledger, found.models, found.signing_key)
        for half in found.models.glob(f".{trained.manifest.version}.*"):  # a predecessor was killed as it copied
            shutil.rmtree(half)
        version, _ = registry.place(ledger, found.models, trained.folder, found.signing_key)
        held_out = Sample(folder, "held-out patients of the labelled folders and of random draws", without=chosen)
        while not _judge(found, ledger, lease, trained, version, held_out, console):
            console.print("another version went live meanwhile: it is compared with that one now")
    pipeline.discard(folder, trained.folder.parent)


def _judge(
    found: Settings,
    ledger: Database,
    lease: Lease,
    trained: Trained,
    version: registry.Published,
    held_out: Sample,
    console: Console,
) -> bool:
    """Compare a version with those that are or were live and end the run; false if another went live meanwhile."""
    with ledger.read() as session:
        live, champion = registry.live(session), registry.newest_promotion(session)
    samples = [held_out]
    with audit_sample.gathered(found, ledger) as audited:
        if audited is not None:
            samples.append(audited)
        verdict = gate.examine(found.models, version, live, samples, console, found.signing_key, Site.of(found))
    state = RunState.PUBLISHED if verdict.passed else RunState.REJECTED
    with ledger.write() as session:
        if registry.newest_promotion(session) != champion:
            return False
        now = datetime.now(UTC)
        if not leases.end(session, lease, state, now, version.version, None):
            raise WorkFailed(TAKEN_OVER)
        promotion.make_known(session, version, trained.manifest.created_at, BY, now)
        if verdict.passed:
            lost = promotion.make_live(session, version.version, BY, now, verdict=verdict)
            if lost:
                console.print(f"these sources lost their operating point with the version before: {', '.join(lost)}")
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
        site=Site.of(found),
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


def _gather(found: Settings, ledger: Database, reviews: int, folder: Path, console: Console) -> frozenset[str]:
    """One labelled folder of links: to the labelled images, and to those that reviewers labelled, which win.

    Its `labels.csv` says whose each image is, or under which name a pattern is to look for that. Returns the contents
    that readers chose, as in the order of the worklist: they are no sample, and judge nothing.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    with ledger.read() as session:
        words = {image.sha256: image for image in reviewed.find(found, session, reviews)}
        drawn = labels_of_draws(session, reviews)
    files: dict[str, LabelledFile] = {}
    rows, pattern = [], None
    if found.training_data is not None:
        listed = listing.read(found.training_data)
        pattern = listed.pattern
        for skipped in listed.skipped:
            console.print(skipped.sentence(tells_names=False))
        sizes = {image.file.stat().st_size for image in words.values()}
        for number, file in enumerate(listed.files):
            digest = _digest(file.path, sizes)
            if digest in words:
                files[digest] = file
            else:
                rows.append(_link(folder, f"{number:07d}_{file.path.name}", CLASSES[file.label], file))
    for digest, image in words.items():
        if image.label is None:  # UNCLEAR: the image is not learned from under any label
            continue
        file = files.get(digest) or LabelledFile(image.file, 0, image.file.name, _owner(image, pattern))
        rows.append(_link(folder, f"{digest[:16]}{image.file.suffix}", image.label, replace(file, path=image.file)))
    labels_file.write(folder / labels_file.NAME, rows)
    if found.training_data is not None and (found.training_data / description.FILE).exists():
        shutil.copyfile(found.training_data / description.FILE, folder / description.FILE)
    return frozenset(
        digest for digest, image in words.items() if digest not in files and drawn.get(digest) != image.label
    )


def _owner(image: ReviewedImage, pattern: Pattern | None) -> Owner | None:
    """None for a DICOM file whose patient nobody hashed, having no secret: its header is read with its pixels."""
    if image.patient_key is None:
        with suppress(OSError), image.file.open("rb") as file:
            if is_dicom(file.read(132)):
                return None
    return image.owner(pattern)


def _digest(file: Path, sizes: set[int]) -> str:
    """Of a file that is as large as one that was reviewed; empty for the others, and where it is gone."""
    try:
        return sha256(file.read_bytes()) if file.stat().st_size in sizes else ""
    except OSError:
        return ""


def _link(folder: Path, name: str, label: str, file: LabelledFile) -> labels_file.Row:
    (folder / label / name).symlink_to(file.path)
    return labels_file.Row(f"{label}/{name}", label, file.owner, file.name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
