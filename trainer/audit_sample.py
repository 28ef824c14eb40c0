"""The site's audit sample as something to compare versions on: random images of the traffic, read blind."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

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

    None where no image of a class is there: then it decides nothing.
    """
    with ledger.read() as session:
        read = {word.sha256: word for word in words.words_of_audit(session, source, since, None) if word.label}
        files = list(reviewed.stored(found, session, read))
    if {read[image.sha256].label for image in files} != set(CLASSES):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="audit-sample-") as name:
        folder = Path(name)
        for label in CLASSES:
            (folder / label).mkdir()
        for image in files:
            (folder / str(read[image.sha256].label) / f"{image.sha256}{image.file.suffix}").symlink_to(image.file)
        members = {image.sha256: Member(read[image.sha256].patient, read[image.sha256].inclusion) for image in files}
        of = "" if source is None else f" of {source}"
        yield Sample(folder, f"the audit sample{of}, each weighted by how many images it was drawn from", members)


@contextmanager
def required(found: Settings, ledger: Database, source: str | None) -> Iterator[Sample]:
    """The same where it was asked for; raises WorkFailed where it decides nothing."""
    with gathered(found, ledger, source) as sample:
        if sample is None:
            raise WorkFailed(
                "The audit sample holds no image of each class that was read and is still there: `pneumoscreen "
                "accuracy` says how many wait for a reader. Compare on --data DIR until then."
            )
        yield sample
