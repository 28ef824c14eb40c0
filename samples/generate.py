"""Generates the specimens: artificial radiographs, decoded from a statistical model of a labelled folder of X-rays."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo
from rich.console import Console

from shared.base.errors import PneumoscreenError, WorkFailed
from shared.imaging import Limits, Preprocessing, prepare
from shared.models import engines, manifest, registry
from trainer import datasets
from trainer.datasets import CLASSES, Dataset

NOTE = "Computer-generated specimen, not a patient"
EXAMPLE = "example: python -m samples.generate --data kermany/train --out samples --seed 1"
SIDE = 160  # pixels of the statistical model
COMPONENTS = 300
NEIGHBOURS = 10  # the patients whose codes are blended are chosen among this many similar ones
MAX_WEIGHT = 0.4
MAX_LIKENESS = 0.85  # a candidate more similar than this to any training image is discarded
TRIES = 40  # candidates for each specimen before giving up

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """How a specimen is stored."""

    suffix: str
    bits: int
    colour: bool
    width: int
    aspect: float


@dataclass(frozen=True)
class Atlas:
    """Principal components of one class's images, and each image's code."""

    components: Any
    codes: NDArray[np.float32]
    patients: tuple[str, ...]
    mean: Picture  # the class's mean image, shape (SIDE * SIDE,)
    traits: Picture  # what each image has beyond the mean, standardised, shape (n, SIDE * SIDE)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, generate, and report how the specimens compare with the patients."""
    parser = argparse.ArgumentParser("python -m samples.generate", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--data", type=Path, required=True, help="folder with NORMAL and PNEUMONIA in it")
    parser.add_argument("--out", type=Path, required=True, help="where the images go; older specimens are replaced")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same images")
    parser.add_argument("--count", type=int, default=14, help="specimens of each class (default: %(default)s)")
    parser.add_argument("--models", type=Path, default=registry.BUNDLED, help="folder of the one model version")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    try:
        generate(options.data, options.out, options.seed, options.count, options.models, console)
    except PneumoscreenError as error:
        console.print(f"error: {error}", markup=False)
        return error.exit_code
    return 0


def generate(data: Path, out: Path, seed: int, count: int, models: Path, console: Console) -> None:
    """Write `count` specimens of each class that the model labels as that class, and print how similar they are."""
    (folder,) = sorted(path for path in models.iterdir() if (path / manifest.NAME).is_file())
    version = manifest.read(folder)
    network = engines.load(folder, version)
    everything = datasets.read(data, Preprocessing(width=SIDE, height=SIDE), console)
    out.mkdir(parents=True, exist_ok=True)
    for old in sorted(path for name in CLASSES for path in out.glob(f"{name.lower()}-[0-9][0-9].*")):
        old.unlink()
    total = 0
    for number, name in enumerate(CLASSES):
        random = np.random.default_rng([seed, number])
        atlas = survey(datasets.select(everything, everything.labels == number), seed)
        nearest: list[float] = []
        tried = 0
        for position, kind in enumerate(kinds(count, random), start=1):
            for picture in (blend(atlas, random) for _ in range(TRIES)):
                tried += 1
                content = store(expose(picture, kind, random), kind)
                pixels = prepare(content, version.preprocessing, Limits())[np.newaxis]
                probability = version.calibration.probability(float(network.logits(pixels)[0]))
                likeness = nearness(content, atlas)
                if version.label(probability) == name and likeness <= MAX_LIKENESS:
                    break
            else:
                raise WorkFailed(f"none of {TRIES} candidates was {name} to {version.version} and unlike every patient")
            path = out / f"{name.lower()}-{position:02d}{kind.suffix}"
            path.write_bytes(content)
            total += len(content)
            nearest.append(likeness)
            console.print(f"{path.name}: {version.label(probability)} {probability:.3f}, nearest image {likeness:.3f}")
        typical = between_patients(atlas, random)
        console.print(
            f"{name}: {count} kept of {tried} candidates; correlation with the nearest training image: "
            f"median {np.median(nearest):.3f}, largest {max(nearest):.3f}; between each of {len(typical)} training "
            f"images and the nearest of another patient: median {np.median(typical):.3f}, 95th percentile "
            f"{np.percentile(typical, 95):.3f}, largest {typical.max():.3f}"
        )
    console.print(f"{2 * count} specimens, {total / 1e6:.2f} MB, seed {seed}, model {version.version}")


def survey(data: Dataset, seed: int) -> Atlas:
    """Fit the principal components (scikit-learn) of a class's grey pixels."""
    from sklearn.decomposition import PCA

    pictures = data.pixels.reshape(len(data), -1).astype(np.float32) / 255.0
    components = PCA(min(COMPONENTS, len(data) - 1), svd_solver="randomized", random_state=seed).fit(pictures)
    mean = np.asarray(components.mean_, np.float32)
    codes = components.transform(pictures).astype(np.float32)
    return Atlas(components, codes, data.patients, mean, standardise(pictures, mean))


def blend(atlas: Atlas, random: np.random.Generator) -> Picture:
    """A weighted mean of the codes of three to five patients that resemble each other, decoded to (SIDE, SIDE)."""
    first = int(random.integers(len(atlas.codes)))
    order = np.argsort(((atlas.codes[:, :60] - atlas.codes[first, :60]) ** 2).sum(axis=1))
    rows: dict[str, int] = {}
    for row in order:
        rows.setdefault(atlas.patients[row], int(row))
        if len(rows) > NEIGHBOURS:
            break
    chosen = [first, *random.choice(list(rows.values())[1:], int(random.integers(2, 5)), replace=False)]
    weights = random.dirichlet(np.full(len(chosen), 20.0))
    while weights.max() > MAX_WEIGHT:
        weights = random.dirichlet(np.full(len(chosen), 20.0))
    code = weights @ atlas.codes[chosen]
    return np.asarray(atlas.components.inverse_transform(code[np.newaxis]), np.float32).reshape(SIDE, SIDE)


def expose(picture: Picture, kind: Kind, random: np.random.Generator) -> Picture:
    """Enlarge, sharpen, add film grain and choose the exposure; returns (height, width), 0 to 1."""
    size = (kind.width, round(kind.width / kind.aspect))
    large = Image.fromarray(np.clip(picture * 255.0, 0, 255).astype(np.uint8))
    large = large.filter(ImageFilter.UnsharpMask(radius=2.0, percent=130, threshold=0))
    large = large.resize(size, Image.Resampling.BICUBIC)
    values = np.asarray(large, np.float32) / 255.0
    grain = random.normal(0.0, 1.0, (size[1] // 2 + 1, size[0] // 2 + 1)).astype(np.float32)
    grain = np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC))
    low, high = np.percentile(values, [0.5, 99.8])
    values = np.clip((values - low) / (high - low), 0.0, 1.0) ** random.uniform(0.85, 1.15)
    return np.asarray(np.clip(values * random.uniform(0.88, 0.98) + 0.012 * grain, 0.0, 1.0), np.float32)


def kinds(count: int, random: np.random.Generator) -> Iterator[Kind]:
    """Mostly grey JPEGs of 600 to 1,600 pixels in width; among them a colour one, an 8-bit and a 16-bit PNG."""
    for position in range(count):
        width, aspect = int(random.integers(600, 1601)), float(random.uniform(1.1, 1.5))
        match position:
            case 3:
                yield Kind(".jpeg", 8, True, width, aspect)
            case 6:
                yield Kind(".png", 8, False, 600 + width // 16, aspect)
            case 9:
                yield Kind(".png", 16, False, 600, aspect)
            case _:
                yield Kind(".jpeg", 8, False, width, aspect)


def store(values: Picture, kind: Kind) -> bytes:
    """Encode as the kind says, with a note in the file that this is nobody's picture."""
    buffer = BytesIO()
    note = PngInfo()
    note.add_text("Description", NOTE)
    if kind.bits == 16:  # as from a 10-bit detector: the lower bits are empty
        image = Image.fromarray((values * 1023).round().astype(np.uint16) * np.uint16(64))
        image.save(buffer, "PNG", pnginfo=note, optimize=True)
        return buffer.getvalue()
    image = Image.fromarray((values * 255).round().astype(np.uint8))
    image = image.convert("RGB") if kind.colour else image
    if kind.suffix == ".png":
        image.save(buffer, "PNG", pnginfo=note, optimize=True)
    else:
        image.save(buffer, "JPEG", quality=85, optimize=True, comment=NOTE.encode())
    return buffer.getvalue()


def standardise(pictures: Picture, mean: Picture) -> Picture:
    """What pictures have beyond the mean at the same exposure, scaled so that a product is Pearson's correlation."""
    pictures = pictures - pictures.mean(axis=1, keepdims=True)
    traits = pictures * (mean.std() / pictures.std(axis=1, keepdims=True)) - (mean - mean.mean())
    return np.asarray(traits / np.linalg.norm(traits, axis=1, keepdims=True), np.float32)


def nearness(content: bytes, atlas: Atlas) -> float:
    """The correlation of a stored specimen, beyond the mean, with the training image that is most like it."""
    pixels = prepare(content, Preprocessing(width=SIDE, height=SIDE), Limits())
    traits = standardise(pixels.reshape(1, -1).astype(np.float32) / 255.0, atlas.mean)
    return float((atlas.traits @ traits[0]).max())


def between_patients(atlas: Atlas, random: np.random.Generator) -> NDArray[np.float32]:
    """For up to 300 training images, the same correlation with the nearest image of another patient."""
    rows = random.permutation(len(atlas.traits))[:300]
    alike = atlas.traits[rows] @ atlas.traits.T
    names = np.asarray(atlas.patients)
    alike[names[rows][:, np.newaxis] == names[np.newaxis]] = -1.0
    return np.asarray(alike.max(axis=1))


if __name__ == "__main__":
    sys.exit(main())
