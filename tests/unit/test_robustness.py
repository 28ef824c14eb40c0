"""How well a version transfers: changes are what they say, and the command prints every one of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.models import make_linear_version
from tests.unit.test_trainer_run import picture, version
from trainer import robustness

Run = Callable[..., tuple[int, str, str]]


def test_a_frame_cuts_off_or_adds_black() -> None:
    image = Image.fromarray(np.full((100, 200), 90, np.uint8))
    assert robustness.frame(0.1, 0.2, 0.1, 0.2)(image).size == (160, 60)
    wider = robustness.frame(-0.1, 0, -0.1, 0)(image)
    assert wider.size == (240, 100)
    assert wider.getpixel((5, 50)) == 0
    assert wider.getpixel((120, 50)) == 90


def test_the_table_has_every_change_and_the_series_that_there_are(tmp_path: Path, run_command: Run) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(100):
            name = f"person{number}_virus_1.png" if label == "PNEUMONIA" else f"IM-{number:04d}-0001.png"
            picture(tmp_path / "data" / label / name, label == "PNEUMONIA", number)
    made = version(tmp_path, "bright", 20.0)
    code, printed, _ = run_command(
        "models", "measure", "robustness", made, "--data", tmp_path / "data", "--home", tmp_path
    )
    assert code == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if len(cells) == 5}
    assert set(rows) >= {*robustness.CHANGES, "series IM-", "series virus"}
    assert rows["as it is"][1:] == ["1.0000", "1.000", "1.000"]
    assert "series bacteria" not in rows
    assert rows["series virus"][3] == "", "it has no normal ones"


def test_a_folder_without_both_classes_among_the_held_out_gives_a_sentence(tmp_path: Path, run_command: Run) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
    made = make_linear_version(tmp_path, "v1")
    code, _, errors = run_command(
        "models", "measure", "robustness", made, "--data", tmp_path / "data", "--home", tmp_path
    )
    assert code == 1
    assert "no patients of both classes" in errors
