"""Labelled images as arrays: what is left out and why, and which patients are held out."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.base.errors import ImageError, WorkFailed, WrongSettings
from shared.imaging import Preprocessing, prepare
from trainer import listing, patients
from trainer.listing import CLASSES, LabelledFile, Listing, Site, Skipped
from trainer.patients import Attribution, Owner, Pattern, Rule

SALT = "pneumoscreen-1"  # another salt would move patients from one side to the other: never change it
VALIDATION_SHARE = 0.15
IN_MEMORY = 256 * 2**20  # bytes of pixels; larger arrays lie in a file that the system pages in and out
CHUNK = 256

_Loaded = TypeVar("_Loaded")
_Read = tuple[str, NDArray[np.uint8], Owner]
"""Content hash, pixels, and whose image it is."""


@dataclass(frozen=True)
class LeftOut:
    """A file that is in the folder but not in the data."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Dataset:
    """The images of a labelled folder, one row each, in the order of their paths.

    pixels: uint8, shape (n, height, width, channels), 0 to 255; labels: uint8, shape (n,), 0 NORMAL, 1 PNEUMONIA.
    names and rules: the path within its class folder, and what said whose image it is, of each row.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    paths: tuple[Path, ...]
    patients: tuple[str, ...]
    digests: tuple[str, ...]
    unreadable: tuple[LeftOut, ...] = ()
    duplicates: tuple[LeftOut, ...] = ()
    work: Path | None = None  # where pixels may lie that are too many for memory
    names: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    pattern: Pattern | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        return fingerprint(self.digests, self.labels)

    def held_out(self, share: float = VALIDATION_SHARE) -> NDArray[np.bool_]:
        """Which rows belong to patients held out for validation, shape (n,)."""
        return np.array([is_held_out(patient, share) for patient in self.patients], dtype=np.bool_)

    def attribution(self) -> Attribution:
        """Which rules made how many patients, and what should make one doubt it."""
        return patients.attribute(self.names, self.patients, self.rules, self.pattern)

    def left_out_sentence(self) -> str:
        return f"left out: {len(self.unreadable)} that cannot be read, {len(self.duplicates)} duplicates"

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
        names=tuple(data.names[row] for row in chosen if data.names),
        rules=tuple(data.rules[row] for row in chosen if data.rules),
        pattern=data.pattern,
    )


def select_held_out(data: Dataset, folder: Path) -> Dataset:
    """The images of patients held out; raises WorkFailed where they are not of both classes."""
    chosen = select(data, data.held_out())
    if len(set(chosen.labels.tolist())) < 2:
        raise WorkFailed(f"{folder} holds no patients of both classes who are held out: there is nothing to measure on")
    return chosen


def _room(shape: tuple[int, ...], work: Path | None) -> NDArray[np.uint8]:
    """An array to fill: in memory, or, if it is large, in a file in `work` that vanishes with the process."""
    if work is None or np.prod(shape, dtype=np.int64) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work) as file:  # the mapping keeps it open
        return np.memmap(file, np.uint8, "w+", shape=shape)


def is_held_out(patient: str, share: float = VALIDATION_SHARE, salt: str = SALT) -> bool:
    """Whether a patient's images are for validation: always the same, whoever else is in the data."""
    digest = hashlib.sha256(f"{salt}:{patient}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def read(
    folder: Path,
    preprocessing: Preprocessing,
    console: Console,
    threads: int = 2,
    work: Path | None = None,
    site: Site | None = None,
    pattern: Pattern | None = None,
) -> Dataset:
    """Read a labelled folder, preparing pixels with the function that serving uses; see `listing.read`.

    The same content under several names counts once, under the first of them; where its labels disagree, not at all.
    A file that cannot be read, or that vanished meanwhile, is listed with the reason. Many pixels lie in a file in
    `work`, if one is given. Raises WrongSettings where a class has no image left.
    """
    return read_files(listing.read(folder, pattern), preprocessing, console, threads, work, site or Site())


def read_to_measure(folder: Path, preprocessing: Preprocessing, console: Console, site: Site | None = None) -> Dataset:
    """The same for a command whose figures are looked at: the console says how many files are left out of them."""
    data = read(folder, preprocessing, console, site=site)
    if data.unreadable or data.duplicates:
        console.print(f"{folder}: {data.left_out_sentence()}", markup=False, highlight=False, soft_wrap=True)
    return data


def read_files(
    listed: Listing,
    preprocessing: Preprocessing,
    console: Console,
    threads: int = 2,
    work: Path | None = None,
    site: Site | None = None,
) -> Dataset:
    """The same for files that were listed before."""
    files, how = listed.files, site or Site()

    def load(file: LabelledFile) -> _Read | LeftOut:
        try:
            content = file.path.read_bytes()
            pixels = prepare(content, preprocessing, how.limits)
            return hashlib.sha256(content).hexdigest(), pixels, file.owner_of(content, listed.pattern, how)
        except (ImageError, OSError) as error:
            return LeftOut(file.path, str(error))

    pixels = _room((len(files), preprocessing.height, preprocessing.width, preprocessing.channels), work)
    unreadable: list[LeftOut] = []
    rows: dict[str, list[int]] = {}
    owners: dict[int, Owner] = {}
    with ThreadPoolExecutor(threads) as pool:
        loaded = _ahead(pool, load, files)
        for row, image in enumerate(track(loaded, "reading images", len(files), console=console)):
            if isinstance(image, LeftOut):
                unreadable.append(image)
            else:
                digest, pixels[row], owners[row] = image
                rows.setdefault(digest, []).append(row)
    return _assemble(listed, pixels, rows, owners, unreadable, work)


def _ahead(
    pool: ThreadPoolExecutor, load: Callable[[LabelledFile], _Loaded], files: Sequence[LabelledFile]
) -> Iterator[_Loaded]:
    """The results of `pool.map` in order, a chunk at a time, so that decoded images do not pile up."""
    for start in range(0, len(files), CHUNK):
        yield from pool.map(load, files[start : start + CHUNK])


def _assemble(
    listed: Listing,
    pixels: NDArray[np.uint8],
    rows: dict[str, list[int]],
    owners: dict[int, Owner],
    unreadable: list[LeftOut],
    work: Path | None,
) -> Dataset:
    files = listed.files
    digest_of: dict[int, str] = {}
    duplicates: list[LeftOut] = []
    for digest, (first, *others) in rows.items():
        if any(files[row].label != files[first].label for row in others):
            reason = "the same content lies under both labels"
            duplicates.extend(LeftOut(files[row].path, reason) for row in (first, *others))
        else:
            digest_of[first] = digest
            same = f"the same content as {files[first].path.name}"
            duplicates.extend(LeftOut(files[row].path, same) for row in others)
    chosen = sorted(digest_of)
    labels = np.array([files[row].label for row in chosen], dtype=np.uint8)
    for number, name in enumerate(CLASSES):
        if not (labels == number).any():
            raise WrongSettings(f"there is no readable image labelled {name}: both classes are needed")
    for place, row in enumerate(chosen):  # in place, row never being before place: no second copy is needed
        pixels[place] = pixels[row]
    return Dataset(
        pixels=pixels[: len(chosen)],
        labels=labels,
        paths=tuple(files[row].path for row in chosen),
        patients=tuple(owners[row].patient for row in chosen),
        digests=tuple(digest_of[row] for row in chosen),
        unreadable=tuple(unreadable),
        duplicates=tuple(duplicates),
        work=work,
        names=tuple(files[row].name for row in chosen),
        rules=tuple(owners[row].rule for row in chosen),
        pattern=listed.pattern,
        skipped=listed.skipped,
    )
