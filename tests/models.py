"""Small model versions for tests: real manifests and weights, of the engine that loads in no time."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from shared import database, manifest
from shared.database import ModelVersion, Promotion
from shared.imaging import Preprocessing
from shared.inference import LINEAR_FILE
from shared.manifest import Manifest

SIDE = 32


def make_linear_version(folder: Path, name: str, seed: int = 0) -> Path:
    """Write folder/name: a logistic regression on 32 x 32 pixels with random weights."""
    version = folder / name
    version.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(0, 0.1, SIDE * SIDE + 1).astype(np.float32)
    np.save(version / LINEAR_FILE, weights)
    digest = manifest.sha256((version / LINEAR_FILE).read_bytes())
    manifest.write(
        version,
        Manifest(
            version=name,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            engine="linear",
            architecture="linear",
            parameters=len(weights),
            preprocessing=Preprocessing(width=SIDE, height=SIDE),
            threshold=0.5,
            metrics={},
            population={},
            data={},
            libraries={},
            files={LINEAR_FILE: digest},
        ),
    )
    return version


def make_linear_home(home: Path) -> None:
    """A home in which a linear version is live, so that `up` does not take the bundled network."""
    version = make_linear_version(home / "models", "linear-1")
    found = database.connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    found.upgrade()
    now = datetime.now(UTC)
    with found.write() as session:
        digest = manifest.sha256((version / manifest.NAME).read_bytes())
        session.add(ModelVersion(version=version.name, manifest_sha256=digest, created_at=now))
        session.flush()
        session.add(Promotion(version=version.name, promoted_by="test", promoted_at=now))
    found.close()
