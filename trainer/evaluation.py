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
from shared.imaging import Limits, Preprocessing, is_dicom, prepare
from shared.imaging.identifiers import read_identifiers
from shared.models.manifest import Calibration, is_positive
from shared.models.registry import Loaded
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import datasets
from trainer.datasets import CLASSES, Dataset, LeftOut

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
    they are exactly the images that the version was made from.
    """

    version: str
    threshold: float
    answers: Answers
    unreadable: tuple[LeftOut, ...]
    duplicates: int
    unfamiliar_share: float | None
    is_training_data: bool

    def report(self) -> dict[str, Any]:
        """What `models evaluate --format json` prints."""
        measured = figures(self.answers)
        return {
            **{name: measured[name] for name in metrics.NAMES},
            "version": self.version,
            "threshold": self.threshold,
            "images": measured["images"],
            "patients": measured["patients"],
            "confusion": measured["confusion"],
            "unreadable": len(self.unreadable),
            "duplicates": self.duplicates,
            "unfamiliar_share": self.unfamiliar_share,
            "is_training_data": self.is_training_data,
        }


@dataclass(frozen=True)
class Reading:
    """How files are read: the limits of a file, files a batch, threads that decode."""

    limits: Limits
    batch: int
    threads: int


def list_files(folder: Path) -> list[tuple[Path, int]]:
    """The files of a labelled folder with their class numbers; raises WrongSettings where a class has none."""
    listed = list(datasets.files(folder))
    for number, name in enumerate(CLASSES):
        if not any(label == number for _, label in listed):
            raise WrongSettings(f"There is no image labelled {name} in {folder}: both classes are needed.")
    return listed


def evaluate(
    loaded: Loaded, listed: list[tuple[Path, int]], reading: Reading, advance: Callable[[int], object]
) -> Evaluation:
    """Screen labelled files as a worker does; no more than two batches of pixels are held at a time.

    The same content counts once; content under both labels does not count. Raises WrongSettings where a class has no
    readable image.
    """
    rows, network = _Rows(), loaded.network
    with ThreadPoolExecutor(reading.threads) as pool:
        for batch in _read(listed, loaded.manifest.preprocessing, reading, pool):
            pixels = [image for path, label, outcome in batch if (image := rows.add(path, label, outcome)) is not None]
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
    fingerprint = datasets.fingerprint([rows.digests[row] for row in counted], labels.tolist())
    return Evaluation(
        version=loaded.manifest.version,
        threshold=loaded.manifest.threshold,
        answers=answer(loaded, logits, labels, tuple(rows.patients[row] for row in counted)),
        unreadable=tuple(rows.unreadable),
        duplicates=rows.duplicates,
        unfamiliar_share=float(np.mean([rows.unfamiliar[row] for row in counted])) if rows.unfamiliar else None,
        is_training_data=fingerprint == loaded.manifest.data.get("fingerprint"),
    )


_Outcome = tuple[str, NDArray[np.uint8]] | str
"""Content hash and pixels, or the reason why there are none."""


@dataclass
class _Rows:
    """A row for each content, in the order in which it was first read."""

    digests: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    unfamiliar: list[bool] = field(default_factory=list)
    unreadable: list[LeftOut] = field(default_factory=list)
    duplicates: int = 0
    contradictions: set[int] = field(default_factory=set)
    """Rows whose content lies under both labels."""
    _known: dict[str, int] = field(default_factory=dict)

    def add(self, path: Path, label: int, outcome: _Outcome) -> NDArray[np.uint8] | None:
        """The pixels of content that is new, else None."""
        if isinstance(outcome, str):
            self.unreadable.append(LeftOut(path, outcome))
            return None
        digest, pixels = outcome
        if digest in self._known:
            row = self._known[digest]
            self.duplicates += 1
            if self.labels[row] != label:
                self.contradictions.add(row)
            return None
        self._known[digest] = len(self.digests)
        self.digests.append(digest)
        self.labels.append(label)
        self.patients.append(datasets.patient(path.name))
        return pixels

    def counted(self) -> list[int]:
        return [row for row in range(len(self.digests)) if row not in self.contradictions]


def _read(
    listed: list[tuple[Path, int]], preprocessing: Preprocessing, reading: Reading, pool: ThreadPoolExecutor
) -> Iterator[list[tuple[Path, int, _Outcome]]]:
    """Files with labels and what was read of them, batch by batch; the threads read the next batch meanwhile."""
    size = reading.batch
    under_way: list[tuple[Path, int, Future[_Outcome]]] = []
    for start in range(0, len(listed) + size, size):
        batch = listed[start : start + size]
        submitted = [
            (path, label, pool.submit(_read_file, path, preprocessing, reading.limits)) for path, label in batch
        ]
        if under_way:
            yield [(path, label, future.result()) for path, label, future in under_way]
        under_way = submitted


def _read_file(path: Path, preprocessing: Preprocessing, limits: Limits) -> _Outcome:
    """Read, hash and decode one file as the worker does."""
    try:
        data = path.read_bytes()
        if is_dicom(data):
            read_identifiers(data, None)  # raises for a file that is not a frontal chest X-ray
        return hashlib.sha256(data).hexdigest(), prepare(data, preprocessing, limits)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    except MemoryError:
        return "not enough memory to decode the image"
    except Exception as error:  # noqa: BLE001 - a decoder that fails in an unknown way costs one image
        return f"the decoder failed: {type(error).__name__}"
