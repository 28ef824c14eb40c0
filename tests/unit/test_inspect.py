import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from tests.dicom import NAME, PATIENT, make, written

Y, X = np.mgrid[0:200, 0:260]
PIXELS = ((np.sin(X / 40) + np.cos(Y / 30) + 2) * 1000).astype(np.uint16)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    file = tmp_path / "odd.dcm"
    file.write_bytes(written(make(PIXELS, WindowCenter=127, WindowWidth=1)))
    return file


def run(tmp_path: Path, *arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["inspect", *map(str, arguments), "--home", str(tmp_path / "home")])
    return done.exit_code, done.output


def test_a_file_tells_what_its_header_states_and_what_was_assumed_without_a_database(tmp_path: Path, odd: Path) -> None:
    code, output = run(tmp_path, odd)
    assert code == 0, output
    assert "MONOCHROME2" in output
    assert "the window 127/1 makes no sense on these pixels and is not used" in output
    assert not (tmp_path / "home").exists()


def test_nothing_of_the_patient_is_told(tmp_path: Path, odd: Path) -> None:
    for format in ("table", "json"):
        _, output = run(tmp_path, odd, "--format", format)
        assert PATIENT not in output
        assert NAME.split("^")[0] not in output


def test_the_picture_is_written_as_the_network_sees_it_and_as_decoded(tmp_path: Path, odd: Path) -> None:
    code, _ = run(tmp_path, odd, "--png", tmp_path / "seen.png")
    assert code == 0
    for name, size in (("seen.png", (128, 128)), ("seen-full.png", (260, 200))):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size


def test_json_stands_alone_on_the_output(tmp_path: Path, odd: Path) -> None:
    _, output = run(tmp_path, odd, "--format", "json")
    told = json.loads(output)
    assert told["format"] == "DICOM"
    assert told["stated"]["Rows"] == "200"
    assert told["reason"] is None


def test_a_file_that_would_be_quarantined_says_why_and_ends_with_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "side.dcm"
    file.write_bytes(written(make(PIXELS, ViewPosition="PA LATERAL")))
    code, output = run(tmp_path, file)
    assert code == 1
    assert "the view is PA LATERAL" in output
    (tmp_path / "text.jpg").write_text("no picture")
    code, output = run(tmp_path, tmp_path / "text.jpg")
    assert code == 1
    assert "not an image in a format that is read" in output
