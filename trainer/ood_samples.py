"""Images that are out of distribution, by family: what the novelty check is measured on.

Nothing is fitted to them. Photographs and other modalities are the few that installed libraries bring along; pages,
body parts, blanks and noise are drawn; the others are X-rays that are changed before they are prepared.
"""

import gzip
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shared.base.errors import ImageError
from shared.imaging import Limits, Preprocessing, arrange, decode
from trainer.datasets import Dataset
from trainer.synthetic import BLANKS, PAGES, PARTS, Drawer

MAX_XRAYS = 300
"""X-rays that are inverted, turned, cut and so on: more take longer and say the same."""
EACH = 25
"""Pictures of each kind that is drawn."""
FULL = (1024, 1024)
_DICOM = (  # that pydicom brings along: computed and magnetic resonance tomography, ultrasound, scintigraphy, doses
    *("693_J2KI.dcm", "CT_small.dcm", "ExplVR_BigEnd.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm"),
    *("MR_small.dcm", "SC_jpeg_no_color_transform.dcm", "examples_jpeg2k.dcm", "examples_overlay.dcm"),
    *("examples_palette.dcm", "examples_rgb_color.dcm", "liver_1frame.dcm", "rtdose_1frame.dcm", "image_dfl.dcm"),
)


def families(xrays: list[Image.Image], preprocessing: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """Pixels of shape (n, height, width, channels) by family, the same ones each time, n never 0.

    A family is left out if the library or the X-rays it is made from are missing.
    """
    images: dict[str, Iterable[Image.Image]] = {
        "photographs": _parts(_photographs()),
        "drawings and documents": _drawn(PAGES),
        "other body parts": _drawn(PARTS),
        "other modalities": (each for picture in _modalities() for each in (picture, ImageOps.mirror(picture))),
        "blank and noise": _drawn(BLANKS),
    }
    return _prepared_by_family(images, preprocessing) | distorted(xrays, preprocessing)


def distorted(xrays: list[Image.Image], preprocessing: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """The families among `families` that are made of X-rays."""
    random = np.random.default_rng(1)
    images: dict[str, Iterable[Image.Image]] = {
        "inverted": map(ImageOps.invert, xrays),
        "rotated by 90°": (xray.rotate((90, 270)[number % 2], expand=True) for number, xray in enumerate(xrays)),
        "upside down": (xray.rotate(180) for xray in xrays),
        "strongly cropped: middle third": (_third(xray, 1 / 3, 1 / 3) for xray in xrays),
        "strongly cropped: any third": (_third(xray, *random.uniform(0, 2 / 3, 2)) for xray in xrays),
    }
    return _prepared_by_family(images, preprocessing)


def families_in(folder: Path, preprocessing: Preprocessing) -> dict[str, NDArray[np.uint8]]:
    """The same for a folder of folders of pictures, each folder a family; a file that is not an image is skipped."""
    folder = folder.resolve()  # "." has no name
    return {
        f"{folder.name}/{home.name}": prepared(pictures, preprocessing)
        for home in sorted(path for path in folder.iterdir() if path.is_dir())
        if (pictures := _readable(sorted(path for path in home.iterdir() if path.is_file())))
    }


def originals(data: Dataset) -> list[Image.Image]:
    """Up to MAX_XRAYS of the X-rays, at most as large as FULL; those whose files are gone by now are skipped."""
    rows = sorted(np.random.default_rng(1).permutation(len(data))[:MAX_XRAYS])
    return _readable([data.paths[row] for row in rows])


def prepared(pictures: Iterable[Image.Image], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Pixels of n pictures, shape (n, height, width, channels)."""
    empty = np.empty((0, preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    return np.concatenate([empty, *(arrange(picture, preprocessing)[np.newaxis] for picture in pictures)])


def _prepared_by_family(
    images: dict[str, Iterable[Image.Image]], preprocessing: Preprocessing
) -> dict[str, NDArray[np.uint8]]:
    pixels = {name: prepared(pictures, preprocessing) for name, pictures in images.items()}
    return {name: each for name, each in pixels.items() if len(each)}


def _readable(paths: Iterable[Path]) -> list[Image.Image]:
    pictures = []
    for path in paths:
        try:
            picture = decode(path.read_bytes(), FULL, Limits())
        except (ImageError, OSError):
            continue
        picture.thumbnail(FULL, Image.Resampling.BILINEAR)  # a detector's full size would take many seconds
        pictures.append(picture)
    return pictures


def _drawn(kinds: tuple[Drawer, ...]) -> Iterator[Image.Image]:
    random = np.random.default_rng(1)
    return (draw(random) for draw in kinds for _ in range(EACH))


def _third(xray: Image.Image, left: float, top: float) -> Image.Image:
    """A third of the width and of the height, from these shares of them on."""
    width, height = xray.size
    x, y = round(left * width), round(top * height)
    return xray.crop((x, y, x + width // 3, y + height // 3))


def _parts(pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """Each picture, and 32 parts of it, some of them mirrored."""
    random = np.random.default_rng(1)
    for picture in pictures:
        yield picture
        for _ in range(32):
            share = random.uniform(0.35, 0.95)
            width, height = round(share * picture.width), round(share * picture.height)
            x, y = random.integers(picture.width - width + 1), random.integers(picture.height - height + 1)
            part = picture.crop((int(x), int(y), int(x) + width, int(y) + height))
            yield ImageOps.mirror(part) if random.random() < 0.5 else part


def _photographs() -> Iterator[Image.Image]:
    """Those that scikit-learn and Matplotlib bring along."""
    yield from _brought_along(_of_scikit_learn)
    yield from _brought_along(_photograph_of_matplotlib)


def _modalities() -> Iterator[Image.Image]:
    """Slices and others that pydicom and Matplotlib bring along for their tests."""
    for name in _DICOM:
        yield from _brought_along(partial(_of_pydicom, name))
    yield from _brought_along(_slice_of_matplotlib)


def _brought_along(load: Callable[[], list[Image.Image]]) -> list[Image.Image]:
    """Sample images that a library ships, which another release or another way to install it may lack."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load()
    except Exception:  # noqa: BLE001 - whatever it is, a missing sample image fails nothing
        return []


def _of_scikit_learn() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images

    return [_stretched(picture) for picture in load_sample_images().images]


def _photograph_of_matplotlib() -> list[Image.Image]:
    with Image.open(_matplotlib() / "grace_hopper.jpg") as picture:
        return [picture.convert("L")]


def _slice_of_matplotlib() -> list[Image.Image]:
    with gzip.open(_matplotlib() / "s1045.ima.gz") as stored:
        return [_stretched(np.frombuffer(stored.read(), np.uint16).reshape(256, 256))]


def _matplotlib() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data"


def _of_pydicom(name: str) -> list[Image.Image]:
    import pydicom

    file = Path(pydicom.__file__).parent / "data" / "test_files" / name
    return [_stretched(pydicom.dcmread(file).pixel_array)]


def _stretched(values: NDArray[Any]) -> Image.Image:
    """Grey over the whole range from black to white."""
    grey = values.astype(np.float64) if values.ndim == 2 else values.mean(axis=-1)
    scaled = (grey - grey.min()) / max(np.ptp(grey), 1e-9)
    return Image.fromarray((255 * scaled).round().astype(np.uint8))
