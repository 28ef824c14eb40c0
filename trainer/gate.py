"""Measures a challenger and the versions that were live on the same patients; `actions.verdict` decides."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import SecretStr
from rich.console import Console

from actions.comparison import Ground, Side
from actions.verdict import Verdict, judge
from shared.base.errors import BrokenModel, WrongSettings
from shared.imaging import Preprocessing
from shared.models import manifest, registry, training_images
from shared.models.evidence import MEASURED
from shared.models.registry import Loaded, Published
from trainer import datasets, evaluation, evidence
from trainer.datasets import Dataset
from trainer.listing import Site


@dataclass(frozen=True)
class Member:
    """An image of a random sample: whose it is, for how many images it stands, and all contents of the patient."""

    patient: str
    weight: float
    contents: frozenset[str]


@dataclass(frozen=True)
class Sample:
    """A labelled folder that versions are compared on.

    Of a folder of data, the held-out patients, but for the contents in `without`. Of a random sample, all that
    `members` (by SHA-256) names and of whose patient no version was fitted to an image, each weighted by for how many
    images it stands.
    """

    folder: Path
    name: str
    members: Mapping[str, Member] | None = None
    without: frozenset[str] = frozenset()


def examine(
    models: Path,
    challenger: Published,
    live: Sequence[Published],
    samples: Sequence[Sample],
    console: Console,
    key: SecretStr | None = None,
    site: Site | None = None,
) -> Verdict:
    """Judge a published version on labelled images that no version was fitted to, with TensorFlow.

    `live` is what `registry.live` gives: the champion, then those that were live before it. One that does not load
    could not serve either: it is noted and left out, and the champion is the first that loads. Raises BrokenModel if
    the challenger does not load, WrongSettings if no patient in a folder of data is held out.
    """
    versions = [challenger, *(version for version in live if version != challenger)]
    known = _fitted(models, versions)
    images = _reader(samples, known, console, site)
    loaded = registry.load(models, challenger, key)
    parts = images(loaded.manifest.preprocessing)
    digests = [part.digests for part in parts]
    mine = _side(loaded, parts)
    sides, notes = (
        [],
        [note for sample, part in zip(samples, parts, strict=True) for note in _notes(sample, known, part)],
    )
    for version in versions[1:]:
        try:
            loaded = registry.load(models, version, key)
            seen = images(loaded.manifest.preprocessing)
            if [part.digests for part in seen] != digests:
                raise WrongSettings(f"Images in {samples[0].folder} changed while they were read: try again.")
            sides.append(_side(loaded, seen))
        except BrokenModel as error:
            notes.append(f"{version.version} could not be compared: {error}")
    notes += _note_evidence(models, versions)
    champion, earlier = (sides[0], sides[1:]) if sides else (None, [])
    return judge(champion, mine, _ground(samples, parts), earlier=earlier, notes=notes)


def _ground(samples: Sequence[Sample], parts: Sequence[Dataset]) -> Ground:
    """The images of all samples; weights have a mean of 1 in each, so that each counts by its number of images."""
    weights, origins = [], []
    for sample, part in zip(samples, parts, strict=True):
        each = np.ones(len(part))
        if sample.members is not None:
            each = np.array([sample.members[digest].weight for digest in part.digests], dtype=np.float64)
        weights.append(each / each.mean() if len(each) else each)
        origins.append(f"{len(part)} images of {len(set(part.patients))} patients are {sample.name}.")
    return Ground(
        np.concatenate([part.labels for part in parts]),
        [patient for part in parts for patient in part.patients],
        np.concatenate(weights),
        tuple(origins),
    )


Known = Mapping[str, frozenset[str]]
"""By version, which images it was fitted to, where it tells: see `shared.models.training_images`."""


def _fitted(models: Path, versions: Sequence[Published]) -> Known:
    known = {}
    for version in versions:
        folder = models / version.version
        with suppress(BrokenModel):  # its own note tells of that
            seen = training_images.read(folder, manifest.read(folder, version.manifest_sha256))
            if seen is not None:
                known[version.version] = seen
    return known


def _reader(
    samples: Sequence[Sample], known: Known, console: Console, site: Site | None
) -> Callable[[Preprocessing], list[Dataset]]:
    """Reads the samples' images, once for each preprocessing."""
    read: dict[str, list[Dataset]] = {}

    def images(preprocessing: Preprocessing) -> list[Dataset]:
        key = preprocessing.model_dump_json()
        if key not in read:
            read.clear()  # the pixels of one preprocessing at a time fit into memory
            read[key] = _read(samples, known, preprocessing, console, site)
        return read[key]

    return images


def _read(
    samples: Sequence[Sample], known: Known, preprocessing: Preprocessing, console: Console, site: Site | None
) -> list[Dataset]:
    """What one sample holds counts for no other; of a random one, what a version was fitted to does not count."""
    parts: list[Dataset] = []
    taken: set[str] = set()
    for sample in samples:
        data = datasets.read(sample.folder, preprocessing, console, site=site)
        if sample.members is None:
            rows = data.held_out() & np.array([digest not in sample.without for digest in data.digests], dtype=np.bool_)
        else:
            members = sample.members
            data = replace(data, patients=tuple(members[digest].patient for digest in data.digests))
            rows = np.ones(len(data), dtype=np.bool_)
            for contents in known.values():
                seen = [bool(training_images.count(contents, members[digest].contents)) for digest in data.digests]
                rows &= ~np.array(seen, dtype=np.bool_)
        rows &= np.array([digest not in taken for digest in data.digests], dtype=np.bool_)
        parts.append(datasets.select(data, rows))
        taken.update(data.digests)
    folders = [sample for sample in samples if sample.members is None]
    if folders and not any(len(part) for part in parts):
        but = ", but for reviewed images that no random draw chose" if folders[0].without else ""
        raise WrongSettings(
            f"No patient in {folders[0].folder} is held out{but}: there is nothing to judge by. Give it "
            "labelled images of more patients, or have the audit sample read."
        )
    return parts


def _notes(sample: Sample, known: Known, data: Dataset) -> list[str]:
    """By which rules the patients were told apart, and which version was fitted to some of them all the same.

    That happens where the rule, or the key that hashes patients, is another one than at that version's training.
    """
    if sample.members is not None:  # what a version was fitted to is left out, and patients come from SQL
        return []
    found = data.attribution()
    notes = [f"{found.sentence()}.", *found.doubts]
    for version, contents in known.items():
        if seen := training_images.count(contents, data.digests):
            notes.append(
                f"{version} was fitted to {seen} of these images, since patients were told apart in another way then: "
                "its figures here are too good."
            )
    return notes


def _note_evidence(models: Path, versions: Sequence[Published]) -> list[str]:
    """What the cards say of where the versions look; it decides nothing."""
    notes = []
    for version in versions[:2]:
        with suppress(BrokenModel):
            measured = manifest.read(models / version.version, version.manifest_sha256).metrics.get(MEASURED)
            if measured:
                notes.append(f"Evidence of {version.version}: {evidence.sentence(measured)}")
    return notes


def _side(loaded: Loaded, parts: Sequence[Dataset]) -> Side:
    probabilities = [evaluation.score(loaded, part).probabilities for part in parts]
    return Side(loaded.manifest.version, np.concatenate(probabilities), loaded.manifest.threshold)
