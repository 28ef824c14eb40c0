"""What a few words of a site give is measured on patients that nothing was fitted to."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from queries import versions
from shared.base.errors import WorkFailed, WrongSettings
from shared.models import registry
from shared.models.registry import Loaded
from tests.models import make_linear_version, published
from tests.unit.conftest import Run
from trainer import fit, site_points
from trainer.datasets import Dataset
from trainer.listing import Site
from trainer.plan import Plan


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    models = tmp_path_factory.mktemp("models")
    return registry.load(models, published(make_linear_version(models, "v1")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images of twenty patients, in two views."""
    folder = tmp_path_factory.mktemp("site")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "view"])
        for number in range(40):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            label = "PNEUMONIA" if number % 4 < 2 else "NORMAL"
            writer.writerow([f"{number}.png", label, number // 2, "AP" if number % 3 else "PA"])
    return folder


def measure(loaded: Loaded, folder: Path, words: int, column: str | None = "view") -> list[site_points.SiteRow]:
    console = Console(quiet=True)
    scored = site_points.score(loaded, folder, column, console, Site())
    return site_points.measure(loaded, scored, [words], 0.9, console, rounds=6)


def test_each_number_of_words_has_a_row_beside_the_versions_own_threshold_by_group(
    loaded: Loaded, folder: Path
) -> None:
    own, few = measure(loaded, folder, 20)
    assert (own.name, few.name) == ("v1, its own threshold", "20 words")
    assert list(own.rates) == list(few.rates) == ["all", "AP", "PA"]
    for row in (own, few):
        for recall, specificity in row.rates.values():
            assert recall is not None and specificity is not None
            assert 0 <= recall <= 1 and 0 <= specificity <= 1
    assert own.lowest is None
    assert few.lowest is not None and few.lowest <= (few.rates["all"][0] or 0)
    assert measure(loaded, folder, 20) == [own, few]


def test_no_patient_is_on_both_sides(loaded: Loaded, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    by_point = site_points._by_point
    monkeypatch.setattr(
        site_points, "_by_point", lambda *given: sides.append((given[1].patients, given[-1])) or by_point(*given)
    )
    measure(loaded, folder, 20)
    for patients, chosen in sides:
        whose = np.asarray(patients)
        assert not set(whose[chosen]) & set(whose[~chosen])
        assert chosen.sum() >= 20


def test_too_many_words_and_a_column_that_is_not_there_are_refused(loaded: Loaded, folder: Path) -> None:
    with pytest.raises(WorkFailed, match="has 40 images"):
        measure(loaded, folder, 40)
    with pytest.raises(WrongSettings, match="no column side"):
        measure(loaded, folder, 20, "side")


@pytest.fixture
def tunings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[fit.Run, set[str], set[str]]]:
    """Each run, the patients that it was fitted to, and those that its epoch and threshold were chosen on.

    What fits networks is stood in for: brighter images are ill.
    """
    found = []

    def stand_in(run: fit.Run, train: Dataset, known: Dataset, _console: Console) -> None:
        found.append((run, set(train.patients), set(known.patients)))
        run.work.mkdir(parents=True)
        (run.work / fit.HISTORY).write_text("")

    monkeypatch.setattr(fit, "fit", stand_in)
    monkeypatch.setattr(fit, "logits", lambda _model, pixels: pixels.mean(axis=(1, 2, 3)) - 127.0)
    return found


def test_fine_tuning_has_a_row_and_nobody_is_measured_by_a_network_that_knows_them(
    loaded: Loaded,
    folder: Path,
    tmp_path: Path,
    tunings: list[tuple[fit.Run, set[str], set[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides: list[tuple[set[str], int]] = []
    tally = site_points._Tally.add

    def add(self: Any, data: Dataset, groups: Any, decided: site_points.Decided) -> None:
        sides.append(({data.patients[row] for row in np.flatnonzero(decided[0])}, int(decided[0].sum())))
        tally(self, data, groups, decided)

    monkeypatch.setattr(site_points._Tally, "add", add)
    plan = Plan("tiny7", tmp_path, tmp_path / "work", epochs=2, start_from=Path("v1"))
    console = Console(quiet=True)
    scored = site_points.score(loaded, folder, "view", console, Site())
    rows = site_points.measure(loaded, scored, [20], 0.9, console, 6, plan)
    assert [row.name for row in rows] == ["v1, its own threshold", "20 words", "fine-tuned, 5 folds"]
    assert list(rows[-1].rates) == ["all", "AP", "PA"]
    assert rows[-1].lowest is None, "each image was measured once"
    assert len(tunings) == 5
    measured = sides[-5:]
    assert sum(images for _, images in measured) == 40
    for (run, train, known), (fold, _) in zip(tunings, measured, strict=True):
        assert run.epochs == 2
        assert not train & known and not (train | known) & fold
        assert not (run.work / fit.HISTORY).exists(), "its checkpoints are forgotten"


def test_the_command_prints_a_row_for_each_and_refuses_what_is_no_number_of_words(
    loaded: Loaded,
    folder: Path,
    tmp_path: Path,
    tunings: list[tuple[fit.Run, set[str], set[str]]],
    run_command: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tuned = replace(loaded, manifest=loaded.manifest.model_copy(update={"architecture": "tiny7"}))
    monkeypatch.setattr(versions, "load_for_measuring", lambda *_: tuned)
    measure = ("models", "measure", "operating-points", "--data", folder, "--home", tmp_path, "--rounds", 6)
    code, printed, _ = run_command(*measure, "--words", "10,20", "--groups", "view", "--fine-tune", 2)
    assert code == 0
    for name in ("AUC, all: ", "AUC, PA: ", "v1, its own threshold", "10 words", "20 words", "fine-tuned, 5 folds"):
        assert name in printed
    for name in ("recall, AP", "specificity, PA"):
        assert name in printed
    assert "recall of 0.95 wanted" in printed
    assert {run.epochs for run, _, _ in tunings} == {2}
    code, _, problem = run_command(*measure, "--words", "ten")
    assert (code, "--words takes numbers with commas between" in problem) == (2, True)
