"""What happens to files that people drop, in the running system."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests import dicom
from tests.system import System, distinct, drop, specimens


def _number() -> int:
    return time.monotonic_ns() % 10**12


def _new(system: System, path: str) -> Path:
    """Drop a picture that nobody has dropped before."""
    target = system.inbox / path
    target.parent.mkdir(parents=True, exist_ok=True)
    distinct(specimens()[0], target, _number())
    return target


def test_a_dropped_image_becomes_a_row_with_label_and_probability(system: System) -> None:
    _new(system, "one.jpeg")
    row = system.row("one.jpeg")
    assert row["state"] == "done"
    assert row["label"] in ("NORMAL", "PNEUMONIA")
    assert 0 <= row["probability"] <= 1
    assert row["root"] == "inbox"


def test_images_in_new_folders_are_found_however_deep(system: System) -> None:
    _new(system, "ward/7/monday/two.jpeg")
    assert system.row("ward/7/monday/two.jpeg")["state"] == "done"


def test_a_folder_moved_in_with_images_inside_is_screened(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "delivery"
    (folder / "inner").mkdir(parents=True)
    for number in range(5):
        distinct(specimens()[1], folder / "inner" / f"{number}.jpeg", _number())
    shutil.move(folder, system.inbox / "delivery")
    for number in range(5):
        assert system.row(f"delivery/inner/{number}.jpeg")["state"] == "done"


def test_a_hard_link_and_a_file_moved_in_are_screened(system: System, tmp_path: Path) -> None:
    distinct(specimens()[2], system.home / "linked", _number())
    os.link(system.home / "linked", system.inbox / "linked.jpeg")
    distinct(specimens()[2], system.home / "moved", _number())
    (system.home / "moved").rename(system.inbox / "moved.jpeg")
    assert system.row("linked.jpeg")["state"] == "done"
    assert system.row("moved.jpeg")["state"] == "done"


def test_what_an_export_puts_beside_its_images_makes_no_row(system: System, tmp_path: Path) -> None:
    """Neither when the folder they lie in is swept, nor when events tell of them."""
    names = ("report.pdf", "DICOMDIR", "meta.xml", "Thumbs.db", "@eaDir/thumbnail.jpeg")
    for name in names:
        file = tmp_path / "export" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("no image")
    distinct(specimens()[1], tmp_path / "export" / "first.jpeg", _number())
    shutil.move(tmp_path / "export", system.inbox / "export")
    assert system.row("export/first.jpeg")["state"] == "done"
    for name in names:
        (system.inbox / "export" / name).write_text("no image, written again")
    _new(system, "export/last.jpeg")
    assert system.row("export/last.jpeg")["state"] == "done"
    rows = system.query("SELECT path FROM results WHERE path LIKE 'export/%' ORDER BY path")
    assert rows == [("export/first.jpeg",), ("export/last.jpeg",)]


def test_a_temporary_name_is_left_alone_until_it_is_renamed(system: System) -> None:
    _new(system, "arriving.jpeg.part")
    _new(system, "after.jpeg")
    system.row("after.jpeg")
    assert system.query("SELECT path FROM sightings WHERE path LIKE 'arriving%'") == []
    (system.inbox / "arriving.jpeg.part").rename(system.inbox / "arriving.jpeg")
    assert system.row("arriving.jpeg")["state"] == "done"


def test_a_file_written_slowly_is_screened_once_it_is_complete(system: System) -> None:
    data = specimens()[3].read_bytes() + b"slow"
    with (system.inbox / "slow.jpeg").open("wb") as file:
        for start in range(0, len(data), len(data) // 5):
            file.write(data[start : start + len(data) // 5])
            file.flush()
            time.sleep(0.2)
    row = system.row("slow.jpeg")
    assert row["state"] == "done", row["reason"]


def test_an_unreadable_file_is_quarantined_with_a_reason_and_its_neighbours_are_screened(system: System) -> None:
    box = system.inbox / "mixed"
    box.mkdir()
    for number in range(6):
        distinct(specimens()[number], box / f"good-{number}.jpeg", _number())
    (box / "text.jpeg").write_text("this is no picture")
    damaged = bytearray(specimens()[0].read_bytes())
    damaged[2:40] = bytes(38)
    (box / "damaged.jpeg").write_bytes(damaged)
    cut = box / "cut.jpeg"
    cut.write_bytes(specimens()[4].read_bytes()[:20_000])
    an_hour_ago = time.time() - 3600
    os.utime(cut, (an_hour_ago, an_hour_ago))  # so that nobody hopes that the rest is still to come
    for number in range(6):
        assert system.row(f"mixed/good-{number}.jpeg")["state"] == "done"
    text, broken, half = (system.row(f"mixed/{name}.jpeg") for name in ("text", "damaged", "cut"))
    assert text["state"] == broken["state"] == half["state"] == "quarantined"
    assert "not an image" in text["reason"]
    assert "cut off" in half["reason"]


def test_png_in_8_and_16_bits_grey_and_colour_is_screened(system: System) -> None:
    grey = Image.open(specimens()[0]).convert("L").resize((300, 260))
    grey.save(system.inbox / "eight.png")
    grey.convert("RGB").save(system.inbox / "colour.png")
    grey.convert("I").point(lambda value: value * 16).convert("I;16").save(system.inbox / "sixteen.png")
    probabilities = [system.row(f"{name}.png")["probability"] for name in ("eight", "colour", "sixteen")]
    assert max(probabilities) - min(probabilities) < 0.05


def test_the_same_bytes_under_two_names_are_stored_once_and_reported_under_both(system: System) -> None:
    first = _new(system, "twin-a.jpeg")
    drop(first, system.inbox / "twin-b.jpeg")
    a, b = system.row("twin-a.jpeg"), system.row("twin-b.jpeg")
    assert a["sha256"] == b["sha256"]
    assert a["probability"] == b["probability"]
    assert system.query("SELECT count(*) FROM predictions WHERE sha256 = ?", a["sha256"]) == [(1,)]


def test_a_file_replaced_under_its_name_is_screened_again_and_the_old_result_kept(system: System) -> None:
    _new(system, "replaced.jpeg")
    before = system.row("replaced.jpeg")
    distinct(specimens()[5], system.inbox / "replaced.jpeg", _number())
    now = "SELECT sha256 FROM results WHERE path = 'replaced.jpeg' AND state = 'done' AND sha256 <> ?"
    system.wait(lambda: system.query(now, before["sha256"]), "the new content's result")
    history = system.query("SELECT sha256 FROM results_history WHERE path = 'replaced.jpeg' AND state = 'done'")
    assert (before["sha256"],) in history
    assert len(history) == 2


def test_names_of_every_kind_are_screened(system: System) -> None:
    names = ["with space.jpeg", "quo'te\".jpeg", "new\nline.jpeg", "röntgen-肺-🫁.jpeg", "x" * 250 + ".jpeg"]
    for name in names:
        _new(system, name)
    broken = os.fsencode(str(system.inbox)) + b"/inv\xffalid.jpeg"
    shutil.copyfile(_new(system, "valid.jpeg"), broken)
    for name in [*names, "inv\\xffalid.jpeg"]:
        assert system.row(name)["state"] == "done", name


def test_a_result_never_names_a_version_that_was_not_live(system: System) -> None:
    _new(system, "version.jpeg")
    system.row("version.jpeg")
    assert system.query("SELECT DISTINCT model_version FROM results WHERE state = 'done'") == [("linear-1",)]


def test_each_kind_of_bad_input_ends_in_one_row_with_a_reason_and_is_not_tried_again(
    system: System, tmp_path: Path
) -> None:
    box = tmp_path / "bad"
    box.mkdir()
    picture = Image.open(specimens()[0]).convert("L").resize((300, 260))
    pixels = np.asarray(picture)
    (box / "empty.jpeg").touch()
    (box / "text.jpg").write_text("this is no picture")
    (box / "half.jpeg").write_bytes(specimens()[0].read_bytes()[:30_000])
    Image.new("1", (12_000, 9_000)).save(box / "huge.tiff", compression="group4")
    picture.save(box / "animated.png", save_all=True, append_images=[picture.rotate(90)])
    picture.save(box / "pages.tiff", save_all=True, append_images=[picture.rotate(90)])
    (box / "syntax.dcm").write_bytes(dicom.encapsulated(dicom.make(pixels), b"\0" * 99, "1.2.840.10008.1.2.4.100"))
    (box / "lateral.dcm").write_bytes(dicom.written(dicom.make(pixels, ViewPosition="LL")))
    (box / "ct.dcm").write_bytes(dicom.written(dicom.make(pixels, Modality="CT")))
    (box / "frames.dcm").write_bytes(dicom.written(dicom.make(pixels, NumberOfFrames=2)))
    (tmp_path / "outside.jpeg").write_bytes(specimens()[1].read_bytes())
    (box / "link.jpeg").symlink_to(tmp_path / "outside.jpeg")
    for number in range(5):
        distinct(specimens()[number], box / f"good-{number}.jpeg", _number())
    (box / "good.dcm").write_bytes(dicom.written(dicom.make(pixels)))
    os.mkfifo(box / "pipe.jpeg")
    an_hour_ago = time.time() - 3600
    for file in box.glob("*.*"):
        if file.name != "pipe.jpeg":
            os.utime(file, (an_hour_ago, an_hour_ago))  # so that nobody hopes that the rest is still to come
    shutil.move(box, system.inbox / "bad")

    reasons = {
        "empty.jpeg": "empty",
        "text.jpg": "not an image",
        "half.jpeg": "cut off",
        "huge.tiff": "max_pixels",
        "animated.png": "animated",
        "pages.tiff": "several pages",
        "syntax.dcm": "transfer syntax MPEG2",
        "lateral.dcm": "view is LL",
        "ct.dcm": "modality is CT",
        "frames.dcm": "2 frames",
        "link.jpeg": "leads out of its folder",
    }
    for name, reason in reasons.items():
        row = system.row(f"bad/{name}")
        assert (row["state"], reason in (row["reason"] or "")) == ("quarantined", True), (name, row["reason"])
    good = [*(f"good-{number}.jpeg" for number in range(5)), "good.dcm"]
    for name in good:
        assert system.row(f"bad/{name}")["state"] == "done", name
    tries = """
        SELECT path, attempt FROM jobs JOIN sightings ON sightings.id = sighting_id WHERE path LIKE 'bad/%'
    """
    assert sorted(system.query(tries)) == sorted((f"bad/{name}", 1) for name in [*reasons, *good])


def test_dicom_tiff_and_cmyk_files_are_screened_like_the_jpeg_that_they_were_made_from(system: System) -> None:
    grey = Image.open(specimens()[0]).convert("L").resize((300, 260))
    grey.save(system.inbox / "same.png")
    grey.save(system.inbox / "same.tiff")
    grey.convert("CMYK").save(system.inbox / "same.jpeg", quality=100)
    (system.inbox / "same.dcm").write_bytes(dicom.written(dicom.make(np.asarray(grey))))
    inverted = dicom.make(255 - np.asarray(grey), PhotometricInterpretation="MONOCHROME1")
    (system.inbox / "inverted.dcm").write_bytes(dicom.written(inverted))
    names = ("same.png", "same.tiff", "same.jpeg", "same.dcm", "inverted.dcm")
    probabilities = [system.row(name)["probability"] for name in names]
    assert max(probabilities) - min(probabilities) < 0.05
    query = "SELECT accession_number, length(patient_key), outside_population FROM results WHERE path = 'same.dcm'"
    ((accession_number, length, outside),) = system.query(query)
    assert (accession_number, length, bool(outside)) == ("A-2026-0042", 64, False)
