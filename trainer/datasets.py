"""Labelled images as arrays: whose image each file is, what is left out and why, and which patients are held out."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.base.errors import ImageError, WrongSettings
from shared.imaging import Limits, Preprocessing, prepare
from shared.models.manifest import Label

CLASSES: tuple[Label, ...] = get_args(Label)  # the position is the number that a network is fitted to
SALT = "pneumoscreen-1"  # another salt would move patients from one side to the other: never change it
VALIDATION_SHARE = 0.15
PARTS = ("train", "val", "test")
IN_MEMORY = 256 * 2**20  # bytes of pixels; larger arrays lie in a file that the system pages in and out
CHUNK = 256

_Loaded = TypeVar("_Loaded")
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
    work: Path | None = None  # where pixels may lie that are too many for memory

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        return fingerprint(self.digests, self.labels)

    def held_out(self, share: float = VALIDATION_SHARE) -> NDArray[np.bool_]:
        """Which rows belong to patients held out for validation, shape (n,)."""
        return np.array([is_held_out(patient, share) for patient in self.patients], dtype=np.bool_)

    def summary(self) -> dict[str, int]:
        """Numbers of images by class and of patients."""
        counts: dict[str, int] = {name: int((self.labels == number).sum()) for number, name in enumerate(CLASSES)}
        return {"images": len(self), **counts, "patients": len(set(self.patients))}


def fingerprint(digests: Sequence[str], labels: Iterable[int]) -> str:
    """SHA-256 over the sorted pairs of content hash and label: names, folders and order do not change it."""
    rows = sorted(f"{digest} {CLASSES[label]}\n" for digest, label in zip(digests, labels, strict=True))
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def select(data: Dataset, rows: NDArray[np.bool_]) -> Dataset:
    """The rows where the mask, shape (n,), is true; what was left out is not carried along."""
    chosen = np.flatnonzero(rows)
    pixels = _room((len(chosen), *data.pixels.shape[1:]), data.work)
    for start in range(0, len(chosen), CHUNK):
        pixels[start : start + CHUNK] = data.pixels[chosen[start : start + CHUNK]]
    return Dataset(
        pixels=pixels,
        labels=data.labels[chosen],
        paths=tuple(data.paths[row] for row in chosen),
        patients=tuple(data.patients[row] for row in chosen),
        digests=tuple(data.digests[row] for row in chosen),
        work=data.work,
    )


def _room(shape: tuple[int, ...], work: Path | None) -> NDArray[np.uint8]:
    """An array to fill: in memory, or, if it is large, in a file in `work` that vanishes with the process."""
    if work is None or np.prod(shape, dtype=np.int64) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work) as file:  # the mapping keeps it open
        return np.memmap(file, np.uint8, "w+", shape=shape)


def patient(name: str) -> str:
    """Whose image a file name says it is: `person12` or `IM-0115` whatever stands before it, else the name's stem."""
    match = _PATIENT.search(name)
    return match.group(1) if match else Path(name).stem


def is_held_out(patient: str, share: float = VALIDATION_SHARE, salt: str = SALT) -> bool:
    """Whether a patient's images are for validation: always the same, whoever else is in the data."""
    digest = hashlib.sha256(f"{salt}:{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file of `NORMAL` and `PNEUMONIA` with its class number, by name; hidden ones are skipped.

    The two lie in the folder itself, or in its parts `train`, `val` and `test`, which are pooled: who is held out is
    decided by patient. Raises WrongSettings where one of them is missing.
    """
    homes = [folder] if any((folder / name).is_dir() for name in CLASSES) else [folder / part for part in PARTS]
    for number, name in enumerate(CLASSES):
        folders = [home / name for home in homes if (home / name).is_dir()]
        if not folders:
            raise WrongSettings(
                f"{folder} has no folder {name}: labelled images are read from {' and '.join(CLASSES)} in it, "
                f"or in its folders {', '.join(PARTS)}"
            )
        for path in sorted(path for each in folders for path in each.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield path, number


def read(
    folder: Path, preprocessing: Preprocessing, console: Console, threads: int = 2, work: Path | None = None
) -> Dataset:
    """Read a labelled folder, preparing pixels with the function that serving uses.

    The same content under several names counts once, under the first of them; where its labels disagree, not at all.
    A file that cannot be read, or that vanished meanwhile, is listed with the reason. Many pixels lie in a file in
    `work`, if one is given. Raises WrongSettings where a class has no image left.
    """
    return read_files(list(files(folder)), preprocessing, console, threads, work)


def read_files(
    listed: list[tuple[Path, int]],
    preprocessing: Preprocessing,
    console: Console,
    threads: int = 2,
    work: Path | None = None,
) -> Dataset:
    """The same for files anywhere, each with its class number."""
    limits = Limits()
    listed = sorted(listed, key=lambda item: item[1])  # stable: by class, then as given

    def load(path: Path) -> tuple[str, NDArray[np.uint8] | LeftOut]:
        try:
            content = path.read_bytes()
            return hashlib.sha256(content).hexdigest(), prepare(content, preprocessing, limits)
        except (ImageError, OSError) as error:
            return "", LeftOut(path, str(error))

    pixels = _room((len(listed), preprocessing.height, preprocessing.width, preprocessing.channels), work)
    unreadable: list[LeftOut] = []
    rows: dict[str, list[int]] = {}
    with ThreadPoolExecutor(threads) as pool:
        loaded = _ahead(pool, load, [path for path, _ in listed])
        for row, (digest, image) in enumerate(track(loaded, "reading images", len(listed), console=console)):
            if isinstance(image, LeftOut):
                unreadable.append(image)
            else:
                pixels[row] = image
                rows.setdefault(digest, []).append(row)
    return _assemble(listed, pixels, rows, unreadable, work)


def _ahead(pool: ThreadPoolExecutor, load: Callable[[Path], _Loaded], paths: list[Path]) -> Iterator[_Loaded]:
    """The results of `pool.map` in order, a chunk at a time, so that decoded images do not pile up."""
    for start in range(0, len(paths), CHUNK):
        yield from pool.map(load, paths[start : start + CHUNK])


def _assemble(
    listed: list[tuple[Path, int]],
    pixels: NDArray[np.uint8],
    rows: dict[str, list[int]],
    unreadable: list[LeftOut],
    work: Path | None,
) -> Dataset:
    digest_of: dict[int, str] = {}
    duplicates: list[LeftOut] = []
    for digest, (first, *others) in rows.items():
        if any(listed[row][1] != listed[first][1] for row in others):
            reason = "the same content lies under both labels"
            duplicates.extend(LeftOut(listed[row][0], reason) for row in (first, *others))
        else:
            digest_of[first] = digest
            duplicates.extend(LeftOut(listed[row][0], f"the same content as {listed[first][0].name}") for row in others)
    chosen = sorted(digest_of)
    labels = np.array([listed[row][1] for row in chosen], dtype=np.uint8)
    for number, name in enumerate(CLASSES):
        if not (labels == number).any():
            raise WrongSettings(f"there is no readable image labelled {name}: both classes are needed to fit a network")
    for place, row in enumerate(chosen):  # in place, row never being before place: no second copy is needed
        pixels[place] = pixels[row]
    return Dataset(
        pixels=pixels[: len(chosen)],
        labels=labels,
        paths=tuple(listed[row][0] for row in chosen),
        patients=tuple(patient(listed[row][0].name) for row in chosen),
        digests=tuple(digest_of[row] for row in chosen),
        unreadable=tuple(unreadable),
        duplicates=tuple(duplicates),
        work=work,
    )
