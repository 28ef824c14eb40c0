"""Groups that a network was never fitted to are left out one at a time, with all images of their patients."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from trainer import group_holdout
from trainer.datasets import Dataset
from trainer.group_holdout import MIN_IMAGES, GroupFigures, leave_out, measure_images, sort_worst_first
from trainer.pipeline import Order

COUNT = 400


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two images a patient, one of each label in turn; the brightness of the file grows with the row."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for row in range(COUNT):
        series = "person{}_virus_{}.png" if row % 2 else "IM-{:04}-{:04}.png"
        paths.append(folder / series.format(row // 4, row))
        size = (96, 64) if row < 300 else (64, 64)
        image = Image.new("L", size, 30 + row // 2)
        image.putpixel((30, 30), 0)
        image.save(paths[-1])
    labels = np.arange(COUNT, dtype=np.uint8) % 2
    patients = tuple(
        path.name.split("_")[0] if label else path.name[:7] for path, label in zip(paths, labels, strict=True)
    )
    return Dataset(np.zeros((COUNT, 4, 4, 1), np.uint8), labels, tuple(paths), patients, tuple(map(str, range(COUNT))))


def found(data: Dataset) -> dict[str, NDArray[np.bool_]]:
    return group_holdout.groups(data, measure_images(data, None, Console(quiet=True)))


def test_groups_are_the_naming_series_and_the_extremes_of_each_class(data: Dataset) -> None:
    by_name = found(data)
    assert {"series IM-", "series virus", "least brightness", "most brightness", "most width to height"} <= set(by_name)
    assert (data.labels[by_name["series virus"]] == 1).all()
    darkest = np.flatnonzero(by_name["least brightness"])
    assert darkest.tolist() == list(range(80))
    assert data.labels[darkest].mean() == 0.5


def test_sizes_of_originals_come_from_a_table_where_images_were_resized(data: Dataset, tmp_path: Path) -> None:
    sizes = tmp_path / "sizes.csv"
    rows = "".join(f"{path.name},{1000 + row},1000\n" for row, path in enumerate(data.paths) if row >= 100)
    sizes.write_text("file,width,height\n" + rows)
    measured = measure_images(data, sizes, Console(quiet=True))
    assert np.isnan(measured["original pixels"][:100]).all()
    smallest = group_holdout.groups(data, measured)["least original pixels"]
    assert np.flatnonzero(smallest).tolist() == list(range(100, 160)), "an image of unknown size is in no such group"


def test_a_patient_of_the_group_is_neither_fitted_to_nor_used_for_the_threshold(data: Dataset, tmp_path: Path) -> None:
    name, rows = "least brightness", found(data)["least brightness"]

    def predict(train: Dataset, known: Dataset, group: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        for other in (train, known):
            assert not set(other.patients) & set(group.patients)
        assert not set(train.patients) & set(known.patients)
        return known.labels * 4.0 - 2.0, group.labels * 4.0 - 2.0

    (figures,) = leave_out(data, {name: rows}, predict, tmp_path / "story")
    assert (figures.group, figures.images, figures.auc, figures.recall, figures.specificity) == (name, 80, 1, 1, 1)


def test_a_group_of_one_class_has_no_figure_for_the_other_and_lends_it_for_the_auc(
    data: Dataset, tmp_path: Path
) -> None:
    rows = found(data)["series virus"]

    def predict(train: Dataset, known: Dataset, group: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.arange(len(known)) % 7 + known.labels * 1.0, np.full(len(group), -9.0)

    with pytest.raises(ValueError, match="class"):  # nobody is left who has a pneumonia: nothing can be calibrated
        leave_out(data, {"virus": data.labels == 1}, predict, tmp_path / "story")
    rows = rows & (np.arange(COUNT) < 200)
    (figures,) = leave_out(data, {"virus": rows}, predict, tmp_path / "story")
    assert (figures.auc, figures.recall, figures.specificity) == (0.0, 0.0, None)


def test_groups_that_are_done_are_not_fitted_again(data: Dataset, tmp_path: Path) -> None:
    fitted = []

    def predict(train: Dataset, known: Dataset, group: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        fitted.append(len(group))
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return known.labels * 1.0, group.labels * 1.0

    chosen = {name: found(data)[name] for name in ("least brightness", "most brightness")}
    with pytest.raises(KeyboardInterrupt):
        leave_out(data, chosen, predict, tmp_path / "story")
    assert [one.group for one in leave_out(data, chosen, predict, tmp_path / "story")] == list(chosen)
    assert len(fitted) == 3


def test_too_small_a_series_is_no_group(data: Dataset) -> None:
    assert all(rows.sum() >= MIN_IMAGES for rows in found(data).values())


def test_the_worst_recall_stands_first_also_where_it_is_nought() -> None:
    figures = [
        GroupFigures("a", 40, 0.9, 0.5, 1.0),
        GroupFigures("b", 40, 0.9, None, 0.0),
        GroupFigures("c", 40, 0.9, 0.0, 1.0),
    ]
    assert [group.group for group in sort_worst_first(figures)] == ["c", "a", "b"]


def test_another_network_or_length_has_a_file_of_figures_of_its_own(data: Dataset, tmp_path: Path) -> None:
    orders = [
        Order("screen", tmp_path, tmp_path, 3),
        Order("screen", tmp_path, tmp_path, 4),
        Order("variants", tmp_path, tmp_path, 3),
        Order("variants", tmp_path, tmp_path, 4),
    ]
    assert len({group_holdout._record(order, data) for order in (*orders, orders[0])}) == 4
