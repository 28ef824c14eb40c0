"""How a version does on labelled images: logits in batches, calibrated probabilities, decisions, figures.

Everything that measures a version goes through here: fine-tuning, the gate, the robustness tool, `models evaluate`.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import BrokenModel, ImageError, WrongSettings
from shared.imaging import Preprocessing, prepare
from shared.models import training_images
from shared.models.manifest import Calibration, is_positive
from shared.models.registry import Loaded
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import datasets, listing, patients
from trainer.datasets import CLASSES, Dataset, LeftOut
from trainer.listing import LabelledFile, Listing, Site, Skipped
from trainer.patients import Attribution, Owner, Pattern

BATCH = 64

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Takes pixels of shape (n, height, width, channels), 0 to 255; returns n logits."""


def batches(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), BATCH):
        yield pixels[start : start + BATCH]


def predict(network: Predict, parts: Iterable[NDArray[np.uint8]]) -> Floats:
    """Logits of PNEUMONIA for batches of pixels, in one array."""
    return np.concatenate([np.empty(0), *(np.asarray(network(part), dtype=np.float64) for part in parts)])


def calibrate(calibration: Calibration, logits: Floats) -> Floats:
    """Calibrated probabilities of PNEUMONIA, 0 to 1, by the function that serving uses."""
    return np.array([calibration.probability(float(logit)) for logit in logits], dtype=np.float64)


def decide(
    logits: Floats, labels: NDArray[np.uint8], patients: tuple[str, ...], calibration: Calibration, threshold: float
) -> Answers:
    """What a version with this calibration and threshold answers."""
    probabilities = calibrate(calibration, logits)
    return Answers(labels, logits, probabilities, is_positive(probabilities, threshold), patients)


def answer(loaded: Loaded, logits: Floats, labels: NDArray[np.uint8], patients: tuple[str, ...]) -> Answers:
    """A version's answers, with its own calibration and threshold; raises BrokenModel for infinite logits."""
    manifest = loaded.manifest
    if not np.isfinite(logits).all():
        raise BrokenModel(
            f"The network of {manifest.version} answers {(~np.isfinite(logits)).sum()} images with something that is "
            "not a number."
        )
    return decide(logits, labels, patients, manifest.calibration, manifest.threshold)


def score(loaded: Loaded, data: Dataset) -> Answers:
    """A version's answers on a dataset whose pixels were prepared as its manifest says."""
    return answer(loaded, predict(loaded.network.logits, batches(data.pixels)), data.labels, data.patients)


def figures(answers: Answers) -> dict[str, Any]:
    """The figures with intervals, the confusion matrix, and how many images and patients they rest on."""
    counts = {"images": len(answers), "patients": len(set(answers.patients))}
    return {**metrics.measure(answers), "confusion": metrics.confusion(answers), **counts}


@dataclass(frozen=True)
class Evaluation:
    """A version's answers on the files of a labelled folder; figures belong to those that count.

    unfamiliar_share: of the images that count, None where the version has no novelty check; is_training_data: whether
    they are exactly the images that the version was made from; fitted_to: of each that counts, whether the version was
    fitted to it, None where it does not tell.
    """

    version: str
    threshold: float
    answers: Answers
    digests: tuple[str, ...]
    unreadable: tuple[LeftOut, ...]
    skipped: tuple[Skipped, ...]
    attribution: Attribution
    duplicates: int
    unfamiliar_share: float | None
    is_training_data: bool
    fitted_to: tuple[bool, ...] | None

    def report(self) -> dict[str, Any]:
        """What `models evaluate --format json` prints."""
        measured = figures(self.answers)
        return {
            **{name: measured[name] for name in metrics.NAMES},
            "version": self.version,
            "threshold": self.threshold,
            "images": measured["images"],
            "patients": measured["patients"],
            **self.attribution.as_facts(),
            "patient_doubts": list(self.attribution.doubts),
            "confusion": measured["confusion"],
            "unreadable": len(self.unreadable),
            "skipped": {skipped.reason: skipped.count for skipped in self.skipped},
            "duplicates": self.duplicates,
            "unfamiliar_share": self.unfamiliar_share,
            "is_training_data": self.is_training_data,
            "fitted_to": None if self.fitted_to is None else sum(self.fitted_to),
        }


@dataclass(frozen=True)
class Reading:
    """How files are read: as the site's settings say, files a batch, threads that decode."""

    site: Site
    batch: int
    threads: int


def list_files(folder: Path) -> Listing:
    """The files of a labelled folder with their class numbers; raises WrongSettings where a class has none."""
    listed = listing.read(folder)
    for number, name in enumerate(CLASSES):
        if not any(file.label == number for file in listed.files):
            raise WrongSettings(f"There is no image labelled {name} in {folder}: both classes are needed.")
    return listed


