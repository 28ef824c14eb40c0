"""Our decoders read what DCMTK and OpenJPEG read: to the last bit before windowing, within one level after it."""

import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import Limits, dicom, dicom_file, frames, greyscale
from shared.imaging.notes import Notes
from tests.dicom import compressed, make, written

Y, X = np.mgrid[0:250, 0:310]
RANDOM = np.random.default_rng(7)
PIXELS: NDArray[np.uint16] = (
    ((np.sin(X / 40) + np.cos(Y / 30) + 2) * 1000 + RANDOM.normal(0, 15, X.shape)).clip(0, 4095).astype(np.uint16)
)
PROGRAMS = {
    "1.2.840.10008.1.2.5": "dcmdrle",
    "1.2.840.10008.1.2.4.57": "dcmdjpeg",
    "1.2.840.10008.1.2.4.70": "dcmdjpeg",
    "1.2.840.10008.1.2.4.80": "dcmdjpls",
    "1.2.840.10008.1.2.4.90": "opj_decompress",
    "1.2.840.10008.1.2.4.91": "opj_decompress",
}
VARIANTS = {
    "12 bits": (PIXELS, {}),
    "8 bits": ((PIXELS >> 4).astype(np.uint8), {}),
    "16 bits": ((PIXELS << 4).astype(np.uint16), {"BitsStored": 16, "HighBit": 15}),
    "signed": (
        (PIXELS.astype(np.int32) - 2048).astype(np.int16).view(np.uint16),
        {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
    ),
}


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: dcmtk, libopenjp2-tools)")
    return path


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def independent(data: bytes, syntax: str, folder: Path) -> NDArray[Any]:
    """The stored words, by a program of others."""
    name = PROGRAMS[syntax]
    if name == "opj_decompress":
        dataset = dicom_file.parse(data, stop_before_pixels=False)
        (folder / "frame.j2k").write_bytes(next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)))
        run(program(name), "-i", folder / "frame.j2k", "-o", folder / "frame.pgx")
        return read_pgx(next(folder.glob("frame*.pgx")))
    (folder / "packed.dcm").write_bytes(data)
    run(program(name), folder / "packed.dcm", folder / "plain.dcm")
    return frames.read_frame(dicom_file.parse((folder / "plain.dcm").read_bytes(), stop_before_pixels=False)).words


def read_pgx(file: Path) -> NDArray[Any]:
    header, _, pixels = file.read_bytes().partition(b"\n")
    _, order, *rest = header.split()
    bits = int(b"".join(rest[:-2]).lstrip(b"+-"))
    width, height = int(rest[-2]), int(rest[-1])
    kind = f"{'>' if order == b'ML' else '<'}u{1 if bits <= 8 else 2}"
    return np.frombuffer(pixels, kind, width * height).reshape(height, width)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("syntax", [syntax for syntax in PROGRAMS if not syntax.endswith(".91")])
def test_a_lossless_frame_is_read_to_the_last_bit(syntax: str, variant: str, tmp_path: Path) -> None:
    pixels, elements = VARIANTS[variant]
    data = compressed(make(pixels, **elements), syntax, tmp_path)
    words = frames.read_frame(dicom_file.parse(data, stop_before_pixels=False)).words
    assert np.array_equal(words, independent(data, syntax, tmp_path))
    assert np.array_equal(words, pixels)


WINDOWS: Sequence[dict[str, Any]] = (
    {"WindowCenter": 2000, "WindowWidth": 3000},
    {"WindowCenter": 1500, "WindowWidth": 800},
    {"WindowCenter": 2000, "WindowWidth": 3000, "PhotometricInterpretation": "MONOCHROME1"},
    {"WindowCenter": -2000, "WindowWidth": 3000, "RescaleSlope": -1, "RescaleIntercept": 0},
    {"WindowCenter": 900, "WindowWidth": 1500, "RescaleSlope": 0.5, "RescaleIntercept": -100},
    {"WindowCenter": 2000, "WindowWidth": 3000, "VOILUTFunction": "SIGMOID"},
)


@pytest.mark.parametrize("elements", WINDOWS, ids=range(len(WINDOWS)))
def test_a_window_is_applied_as_dcmtk_applies_it_within_one_level(elements: dict[str, Any], tmp_path: Path) -> None:
    data = written(make(PIXELS, **elements))
    (tmp_path / "plain.dcm").write_bytes(data)
    run(program("dcm2pnm"), "+Wi", "1", "--write-raw-pnm", tmp_path / "plain.dcm", tmp_path / "shown.pgm")
    theirs = np.asarray(Image.open(tmp_path / "shown.pgm"), dtype=np.float32)
    dataset = dicom_file.parse(data, stop_before_pixels=False)
    is_inverted = elements.get("PhotometricInterpretation") == "MONOCHROME1"
    ours = greyscale.render(PIXELS, dataset, None, is_inverted, Notes()).astype(np.float32)
    stretched = (theirs - theirs.min()) * 255 / (theirs.max() - theirs.min())  # as ours is, over the range in use
    assert np.abs(ours - stretched).max() <= 1.5


def radiographs() -> list[Path]:
    folders = [Path(pydicom.__file__).parent / "data" / "test_files"]  # listed, never fetched
    folders += [Path(place) for place in getattr(find_spec("data_store"), "submodule_search_locations", None) or ()]
    return [file for folder in folders for file in sorted(folder.rglob("*.dcm")) if _is_grey_radiograph(file)]


def _is_grey_radiograph(file: Path) -> bool:
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
    except Exception:  # noqa: BLE001 - whatever a test file of pydicom's is made to raise
        return False
    is_radiograph = dataset.get("Modality") in ("CR", "DX", "RG")
    return is_radiograph and dataset.get("SamplesPerPixel", 1) == 1 and "Rows" in dataset


@pytest.mark.parametrize("file", radiographs(), ids=lambda file: file.name)
def test_a_radiograph_among_pydicoms_test_files_is_read_as_dcmtk_reads_it(file: Path, tmp_path: Path) -> None:
    syntax = str(pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    data = file.read_bytes()
    dataset = dicom_file.parse(data, stop_before_pixels=False)
    words = frames.read_frame(dataset).words
    if syntax in PROGRAMS:
        assert np.array_equal(words, independent(data, syntax, tmp_path))
    else:
        assert syntax in dicom_file.UNCOMPRESSED
        assert words.astype(words.dtype.newbyteorder("<")).tobytes() == dataset.PixelData[: words.nbytes]


@pytest.mark.parametrize("syntax", [None, *PROGRAMS])
def test_the_scaled_path_shows_what_the_full_one_shows(syntax: str | None, tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(PIXELS).resize((1860, 1500), Image.Resampling.BICUBIC), dtype=np.uint16)
    dataset = make(large, WindowCenter=2000, WindowWidth=3600)
    data = written(dataset) if syntax is None else compressed(dataset, syntax, tmp_path)
    scaled, full = (dicom.decode(data, size, Limits()) for size in ((128, 128), (9999, 9999)))
    assert full.size == (1860, 1500)
    assert scaled.width < full.width
    pair = [np.asarray(each.resize((128, 128), Image.Resampling.BOX), np.int16) for each in (scaled, full)]
    assert np.abs(pair[0] - pair[1]).max() <= 3
