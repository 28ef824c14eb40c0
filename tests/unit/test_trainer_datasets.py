import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from shared.base.errors import WrongSettings
from shared.imaging import Limits, Preprocessing, prepare
from trainer import datasets, listing
from trainer.patients import identify_by_name

SMALL = Preprocessing(width=16, height=16)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 80), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def folder_with(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def read(root: Path) -> datasets.Dataset:
    return datasets.read(root, SMALL, Console(quiet=True))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("person12_bacteria_46.jpeg", "person12"),
        ("person12_virus_47.jpeg", "person12"),
        ("person1203_virus_2_1.jpeg", "person1203"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0115-0001-0002.jpeg", "IM-0115"),
        ("NORMAL2-IM-0115-0001.jpeg", "IM-0115"),
        ("somebody-else.png", "somebody-else"),
    ],
)
def test_a_file_name_says_whose_image_it_is(name: str, key: str) -> None:
    assert identify_by_name(name).patient == key


def test_a_patient_is_never_on_both_sides(tmp_path: Path) -> None:
    names = [f"NORMAL/IM-{n:04d}-0001.png" for n in range(40)] + [
        f"NORMAL/NORMAL2-IM-{n:04d}-0002.png" for n in range(40)
    ]
    names += [f"PNEUMONIA/person{n}_{kind}_{n}.png" for n in range(40) for kind in ("virus", "bacteria")]
    data = read(folder_with(tmp_path, {name: picture(seed) for seed, name in enumerate(names)}))
    held_out = data.held_out()
    train, validation = datasets.select(data, ~held_out), datasets.select(data, held_out)
    assert len(data) == 160
    assert len(train) + len(validation) == 160
    assert train.patients
    assert validation.patients
    assert not set(train.patients) & set(validation.patients)


def test_about_the_share_asked_for_is_held_out() -> None:
    sides = [datasets.is_held_out(f"person{number}") for number in range(4000)]
    assert 0.13 < sum(sides) / len(sides) < 0.17


def test_the_side_of_a_patient_never_changes() -> None:
    held_out = [name for name in (f"person{number}" for number in range(30)) if datasets.is_held_out(name)]
    assert held_out == ["person4", "person13", "person26"]


def test_the_same_content_under_two_names_counts_once(tmp_path: Path) -> None:
    files = {"NORMAL/IM-0001-0001.png": picture(1), "PNEUMONIA/person1_virus_1.png": picture(2)}
    files |= {"PNEUMONIA/person2_virus_2.png": picture(2), "PNEUMONIA/person3_virus_3.png": picture(3)}
    data = read(folder_with(tmp_path, files))
    assert data.patients == ("IM-0001", "person1", "person3")
    assert [(one.path.name, one.reason) for one in data.duplicates] == [
        ("person2_virus_2.png", "the same content as person1_virus_1.png")
    ]


def test_content_that_stands_under_both_labels_counts_for_neither(tmp_path: Path) -> None:
    files = {"NORMAL/IM-0001-0001.png": picture(1), "PNEUMONIA/person1_virus_1.png": picture(1)}
    files |= {"NORMAL/IM-0002-0001.png": picture(2), "PNEUMONIA/person2_virus_2.png": picture(3)}
    data = read(folder_with(tmp_path, files))
    assert data.patients == ("IM-0002", "person2")
    assert {one.path.name for one in data.duplicates} == {"IM-0001-0001.png", "person1_virus_1.png"}


def test_an_unreadable_file_is_listed_and_the_others_are_read(tmp_path: Path) -> None:
    files = {"NORMAL/IM-0001-0001.png": picture(1), "PNEUMONIA/person1_virus_1.png": picture(2)}
    files |= {"NORMAL/notes.txt": b"not an image", "PNEUMONIA/person2_virus_2.png": picture(3)[:200]}
    data = read(folder_with(tmp_path, files | {"NORMAL/.hidden": b""}))
    assert data.patients == ("IM-0001", "person1")
    assert [one.path.name for one in data.unreadable] == ["person2_virus_2.png"]
    assert all(one.reason for one in data.unreadable)
    assert {one.sentence() for one in data.skipped} == {
        "passed over: 1 hidden or temporary: NORMAL/.hidden",
        "passed over: 1 no images by their names: NORMAL/notes.txt",
    }


