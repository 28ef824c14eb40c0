import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.database import ModelVersion, connect
from shared.models import manifest
from shared.models.manifest import Novelty
from shared.models.novelty import SIZE
from shared.statistics.metrics import NAMES
from tests.models import give_check, go_live, make_linear_version
from trainer import datasets, listing

SAMPLES = Path(__file__).parents[2] / "samples"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run_command: Run) -> Run:
    return lambda *arguments: run_command("models", "evaluate", *arguments)


@pytest.fixture
def home(tmp_path: Path, migrated_file: Path) -> Path:
    """A home whose live version is v2, v1 being published too."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(migrated_file, home / "pneumoscreen.db")
    database = connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    for number in (1, 2):
        go_live(database, make_linear_version(home / "models", f"v{number}", seed=number))
    database.close()
    return home


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Six specimens of each class."""
    folder = tmp_path / "labelled"
    for name in ("NORMAL", "PNEUMONIA"):
        (folder / name).mkdir(parents=True)
        for path in sorted(SAMPLES.glob(f"{name.lower()}-*.jpeg"))[:6]:
            shutil.copy(path, folder / name)
    return folder


def test_the_live_version_is_examined_and_json_stands_alone_on_the_output(
    run: Run, home: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    code, out, _ = run("--home", home, "--data", labelled, "--format", "json")
    assert code == 0
    found = json.loads(out)
    assert tuple(found)[: len(NAMES)] == NAMES
    for name in NAMES:
        assert set(found[name]) == {"value", "low", "high"}
        assert 0 <= found[name]["low"] <= found[name]["value"] <= found[name]["high"] <= 1
    assert (found["version"], found["threshold"], found["images"], found["unreadable"]) == ("v2", 0.5, 12, 0)
    assert sum(found["confusion"].values()) == 12
    assert found["unfamiliar_share"] is None, "the version has no check"


@pytest.mark.parametrize(("limit", "share"), [(1e-9, 1.0), (1e9, 0.0)])
def test_a_version_that_has_a_check_tells_the_share_of_images_that_are_unfamiliar_to_it(
    run: Run, home: Path, labelled: Path, limit: float, share: float
) -> None:
    parameters = BytesIO()
    np.savez(parameters, centre=np.zeros(SIZE, np.float32), whitening=np.eye(SIZE, dtype=np.float32))
    check = Novelty(source="a test", file="novelty.npz", limit=limit, flagged=0.0, caught={})
    checked = make_linear_version(home / "models", "v3")
    give_check(checked, check, parameters.getvalue())
    database = connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    go_live(database, checked)
    database.close()
    shutil.copy(labelled / "NORMAL" / "normal-02.jpeg", labelled / "PNEUMONIA" / "moved.jpeg")
    found = json.loads(run("--home", home, "--data", labelled, "--format", "json")[1])
    assert (found["version"], found["images"], found["unfamiliar_share"]) == ("v3", 11, share)
    assert f"calls {share:.1%} of the images unfamiliar" in run("--home", home, "--data", labelled)[1]


def test_images_that_the_version_was_made_of_are_told_from_others(run: Run, home: Path, labelled: Path) -> None:
    everything = listing.read(labelled).files
    digests = [hashlib.sha256(file.path.read_bytes()).hexdigest() for file in everything]
    found = manifest.read(home / "models" / "v2")
    data = {"fingerprint": datasets.fingerprint(digests, [file.label for file in everything])}
    digest = manifest.write(home / "models" / "v2", found.model_copy(update={"data": data}))
    with connect(f"sqlite:///{home / 'pneumoscreen.db'}").write() as session:
        session.get_one(ModelVersion, "v2").manifest_sha256 = digest
    assert "These are the images that it was made from" in run("--home", home, "--data", labelled)[1]
    next((labelled / "NORMAL").iterdir()).unlink()
    assert "made from" not in run("--home", home, "--data", labelled)[1]


def test_the_figures_are_those_of_the_versions_own_answers(run: Run, home: Path, labelled: Path) -> None:
    _, out, _ = run("v1", "--home", home, "--data", labelled, "--format", "json")
    found = json.loads(out)
    weights = np.random.default_rng(1).normal(0.0, 0.1, 32 * 32 + 1)
    right = 0
    for number, name in enumerate(("NORMAL", "PNEUMONIA")):
        for path in (labelled / name).iterdir():
            image = Image.open(path)
            image.draft("L", (32, 32))
            pixels = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BILINEAR)).ravel() / 255
            right += (pixels @ weights[:-1] + weights[-1] >= 0) == number
    assert found["version"] == "v1"
    assert found["accuracy"]["value"] == pytest.approx(right / 12)


