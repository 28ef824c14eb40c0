"""How a training is steered, killed and taken up again; that networks learn is shown in tests/acceptance."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.base.errors import WrongSettings
from tests import pace
from trainer import description, fit
from trainer.recipes import Recipe

TOP = Path(__file__).parents[2]

TRAIN = """
import sys
from pathlib import Path
from rich.console import Console
from shared.imaging import Preprocessing
from trainer import architectures, datasets, fit
from trainer.recipes import Recipe

data = datasets.read(Path(sys.argv[1]), architectures.preprocessing("tiny7"), Console(quiet=True))
recipe = Recipe(batch=4, keeps_best=True, reduce_patience=1, reduce_factor=0.5, learning_rate=1e-30)
run = fit.Run(lambda: architectures.build("tiny7"), recipe, int(sys.argv[3]), 1, Path(sys.argv[2]))
for _ in range(int(sys.argv[4])):
    fit.fit(run, data, data, Console(width=200))
    print("finished")
"""


def specimens(root: Path, patients: int, side: int = 64, seed: int = 0) -> Path:
    """Noise by patient; PNEUMONIA has a bright blob somewhere in it."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    for name, stem in (("NORMAL", "IM-"), ("PNEUMONIA", "person")):
        (root / name).mkdir(parents=True)
        for number in range(patients):
            pixels = draw.normal(90, 12, (side, side))
            if name == "PNEUMONIA":
                middle = draw.uniform(0.3, 0.7, 2) * side
                pixels += 110 * np.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / (2 * (0.12 * side) ** 2))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(root / name / f"{stem}{number:04d}_1.png")
    return root


def start(data: Path, work: Path, epochs: int, times: int = 1) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(data), str(work), str(epochs), str(times)],
        cwd=TOP,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def epochs_in(work: Path) -> int:
    return len(fit.losses(work / fit.HISTORY))


@dataclass(frozen=True)
class TakenUp:
    """A training that was killed amid its epochs, and one that took it up, came to its end, and was asked once more."""

    work: Path
    epochs: int
    before: list[str]
    """The figures of the epochs that were finished when it was killed, a line each."""
    said: list[str]
    """What the second process said before it was finished, from then until it was finished once more, and after."""


@pytest.fixture(scope="module")
def taken_up(tmp_path_factory: pytest.TempPathFactory) -> TakenUp:
    folder = tmp_path_factory.mktemp("training")
    data, work = specimens(folder / "data", 6), folder / "work"
    killed = start(data, work, 500)
    deadline = time.monotonic() + pace.seconds(90)
    while epochs_in(work) < 4 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = (work / fit.HISTORY).read_text().splitlines()
    assert 4 <= epochs_in(work) < 500
    epochs = epochs_in(work) + 3
    said = start(data, work, epochs, times=2).communicate(timeout=pace.seconds(90))[0].split("finished\n")
    return TakenUp(work, epochs, before, said)


def test_a_killed_training_goes_on_with_the_epoch_that_was_under_way(taken_up: TakenUp) -> None:
    finished = taken_up.epochs - 3
    begun = int(taken_up.said[0].partition("epoch ")[2].partition(f" of {taken_up.epochs}")[0])
    assert finished <= begun <= finished + 1, taken_up.said  # the kill may fall between the figures and the checkpoint
    assert (taken_up.work / fit.HISTORY).read_text().splitlines()[: begun - 1] == taken_up.before[: begun - 1]


def test_a_finished_training_is_not_done_again_and_leaves_logs_for_tensorboard(taken_up: TakenUp) -> None:
    (first, second, rest), work = taken_up.said, taken_up.work
    assert f"epoch {taken_up.epochs} of {taken_up.epochs}" in first
    assert (second.strip(), rest) == ("", ""), "the second time nothing is left to do"
    figures = [json.loads(line) for line in (work / fit.HISTORY).read_text().splitlines()]
    assert len(figures) == taken_up.epochs
    assert {"loss", "auc", "val_loss", "val_auc", "learning_rate"} <= set(figures[0])
    assert (work / fit.BEST).exists()
    logs = list((work / fit.LOGS).iterdir())
    assert logs
    written = b"".join(log.read_bytes() for log in logs)
    assert all(tag in written for tag in (b"val_loss", b"learning_rate", b"scalars"))

    fit.forget(work)
    assert [path.name for path in work.iterdir()] == [fit.LOGS]


def test_a_run_is_over_when_patience_has_run_out() -> None:
    patient, endless = Recipe(stop_patience=2), Recipe()
    assert not fit.is_over([], patient)
    assert not fit.is_over([0.5, 0.4, 0.6], patient)
    assert fit.is_over([0.5, 0.4, 0.6, 0.5], patient)
    assert not fit.is_over([0.5, 0.6, 0.7, 0.8], endless)


def test_a_line_of_figures_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    story = tmp_path / fit.HISTORY
    assert fit.losses(story) == []
    story.write_text('{"val_loss": 0.5}\n{"val_lo')
    assert fit.losses(story) == [0.5]


def test_both_classes_have_the_same_say() -> None:
    weights = fit.class_weights(np.array([0, 1, 1, 1], dtype=np.uint8))
    assert weights == {0: 2.0, 1: pytest.approx(2 / 3)}


def test_a_collection_says_itself_where_it_is_from(tmp_path: Path) -> None:
    assert description.describe(tmp_path).source == {}
    text = '[source]\nlicence = "CC0"\n[population]\nage_years = {lowest = 18, highest = 99}\n'
    (tmp_path / description.FILE).write_text(text)
    found = description.describe(tmp_path)
    assert found.source == {"licence": "CC0"}
    assert found.population == {"age_years": {"lowest": 18, "highest": 99}}
    (tmp_path / description.FILE).write_text("nonsense")
    with pytest.raises(WrongSettings, match="cannot be read"):
        description.describe(tmp_path)
