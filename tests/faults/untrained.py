"""What stands in for hours of fitting in trials of the trainer; its version is published and examined as any other."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from shared.imaging import Preprocessing
from shared.models import manifest
from shared.models.engines import LINEAR_FILE
from shared.models.manifest import Export, Manifest
from trainer import fit, packaging
from trainer.pipeline import Made, Order

SIZE = 32


def make_version(order: Order, *, is_worse: bool) -> Made:
    """A linear version that calls bright pictures PNEUMONIA, or NORMAL if it is to be worse than any other."""
    slope = -5.0 if is_worse else 20.0 + order.seed
    weights = np.full(SIZE * SIZE + 1, slope / SIZE**2, np.float32)
    weights[-1] = -slope / 2
    created_at = datetime.now(UTC).replace(microsecond=0)

    def save(path: Path) -> None:
        path.write_bytes(np.random.default_rng().bytes(16))  # two fits are never alike, and this names the version
        np.save(path.parent / LINEAR_FILE, weights)

    def describe(version: str, files: dict[str, str]) -> Manifest:
        return Manifest(
            version=version,
            created_at=created_at,
            exports=(Export(engine="linear", file=LINEAR_FILE),),
            architecture="linear",
            parameters=len(weights),
            preprocessing=Preprocessing(width=SIZE, height=SIZE),
            threshold=0.5,
            metrics={"validation": {"auc": 0.5}},
            population={},
            data={},
            libraries={"numpy": np.__version__},
            files=files,
        )

    folder = packaging.publish(order.out, "linear", created_at, save, describe)
    fit.forget(order.work / f"linear-1-{order.seed}-00000000")
    return Made(folder, manifest.read(folder))
