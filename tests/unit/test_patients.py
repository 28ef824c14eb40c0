"""Whose image a file is, in the order of the rules, and on which side of the split its patient lies."""

import csv
import hashlib
import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import SecretStr
from rich.console import Console

from shared.base.errors import WrongSettings
from shared.imaging import Preprocessing
from shared.imaging.identifiers import patient_key
from tests.dicom import make, written
from trainer import datasets, description, listing
from trainer.listing import Site
from trainer.patients import Rule, attribute, identify_by_name, of_key, parse_pattern

DATA = Path(os.environ.get("XRAY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SMALL = Preprocessing(width=16, height=16)
QUIET = Console(quiet=True)
SECRET = SecretStr("a secret of some length")


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 80), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def radiograph(seed: int, patient: str | None) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 4096, (80, 64), dtype=np.uint16)
    return written(make(pixels, PatientID=patient))


def lay(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(root: Path, site: Site | None = None) -> datasets.Dataset:
    return datasets.read(root, SMALL, QUIET, site=site)


def whose(data: datasets.Dataset) -> dict[str, tuple[str, Rule]]:
    return dict(zip(data.names, zip(data.patients, data.rules, strict=True), strict=True))


def test_twelve_dicom_files_of_two_patients_are_two_patients_under_the_key_of_the_ledger(tmp_path: Path) -> None:
    files = {f"NORMAL/IM-{n:04d}.dcm": radiograph(n, "first") for n in range(6)}
    files |= {f"PNEUMONIA/IM-{n:04d}.dcm": radiograph(10 + n, "second") for n in range(6)}
    data = read(lay(tmp_path, files), Site(secret=SECRET))
    assert data.attribution().by_rule == {Rule.HEADER: (12, 2)}
    assert set(data.patients) == {of_key(patient_key(name, None, SECRET)) for name in ("first", "second")}
    assert "12 images by the DICOM header's patient id, hashed (2 patients)" in data.attribution().sentence()
    assert set(read(tmp_path).patients) != set(data.patients), "without a secret, under another key"
    assert len(set(read(tmp_path).patients)) == 2


def test_each_rule_decides_where_those_before_it_have_no_answer(tmp_path: Path) -> None:
    files = {f"a/00000013_00{n}.dcm": radiograph(n, "first" if n < 2 else None) for n in range(3)}
    files |= {"a/00000014_001.png": picture(1), "person5_1.png": picture(2), "else.png": picture(3)}
    rows = "path,label,patient\na/00000013_000.dcm,NORMAL,stated\na/00000013_001.dcm,NORMAL,\n"
    rows += "a/00000013_002.dcm,PNEUMONIA,\na/00000014_001.png,pneumonia,\nperson5_1.png,NORMAL,\nelse.png,NORMAL,\n"
    toml = '[patients]\npattern = "nih"\n'
    lay(tmp_path, files | {"labels.csv": rows.encode(), "dataset.toml": toml.encode()})
    data = read(tmp_path, Site(secret=SECRET))
    assert whose(data) == {
        "a/00000013_000.dcm": ("stated", Rule.STATED),
        "a/00000013_001.dcm": (of_key(patient_key("first", None, SECRET)), Rule.HEADER),
        "a/00000013_002.dcm": ("00000013", Rule.PATTERN),
        "a/00000014_001.png": ("00000014", Rule.PATTERN),
        "person5_1.png": ("person5", Rule.KNOWN),
        "else.png": ("else", Rule.NAME),
    }
    assert list(data.attribution().by_rule) == list(Rule)
    assert data.attribution().as_facts()["pattern"] == "nih"
    assert any("matches 1 of the names not at all" in doubt for doubt in data.attribution().doubts)


def test_names_that_look_like_those_of_a_known_set_are_no_rule_but_a_hint(tmp_path: Path) -> None:
    files = {f"NORMAL/0000001{n % 3}_00{n}.png": picture(n) for n in range(6)}
    files |= {f"PNEUMONIA/0000002{n % 3}_00{n}.png": picture(10 + n) for n in range(6)}
    data = read(lay(tmp_path, files))
    assert data.attribution().by_rule == {Rule.NAME: (12, 12)}
    (doubt,) = data.attribution().doubts
    assert 'pattern = "nih"' in doubt and "6 patients of these 12 images, which count as 12 now" in doubt
    (tmp_path / "dataset.toml").write_text('[patients]\npattern = "nih"\n')
    assert read(tmp_path).attribution().by_rule == {Rule.PATTERN: (12, 6)}
    assert read(tmp_path).attribution().doubts == ()


def test_other_names_that_begin_alike_are_hinted_at_too_and_so_is_a_patient_who_has_most_images() -> None:
    names = [f"smith-{n}.png" for n in range(10)] + [f"jones-{n}.png" for n in range(10)]
    (doubt,) = attribute(names, [name[:-4] for name in names], [Rule.NAME] * 20).doubts
    assert "2 beginnings for 20 images" in doubt
    assert attribute(["a.png", "b.png"], ["a", "b"], [Rule.NAME] * 2).doubts == ()
    (doubt,) = attribute([], ["ANON"] * 30 + ["x"], [Rule.HEADER] * 31).doubts
    assert doubt.startswith("One patient has 30 of 31 images")


def test_names_as_in_kermanys_set_are_taken_for_it_only_where_files_lie_in_no_folder_of_their_own() -> None:
    assert identify_by_name("NORMAL2-IM-0115-0001.jpeg").patient == "IM-0115"
    owners = {identify_by_name(f"{ward}/IM-0001.jpeg") for ward in ("smith", "jones")}
    assert {owner.patient for owner in owners} == {"smith/IM-0001", "jones/IM-0001"}
    assert {owner.rule for owner in owners} == {Rule.NAME}


@pytest.mark.parametrize(
    ("pattern", "name", "patient"),
    [
        ("kermany", "person12_virus_47.jpeg", "person12"),
        ("kermany", "NORMAL2-IM-0115-0001.jpeg", "IM-0115"),
        ("nih", "00000013_005.png", "00000013"),
        ("nih", "images/00000013_026.png", "00000013"),
        ("nih", "100000013_026.png", None),
        ("chexpert", "patient00001/study1/view1_frontal.jpg", "patient00001"),
        ("mimic", "files/p10/p10000032/s50414267/02aa804e.jpg", "p10000032"),
        ("folder", "smith/1.png", "smith"),
        ("folder", "1.png", None),
        (r"^([a-z]+)-\d+", "jones-3.png", "jones"),
        (r"^([a-z]*)\d+", "3.png", None),
    ],
)
def test_a_pattern_finds_the_patient_in_a_name(pattern: str, name: str, patient: str | None) -> None:
    assert parse_pattern(pattern, "dataset.toml").find(name) == patient


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[patients]\npattern = "(a"', "is no regular expression"),
        ('[patients]\npattern = "abc"', "has 0 groups"),
        ('[patients]\npattern = "(a)(b)"', "has 2 groups"),
        ("[patients]\npattern = 3", "must be a text"),
        ("[patients]\npattern = ''", "must be a text"),
        ('[patients]\npatern = "nih"', "has the one key pattern"),
        ("patients = 3", "has the one key pattern"),
        ('pattern = "nih"', r"move it into a table \[patients\]"),
        ('[population]\npattern = "nih"', r"stands in \[population\]"),
    ],
)
def test_a_pattern_that_makes_no_sense_or_stands_in_the_wrong_place_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(WrongSettings, match=complaint) as refused:
        description.describe(tmp_path)
    assert "dataset.toml" in str(refused.value)


