"""A source with specimens that were screened, for tests of the pages: real files, and answers of our own choice."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from shared import sources
from shared.base.lanes import Lane
from shared.base.settings import Settings, load
from shared.database import Database, Prediction, Screening, Sighting
from shared.ledger import register, send, work
from shared.ledger.work import Identifiers, Screened

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass(frozen=True)
class Specimen:
    """A file of `samples/`, or one that is given, and what the model said of it."""

    file: str = "normal-01.jpeg"
    name: str | None = None  # what it is called in the source
    probability: float = 0.02
    unfamiliar: bool = False
    outside: bool = False
    lane: Lane = Lane.ROUTINE
    accession: str | None = None
    patient: str | None = None
    data: bytes | None = None


def home_of(tmp_path: Path, **more: Any) -> Settings:
    """Settings of a home with the source `ward`."""
    (tmp_path / "ward").mkdir(exist_ok=True)
    return load(tmp_path, sources={"ward": {"path": str(tmp_path / "ward"), **more.pop("ward", {})}}, **more)


def screen(
    database: Database,
    settings: Settings,
    specimens: Iterable[Specimen],
    now: datetime | None = None,
    version: str = "v1",
) -> Sequence[int]:
    """Drop the files, and finish them as a worker would; returns their sightings."""
    now = now or datetime.now(UTC) - timedelta(minutes=5)
    ward = settings.sources["ward"].path
    numbers = []
    for count, specimen in enumerate(specimens):
        name = specimen.name or f"{count:03d}-{specimen.file}"
        data = specimen.data if specimen.data is not None else _of_its_own(specimen.file, name)
        (ward / name).parent.mkdir(parents=True, exist_ok=True)
        (ward / name).write_bytes(data)
        found = sources.build(settings)["ward"].find(name)
        with database.write() as session:
            (number,) = register.register(session, "ward", specimen.lane, [found], now)
        with database.write() as session:
            message = send.take(session, specimen.lane, 10, now)
        assert message is not None
        with database.write() as session:
            (claimed,) = work.claim(session, message, now, 60.0)
        pacs = (
            Identifiers(None, None, specimen.accession, specimen.patient)
            if specimen.accession or specimen.patient
            else None
        )
        label = "PNEUMONIA" if specimen.probability >= 0.5 else "NORMAL"
        outcome = Screened(
            claimed,
            hashlib.sha256(data).hexdigest(),
            version,
            specimen.probability,
            0.5,
            label,
            specimen.outside,
            pacs,
            unfamiliar=specimen.unfamiliar,
        )
        with database.write() as session:
            work.finish(session, [outcome], now, None, settings.reading_rule_of)
        numbers.append(number)
    return numbers


def screen_anew(database: Database, sighting: int, version: str, probability: float) -> None:
    """Another version's answer becomes the image's result; the earlier one stays on record."""
    with database.write() as session:
        image, now = session.get_one(Sighting, sighting), datetime.now(UTC)
        row = Prediction(sha256=str(image.sha256), model_version=version, decoder_revision=1, created_at=now)
        session.add(row)
        session.flush()
        label = "PNEUMONIA" if probability >= 0.5 else "NORMAL"
        answer = {"probability": probability, "threshold": 0.5, "label": label, "created_at": now}
        session.add(Screening(sighting_id=sighting, prediction_id=row.id, **answer))
        image.prediction_id = row.id


def _of_its_own(file: str, name: str) -> bytes:
    """A specimen's bytes with a comment, so that each is a content of its own."""
    data = (SAMPLES / file).read_bytes()
    comment = name.encode("utf-8", "replace")[:60]
    if file.endswith("jpeg"):
        return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:]
    if not file.endswith("dcm"):
        return data
    import pydicom

    dataset = pydicom.dcmread(BytesIO(data))
    dataset.ImageComments = f"Computer-generated specimen, not a patient: {name}"
    stream = BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()
