"""What it costs that GDCM decodes in another process: the same frames here and there, in turn."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.encaps import generate_frames

from shared.imaging import gdcm_decoder, gdcm_process
from shared.imaging.dicom_file import parse, syntax_of


def measure(files: Path, work: Path) -> dict[str, float]:
    """Milliseconds a frame, medians."""
    here, there = [], []
    for path in sorted(files.iterdir()):
        request, frame = _request(path)
        gdcm_process.decode(request, frame)  # it starts, and what is compared is in the caches
        here.append(_milliseconds(lambda r=request, f=frame: gdcm_decoder.decode(r, f, bytes)))  # type: ignore[misc]
        there.append(_milliseconds(lambda r=request, f=frame: gdcm_process.decode(r, f)))  # type: ignore[misc]
    return {
        "ms_in_this_process": statistics.median(here),
        "ms_in_another": statistics.median(there),
        "ms_more": statistics.median(other - own for own, other in zip(here, there, strict=True)),
    }


def _request(path: Path) -> tuple[dict[str, Any], bytes]:
    dataset = parse(path.read_bytes(), stop_before_pixels=False)
    bits = int(dataset.BitsStored)
    request = {
        "syntax": str(syntax_of(dataset)),
        "columns": int(dataset.Columns),
        "rows": int(dataset.Rows),
        "format": [1, 16, bits, bits - 1, 0],
    }
    return request, next(generate_frames(dataset.PixelData, number_of_frames=1))


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)
