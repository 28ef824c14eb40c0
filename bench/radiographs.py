"""Radiographs of a hospital's size, from specimens: in each transfer syntax of DICOM, and as plain files of 16 bits."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.files import SPECIMENS
from samples import dicom
from samples.dicom import Kind

SIZE = (2500, 3000)
"""Width and height in pixels."""
BITS = (12, 14, 16)
"""In turn."""
GRAIN = 0.006
"""Of the range: lossless JPEG then takes 7 of 12 bits."""
SYNTAXES = {
    "uncompressed": None,
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_ls": "1.2.840.10008.1.2.4.80",
    "jpeg_2000": "1.2.840.10008.1.2.4.90",
}
PLAIN = ("png", "tiff")
MIX = "dicom"
"""The files of all syntaxes together."""
KINDS = (*SYNTAXES, *PLAIN)
MAX_FILES = 200
"""Of the mix; of each other kind as many as there are of each syntax in it."""


def number_of_files(kind: str, count: int) -> int:
    each = min(count, MAX_FILES) // len(SYNTAXES)
    return each * len(SYNTAXES) if kind == MIX else each


def make(kind: str, work: Path, count: int, advance: Callable[[], None]) -> int:
    """Write files of distinct pictures into `work / kind`, and return their bytes; the mix is of those of SYNTAXES."""
    folder = work / kind
    folder.mkdir()
    if kind == MIX:
        for syntax in SYNTAXES:
            for file in (work / syntax).iterdir():
                (folder / f"{file.stem}-{file.name}").hardlink_to(file)
                advance()
    else:
        suffix = kind if kind in PLAIN else "dcm"
        for number in range(number_of_files(kind, count)):
            (folder / f"{number:06d}-{kind}.{suffix}").write_bytes(_file(kind, number, work))
            advance()
    return sum(file.stat().st_size for file in folder.iterdir())


def _file(kind: str, number: int, work: Path) -> bytes:
    bits = BITS[number % len(BITS)]
    pixels = picture(number, bits)
    if kind in PLAIN:
        plain = BytesIO()
        Image.fromarray(pixels).save(plain, kind)
        return plain.getvalue()
    dataset = dicom.dataset_of(pixels, Kind("", "DX", bits, is_inverted=False, age="040Y"), f"{kind}-{number}")
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 9 * 2**bits // 10
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    syntax = SYNTAXES[kind]
    return buffer.getvalue() if syntax is None else dicom.compressed(buffer.getvalue(), syntax, work)


def picture(number: int, bits: int) -> NDArray[np.uint16]:
    """An enlarged specimen with grain, shape (height, width); the same number gives the same picture."""
    sources = sorted(SPECIMENS.glob("*.jpeg"))
    with Image.open(sources[number % len(sources)]) as image:
        large = np.asarray(image.convert("L").resize(SIZE, Image.Resampling.BICUBIC), np.float32) / 255
    random = np.random.default_rng(number)
    fine = Image.fromarray(random.standard_normal((SIZE[1] // 2, SIZE[0] // 2), np.float32))
    grain = np.asarray(fine.resize(SIZE, Image.Resampling.BICUBIC))
    return np.asarray(np.rint(np.clip(0.9 * large + GRAIN * grain, 0, 1) * (2**bits - 1)), dtype=np.uint16)