def test_labels_csv_needs_no_folders_and_takes_what_excel_writes(tmp_path: Path) -> None:
    files = {"one/x.png": picture(1), "y.png": picture(2), "z.png": picture(3), "extra.png": picture(4)}
    rows = "\ufeffPath;Label;Patient;age\r\none\\x.png;normal;7;50\r\ny.png;PNEUMONIA;8;60\r\nz.png;UNCLEAR;;\r\n"
    data = read(lay(tmp_path, files | {"labels.csv": rows.encode()}))
    assert (data.patients, data.labels.tolist()) == (("7", "8"), [0, 1])
    assert {skipped.sentence() for skipped in data.skipped} == {
        "passed over: 1 not in labels.csv: extra.png",
        "passed over: 1 labelled UNCLEAR or NOT_READABLE: z.png",
    }


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("x.png,ILL,1", "line 3: the label 'ILL' is neither NORMAL nor PNEUMONIA"),
        ("x.png,,1", "line 3: the label ''"),
        (",NORMAL,1", "line 3: it names no file"),
        ("../x.png,NORMAL,1", "line 3: the path '../x.png' leads out of the folder"),
        ("/etc/passwd,NORMAL,1", "line 3: the path '/etc/passwd' leads out of the folder"),
        ("a/../../x.png,NORMAL,1", "line 3: .* leads out of the folder"),
        ("out/x.png,NORMAL,1", "line 3: .* leads out of the folder"),
        ("y.png,NORMAL,1", "line 3: 'y.png' stands in line 2 too"),
        ('"x.png,NORMAL,1', "is no CSV file from line"),
    ],
)
def test_a_row_that_makes_no_sense_is_named_by_its_line(tmp_path: Path, row: str, complaint: str) -> None:
    outside = tmp_path / "outside"
    lay(tmp_path, {"data/y.png": picture(1), "data/x.png": picture(2), "outside/x.png": picture(3)})
    (tmp_path / "data" / "out").symlink_to(outside)
    (tmp_path / "data" / "labels.csv").write_text(f"path,label,patient\ny.png,PNEUMONIA,1\n{row}\n")
    with pytest.raises(WrongSettings, match=complaint):
        read(tmp_path / "data")