def evaluate(loaded: Loaded, listed: Listing, reading: Reading, advance: Callable[[int], object]) -> Evaluation:
    """Screen labelled files as a worker does; no more than two batches of pixels are held at a time.

    The same content counts once; content under both labels does not count. Raises WrongSettings where a class has no
    readable image.
    """
    rows, network = _Rows(), loaded.network
    with ThreadPoolExecutor(reading.threads) as pool:
        for batch in _read(listed, loaded.manifest.preprocessing, reading, pool):
            pixels = [image for file, outcome in batch if (image := rows.add(file, outcome)) is not None]
            if pixels:
                stacked = np.stack(pixels)
                rows.logits += network.logits(stacked).tolist()
                rows.unfamiliar += network.novelty.flags(stacked).tolist() if network.novelty is not None else []
            advance(len(batch))
    counted = rows.counted()
    labels = np.array([rows.labels[row] for row in counted], dtype=np.uint8)
    for number, name in enumerate(CLASSES):
        if not (labels == number).any():
            raise WrongSettings(f"There is no readable image labelled {name}: both classes are needed.")
    logits = np.array([rows.logits[row] for row in counted], dtype=np.float64)
    digests = [rows.digests[row] for row in counted]
    known = training_images.read(loaded.folder, loaded.manifest)
    owners = [rows.owners[row] for row in counted]
    whose = tuple(owner.patient for owner in owners)
    names = [rows.names[row] for row in counted]
    return Evaluation(
        version=loaded.manifest.version,
        threshold=loaded.manifest.threshold,
        answers=answer(loaded, logits, labels, whose),
        digests=tuple(digests),
        unreadable=tuple(rows.unreadable),
        skipped=listed.skipped,
        attribution=patients.attribute(names, whose, [owner.rule for owner in owners], listed.pattern),
        duplicates=rows.duplicates,
        unfamiliar_share=float(np.mean([rows.unfamiliar[row] for row in counted])) if rows.unfamiliar else None,
        is_training_data=datasets.fingerprint(digests, labels.tolist()) == loaded.manifest.data.get("fingerprint"),
        fitted_to=None if known is None else tuple(training_images.among(known, digests)),
    )


_Outcome = tuple[str, NDArray[np.uint8], Owner] | str
"""Content hash, pixels and whose they are, or the reason why there are none."""


@dataclass
class _Rows:
    """A row for each content, in the order in which it was first read."""

    digests: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    unfamiliar: list[bool] = field(default_factory=list)
    unreadable: list[LeftOut] = field(default_factory=list)
    duplicates: int = 0
    contradictions: set[int] = field(default_factory=set)
    """Rows whose content lies under both labels."""
    _known: dict[str, int] = field(default_factory=dict)

    def add(self, file: LabelledFile, outcome: _Outcome) -> NDArray[np.uint8] | None:
        """The pixels of content that is new, else None."""
        if isinstance(outcome, str):
            self.unreadable.append(LeftOut(file.path, outcome))
            return None
        digest, pixels, owner = outcome
        if digest in self._known:
            row = self._known[digest]
            self.duplicates += 1
            if self.labels[row] != file.label:
                self.contradictions.add(row)
            return None
        self._known[digest] = len(self.digests)
        self.digests.append(digest)
        self.labels.append(file.label)
        self.owners.append(owner)
        self.names.append(file.name)
        return pixels

    def counted(self) -> list[int]:
        return [row for row in range(len(self.digests)) if row not in self.contradictions]


def _read(
    listed: Listing, preprocessing: Preprocessing, reading: Reading, pool: ThreadPoolExecutor
) -> Iterator[list[tuple[LabelledFile, _Outcome]]]:
    """Files and what was read of them, batch by batch; the threads read the next batch meanwhile."""
    size, files = reading.batch, listed.files

    def load(file: LabelledFile) -> _Outcome:
        return _read_file(file, preprocessing, listed.pattern, reading.site)

    under_way: list[tuple[LabelledFile, Future[_Outcome]]] = []
    for start in range(0, len(files) + size, size):
        submitted = [(file, pool.submit(load, file)) for file in files[start : start + size]]
        if under_way:
            yield [(file, future.result()) for file, future in under_way]
        under_way = submitted


def _read_file(file: LabelledFile, preprocessing: Preprocessing, pattern: Pattern | None, site: Site) -> _Outcome:
    """Read, hash and decode one file as the worker does."""
    try:
        data = file.path.read_bytes()
        owner = file.owner_of(data, pattern, site)  # raises for a DICOM file whose header cannot be read
        return hashlib.sha256(data).hexdigest(), prepare(data, preprocessing, site.limits), owner
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    except MemoryError:
        return "not enough memory to decode the image"
    except Exception as error:  # noqa: BLE001 - a decoder that fails in an unknown way costs one image
        return f"the decoder failed: {type(error).__name__}"
