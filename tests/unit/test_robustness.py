"""How well a version transfers: changes are what they say, and the command prints every one of them."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from shared.imaging import Limits, Preprocessing
from tests.models import make_linear_version
from tests.unit.test_trainer_run import picture, version
from trainer import robustness

Run = Callable[..., tuple[int, str, str]]


def labelled(folder: Path, patients: int) -> Path:
    """A folder `data` with so many patients of each class, one image each."""
    for label in ("NORMAL", "PNEUMONIA"):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(patients):
            name = f"person{number}_virus_1.png" if label == "PNEUMONIA" else f"IM-{number:04d}-0001.png"
            picture(folder / "data" / label / name, label == "PNEUMONIA", number)
    return folder / "data"


def test_a_frame_cuts_off_or_adds_black() -> None:
    image = Image.fromarray(np.full((100, 200), 90, np.uint8))
    assert robustness.frame(0.1, 0.2, 0.1, 0.2)(image).size == (160, 60)
    wider = robustness.frame(-0.1, 0, -0.1, 0)(image)
    assert wider.size == (240, 100)
    assert wider.getpixel((5, 50)) == 0
    assert wider.getpixel((120, 50)) == 90


def test_the_table_has_every_change_and_the_series_that_there_are(tmp_path: Path, run_command: Run) -> None:
    data = labelled(tmp_path, 100)
    made = version(tmp_path, "bright", 20.0)
    code, printed, _ = run_command("models", "measure", "robustness", made, "--data", data, "--home", tmp_path)
    assert code == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if len(cells) == 5}
    assert set(rows) >= {*robustness.CHANGES, "series IM-", "series virus"}
    assert rows["as it is"][1:] == ["1.0000", "1.000", "1.000"]
    assert "series bacteria" not in rows
    assert rows["series virus"][3] == "", "it has no normal ones"


def test_duplicates_count_once_and_unreadable_files_are_counted_and_passed_over(
    tmp_path: Path, run_command: Run
) -> None:
    data = labelled(tmp_path, 100)
    made = version(tmp_path, "bright", 20.0)
    asked = ("models", "measure", "robustness", made, "--data", data, "--home", tmp_path)
    _, before, errors = run_command(*asked)
    assert "left out" not in errors
    for file in sorted((data / "NORMAL").iterdir()):
        (file.parent / f"{file.stem}-copy.png").write_bytes(file.read_bytes())
        (file.parent / f"{file.stem}-torn.png").write_bytes(file.read_bytes()[:60])
    code, after, errors = run_command(*asked)
    assert (code, after) == (0, before)
    assert f"{data}: left out: 100 that cannot be read, 100 duplicates" in "".join(errors.splitlines())


def test_logits_stay_with_their_images_where_one_can_no_longer_be_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(70)]  # more than one batch
    pattern = np.random.default_rng(0).integers(0, 100, (64, 64))
    for number, path in enumerate(paths):
        Image.fromarray((pattern + 2 * number).astype(np.uint8)).save(path)  # each is brighter than the one before
    paths[3].write_bytes(b"torn")
    paths[66].unlink()
    said, small = Console(file=StringIO(), width=200), Preprocessing(width=16, height=16)
    found = robustness.predict_changed(lambda pixels: pixels.mean((1, 2, 3)), paths, small, Limits(), said)
    assert "2 of 70 images could not be read again" in said.file.getvalue()  # type: ignore[attr-defined]
    assert found.rows.tolist() == [row for row in range(70) if row not in (3, 66)]
    assert set(found.logits) == set(robustness.CHANGES) - {"as it is"}
    assert all(logits.shape == (68,) and (np.diff(logits) > 0).all() for logits in found.logits.values())


@pytest.mark.parametrize(
    ("patients", "said", "ended"),
    [(0, "no readable image labelled NORMAL", 2), (1, "no patients of both classes who are held out", 1)],
)
def test_a_folder_that_cannot_be_measured_on_gives_a_sentence(
    patients: int, said: str, ended: int, tmp_path: Path, run_command: Run
) -> None:
    data = labelled(tmp_path, patients)  # of one patient each, nobody is held out
    made = make_linear_version(tmp_path, "v1")
    code, _, errors = run_command("models", "measure", "robustness", made, "--data", data, "--home", tmp_path)
    assert code == ended
    assert said in errors