def test_rows_keep_pixels_labels_and_patients_together(tmp_path: Path) -> None:
    files = {"NORMAL/IM-0001-0001.png": b"broken", "NORMAL/IM-0002-0001.png": picture(1)}
    data = read(folder_with(tmp_path, files | {"PNEUMONIA/person1_virus_1.png": picture(2)}))
    alone = prepare(picture(2), SMALL, Limits())
    assert data.pixels.shape == (2, 16, 16, 1)
    assert data.labels.tolist() == [0, 1]
    assert np.array_equal(data.pixels[1], alone)


def test_the_fingerprint_follows_contents_and_labels_but_not_names(tmp_path: Path) -> None:
    first = read(folder_with(tmp_path / "a", {"NORMAL/a.png": picture(1), "PNEUMONIA/b.png": picture(2)}))
    renamed = read(folder_with(tmp_path / "b", {"NORMAL/y.png": picture(1), "PNEUMONIA/x.png": picture(2)}))
    swapped = read(folder_with(tmp_path / "c", {"NORMAL/a.png": picture(2), "PNEUMONIA/b.png": picture(1)}))
    assert first.fingerprint() == renamed.fingerprint()
    assert first.fingerprint() != swapped.fingerprint()


def test_a_folder_without_one_of_the_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="PNEUMONIA"):
        read(folder_with(tmp_path, {"NORMAL/a.png": picture(1)}))
    with pytest.raises(WrongSettings, match="no readable image labelled PNEUMONIA"):
        read(folder_with(tmp_path, {"PNEUMONIA/b.png": b"broken"}))


def test_importing_the_trainer_imports_no_tensorflow() -> None:
    modules = "architectures, augmentation, calibration, datasets, fit, packaging, pipeline, recipes, run, tracking"
    heavy = {"keras", "sklearn", "tensorflow"}
    look = f"import sys; from trainer import {modules}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_the_parts_of_a_collection_are_pooled_and_duplicates_across_them_count_once(tmp_path: Path) -> None:
    files = {"train/NORMAL/IM-0001-0001.png": picture(1), "train/PNEUMONIA/person1_virus_1.png": picture(2)}
    files |= {"test/NORMAL/IM-0002-0001.png": picture(3), "test/PNEUMONIA/person9_virus_9.png": picture(2)}
    files |= {"val/PNEUMONIA/person3_virus_3.png": picture(4)}
    data = read(folder_with(tmp_path, files))
    assert data.summary() == {"images": 4, "NORMAL": 2, "PNEUMONIA": 2, "patients": 4}
    assert len(data.duplicates) == 1
    assert {path.parent.parent.name for path in data.paths} == {"train", "val", "test"}


def test_pooled_or_not_the_fingerprint_is_the_same(tmp_path: Path) -> None:
    pooled = read(folder_with(tmp_path / "a", {"train/NORMAL/a.png": picture(1), "val/PNEUMONIA/b.png": picture(2)}))
    plain = read(folder_with(tmp_path / "b", {"NORMAL/a.png": picture(1), "PNEUMONIA/b.png": picture(2)}))
    assert pooled.fingerprint() == plain.fingerprint()


def test_a_file_that_vanishes_after_it_was_listed_is_listed_as_left_out(tmp_path: Path) -> None:
    folder_with(tmp_path, {"NORMAL/a.png": picture(1), "PNEUMONIA/b.png": picture(2), "PNEUMONIA/c.png": picture(3)})
    listed = listing.read(tmp_path)
    (tmp_path / "PNEUMONIA" / "b.png").unlink()
    data = datasets.read_files(listed, SMALL, Console(quiet=True))
    assert data.patients == ("a", "c")
    assert [one.path.name for one in data.unreadable] == ["b.png"]


def test_many_pixels_lie_in_a_file_that_no_name_is_left_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"NORMAL/n{seed}.png": picture(seed) for seed in range(5)}
    files |= {f"PNEUMONIA/p{seed}.png": picture(seed) for seed in range(5, 9)}
    files |= {"NORMAL/a-copy.png": picture(0), "NORMAL/broken.png": b""}
    root = folder_with(tmp_path / "data", files)
    inside = read(root)
    monkeypatch.setattr(datasets, "IN_MEMORY", 1000)
    outside = datasets.read(root, SMALL, Console(quiet=True), work=tmp_path / "work")
    assert isinstance(outside.pixels, np.memmap) and not isinstance(inside.pixels, np.memmap)
    assert np.array_equal(inside.pixels, outside.pixels)
    half = datasets.select(outside, outside.labels == 1)
    assert np.array_equal(half.pixels, inside.pixels[inside.labels == 1])
    assert list((tmp_path / "work").iterdir()) == []