def test_many_wrong_rows_are_counted_and_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n" + "x.png,ILL\n" * 9)
    with pytest.raises(WrongSettings, match=r"line 2: .*line 6: .*and 4 more lines"):
        read(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\nx.png,NORMAL\n")
    with pytest.raises(WrongSettings, match="path is missing in 'file,label'"):
        read(tmp_path)


def test_a_file_that_a_row_names_and_that_is_not_there_is_left_out_by_name(tmp_path: Path) -> None:
    lay(tmp_path, {"x.png": picture(1), "y.png": picture(2)})
    (tmp_path / "labels.csv").write_text("path,label\nx.png,NORMAL\ny.png,PNEUMONIA\ngone.png,NORMAL\n")
    assert [one.path.name for one in read(tmp_path).unreadable] == ["gone.png"]


def test_folders_are_read_with_all_in_them_and_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    names = ["NORMAL/2026/may/a.png", "NORMAL/b.png", "PNEUMONIA/x/c.png", "UNSURE/d.png", "notes.txt", ".DS_Store"]
    names += ["NORMAL/.hidden/e.png", "PNEUMONIA/x/report.pdf", "PNEUMONIA/f.png.part"]
    lay(tmp_path / "data", {name: picture(number) for number, name in enumerate(names)})
    lay(tmp_path / "far", {"g.png": picture(20), "folder/h.png": picture(21)})
    for name, target in (("g.png", "g.png"), ("linked", "folder"), ("lost.png", "nowhere")):
        (tmp_path / "data" / "NORMAL" / name).symlink_to(tmp_path / "far" / target)
    found = listing.read(tmp_path / "data")
    assert [file.name for file in found.files] == ["2026/may/a.png", "b.png", "g.png", "x/c.png"]
    assert {skipped.reason: (skipped.count, skipped.examples) for skipped in found.skipped} == {
        listing.UNKNOWN_FOLDER: (2, ("UNSURE/d.png", "notes.txt")),
        listing.HIDDEN: (2, ("NORMAL/.hidden", "PNEUMONIA/f.png.part")),
        listing.LINKED_FOLDER: (1, ("NORMAL/linked",)),
        listing.BROKEN_LINK: (1, ("NORMAL/lost.png",)),
        listing.NO_IMAGE: (1, ("PNEUMONIA/x/report.pdf",)),
    }
    assert not any("report" in skipped.sentence(tells_names=False) for skipped in found.skipped)


def test_a_folder_of_one_class_in_that_of_the_other_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"NORMAL/PNEUMONIA/a.png": picture(1), "PNEUMONIA/b.png": picture(2)})
    with pytest.raises(WrongSettings, match="holds a folder PNEUMONIA"):
        listing.read(tmp_path)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")  # no file is called so
)


