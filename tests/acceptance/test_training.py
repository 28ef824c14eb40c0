"""Each network learns, and the command makes a version of it that the worker can use."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.database import connect
from shared.models import manifest
from tests import pace
from tests.models import go_live
from tests.unit.test_train import specimens
from trainer import datasets

pytestmark = pytest.mark.timeout(420)  # real networks are fitted, and machines differ
TOP = Path(__file__).parents[2]
EPOCHS = 4
"""Enough for blobs, of which the network tells all apart in the third."""
SHORT = {
    "screen": (2, 1e-3),
    "tiny7": (18, 2e-3),
    "variants": (3, 1e-3),
    "blocks5": (7, 1e-3),
    "grey150": (3, 1e-3),
    "rgb224": (2, 1e-3),
}
"""Epochs and learning rate that are enough for blobs; everything else is as in the recipe, less what is for films."""

LEARN = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from rich.console import Console
from sklearn.metrics import roc_auc_score
from trainer import architectures, datasets, fit
from trainer.architectures import recipe

data, work, others = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
for name, (epochs, rate) in json.loads(sys.argv[4]).items():
    size = architectures.preprocessing(name)
    train = datasets.read(data, size, Console(quiet=True))
    unseen = datasets.read(others, size, Console(quiet=True))
    chosen = replace(recipe(name), change=None, learning_rate=rate, batch=8, is_cosine=False,
                     keeps_best=False)
    run = fit.Run(lambda: architectures.build(name), chosen, epochs, 1, work / architectures.file_name(name))
    few = datasets.select(unseen, np.arange(len(unseen)) % 6 == 0)
    model = fit.fit(run, train, few, Console(stderr=True, width=200))
    print(json.dumps([name, roc_auc_score(unseen.labels, fit.logits(model, unseen.pixels))]), flush=True)
"""


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCREEN_")}
    nowhere = "http://127.0.0.1:9"
    return {
        **kept,
        "PNEUMOSCREEN_HOME": str(home),
        "XDG_STATE_HOME": str(home.parent / "state"),
        "KERAS_HOME": str(home.parent / "keras"),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "HTTPS_PROXY": nowhere,
        "https_proxy": nowhere,
        "COLUMNS": "200",
    }


def learn(folder: Path, networks: dict[str, tuple[int, float]]) -> dict[str, float]:
    """AUC on patients that the networks have not seen."""
    data, others = specimens(folder / "data", 32), specimens(folder / "others", 24, seed=1)
    done = subprocess.run(
        [sys.executable, "-c", LEARN, str(data), str(folder / "work"), str(others), json.dumps(networks)],
        cwd=TOP,
        env=environment(folder / "home"),
        capture_output=True,
        text=True,
        timeout=pace.seconds(400),
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return learn(tmp_path_factory.mktemp("learning"), SHORT)


@pytest.mark.soak  # what the command fits below, and tests/unit/test_architectures.py builds, is enough for `make test`
@pytest.mark.parametrize("name", SHORT)
def test_each_network_learns(name: str, learnt: dict[str, float]) -> None:
    assert learnt[name] > 0.9


@pytest.mark.soak
def test_a_backbone_learns_from_random_weights(tmp_path: Path) -> None:
    name = "transfer:MobileNetV3Small"
    assert learn(tmp_path, {name: (14, 1e-3)})[name] > 0.9  # so long for the averages of its batch norm to follow


def command(home: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        cwd=TOP,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=pace.seconds(300),
    )


def known_sides(root: Path) -> Path:
    """Of each class the first 50 patients who are fitted to and the first 30 held out, as many as a gate wants.

    With fewer held out, the command would fit five networks more: tests/unit/test_pipeline.py and
    test_cross_validation.py show that.
    """
    specimens(root, 220)
    for name in datasets.CLASSES:
        room = {True: 30, False: 50}
        for file in sorted((root / name).iterdir()):
            is_held_out = datasets.is_held_out(file.stem.partition("_")[0])
            room[is_held_out] -= 1
            if room[is_held_out] < 0:
                file.unlink()
        assert max(room.values()) <= 0, "more specimens are needed"
    return root


@dataclass(frozen=True)
class Trained:
    """A home with the one version that the command made of `data`, and what the command said."""

    home: Path
    data: Path
    folder: Path
    done: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    top = tmp_path_factory.mktemp("trained")
    home, data = top / "home", top / "data"
    known_sides(data / "train")
    known_sides(data / "test")  # the same patients, the same files: all of them duplicates
    done = command(home, "train", "--data", data, "--epochs", EPOCHS, "--architecture", "tiny7")
    assert done.returncode == 0, done.stderr
    (folder,) = (home / "candidates").iterdir()
    return Trained(home, data, folder, done)


def test_the_command_makes_a_version(trained: Trained) -> None:
    folder, done = trained.folder, trained.done
    found = manifest.read(folder)
    assert (found.architecture, found.parameters) == ("tiny7", 77_633)
    assert found.data["duplicates"] == 160
    assert found.novelty is not None, "there are enough X-rays to fit a check for unfamiliar pictures to"
    assert found.novelty.file in found.files
    assert "of the held-out X-rays as unfamiliar" in done.stderr
    assert found.data["command"] == f"pneumoscreen train --architecture tiny7 --data DIR --epochs {EPOCHS} --seed 1"
    assert f"pneumoscreen models publish {folder}" in done.stdout
    assert value(found.metrics["validation"]["auc"]) > 0.9
    (left,) = (trained.home / "training").iterdir()
    assert {path.name for path in left.iterdir()} == {"logs"}
    assert found.metrics["validation"]["images"] == 60, "enough are held out to measure on: no patient is crossed"
    assert "Figures on patients held out from this data" in done.stdout
    assert f"tensorboard --logdir {left / 'logs'}" in done.stderr
    told = "160 patients in 160 images: 160 images by names as in Kermany's set"
    assert told in done.stderr and "| patients told by |" in (folder / "card.md").read_text()


@pytest.mark.soak  # what is measured of one: tests/unit/test_pipeline.py
def test_the_command_makes_another_version_from_it(trained: Trained) -> None:
    home, data, folder = trained.home, trained.data, trained.folder
    assert command(home, "db", "upgrade").returncode == 0
    (home / "models" / folder.name).mkdir(parents=True)
    for file in folder.iterdir():
        (home / "models" / folder.name / file.name).write_bytes(file.read_bytes())
    database = connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    go_live(database, home / "models" / folder.name)
    database.close()
    options = ("--data", data, "--from", folder.name)
    again = command(home, "train", *options, "--epochs", 2, "--original", data / "train")
    assert again.returncode == 0, again.stderr
    (tuned,) = [path for path in (home / "candidates").iterdir() if path != folder]
    assert manifest.read(tuned).architecture == "tiny7"
    assert f"--from {folder.name}" in manifest.read(tuned).data["command"]
    measured = manifest.read(tuned).metrics
    assert measured["before adaptation"] == measured["original data, before adaptation"], "both are the same data here"
    assert value(measured["original data, after adaptation"]["auc"]) > 0.9
    assert "| the original held-out patients | recall |" in (tuned / "card.md").read_text()
    assert command(home, "train", *options, "--architecture", "rgb224").returncode == 2


def value(figure: Any) -> float:
    """Of a figure with or without its interval."""
    return float(figure["value"] if isinstance(figure, dict) else figure)


def test_too_few_patients_are_refused_with_a_sentence(tmp_path: Path) -> None:
    done = command(tmp_path / "home", "train", "--data", specimens(tmp_path / "data", 3), "--architecture", "tiny7")
    assert done.returncode == 1
    assert "patients" in done.stderr
