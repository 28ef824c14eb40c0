"""From labelled images to a version: what is refused before anything is fitted, and what is said of the data."""

from pathlib import Path

import pytest
from rich.console import Console

from shared.base.errors import WorkFailed, WrongSettings
from shared.imaging import Preprocessing
from tests.radiographs import labelled
from trainer import datasets, description, pipeline
from trainer.description import Description
from trainer.pipeline import Plan

CONSOLE = Console(quiet=True)
DOCUMENTED = Path(__file__).parents[2] / "docs" / "kermany.toml"


@pytest.mark.parametrize(("limit", "remedy"), [(None, "label more$"), (20, "or allow more with --limit$")])
def test_too_few_patients_are_refused_and_the_limit_is_named_only_where_one_was_set(
    tmp_path: Path, limit: int | None, remedy: str
) -> None:
    data = datasets.read(labelled(tmp_path / "data", 5), Preprocessing(width=32, height=32), CONSOLE)
    plan = Plan("tiny7", tmp_path / "out", tmp_path / "work", limit=limit)
    with pytest.raises(WorkFailed, match=remedy):
        pipeline.train_on(plan, data, Description(), CONSOLE)


def test_what_a_dataset_says_of_itself_stands_beside_it_or_in_a_file_that_is_named(tmp_path: Path) -> None:
    assert description.describe(tmp_path) == Description()
    (tmp_path / "dataset.toml").write_text('[source]\nlicence = "CC0"\n')
    assert description.describe(tmp_path) == Description(source={"licence": "CC0"})
    documented = description.read(DOCUMENTED)
    assert documented.source["doi"] == "10.17632/rscbjbr9sj.2"
    assert documented.population["age_years"] == {"lowest": 1, "highest": 5}
    (tmp_path / "dataset.toml").write_text("[source")
    for read in (lambda: description.describe(tmp_path), lambda: description.read(tmp_path / "nowhere.toml")):
        with pytest.raises(WrongSettings, match="cannot be read"):
            read()


def test_the_bundled_version_says_of_its_data_what_the_documented_file_says() -> None:
    from shared.models import manifest, registry

    bundled, documented = manifest.read(registry.bundled()), description.read(DOCUMENTED)
    assert bundled.population == documented.population
    assert documented.source.items() <= bundled.data.items()
