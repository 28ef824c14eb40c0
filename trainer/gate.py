"""Measures a challenger and the versions that were live on the same patients; `actions.verdict` decides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import SecretStr
from rich.console import Console

from actions.comparison import Ground, Side
from actions.verdict import Verdict, judge
from shared.base.errors import BrokenModel, WrongSettings
from shared.imaging import Preprocessing
from shared.models import registry
from shared.models.registry import Loaded, Published
from trainer import datasets, evaluation
from trainer.datasets import Dataset


@dataclass(frozen=True)
class Member:
    """An image of a random sample: whose it is, and the probability of its being drawn."""

    patient: str
    inclusion: float


@dataclass(frozen=True)
class Sample:
    """A labelled folder that versions are compared on.

    Of a folder of data, the held-out patients; of a random sample, all that `members` (by SHA-256) names, each weighted
    by the inverse of its probability of being drawn (Horvitz & Thompson, A generalization of sampling without
    replacement from a finite universe, Journal of the American Statistical Association 47, 1952).
    """

    folder: Path
    name: str
    members: Mapping[str, Member] | None = None


def examine(
    models: Path,
    challenger: Published,
    live: Sequence[Published],
    samples: Sequence[Sample],
    console: Console,
    key: SecretStr | None = None,
) -> Verdict:
    """Judge a published version on labelled images that no version was fitted to, with TensorFlow.

    `live` is what `registry.live` gives: the champion, then those that were live before it. One that does not load
    could not serve either: it is noted and left out, and the champion is the first that loads. Raises BrokenModel if
    the challenger does not load, WrongSettings if no patient in a folder of data is held out.
    """
    images = _reader(samples, console)
    loaded = registry.load(models, challenger, key)
    parts = images(loaded.manifest.preprocessing)
    digests = [part.digests for part in parts]
    mine = _side(loaded, parts)
    sides, notes = [], []
    for version in (version for version in live if version != challenger):
        try:
            loaded = registry.load(models, version, key)
            seen = images(loaded.manifest.preprocessing)
            if [part.digests for part in seen] != digests:
                raise WrongSettings(f"Images in {samples[0].folder} changed while they were read: try again.")
            sides.append(_side(loaded, seen))
        except BrokenModel as error:
            notes.append(f"{version.version} could not be compared: {error}")
    champion, earlier = (sides[0], sides[1:]) if sides else (None, [])
    return judge(champion, mine, _ground(samples, parts), earlier=earlier, notes=notes)


def _ground(samples: Sequence[Sample], parts: Sequence[Dataset]) -> Ground:
    """The images of all samples; weights have a mean of 1 in each, so that each counts by its number of images."""
    weights, origins = [], []
    for sample, part in zip(samples, parts, strict=True):
        each = np.ones(len(part))
        if sample.members is not None:
            each = np.array([1 / sample.members[digest].inclusion for digest in part.digests], dtype=np.float64)
        weights.append(each / each.mean() if len(each) else each)
        origins.append(f"{len(part)} images of {len(set(part.patients))} patients are {sample.name}.")
    return Ground(
        np.concatenate([part.labels for part in parts]),
        [patient for part in parts for patient in part.patients],
        np.concatenate(weights),
        tuple(origins),
    )


def _reader(samples: Sequence[Sample], console: Console) -> Callable[[Preprocessing], list[Dataset]]:
    """Reads the samples' images, once for each preprocessing."""
    read: dict[str, list[Dataset]] = {}

    def images(preprocessing: Preprocessing) -> list[Dataset]:
        key = preprocessing.model_dump_json()
        if key not in read:
            read.clear()  # the pixels of one preprocessing at a time fit into memory
            read[key] = _read(samples, preprocessing, console)
        return read[key]

    return images


def _read(samples: Sequence[Sample], preprocessing: Preprocessing, console: Console) -> list[Dataset]:
    """What one sample holds counts for no other one."""
    parts: list[Dataset] = []
    taken: set[str] = set()
    for sample in samples:
        data = datasets.read(sample.folder, preprocessing, console)
        if sample.members is None:
            rows = data.held_out()
            if not rows.any():
                raise WrongSettings(f"No patient in {sample.folder} is held out: there is nothing to judge by.")
        else:
            members = sample.members
            data = replace(data, patients=tuple(members[digest].patient for digest in data.digests))
            rows = np.ones(len(data), dtype=np.bool_)
        rows &= np.array([digest not in taken for digest in data.digests], dtype=np.bool_)
        parts.append(datasets.select(data, rows))
        taken.update(data.digests)
    return parts


def _side(loaded: Loaded, parts: Sequence[Dataset]) -> Side:
    probabilities = [evaluation.score(loaded, part).probabilities for part in parts]
    return Side(loaded.manifest.version, np.concatenate(probabilities), loaded.manifest.threshold)
