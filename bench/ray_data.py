"""Ray Data, as its guide to offline batch inference and its page on performance tips set it up.

Tasks read blocks of files, a pool of actors with a network each takes batches, and tasks write the rows to Parquet.
Ray runs at the same time what asks for no more CPUs together than there are cores, and binds nothing to them.
"""

import faulthandler
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.limit import BATCH
from bench.rows import CORES
from bench.system import START_SECONDS, steady
from shared.base.errors import WorkFailed
from shared.base.settings import EngineName
from shared.imaging import Limits, Preprocessing, prepare
from shared.models import manifest, registry

SECONDS_AN_IMAGE = 1.0
"""With START_SECONDS, the longest that it may take: a run that hangs is ended."""


def decode(row: dict[str, Any], preprocessing: Preprocessing) -> dict[str, Any]:
    began = time.time()
    return {"path": row["path"], "pixels": prepare(row["bytes"], preprocessing, Limits()), "began_at": began}


class Predictor:
    """An actor: Ray makes it once and gives it batches."""

    def __init__(self, engine: EngineName) -> None:
        self._loaded = registry.load_bundled(engine)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        version = self._loaded.manifest
        logits = self._loaded.network.logits(batch["pixels"])
        probabilities = [version.calibration.probability(float(logit)) for logit in logits]
        return {
            "path": batch["path"],
            "probability": np.array(probabilities),
            "label": np.array([version.label(probability) for probability in probabilities]),
            "began_at": batch["began_at"],
            "finished_at": np.full(len(logits), time.time()),
        }


def measure(
    files: Path,
    work: Path,
    actors: int = CORES,
    actor_cpus: float = 0.5,
    decode_cpus: float = 0.5,
    batch: int = BATCH,
    block: int = 4 * BATCH,
    engine: EngineName = "auto",
) -> dict[str, float]:
    """Of equal CPUs, Ray lets the actors decode; of others, the tasks that read. The actors must leave some to these.

    `block` is how many files a task takes. What it reads before the first row comes is in no steady state: of large
    blocks only the whole time tells.
    """
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too, this is what keeps its ports to the loopback
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # or it would write one into the home folder
    }
    import ray  # type: ignore[import-not-found]
    import ray.data  # type: ignore[import-not-found]
    from pyarrow import parquet

    work.mkdir(parents=True)
    paths = sorted(str(path.resolve()) for path in files.iterdir())
    preprocessing = manifest.read(registry.bundled()).preprocessing
    faulthandler.dump_traceback_later(START_SECONDS + SECONDS_AN_IMAGE * len(paths), exit=True)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # not in `work`: the names of sockets must be short
        try:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, _temp_dir=folder)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            context.wait_for_min_actors_s = START_SECONDS  # or much would be decoded while the networks are loaded
            blocks = -(-len(paths) // block)  # rounded up, or a task would end with a batch of one
            dataset = ray.data.read_binary_files(
                paths, include_paths=True, override_num_blocks=blocks, num_cpus=decode_cpus
            )
            dataset = dataset.map(decode, fn_kwargs={"preprocessing": preprocessing}, num_cpus=decode_cpus)
            dataset = dataset.map_batches(
                Predictor,
                fn_constructor_args=(engine,),
                batch_size=batch,
                compute=ray.data.ActorPoolStrategy(size=actors),
                num_cpus=actor_cpus,
            )
            dataset.write_parquet(str(work / "rows"))
        finally:
            ray.shutdown()
    faulthandler.cancel_dump_traceback_later()
    rows = parquet.read_table(work / "rows")
    if rows.num_rows != len(paths):
        raise WorkFailed(f"Ray Data wrote {rows.num_rows} rows of {len(paths)}.")
    began, finished = min(rows["began_at"].to_pylist()), sorted(rows["finished_at"].to_pylist())
    return {
        "images_per_second": steady(finished),
        "images_per_second_from_first_file_to_last_row": len(paths) / (finished[-1] - began),
    }
