"""Measures a challenger and the versions that were live on the same held-out patients; `actions.verdict` decides."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from actions.verdict import Side, Verdict, judge
from shared.base.errors import BrokenModel, WrongSettings
from shared.imaging import Preprocessing
from shared.models import registry
from shared.models.registry import Loaded, Published
from trainer import datasets, evaluation
from trainer.datasets import Dataset


def examine(
    models: Path,
    challenger: Published,
    live: Sequence[Published],
    folder: Path,
    console: Console,
    key: SecretStr | None = None,
) -> Verdict:
    """Judge a published version on the held-out patients of a labelled folder, with TensorFlow.

    `live` is what `registry.live` gives: the champion, then those that were live before it. One that does not load
    could not serve either: it is noted and left out, and the champion is the first that loads. Raises BrokenModel if
    the challenger does not load, WrongSettings if no patient in the folder is held out.
    """
    held_out = _reader(folder, console)
    loaded = registry.load(models, challenger, key)
    data = held_out(loaded.manifest.preprocessing)
    mine = _side(loaded, data)
    sides, notes = [], []
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


def _reader(folder: Path, console: Console) -> Callable[[Preprocessing], Dataset]:
    """Reads the held-out images of a folder, once for each preprocessing."""
    read: dict[str, Dataset] = {}

    def held_out(preprocessing: Preprocessing) -> Dataset:
        key = preprocessing.model_dump_json()
        if key not in read:
            read.clear()  # the pixels of one preprocessing at a time fit into memory
            data = datasets.read(folder, preprocessing, console)
            read[key] = datasets.select(data, data.held_out())
            if not len(read[key]):
                raise WrongSettings(f"No patient in {folder} is held out: there is nothing to judge by.")
        return read[key]

    return held_out


def _side(loaded: Loaded, data: Dataset) -> Side:
    return Side(loaded.manifest.version, evaluation.score(loaded, data).probabilities, loaded.manifest.threshold)
