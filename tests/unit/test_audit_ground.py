"""The site's audit sample as ground for a comparison: real files of a source, words in SQL, and the real gate."""

from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sqlalchemy import delete, select

from shared.base.errors import WorkFailed
from shared.base.filesystem import MARKER
from shared.base.settings import Settings, load
from shared.base.source_settings import FolderSettings
from shared.database import AuditSample, Database, DicomHeader, Review, Sighting
from shared.ledger.work import Screened
from shared.models import manifest, training_images
from shared.models.manifest import Manifest
from shared.sources.folder.facts import Facts
from tests.models import published
from tests.unit.steps import NOW, finish, in_hand
from tests.unit.test_gate import brightness
from trainer import audit_sample, gate, reviewed

EACH = 32


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Settings:
    """32 bright and 32 dark images of a ward, all in the audit sample and read blind; every fourth stands for ten."""
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / MARKER).touch()
    noise, labels = np.random.default_rng(0), {}
    for number in range(2 * EACH):
        label, level = ("PNEUMONIA", 150) if number < EACH else ("NORMAL", 50)
        pixels = (level + noise.integers(0, 50, (64, 64))).astype(np.uint8)
        Image.fromarray(pixels).save(ward / f"{number}.png")
        labels[f"{number}.png"] = label
    found = [Facts.of((ward / name).stat()).found(name) for name in labels]
    claims = in_hand(database, *found)
    finish(
        database,
        *(
            Screened(claim, manifest.sha256((ward / claim.path).read_bytes()), "v1", 0.9, 0.5, "PNEUMONIA")
            for claim in claims
        ),
    )
    with database.write() as session:
        for sighting in session.scalars(select(Sighting)).all():
            content, prediction = str(sighting.sha256), sighting.prediction_id
            inclusion = 0.1 if sighting.id % 4 == 0 else 1.0
            session.add(
                AuditSample(
                    sighting_id=sighting.id,
                    source="ward",
                    sha256=content,
                    prediction_id=prediction,
                    label="PNEUMONIA",
                    inclusion=inclusion,
                    drawn_at=NOW,
                )
            )
            session.add(
                Review(
                    sha256=content,
                    sighting_id=sighting.id,
                    label=labels[sighting.path],
                    reviewer="Dr. Okafor",
                    created_at=NOW + timedelta(hours=1),
                    method="csv",
                    is_blind=True,
                )
            )
    return load(tmp_path, sources={"ward": FolderSettings(path=ward)})


def test_versions_are_compared_on_what_was_read_of_the_audit_sample_by_how_many_each_stands_for(
    database: Database, site: Settings, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    good, bad = published(brightness(models, "good")), published(brightness(models, "bad", -1.0))
    with audit_sample.required(site, database, "ward") as sample:
        assert sorted(member.inclusion for member in (sample.members or {}).values())[15:17] == [0.1, 1.0]
        verdict = gate.examine(models, good, [bad], [sample], Console(file=StringIO()))
    assert verdict.passed
    assert (verdict.images, verdict.patients, verdict.challenger.recall) == (64, 64, 1.0)
    assert verdict.origins == (
        "64 images of 64 patients are the audit sample of ward, each weighted by how many images it was drawn from.",
    )
    assert not sample.folder.exists()


def test_what_a_version_was_fitted_to_decides_nothing(database: Database, site: Settings, tmp_path: Path) -> None:
    models = tmp_path / "models"
    version = brightness(models, "good")
    with database.read() as session:
        seen = list(session.scalars(select(Sighting.sha256).where(Sighting.id <= 5)))
    described = manifest.read(version)
    training_images.write([str(content) for content in seen])(version, described)
    files = described.files | {training_images.FILE: manifest.sha256((version / training_images.FILE).read_bytes())}
    manifest.write(version, Manifest.model_validate(described.model_dump() | {"files": files}))
    with audit_sample.required(site, database, None) as sample:
        verdict = gate.examine(models, published(version), [], [sample], Console(file=StringIO()))
    assert verdict.images == 2 * EACH - 5
    assert any("There are only 27 patients with PNEUMONIA images" in sentence for sentence in verdict.failed)


def test_the_audit_sample_is_never_learnt_from(database: Database, site: Settings) -> None:
    with database.read() as session:
        assert {image.label for image in reviewed.find(site, session)} == {None}


def test_other_images_of_its_patients_are_not_learnt_from_either(database: Database, site: Settings) -> None:
    with database.write() as session:
        audited, *others = session.scalars(select(Sighting.sha256).order_by(Sighting.id).limit(3)).all()
        session.execute(delete(AuditSample).where(AuditSample.sha256.in_(others)))
        session.add_all(DicomHeader(sha256=each, patient_key="k" * 64) for each in (audited, others[0]))
    with database.read() as session:
        labelled = {image.sha256 for image in reviewed.find(site, session) if image.label is not None}
    assert labelled == {others[1]}


def test_a_sample_without_both_classes_is_no_ground(database: Database, site: Settings) -> None:
    with database.write() as session:
        for review in session.scalars(select(Review).where(Review.label == "NORMAL")):
            review.withdrawn_at = NOW
    with audit_sample.gathered(site, database) as sample:
        assert sample is None
    with pytest.raises(WorkFailed, match="pneumoscreen accuracy"), audit_sample.required(site, database, None):
        pass