@given(NAMES, st.integers(0, 5))
def test_the_same_patient_is_on_the_same_side_whatever_kermanys_names_stand_around_the_key(
    around: str, number: int
) -> None:
    """Today's rule, written down a second time: a change of it moves patients into the training."""
    for key in (f"person{number}", f"IM-{number:04d}"):
        if (around[-1].isascii() and around[-1].isalnum()) or "person" in around or "IM-" in around:
            continue
        for name in (f"{key}_virus_3.jpeg", f"{around}{key}-0001.jpeg", f"{key}.png"):
            assert identify_by_name(name).patient == key
            assert parse_pattern("kermany", "").find(name) == key


@given(st.lists(NAMES, min_size=1, max_size=30, unique=True), st.randoms(use_true_random=False))
def test_a_patients_side_depends_on_nobody_else_and_on_no_order(others: list[str], chance: random.Random) -> None:
    patient = others[0]
    side = datasets.is_held_out(patient)
    digest = hashlib.sha256(f"pneumoscreen-1:{patient}".encode()).digest()
    assert side == (int.from_bytes(digest[:8], "big") / 2**64 < 0.15)
    chance.shuffle(others)
    count = len(others)
    data = datasets.Dataset(
        np.zeros((count, 1, 1, 1), np.uint8),
        np.array([chance.randrange(2) for _ in others], np.uint8),
        tuple(map(Path, others)),
        tuple(others),
        tuple("0" * 64 for _ in others),
    )
    assert data.held_out()[others.index(patient)] == side
    training = datasets.select(data, ~data.held_out())
    assert not any(datasets.is_held_out(one) for one in training.patients)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["NORMAL", "PNEUMONIA"])), unique_by=lambda row: row[0], max_size=8))
def test_moving_images_from_folders_into_a_table_moves_no_patient(rows: list[tuple[str, str]]) -> None:
    for name, label in rows:
        for path in (f"{label}/{name}", f"train/{label}/{name}", name):
            within = listing._within(path)
            assert identify_by_name(within) == identify_by_name(name) or name in (*listing.PARTS, *listing.CLASSES)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "kermany" / "train").exists(), reason="needs XRAY_TEST_DATA")
def test_kermanys_patients_are_on_the_sides_on_which_the_bundled_version_found_them() -> None:
    from shared.models import manifest, registry

    data = read(DATA / "kermany" / "train")
    recorded = manifest.read(registry.bundled()).data
    held_out = data.held_out()
    assert data.fingerprint() == recorded["fingerprint"]
    assert datasets.select(data, ~held_out).summary() == recorded["train"]
    assert datasets.select(data, held_out).summary() == recorded["validation"]


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "site-b" / "labels.csv").exists(), reason="needs XRAY_TEST_DATA")
def test_site_b_says_itself_whose_its_images_are() -> None:
    data = read(DATA / "site-b")
    with (DATA / "site-b" / "labels.csv").open(newline="") as file:
        patients = {row["patient"] for row in csv.DictReader(file)}
    assert data.attribution().by_rule == {Rule.STATED: (99, len(patients))}
    assert len({parse_pattern("nih", "").find(name) for name in data.names}) == len(patients)
