"""Reports, captures and messages: what they state, whose they are, and whether the tools of the field read them."""

import hashlib
import hmac
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from shared.base.destination_settings import Event
from shared.base.errors import Rejected
from shared.imaging import Limits
from shared.ledger.result_facts import ResultFacts
from shared.models import evidence as maps
from shared.models.evidence import Map
from shared.reports import capture as capturing
from shared.reports.capture import build_capture
from shared.reports.identity import read_original
from shared.reports.message import Happening, build_body, build_mail, describe, sign
from shared.reports.structured_report import SCHEME, build_report, series_of
from tests.dicom import NAME, PATIENT, drop, make, written
from tests.orthanc import need

AT = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
FACTS = ResultFacts(
    source="ward",
    lane="stat",
    study_uid="1.2.3",
    sop_instance_uid="1.2.3.4",
    accession_number="A-1",
    model_version="screen-1",
    probability=0.934567,
    threshold=0.5,
    label="PNEUMONIA",
    unfamiliar=None,
    outside_population=None,
    operating_point=None,
    is_provisional=None,
    screened_at="2026-05-04T12:00:00+00:00",
)
PROVISIONAL = {"operating_point": 3, "is_provisional": True}
MAP = np.linspace(-2.0, 3.0, 64, dtype=np.float32).reshape(8, 8)
STANDARD = {"233604007", "122157", "122411"}
"""Codes of the finding, the probability and the threshold."""
NO_MAP = "No map: none was kept with this result."
UIDS = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint16]:
    random = np.random.default_rng(1)
    return (random.normal(size=(300, 250)).cumsum(1) * 40 + 2000).clip(0, 4095).astype(np.uint16)


@pytest.fixture(scope="module")
def image(pixels: NDArray[np.uint16]) -> bytes:
    return written(make(pixels, **UIDS, SpecificCharacterSet="ISO_IR 100", StudyTime="101500", StudyID="7"))


def report(image: bytes, facts: ResultFacts = FACTS, replaces: str | None = None) -> Dataset:
    return build_report(facts, read_original(image, None), "2.25.11", replaces, AT)


def capture(
    image: bytes, facts: ResultFacts = FACTS, replaces: str | None = None, evidence: Map | str = MAP
) -> Dataset:
    return build_capture(facts, read_original(image, None), image, Limits(), "2.25.12", replaces, AT, evidence)


def stored(dataset: Dataset, folder: Path) -> Path:
    file = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(file, enforce_file_format=True)
    return file


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=60)
    return (done.stdout + done.stderr).decode("latin-1")


