"""The site's audit sample as something to compare versions on: random images of the traffic, read blind."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from queries import accuracy
from shared.base.errors import WorkFailed
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger import words
from trainer import reviewed
from trainer.gate import Member, Sample
from trainer.listing import CLASSES


@contextmanager
def gathered(
    found: Settings, ledger: Database, source: str | None = None, since: datetime | None = None
) -> Iterator[Sample | None]:
    """A folder of links to the images of the audit sample on which a word counts, for as long as it is needed.

    Each is weighted as in `accuracy`: by the inverse of its probability of being drawn, and by how many of the same
    answer were read and are still there. None where no image of a class is there: then it decides nothing.
    """
    with ledger.read() as session:
        samples = words.words_of_audit(session, source, since, None)
        contents = {sample.sha256 for sample in samples if sample.label}
        kin = reviewed.kin_of_audited(session)
        files = {image.sha256: image.file for image in reviewed.stored(found, session, contents)}
    is_read = np.array([sample.sha256 in files for sample in samples], bool)
    weights: defaultdict[str, float] = defaultdict(float)  # a content may have been drawn in two sources
    for sample, weight in zip(samples, accuracy.weigh(samples, is_read).tolist(), strict=True):
        weights[sample.sha256] += weight
    read = {sample.sha256: sample for sample in samples if weights[sample.sha256]}
    if {sample.label for sample in read.values()} != set(CLASSES):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="audit-sample-") as name:
        folder = Path(name)
        for label in CLASSES:
            (folder / label).mkdir()
        for digest, sample in read.items():
            (folder / str(sample.label) / f"{digest}{files[digest].suffix}").symlink_to(files[digest])
        members = {
            digest: Member(sample.patient, weights[digest], kin.get(sample.patient, frozenset()) | {digest})
            for digest, sample in read.items()
        }
        of = "" if source is None else f" of {source}"
        yield Sample(folder, f"the audit sample{of}, each weighted by how many images it was drawn from", members)


@contextmanager
def required(found: Settings, ledger: Database, source: str | None) -> Iterator[Sample]:
    """The same where it was asked for; raises WorkFailed where it decides nothing."""
    with gathered(found, ledger, source) as sample:
        if sample is None:
            raise WorkFailed(
                "The audit sample holds no image of each class that was read and is still there, from a source in "
                "which images of both answers were read: `pneumoscreen accuracy` says how many wait for a reader. "
                "Compare on --data DIR until then."
            )
        yield sample
