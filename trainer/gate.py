"""Measures a challenger and the versions that were live on the same held-out patients; `actions.verdict` decides."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from actions.verdict import Side, Verdict, judge
from shared.base.errors import BrokenModel, WrongSettings
from shared.imaging import Preprocessing
from shared.models import manifest, registry
from shared.models.registry import Loaded, Published
from trainer import datasets, evaluation, fitted
from trainer.datasets import Dataset
from trainer.listing import Site


def examine(
    models: Path,
    challenger: Published,
    live: Sequence[Published],
    folder: Path,
    console: Console,
    key: SecretStr | None = None,
    site: Site | None = None,
) -> Verdict:
    """Judge a published version on the held-out patients of a labelled folder, with TensorFlow.

    `live` is what `registry.live` gives: the champion, then those that were live before it. One that does not load
    could not serve either: it is noted and left out, and the champion is the first that loads. Raises BrokenModel if
    the challenger does not load, WrongSettings if no patient in the folder is held out.
    """
    held_out = _reader(folder, console, site)
    loaded = registry.load(models, challenger, key)
    data = held_out(loaded.manifest.preprocessing)
    mine = _side(loaded, data)
    sides, notes = [], _notes(models, challenger, live, data)
    for version in (version for version in live if version != challenger):
        try:
            loaded = registry.load(models, version, key)
            seen = held_out(loaded.manifest.preprocessing)
            if seen.digests != data.digests:
                raise WrongSettings(f"Images in {folder} changed while they were read: try again.")
            sides.append(_side(loaded, seen))
        except BrokenModel as error:
            notes.append(f"{version.version} could not be compared: {error}")
    champion, earlier = (sides[0], sides[1:]) if sides else (None, [])
    return judge(champion, mine, data.labels, data.patients, earlier=earlier, notes=notes)


def _reader(folder: Path, console: Console, site: Site | None) -> Callable[[Preprocessing], Dataset]:
    """Reads the held-out images of a folder, once for each preprocessing."""
    read: dict[str, Dataset] = {}

    def held_out(preprocessing: Preprocessing) -> Dataset:
        key = preprocessing.model_dump_json()
        if key not in read:
            read.clear()  # the pixels of one preprocessing at a time fit into memory
            data = datasets.read(folder, preprocessing, console, site=site)
            read[key] = datasets.select(data, data.held_out())
            if not len(read[key]):
                raise WrongSettings(f"No patient in {folder} is held out: there is nothing to judge by.")
        return read[key]

    return held_out


def _notes(models: Path, challenger: Published, live: Sequence[Published], data: Dataset) -> list[str]:
    """By which rules the patients were told apart, and which of the versions was fitted to some of them all the same.

    That happens where the rule, or the key that hashes patients, is another one than at that version's training.
    """
    found = data.attribution()
    notes = [f"{found.sentence()}.", *found.doubts]
    for version in (challenger, *(version for version in live if version != challenger)):
        folder = models / version.version
        with suppress(BrokenModel):  # its own note tells of that
            seen = fitted.count(fitted.read(folder, manifest.read(folder, version.manifest_sha256)), data.digests)
            if seen:
                notes.append(
                    f"{version.version} was fitted to {seen} of these images, since patients were told apart in "
                    "another way then: its figures here are too good."
                )
    return notes


def _side(loaded: Loaded, data: Dataset) -> Side:
    return Side(loaded.manifest.version, evaluation.score(loaded, data).probabilities, loaded.manifest.threshold)