def values(dataset: Dataset) -> dict[str, list[str]]:
    """What a report says, by the meaning of each item's name, however deep it stands."""
    found: dict[str, list[str]] = {}

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence", ()):
            name = child.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in child else ""
            if child.ValueType == "CODE":
                found.setdefault(name, []).append(child.ConceptCodeSequence[0].CodeMeaning)
            elif child.ValueType == "NUM":
                found.setdefault(name, []).append(str(child.MeasuredValueSequence[0].NumericValue))
            elif child.ValueType == "TEXT":
                found.setdefault(name, []).append(child.TextValue)
            elif child.ValueType == "UIDREF":
                found.setdefault(name, []).append(child.UID)
            elif child.ValueType == "IMAGE":
                found.setdefault(name, []).append(child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            walk(child)

    walk(dataset)
    return found


def codes(dataset: Dataset) -> Iterator[Dataset]:
    """Every code, however deep it stands."""
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            if "CodeValue" in item:
                yield item
            yield from codes(item)


def test_a_report_states_the_finding_with_what_it_rests_on_and_that_it_is_no_diagnosis(image: bytes) -> None:
    made = report(image)
    said = values(made)
    assert said["Probability"] == ["0.934567"]
    assert said["Threshold Value"] == ["0.5"]
    assert said["Pneumonia by the model"] == ["Present"]
    assert said["Status of this result"] == ["Screening aid, not a diagnosis"]
    assert said["Operating point"] == ["None of this source: the model version's threshold"]
    assert said["Source of Measurement"] == ["1.2.3.4"]
    assert "Pneumonia by a reader" not in said
    assert (made.PreliminaryFlag, made.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert made.ManufacturerModelName == "screen-1"
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"


def test_a_report_names_its_algorithm_its_device_and_its_finding_as_the_profile_for_results_of_ai_asks(
    image: bytes,
) -> None:
    said = values(report(image))
    assert (said["Algorithm Name"], said["Algorithm Version"]) == (["Pneumoscreen"], ["screen-1"])
    assert (said["Observer Type"], said["Device Observer Name"]) == (["Device"], ["Pneumoscreen"])
    assert said["Device Observer Model Name"] == ["screen-1"]
    assert said["Tracking Identifier"] == ["Pneumonia"]
    assert len(said["Tracking Unique Identifier"]) == 1
    again = values(report(image, replace(FACTS, probability=0.7)))
    other = values(report(image, replace(FACTS, model_version="screen-2")))
    device = "Device Observer UID"
    assert said[device] == again[device] != other[device], "it stands for the model version"
    standard = {
        (code.CodingSchemeDesignator, code.CodeValue) for code in codes(report(image)) if code.CodeValue in STANDARD
    }
    assert standard == {("SCT", "233604007"), ("DCM", "122157"), ("DCM", "122411")}


@pytest.mark.parametrize(
    ("changes", "name", "says"),
    [
        (PROVISIONAL, "Operating point", "Provisional: its recall is not proved yet"),
        ({**PROVISIONAL, "is_provisional": False}, "Operating point", "Fitted to this source"),
        ({"word": "NORMAL"}, "Pneumonia by a reader", "Absent"),
        ({"word": "PNEUMONIA"}, "Pneumonia by a reader", "Present"),
        ({"label": "NORMAL"}, "Pneumonia by the model", "Absent"),
        ({"unfamiliar": True}, "Remark", "Unlike the images that the model knows"),
        ({"outside_population": True}, "Remark", "Age outside of what the model was made for"),
    ],
)
def test_a_report_says_what_its_reader_has_to_know(image: bytes, changes: dict, name: str, says: str) -> None:
    assert values(report(image, replace(FACTS, **changes)))[name] == [says]


def test_report_and_capture_are_new_series_of_the_image_s_study(image: bytes) -> None:
    for made in (report(image), capture(image)):
        assert made.StudyInstanceUID == "1.2.3"
        assert made.SeriesInstanceUID not in ("1.2.3.1", report(image).SOPInstanceUID)
    assert report(image).SeriesInstanceUID != capture(image).SeriesInstanceUID


def test_the_same_row_gives_the_same_bytes_whenever_it_is_sent(image: bytes, tmp_path: Path) -> None:
    for build in (report, capture):
        first, second = (stored(build(image), tmp_path).read_bytes() for _ in range(2))
        assert first == second


def test_a_later_edition_names_the_one_that_it_replaces(image: bytes) -> None:
    study = report(image, replaces="2.25.10").PredecessorDocumentsSequence[0]
    series = study.ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.10"
    assert series.SeriesInstanceUID == series_of("2.25.10")
    assert capture(image, replaces="2.25.10").ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == "2.25.10"
    assert "PredecessorDocumentsSequence" not in report(image)


NAMES = {
    "ISO_IR 100": "Müller^Jürgen".encode("latin-1"),
    "ISO_IR 192": "Ωμέγα^Ελένη".encode(),
    "ISO_IR 144": b"\xbb\xee\xda\xd7\xdc\xd1\xe3\xe0\xd3",
    "\\ISO 2022 IR 87": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    "": b"Broken\xff\xfe^Name",
}


@pytest.mark.parametrize("charset", NAMES)
def test_the_identity_is_copied_byte_for_byte_with_its_character_set(
    image: bytes, charset: str, tmp_path: Path
) -> None:
    name = NAMES[charset]
    name += b" " * (len(name) % 2)
    was = b"PN" + len(NAME).to_bytes(2, "little") + NAME.encode()
    assert image.count(was) == 1
    changed = image.replace(was, b"PN" + len(name).to_bytes(2, "little") + name)
    raw = charset.encode() + b" " * (len(charset) % 2)
    old = b"CS" + (10).to_bytes(2, "little") + b"ISO_IR 100"
    assert changed.count(old) == 1
    changed = changed.replace(old, b"CS" + len(raw).to_bytes(2, "little") + raw)
    for build in (report, capture):
        data = stored(build(changed), tmp_path).read_bytes()
        assert data.count(name) == 1
        back = dcmread(tmp_path / f"{build(changed).SOPInstanceUID}.dcm")
        assert back.get_item("PatientName").value == name
        assert back.PatientID == PATIENT
        stated = back.get("SpecificCharacterSet") or ""
        assert stated == charset if isinstance(stated, str) else "\\".join(stated) == charset


def test_what_the_header_lacks_is_empty_and_not_invented(pixels: NDArray[np.uint16]) -> None:
    bare = drop(make(pixels, **UIDS), "PatientName", "PatientSex", "PatientBirthDate", "StudyDate", "AccessionNumber")
    for made in (report(written(bare)), capture(written(bare))):
        for name in ("PatientName", "PatientSex", "PatientBirthDate", "StudyDate", "AccessionNumber", "StudyID"):
            assert not made[name].value, name


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_file_without_a_study_or_a_series_fails_for_good_with_that_reason(
    pixels: NDArray[np.uint16], missing: str
) -> None:
    with pytest.raises(Rejected, match=missing):
        report(written(drop(make(pixels, **UIDS), missing)))


def test_another_image_s_file_gives_no_identity(image: bytes) -> None:
    with pytest.raises(Rejected, match="another image"):
        read_original(image, "9.9.9")


def test_damaged_files_give_a_sentence_and_no_word_of_the_header(image: bytes) -> None:
    for length in (10, 140, 400):
        with pytest.raises(Rejected) as refusal:
            read_original(image[:length], None)
        assert NAME not in str(refusal.value) and PATIENT not in str(refusal.value)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that captures show."""
    lines: list[str] = []
    text = capturing.ImageDraw.ImageDraw.text

    def listen(self: object, at: object, told: str, *rest: object, **more: object) -> None:
        lines.append(told)
        text(self, at, told, *rest, **more)

    monkeypatch.setattr(capturing.ImageDraw.ImageDraw, "text", listen)
    return lines


def test_the_capture_shows_the_picture_beside_its_map_with_the_score_and_what_the_map_is_not(
    image: bytes, drawn: list[str]
) -> None:
    made = capture(image)
    shown = made.pixel_array.astype(int)
    assert made.PhotometricInterpretation == "RGB" and shown.shape[2] == 3
    picture, covered = shown[64:400, 40:520], shown[64:400, 550:1040]
    assert np.ptp(picture, axis=2).max() == 0 and picture.std() > 5, "grey as the image"
    assert np.ptp(covered, axis=2).max() > 50, "the map's colours"
    assert f"{maps.CAPTION}." in drawn
    assert "Pneumonia suspected: probability 0.935, threshold 0.500" in drawn
    assert not [line for line in drawn if NAME in line or PATIENT in line]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "No operating point of this source: the threshold of the model version"),
        (PROVISIONAL, "Provisional operating point: its recall is not proved yet"),
        ({**PROVISIONAL, "is_provisional": False}, "Operating point fitted to this source"),
    ],
)
@pytest.mark.parametrize("evidence", [MAP, NO_MAP], ids=["map", "no map"])
def test_the_capture_says_of_the_operating_point_what_the_report_says(
    image: bytes, drawn: list[str], changes: dict, says: str, evidence: Map | str
) -> None:
    capture(image, replace(FACTS, **changes), evidence=evidence)
    assert [line for line in drawn if "operating point" in line.lower()] == [says]


def test_a_capture_without_a_map_says_why(image: bytes) -> None:
    without = capture(image, evidence=NO_MAP)
    assert (without.PhotometricInterpretation, without.SamplesPerPixel) == ("MONOCHROME2", 1)
    assert not np.array_equal(without.pixel_array, capture(image, evidence="No map: another reason.").pixel_array)


def test_the_capture_shows_the_picture_and_the_caption_and_no_name(image: bytes) -> None:
    made = capture(image, evidence=NO_MAP)
    shown = made.pixel_array
    assert shown.dtype == np.uint8 and shown.shape[0] > 300
    assert shown[:300].std() > 5, "the picture"
    assert (shown[300:] > 200).any(), "the caption"
    assert made.BurnedInAnnotation == "NO"
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    assert "not a diagnosis" in made.ImageComments


def test_dcmtk_reads_the_report(image: bytes, tmp_path: Path) -> None:
    need("dsrdump")
    told = run("dsrdump", stored(report(image, replace(FACTS, word="NORMAL"), "2.25.10"), tmp_path))
    assert 'Probability")="0.934567"' in told
    assert SCHEME in told
    assert not [line for line in told.splitlines() if line.startswith(("E:", "F:"))]


@pytest.mark.parametrize("word", [None, "NORMAL"])
def test_dciodvfy_finds_no_error_in_report_and_capture(image: bytes, tmp_path: Path, word: str | None) -> None:
    need("dciodvfy")
    facts = replace(FACTS, word=word, unfamiliar=True, outside_population=True, operating_point=1, is_provisional=True)
    captures = [capture(image, facts, "2.25.9", evidence) for evidence in (MAP, NO_MAP)]
    for made in (report(image, facts, "2.25.10"), *captures):
        told = run("dciodvfy", stored(made, tmp_path))
        assert not [line for line in told.splitlines() if line.startswith("Error")], told


def happening(event: Event = Event.URGENT_POSITIVE, sighting: int | None = 7, **facts: object) -> Happening:
    return Happening("2.25.5", event, AT, sighting, facts or {**vars(FACTS)})


def test_a_message_about_an_image_holds_row_numbers_and_uids_alone_unless_details_are_asked_for() -> None:
    told = describe(happening(), details=False)
    assert told == {
        "schema": 1,
        "id": "2.25.5",
        "event": "urgent_positive",
        "at": "2026-05-04T12:30:00+00:00",
        "sighting_id": 7,
        "study_uid": "1.2.3",
        "sop_instance_uid": "1.2.3.4",
    }
    more = describe(happening(), details=True)
    assert (more["label"], more["source"], more["accession_number"]) == ("PNEUMONIA", "ward", "A-1")
    assert (more["operating_point"], more["is_provisional"]) == (FACTS.operating_point, FACTS.is_provisional)


def test_a_message_about_the_system_says_what_happened() -> None:
    told = describe(happening(Event.SOURCE_SILENT, None, source="ward", last_image=None), details=False)
    assert (told["source"], told["event"]) == ("ward", "source_silent")


def test_the_signature_is_what_a_receiver_computes_from_time_and_body() -> None:
    body = build_body(happening(), details=False)
    expected = hmac.new(b"a secret of some length", b"1777." + body, hashlib.sha256).hexdigest()
    assert sign("a secret of some length", 1777, body) == f"v1={expected}"
    assert sign("a secret of some length", 1778, body) != f"v1={expected}"


@pytest.mark.parametrize("event", Event)
def test_each_event_is_a_mail_that_can_be_sent_twice_and_seen_as_one(event: Event) -> None:
    mail = build_mail(happening(event), "from@hospital.example", ("to@hospital.example",), details=False)
    assert mail["Message-ID"] == "<2.25.5@pneumoscreen.invalid>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "not a diagnosis" in mail.get_content()
    assert "probability" not in mail.get_content()
