"""`models evaluate`: how a version does on a labelled folder, through the preprocessing and inference of the worker."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.console import err, out, progress, table
from shared.base.errors import BrokenModel, ImageError, WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import ModelVersion, opened
from shared.imaging import Limits, Preprocessing, is_dicom, prepare
from shared.imaging.identifiers import read_identifiers
from shared.models import registry
from shared.models.registry import Loaded
from shared.statistics import metrics
from shared.statistics.metrics import Answers
from trainer import datasets
from trainer.datasets import CLASSES, LeftOut

Looked = tuple[str, NDArray[np.uint8]] | str  # content hash and pixels, or why there are none


@dataclass
class Findings:
    """What was found file by file; a row for each content that counts."""

    digests: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    unfamiliar: list[bool] = field(default_factory=list)
    """Empty where the version has no check."""
    unreadable: list[LeftOut] = field(default_factory=list)
    duplicates: int = 0
    contradictions: set[int] = field(default_factory=set)
    """Rows whose content stands under both labels: they do not count."""


def evaluate(settings: Settings, version: str | None, data: Path, format: str, pictures: Path | None) -> None:
    """Print the figures of a version, the live one if none is named, on a folder with both classes in it."""
    if format not in ("table", "json"):
        raise WrongSettings(f"--format must be table or json, not {format!r}.")
    listed = list(datasets.files(data))
    for number, name in enumerate(CLASSES):
        if not any(label == number for _, label in listed):
            raise WrongSettings(f"There is no image labelled {name} in {data}: both classes are needed.")
    loaded = _load(settings, version)
    findings = _classify(settings, loaded, listed)
    for left_out in findings.unreadable:
        err.print(f"unreadable: {left_out.path}: {left_out.reason}", markup=False)
    answers = _answers(loaded, findings)
    figures = metrics.measure(answers)
    if pictures is not None:
        _draw(pictures, answers)
    report: dict[str, Any] = {
        **figures,
        "version": loaded.manifest.version,
        "threshold": loaded.manifest.threshold,
        "images": len(answers),
        "patients": len(set(answers.patients)),
        "confusion": metrics.confusion(answers),
        "unreadable": len(findings.unreadable),
        "duplicates": findings.duplicates,
        "unfamiliar_share": _unfamiliar_share(findings),
        "is_training_data": _fingerprint(findings) == loaded.manifest.data.get("fingerprint"),
    }
    if format == "json":
        out.file.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


def _load(settings: Settings, version: str | None) -> Loaded:
    """The version named, else the live one; where nothing was ever live, the one that comes with the program."""
    bundled = registry.bundled()
    if settings.database_url is not None or (settings.home / "pneumoscreen.db").exists():
        with opened(settings) as database, database.read() as session:
            if version is None:
                found = next(iter(registry.live(session)), None)
            elif version != bundled.name or session.get(ModelVersion, version) is not None:
                found = registry.published(session, version)
            else:
                found = None
        if found is not None:
            return registry.load(settings.models, found, settings.signing_key, settings.engine)
    elif version not in (None, bundled.name):
        raise BrokenModel(f"There is no model version {version!r}: {settings.home} has no database yet.")
    return registry.load_bundled(settings.engine)


def _classify(settings: Settings, loaded: Loaded, listed: list[tuple[Path, int]]) -> Findings:
    """Decode in threads and classify batch by batch; no more than two batches of pixels are held at a time."""
    findings, known = Findings(), dict[str, int]()
    with progress() as bar, ThreadPoolExecutor(settings.decode_threads) as threads:
        task = bar.add_task("examining images", total=len(listed))
        for batch in _looks(settings, loaded.manifest.preprocessing, listed, threads):
            pixels: list[NDArray[np.uint8]] = []
            for path, label, looked in batch:
                if isinstance(looked, str):
                    findings.unreadable.append(LeftOut(path, looked))
                elif looked[0] in known:
                    row = known[looked[0]]
                    findings.duplicates += 1
                    if findings.labels[row] != label:
                        findings.contradictions.add(row)
                else:
                    known[looked[0]] = len(findings.labels)
                    findings.digests.append(looked[0])
                    findings.labels.append(label)
                    findings.patients.append(datasets.patient(path.name))
                    pixels.append(looked[1])
            if pixels:
                stacked, check = np.stack(pixels), loaded.network.novelty
                findings.logits += [float(logit) for logit in loaded.network.logits(stacked)]
                if check is not None:
                    findings.unfamiliar += [check.is_unfamiliar(score) for score in check.scores(stacked).tolist()]
            bar.advance(task, len(batch))
    return findings


def _looks(
    settings: Settings, preprocessing: Preprocessing, listed: list[tuple[Path, int]], threads: ThreadPoolExecutor
) -> Iterator[list[tuple[Path, int, Looked]]]:
    """Files with labels and what was read of them, batch by batch; the threads read the next one meanwhile."""
    limits = Limits(settings.max_pixels, settings.max_bytes)
    size = settings.batch_size
    under_way: list[tuple[Path, int, Future[Looked]]] = []
    for start in range(0, len(listed) + size, size):
        batch = listed[start : start + size]
        submitted = [(path, label, threads.submit(_look, path, preprocessing, limits)) for path, label in batch]
        if under_way:
            yield [(path, label, look.result()) for path, label, look in under_way]
        under_way = submitted


def _look(path: Path, preprocessing: Preprocessing, limits: Limits) -> Looked:
    """Read, hash and decode one file as the worker does."""
    try:
        data = path.read_bytes()
        if is_dicom(data):
            read_identifiers(data, None)  # raises for what is not a frontal chest X-ray
        return hashlib.sha256(data).hexdigest(), prepare(data, preprocessing, limits)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    except MemoryError:
        return "not enough memory to decode the image"
    except Exception as error:  # noqa: BLE001 - a decoder that fails in a way nobody knows costs one image
        return f"the decoder failed: {type(error).__name__}"


def _answers(loaded: Loaded, findings: Findings) -> Answers:
    """The rows that count, with the version's own calibration and threshold: nothing is fitted here."""
    kept = _kept(findings)
    labels = np.array([findings.labels[row] for row in kept], dtype=np.uint8)
    logits = np.array([findings.logits[row] for row in kept], dtype=np.float64)
    for number, name in enumerate(CLASSES):
        if not (labels == number).any():
            raise WrongSettings(f"There is no readable image labelled {name}: both classes are needed.")
    if not np.isfinite(logits).all():
        raise WorkFailed(f"The network of {loaded.manifest.version} answers an image with something that is no number.")
    probabilities = np.array([loaded.manifest.calibration.probability(logit) for logit in logits])
    decisions = np.array([loaded.manifest.label(probability) == "PNEUMONIA" for probability in probabilities])
    return Answers(labels, logits, probabilities, decisions, tuple(findings.patients[row] for row in kept))


