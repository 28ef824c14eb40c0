"""From labelled images to a version: what is refused before anything is fitted, and what is said of the data."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from shared.base.errors import WorkFailed, WrongSettings
from shared.imaging import Preprocessing
from shared.models import manifest, training_images
from shared.models.manifest import Manifest
from tests.models import describe, make_linear_version
from tests.radiographs import labelled
from trainer import (
    adaptation,
    calibration,
    datasets,
    description,
    evidence,
    fit,
    listing,
    litert_export,
    pipeline,
    robustness,
    tracking,
)
from trainer.datasets import Dataset
from trainer.description import Description
from trainer.pipeline import Plan
from trainer.plan import run_for

CONSOLE = Console(quiet=True)
HISTORY = '{"loss": 0.5, "val_loss": 0.25}\n'
ORIGINAL = (adaptation.ORIGINAL_BEFORE, adaptation.ORIGINAL_AFTER)
DOCUMENTED = Path(__file__).parents[2] / "docs" / "kermany.toml"


@pytest.mark.parametrize(("limit", "remedy"), [(None, "label more$"), (20, "or allow more with --limit$")])
def test_too_few_patients_are_refused_and_the_limit_is_named_only_where_one_was_set(
    tmp_path: Path, limit: int | None, remedy: str
) -> None:
    data = datasets.read(labelled(tmp_path / "data", 5), Preprocessing(width=32, height=32), CONSOLE)
    plan = Plan("tiny7", tmp_path / "out", tmp_path / "work", limit=limit)
    with pytest.raises(WorkFailed, match=remedy):
        pipeline.train_on(plan, data, Description(), CONSOLE)


class Network:
    """Stands in for a Keras model."""

    def get_weights(self) -> list[int]:
        return []

    def set_weights(self, weights: list[int]) -> None:
        assert weights == []

    def count_params(self) -> int:
        return 7

    def save(self, path: Path) -> None:
        path.write_bytes(b"weights")


class Fits:
    """Stands in for the fits of networks: brighter images are ill, and one epoch is on record."""

    crossed: list[bool]

    def __init__(self, plan: Plan, training: Dataset, validation: Dataset, _console: Console) -> None:
        self.model, self.run, self.monitored = Network(), run_for(plan, training), validation
        self.works = [self.run.work]
        self.training, self.validation = training, validation
        self.run.work.mkdir(parents=True)
        (self.run.work / fit.HISTORY).write_text(HISTORY)

    def direct(self) -> NDArray[np.float64]:
        self.crossed.append(False)
        return 4.0 * self.validation.labels - 2.0 + np.linspace(-1, 1, len(self.validation))

    def cross(self, held_out: NDArray[np.bool_]) -> NDArray[np.float64]:
        self.crossed.append(True)
        labels = np.empty(len(held_out))
        labels[held_out], labels[~held_out] = self.validation.labels, self.training.labels
        return 4.0 * labels - 2.0 + np.linspace(-1, 1, len(labels))


def train(
    tmp_path: Path, patients: int, monkeypatch: pytest.MonkeyPatch, start_from: Path | None = None
) -> tuple[Manifest, list[bool]]:
    """What is written where networks are stood in for; and whether the patients were crossed."""
    monkeypatch.setattr(Fits, "crossed", [], raising=False)
    monkeypatch.setattr(pipeline, "Fits", Fits)
    monkeypatch.setattr(pipeline, "begin", lambda plan, fresh: Network)
    monkeypatch.setattr(adaptation, "measure", lambda *_: {})
    monkeypatch.setattr(litert_export, "convert", lambda *_: "it is no network")
    monkeypatch.setattr(evidence, "measure_fitted", lambda *_: {"images": 0, "patients": 0, "method": "stood in for"})
    unchanged = robustness.Changed(np.empty(0, np.intp), {})
    monkeypatch.setattr(robustness, "predict_changed", lambda *_: unchanged)
    plan = Plan("tiny7", tmp_path / "out", tmp_path / "work", epochs=3, start_from=start_from)
    trained = pipeline.train(plan, labelled(tmp_path / "data", patients), Console(width=300), Description())
    return trained.manifest, Fits.crossed


def test_a_training_is_recorded_with_what_was_asked_for_and_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[Any] = []

    def record(folder: Path, described: Manifest, parameters: Any, history: Path, _console: Console) -> None:
        recorded.append((folder, described.version, parameters["epochs"], history.read_text()))

    monkeypatch.setattr(tracking, "record", record)
    described, _ = train(tmp_path, 20, monkeypatch)
    version = described.version
    assert recorded == [(tmp_path / "out" / version, version, 3, HISTORY)]
    assert not list((tmp_path / "work").rglob(fit.HISTORY)), "it is forgotten when it was recorded"


def test_without_mlflow_a_training_that_was_to_be_recorded_says_so_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(tracking.VARIABLE, f"file://{tmp_path}/runs")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    described, crossed = train(tmp_path, 20, monkeypatch)
    printed = capsys.readouterr().out
    assert "MLFLOW_TRACKING_URI is set, but mlflow is not installed" in printed
    assert f"written to {tmp_path / 'out' / described.version}" in printed
    assert crossed == [True], "so few are held out that nothing could be measured on them"
    assert described.metrics["validation"]["images"] == 40, "each patient is measured"
    assert described.metrics["validation"]["cross_validation"] == pipeline.CROSSED


def test_few_patients_are_not_crossed_by_networks_that_start_from_one_that_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = make_linear_version(tmp_path, "v1")
    files = listing.read(labelled(tmp_path / "same", 40)).files
    training_images.write([manifest.sha256(file.path.read_bytes()) for file in files])(version, None)  # type: ignore[arg-type]
    describe(version)
    described, crossed = train(tmp_path, 40, monkeypatch, start_from=version)
    assert crossed == [False]
    assert "v1 was fitted to " in capsys.readouterr().out
    held_out = described.data["validation"]
    assert described.metrics["validation"]["images"] == held_out["NORMAL"] + held_out["PNEUMONIA"] < 40


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
    from shared.models import registry

    bundled, documented = manifest.read(registry.bundled()), description.read(DOCUMENTED)
    assert bundled.population == documented.population
    assert documented.source.items() <= bundled.data.items()


def test_a_tuned_version_is_measured_beside_the_one_it_came_from_at_the_site_and_on_that_one_s_own_data(
    tmp_path: Path,
) -> None:
    start = make_linear_version(tmp_path, "v1")
    data = datasets.read(labelled(tmp_path / "data", 30), Preprocessing(width=32, height=32), CONSOLE)
    answers = {pixels.tobytes(): 4.0 * label - 2.0 for pixels, label in zip(data.pixels, data.labels, strict=True)}

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.array([answers[each.tobytes()] for each in pixels])

    examination = calibration.examine(predict(data.pixels), data.labels, data.patients)
    measured = adaptation.measure(start, examination, predict, data, data)
    before, original, tuned = (measured[name] for name in (adaptation.BEFORE, *ORIGINAL))
    assert before == original, "both are the same images here"
    assert tuned["auc"]["value"] == 1.0 > before["auc"]["value"]
    assert set(adaptation.measure(start, examination, predict, data, None)) == {adaptation.BEFORE}
