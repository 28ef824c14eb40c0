"""Cross-validation by patient: who is measured by whom. A network here is a record of what it was fitted to."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from shared.models import training_images
from trainer import cross_validation, datasets, fit, fits
from trainer.datasets import Dataset
from trainer.fit import Run
from trainer.fits import Fits
from trainer.plan import Plan
from trainer.recipes import Recipe

QUIET = Console(quiet=True)


def data_of(patients: list[str], labels: list[int]) -> Dataset:
    """A row for each, whose pixel is its number."""
    count = len(patients)
    return Dataset(
        np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1),
        np.array(labels, np.uint8),
        tuple(Path(f"{row}.png") for row in range(count)),
        tuple(patients),
        tuple(hashlib.sha256(b"%d" % row).hexdigest() for row in range(count)),
    )


def site(patients: int = 60, images: int = 2) -> Dataset:
    names = [f"p{number}" for number in range(patients) for _ in range(images)]
    return data_of(names, [number % 2 for number in range(patients) for _ in range(images)])


def test_a_side_with_fewer_than_thirty_patients_of_a_class_is_too_small_to_measure_on() -> None:
    assert not cross_validation.is_needed(site(60))
    assert cross_validation.is_needed(site(59))
    assert cross_validation.is_needed(data_of([], []))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=60, max_size=120))
def test_each_patient_is_in_one_fold_and_none_is_fitted_to_and_measured_at_once(rows: list[tuple[int, bool]]) -> None:
    labels = [int(is_ill) for _, is_ill in rows]
    if min(labels.count(0), labels.count(1)) < cross_validation.FOLDS or len({who for who, _ in rows}) < 5:
        return
    data = data_of([f"p{who}" for who, _ in rows], labels)
    masks = list(cross_validation.folds(data))
    assert np.array_equal(np.sum(masks, axis=0), np.ones(len(data)))
    for mask in masks:
        inside = datasets.select(data, mask).patients
        assert not set(inside) & set(datasets.select(data, ~mask).patients)


class Networks:
    """Stands in for `fit`: a network is the record of the contents that it was fitted to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fitted: list[tuple[Run, Dataset]] = []
        self.measured: list[tuple[set[str], set[int]]] = []
        monkeypatch.setattr(fit, "fit", self.fit)
        monkeypatch.setattr(fit, "logits", self.logits)

    def fit(self, run: Run, train: Dataset, validation: Dataset, _console: Console) -> Any:
        assert len(validation)
        self.fitted.append((run, train))
        run.work.mkdir(parents=True, exist_ok=True)
        values = (0.5, 0.3, 0.4, 0.6)[: 2 + len(self.fitted) % 3]
        (run.work / fit.HISTORY).write_text("".join(f'{{"val_loss": {value}}}\n' for value in values))
        return set(train.patients)

    def logits(self, model: Any, pixels: Any) -> Any:
        self.measured.append((model, set(pixels.ravel().tolist())))
        return pixels.ravel().astype(np.float64)


def test_nobody_held_out_is_fitted_to_and_everybody_is_measured_by_a_network_that_does_not_know_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, data = Networks(monkeypatch), site()
    held_out = data.held_out()
    assert 0 < held_out.sum() < 40
    training, validation = datasets.select(data, ~held_out), datasets.select(data, held_out)
    crossed = Fits(Plan("tiny7", tmp_path, tmp_path / "work"), training, validation, QUIET)
    logits = crossed.cross(held_out)
    assert logits.tolist() == list(range(len(data))), "each row has its own"
    assert len(networks.fitted) == cross_validation.FOLDS + 1
    for _, seen in networks.fitted:
        assert not set(seen.patients) & set(validation.patients)
    assert set(networks.fitted[-1][1].patients) == set(training.patients), "the published one knows all others"
    for known, rows in networks.measured:
        assert not known & {data.patients[row] for row in rows}
    assert crossed.model == set(training.patients)
    assert len(set(crossed.works)) == cross_validation.FOLDS + 1


def test_where_no_patient_is_held_out_the_folds_measure_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Networks(monkeypatch)
    known = [name for number in range(200) if not datasets.is_held_out(name := f"p{number}")][:20]
    data = data_of(known, [number % 2 for number in range(20)])
    nobody = data.held_out()
    crossed = Fits(Plan("tiny7", tmp_path, tmp_path / "work"), data, datasets.select(data, nobody), QUIET)
    assert crossed.cross(nobody).tolist() == list(range(20))


def test_the_published_network_stops_where_the_folds_were_best_since_nobody_is_left_to_choose_on(
    tmp_path: Path,
) -> None:
    run = Run(lambda: None, Recipe(keeps_best=True, stop_patience=3), 40, 1, tmp_path)
    chosen = cross_validation.final_run(run, [3, 9, 5])
    assert (chosen.epochs, chosen.recipe.keeps_best, chosen.recipe.stop_patience) == (5, False, None)
    plain = replace(run, recipe=Recipe(is_cosine=True))
    assert cross_validation.final_run(plain, [3, 9, 5]) is plain
    (tmp_path / fit.HISTORY).write_text('{"val_loss": 0.5}\n{"val_loss": 0.2}\n{"val_loss": 0.3}\n')
    assert cross_validation.best_epoch(run) == 2


def test_a_version_that_was_fitted_to_the_images_is_not_crossed_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.models import describe, make_linear_version

    version, data = make_linear_version(tmp_path, "v1"), site()
    plan = Plan("linear", tmp_path, tmp_path / "work", start_from=version)
    console = Console(width=300)
    assert not fits.has_seen(plan, data, console)
    assert "v1 does not tell which images it was fitted to" in capsys.readouterr().out
    training_images.write(["f" * 64])(version, None)  # type: ignore[arg-type]
    describe(version)
    assert not fits.has_seen(plan, data, console)
    assert capsys.readouterr().out == ""
    training_images.write(["f" * 64, data.digests[3]])(version, None)  # type: ignore[arg-type]
    describe(version)
    assert fits.has_seen(plan, data, console)
    assert "v1 was fitted to 1 of these images" in capsys.readouterr().out
