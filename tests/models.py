"""Small model versions without TensorFlow: real folders, manifests and weights, loaded by the real code."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from actions.comparison import Figures
from actions.promotion import make_live, publish
from actions.verdict import Verdict
from shared.base.settings import Settings, load
from shared.base.source_settings import FolderSettings
from shared.database import Database, ModelVersion, Promotion
from shared.imaging import Preprocessing
from shared.models import manifest
from shared.models.engines import LINEAR_FILE
from shared.models.manifest import Export, Manifest
from shared.models.registry import Published

DAY = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SIZE = 32


def make_linear_version(folder: Path, name: str, seed: int = 0) -> Path:
    """Write version `name` into `folder`, a home's `models`: logistic regression on 32 x 32 pixels; returns its folder.

    Another seed gives other weights. Threshold 0.5, no calibration.
    """
    version = folder / name
    version.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(0.0, 0.1, SIZE * SIZE + 1).astype(np.float32)
    np.save(version / LINEAR_FILE, weights)
    describe(version)
    return version


def give_check(version: Path, check: manifest.Novelty, parameters: bytes) -> str:
    """Give a version a check for unfamiliar pictures; returns the checksum of its new manifest."""
    (version / check.file).write_bytes(parameters)
    return describe(version, check)


def describe(version: Path, check: manifest.Novelty | None = None) -> str:
    """Write the manifest for what lies in a version's folder; returns its checksum."""
    found = Manifest(
        version=version.name,
        created_at=DAY,
        exports=(Export(engine="linear", file=LINEAR_FILE),),
        architecture="linear",
        parameters=SIZE * SIZE + 1,
        preprocessing=Preprocessing(width=SIZE, height=SIZE),
        threshold=0.5,
        novelty=check,
        metrics={"validation": {"auc": 0.5}},
        population={"description": "random weights, for tests", "age_years": {"lowest": 1, "highest": 5}},
        data={},
        libraries={"numpy": np.__version__},
        files={
            file.name: manifest.sha256(file.read_bytes()) for file in version.iterdir() if file.name != manifest.NAME
        },
    )
    return manifest.write(version, found)


def published(version: Path) -> Published:
    """What a version's row says, for the folder as it is now."""
    return Published(version.name, manifest.sha256((version / manifest.NAME).read_bytes()))


def go_live(database: Database, version: Path, now: datetime = DAY) -> Published:
    """Publish a version's folder in the database, unless it is, and make it the live one."""
    row = published(version)
    with database.write() as session:
        session.merge(ModelVersion(version=row.version, manifest_sha256=row.manifest_sha256, created_at=DAY))
        session.flush()
        session.add(Promotion(version=row.version, promoted_by="test", promoted_at=now))
    return row


def home_with_versions(database: Database, home: Path, *names: str) -> Settings:
    """Settings of a home with a source `ward`, where these versions are published and none is live."""
    found = load(home, sources={"ward": FolderSettings(path=home / "ward")})
    for name in names:
        publish(database, found.models, make_linear_version(home / "made", name), DAY)
    return found


def promote(
    database: Database,
    version: str,
    actor: str,
    now: datetime,
    reason: str | None = "a test",
    verdict: Verdict | None = None,
) -> None:
    """Make a version live in a transaction of its own: see `actions.promotion.make_live`."""
    with database.write() as session:
        make_live(session, version, actor, now, reason=reason, verdict=verdict)


def passed(version: str) -> Verdict:
    """A verdict that a version passed."""
    return Verdict(True, Figures(version, 0.5, 1.0, 1.0, 1.0), (), (), 80, 80)
