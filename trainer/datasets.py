"""Labelled folders as arrays: which file is whose, what is left out and why, and which patients are held out."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.errors import ImageError, WrongSettings
from shared.imaging import Limits, Preprocessing, prepare
from shared.manifest import Label

CLASSES: tuple[Label, ...] = get_args(Label)  # the position is the number that a network is fitted to
SALT = "pneumoscreen-1"  # another salt would move patients from one side to the other: never change it
VALIDATION_SHARE = 0.15

_PATIENT = re.compile(r"(?<![A-Za-z0-9])(person\d+|IM-\d+)")


@dataclass(frozen=True)
class LeftOut:
    """A file that is in the folder but not in the data."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Dataset:
    """The images of a labelled folder, one row each, in the order of their paths.

    pixels: uint8, shape (n, height, width, channels), 0 to 255; labels: uint8, shape (n,), 0 NORMAL, 1 PNEUMONIA.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    paths: tuple[Path, ...]
    patients: tuple[str, ...]
    digests: tuple[str, ...]
    unreadable: tuple[LeftOut, ...] = ()
    duplicates: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """SHA-256 over the sorted pairs of content hash and label: names, folders and order do not change it."""
        rows = sorted(f"{digest} {CLASSES[label]}\n" for digest, label in zip(self.digests, self.labels, strict=True))
        return hashlib.sha256("".join(rows).encode()).hexdigest()

    def held_out(self, share: float = VALIDATION_SHARE) -> NDArray[np.bool_]:
        """Which rows belong to patients held out for validation, shape (n,)."""
        return np.array([is_held_out(patient, share) for patient in self.patients], dtype=np.bool_)

    def summary(self) -> dict[str, int]:
        """Numbers of images by class and of patients."""
        counts: dict[str, int] = {name: int((self.labels == number).sum()) for number, name in enumerate(CLASSES)}
        return {"images": len(self), **counts, "patients": len(set(self.patients))}


def select(data: Dataset, rows: NDArray[np.bool_]) -> Dataset:
    """The rows where the mask, shape (n,), is true; what was left out is not carried along."""
    chosen = np.flatnonzero(rows)
    return Dataset(
        pixels=data.pixels[chosen],
        labels=data.labels[chosen],
        paths=tuple(data.paths[row] for row in chosen),
        patients=tuple(data.patients[row] for row in chosen),
        digests=tuple(data.digests[row] for row in chosen),
    )


def patient(name: str) -> str:
    """Whose image a file name says it is: `person12` or `IM-0115` whatever stands before it, else the name's stem."""
    found = _PATIENT.search(name)
    return found.group(1) if found else Path(name).stem


def is_held_out(patient: str, share: float = VALIDATION_SHARE, salt: str = SALT) -> bool:
    """Whether a patient's images are for validation; the same for ever, whoever else is in the data."""
    digest = hashlib.sha256(f"{salt}:{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file of `folder/NORMAL` and `folder/PNEUMONIA` with its class number, by name; hidden ones are skipped."""
    for number, name in enumerate(CLASSES):
        if not (folder / name).is_dir():
            raise WrongSettings(f"{folder} has no folder {name}: labelled images are read from {' and '.join(CLASSES)}")
        for path in sorted((folder / name).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield path, number


def read(folder: Path, preprocessing: Preprocessing, console: Console, threads: int = 2) -> Dataset:
    """Read a labelled folder into memory, with the very function that serving prepares pixels with.

    The same content under several names counts once, under the first of them; where its labels disagree, not at all.
    A file that cannot be read is listed with the reason. Raises WrongSettings where a class has no image left.
    """
    listed = list(files(folder))
    limits = Limits()

    def load(path: Path) -> tuple[str, NDArray[np.uint8] | LeftOut]:
        try:
            content = path.read_bytes()
            return hashlib.sha256(content).hexdigest(), prepare(content, preprocessing, limits)
        except (ImageError, OSError) as error:
            return "", LeftOut(path, str(error))

    pixels = np.empty((len(listed), preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    unreadable: list[LeftOut] = []
    rows: dict[str, list[int]] = {}
    with ThreadPoolExecutor(threads) as pool:
        loaded = pool.map(load, [path for path, _ in listed])
        for row, (digest, image) in enumerate(track(loaded, "reading images", len(listed), console=console)):
            if isinstance(image, LeftOut):
                unreadable.append(image)
            else:
                pixels[row] = image
                rows.setdefault(digest, []).append(row)
    return _assemble(listed, pixels, rows, unreadable)


def _assemble(
    listed: list[tuple[Path, int]],
    pixels: NDArray[np.uint8],
    rows: dict[str, list[int]],
    unreadable: list[LeftOut],
) -> Dataset:
    kept: dict[int, str] = {}
    duplicates: list[LeftOut] = []
    for digest, (first, *others) in rows.items():
        if any(listed[row][1] != listed[first][1] for row in others):
            reason = "the same content stands under both labels"
            duplicates.extend(LeftOut(listed[row][0], reason) for row in (first, *others))
        else:
            kept[first] = digest
            duplicates.extend(LeftOut(listed[row][0], f"the same content as {listed[first][0].name}") for row in others)
    chosen = sorted(kept)
    labels = np.array([listed[row][1] for row in chosen], dtype=np.uint8)
    for number, name in enumerate(CLASSES):
        if not (labels == number).any():
            raise WrongSettings(f"there is no readable image labelled {name}: both classes are needed to fit a network")
    return Dataset(
        pixels=pixels[chosen],
        labels=labels,
        paths=tuple(listed[row][0] for row in chosen),
        patients=tuple(patient(listed[row][0].name) for row in chosen),
        digests=tuple(kept[row] for row in chosen),
        unreadable=tuple(unreadable),
        duplicates=tuple(duplicates),
    )
