"""The decoder alone, on one core: a file to the pixels of the bundled network, beside another reader in the same run.

That is either a plain reader, as a script has it (pydicom or Pillow for the whole picture, NumPy for its values), or
the product in another checkout. Two processes take the files in turn. As a program, `decoding.py READER PREPROCESSING`
is such a process: it needs nothing but what every checkout has.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any


def measure(files: Path, work: Path, against: str | None = None) -> dict[str, float]:
    """Milliseconds an image, medians; `ratio` is to the plain reader, or to the checkout of the Python `against`."""
    from shared.models import manifest, registry

    preprocessing = manifest.read(registry.bundled()).preprocessing.model_dump_json()
    with ExitStack() as stack:
        readers = [
            stack.enter_context(_Reader([python, "-P", str(Path(__file__)), name, preprocessing]))
            for python, name in (
                (sys.executable, "product"),
                (sys.executable, "plain") if against is None else (against, "product"),
            )
        ]
        paths = sorted(files.iterdir())
        for reader in readers:
            reader.seconds(paths[0])  # it starts, and imports
        seconds = [[reader.seconds(path) for reader in readers] for path in paths]
    ours, other = (statistics.median(each) for each in zip(*seconds, strict=True))
    return {"ms_per_image": 1000 * ours, "ms_per_image_of_the_other": 1000 * other, "ratio": ours / other}


class _Reader:
    """A process that reads one file after the other, with all that it starts on the last core of this one."""

    def __init__(self, command: list[str]) -> None:
        core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seconds(self, path: Path) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        return float(self._process.stdout.readline())


def main() -> None:
    name, preprocessing = sys.argv[1], json.loads(sys.argv[2])
    read = _product(preprocessing) if name == "product" else _plain(preprocessing)
    for line in sys.stdin:
        data = Path(line[:-1]).read_bytes()
        began = time.perf_counter()
        read(data)
        print(time.perf_counter() - began, flush=True)


def _product(preprocessing: dict[str, Any]) -> Callable[[bytes], object]:
    from shared.imaging import Limits, Preprocessing, prepare

    return lambda data: prepare(data, Preprocessing(**preprocessing), Limits())


def _plain(preprocessing: dict[str, Any]) -> Callable[[bytes], object]:
    import numpy as np
    from PIL import Image, ImageOps
    from pydicom import dcmread
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    def read(data: bytes) -> object:
        if data[128:132] == b"DICM":
            dataset = dcmread(BytesIO(data))
            values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        else:
            values = np.asarray(Image.open(BytesIO(data)))
        values = values.astype(np.float32)
        grey = np.rint((values - values.min()) * (255 / (values.max() - values.min()))).astype(np.uint8)
        small = Image.fromarray(grey).resize((preprocessing["width"], preprocessing["height"]))
        return np.asarray(ImageOps.equalize(small))

    return read


if __name__ == "__main__":
    main()