def test_batches_of_any_size_give_the_same_figures(
    run: Run, home: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for size in (1, 5, 12, 32):
        monkeypatch.setenv("PNEUMOSCREEN_BATCH_SIZE", str(size))
        found.append(json.loads(run("--home", home, "--data", labelled, "--format", "json")[1]))
    for name in NAMES:
        for other in found[1:]:
            assert other[name] == pytest.approx(found[0][name]), "sums are rounded differently, and no more than that"
    assert len({json.dumps(one["confusion"]) for one in found}) == 1


def test_the_parts_of_a_data_set_are_pooled(run: Run, home: Path, labelled: Path, tmp_path: Path) -> None:
    whole = json.loads(run("--home", home, "--data", labelled, "--format", "json")[1])
    for name in ("NORMAL", "PNEUMONIA"):
        for number, path in enumerate(sorted((labelled / name).iterdir())):
            target = tmp_path / "parts" / ("train", "val", "test")[number % 3] / name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    parts = json.loads(run("--home", home, "--data", tmp_path / "parts", "--format", "json")[1])
    assert (parts["images"], parts["confusion"]) == (12, whole["confusion"])
    assert parts["auc"] == pytest.approx(whole["auc"])


def test_a_table_is_for_people(run: Run, home: Path, labelled: Path) -> None:
    code, out, _ = run("--home", home, "--data", labelled)
    assert code == 0
    assert all(name in out for name in (*NAMES, "called PNEUMONIA", "v2", "12 images"))
    assert "has no novelty check" in out


def test_an_unreadable_file_is_listed_and_the_others_count(run: Run, home: Path, labelled: Path) -> None:
    (labelled / "NORMAL" / "notes.jpeg").write_bytes(b"no picture")
    code, out, errors = run("--home", home, "--data", labelled, "--format", "json")
    found = json.loads(out)
    assert (code, found["images"], found["unreadable"]) == (0, 12, 1)
    assert re.search(r"unreadable: .*notes\.jpeg: the content is not an image", errors)


def test_the_same_content_counts_once_and_not_at_all_under_both_labels(run: Run, home: Path, labelled: Path) -> None:
    shutil.copy(labelled / "NORMAL" / "normal-01.jpeg", labelled / "NORMAL" / "again.jpeg")
    shutil.copy(labelled / "NORMAL" / "normal-02.jpeg", labelled / "PNEUMONIA" / "moved.jpeg")
    found = json.loads(run("--home", home, "--data", labelled, "--format", "json")[1])
    assert (found["images"], found["duplicates"]) == (11, 2)


def test_the_pictures_go_where_they_are_wanted(run: Run, home: Path, labelled: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "--home", home, "--data", labelled, "--format", "json", "--pictures", tmp_path / "new" / "pictures"
    )
    assert code == 0
    assert json.loads(out)["images"] == 12
    drawn = {path.name: path.read_bytes()[:4] for path in (tmp_path / "new" / "pictures").iterdir()}
    assert drawn == dict.fromkeys(("roc.png", "calibration.png", "confusion.png"), b"\x89PNG")


@pytest.mark.parametrize("missing", ["NORMAL", "PNEUMONIA"])
def test_a_folder_without_both_classes_is_wrong_usage(run: Run, home: Path, labelled: Path, missing: str) -> None:
    for path in (labelled / missing).iterdir():
        path.write_bytes(b"no picture")
    code, out, errors = run("--home", home, "--data", labelled, "--format", "json")
    assert (code, out) == (2, "")
    assert f"There is no readable image labelled {missing}" in errors
    for path in (labelled / missing).iterdir():
        path.unlink()
    code, out, errors = run("--home", home, "--data", labelled, "--format", "json")
    assert (code, out) == (2, "")
    assert missing in errors
    (labelled / missing).rmdir()
    assert run("--home", home, "--data", labelled)[0] == 2


def test_an_unknown_format_is_wrong_usage(run: Run, home: Path, labelled: Path) -> None:
    assert run("--home", home, "--data", labelled, "--format", "yaml")[0] == 2


def test_a_version_that_does_not_exist_is_an_error(run: Run, home: Path, labelled: Path, tmp_path: Path) -> None:
    for place in (home, tmp_path / "fresh"):
        code, out, errors = run("v9", "--home", place, "--data", labelled)
        assert (code, out) == (1, "")
        assert "There is no model version 'v9'" in errors


def test_a_fresh_home_has_the_version_that_comes_with_the_program_and_stays_fresh(
    run: Run, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = make_linear_version(tmp_path / "bundled", "first", seed=3)
    monkeypatch.setattr("shared.models.published.BUNDLED", bundled.parent)
    for arguments in ((), ("first",)):
        code, out, _ = run(*arguments, "--home", tmp_path / "fresh", "--data", labelled, "--format", "json")
        assert (code, json.loads(out)["version"]) == (0, "first")
    assert not (tmp_path / "fresh").exists()


def test_a_damaged_version_is_not_examined(run: Run, home: Path, labelled: Path) -> None:
    (home / "models" / "v2" / "weights.npy").write_bytes(b"damaged")
    code, out, errors = run("--home", home, "--data", labelled, "--format", "json")
    assert (code, out) == (1, "")
    assert "damaged" in errors
