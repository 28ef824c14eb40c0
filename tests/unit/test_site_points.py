"""What a few words of a site give is measured on patients that nothing was fitted to."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from shared.base.errors import WorkFailed, WrongSettings
from shared.models import registry
from shared.models.registry import Loaded
from tests.models import make_linear_version, published
from trainer import site_points
from trainer.listing import Site


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
    return site_points.measure(loaded, folder, [words], 0.9, column, Console(quiet=True), Site(), rounds=6)


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