def _kept(findings: Findings) -> list[int]:
    return [row for row in range(len(findings.labels)) if row not in findings.contradictions]


def _fingerprint(findings: Findings) -> str:
    kept = _kept(findings)
    return datasets.fingerprint([findings.digests[row] for row in kept], [findings.labels[row] for row in kept])


def _unfamiliar_share(findings: Findings) -> float | None:
    """Of the images that count; None where the version has no check."""
    return float(np.mean([findings.unfamiliar[row] for row in _kept(findings)])) if findings.unfamiliar else None


def _draw(folder: Path, answers: Answers) -> None:
    from trainer import plots

    try:
        drawn = plots.draw(answers)
    except ImportError as error:
        raise WrongSettings("--pictures needs the package matplotlib: pip install 'pneumoscreen[trainer]'.") from error
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in drawn.items():
        (folder / name).write_bytes(content)
    err.print(f"{', '.join(drawn)} written to {folder}", markup=False)


def _print(report: dict[str, Any]) -> None:
    out.print(
        f"{report['version']}, threshold {report['threshold']:.4f}: {report['images']} images of "
        f"{report['patients']} patients, {report['unreadable']} unreadable, {report['duplicates']} duplicates",
        markup=False,
    )
    table(
        ("figure", "value", "95 % from", "to"),
        [[name, *(report[name][end] for end in ("value", "low", "high"))] for name in metrics.NAMES],
    )
    share = report["unfamiliar_share"]
    said = "has no check for unfamiliar pictures" if share is None else f"calls {share:.1%} of the images unfamiliar"
    out.print(f"It {said}.")
    if report["is_training_data"]:
        out.print(
            "These are the images that it was made of: others are harder. "
            "`pneumoscreen models show` has its figures on those that it was not fitted to."
        )
    called = report["confusion"]
    table(
        ("is", "called NORMAL", "called PNEUMONIA"),
        [
            ["NORMAL", called["true_negative"], called["false_positive"]],
            ["PNEUMONIA", called["false_negative"], called["true_positive"]],
        ],
    )
