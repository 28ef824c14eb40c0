import logging
import struct
import sys
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging import Limits, Preprocessing, decode, prepare
from shared.imaging.dicom import SYNTAXES, read_header
from shared.imaging.notes import Notes
from tests.dicom import CR, NAME, PATIENT, compressed, encapsulated, make, written

Y, X = np.mgrid[0:200, 0:260]
PIXELS: NDArray[np.uint16] = ((np.sin(X / 40) + np.cos(Y / 30) + 2) * 900).astype(np.uint16)
PIXELS_8: NDArray[np.uint8] = (PIXELS >> 4).astype(np.uint8)


def grey(data: bytes) -> NDArray[np.int16]:
    return np.asarray(decode(data, (160, 160), Limits()), dtype=np.int16)


def refuse(dataset: Dataset) -> str:
    with pytest.raises(Unreadable) as error:
        decode(written(dataset), (160, 160), Limits())
    return str(error.value)


def code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.CodingSchemeDesignator = value, meaning, "SCT"
    return Sequence([item])


def expected() -> NDArray[np.int16]:
    values = PIXELS.astype(np.float32)
    return np.asarray(((values - values.min()) * 255 / (values.max() - values.min())).round(), dtype=np.int16)


def test_a_dx_image_is_stretched_over_the_whole_of_8_bits() -> None:
    assert (grey(written(make(PIXELS))) == expected()).all()


def test_a_cr_image_is_screened_like_a_dx_image() -> None:
    assert (grey(written(make(PIXELS, SOPClassUID=CR, Modality="CR"))) == expected()).all()


def test_an_image_in_monochrome1_is_turned_into_black_for_air() -> None:
    inverted = grey(written(make(PIXELS, PhotometricInterpretation="MONOCHROME1")))
    assert (inverted == 255 - expected()).all()


def test_a_window_is_applied_after_the_rescale() -> None:
    values = grey(written(make(PIXELS, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=1900, WindowWidth=1000)))
    shown = PIXELS.astype(float) * 2 - 100
    assert (values[shown < 1390] == 0).all()
    assert (values[shown > 2410] == 255).all()
    middle = (shown > 1450) & (shown < 2350)
    assert np.abs(values[middle] - ((shown[middle] - 1400) / 1000 * 255)).max() < 2


def test_the_first_of_several_windows_is_used() -> None:
    several = make(PIXELS, WindowCenter=[1000, 3000], WindowWidth=[500, 500])
    assert (grey(written(several)) == grey(written(make(PIXELS, WindowCenter=1000, WindowWidth=500)))).all()


@pytest.mark.parametrize("width", [0, -5])
def test_a_window_that_makes_no_sense_does_not_cost_the_image(width: int) -> None:
    assert (grey(written(make(PIXELS, WindowCenter=1000, WindowWidth=width))) == expected()).all()


def test_signed_pixels_are_read() -> None:
    signed = (PIXELS.astype(np.int32) - 1800).astype(np.int16)
    data = written(make(signed.view(np.uint16), PixelRepresentation=1, BitsStored=16, HighBit=15))
    assert (grey(data) == expected()).all()


def test_padding_around_the_picture_does_not_flatten_it() -> None:
    padded = PIXELS.copy()
    padded[:, :20] = 4095
    values = grey(written(make(padded, PixelPaddingValue=4095)))
    assert values.shape == (200, 240), "what is only padding is cut off"
    assert np.abs(values - expected()[:, 20:]).max() <= 8


LOSSLESS = {
    "implicit little endian": "1.2.840.10008.1.2",
    "explicit big endian": "1.2.840.10008.1.2.2",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
}


@pytest.mark.parametrize("syntax", LOSSLESS.values(), ids=LOSSLESS.keys())
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS_8], ids=["12 bits", "8 bits"])
def test_lossless_transfer_syntaxes_give_the_same_picture(tmp_path: Path, syntax: str, pixels: NDArray[Any]) -> None:
    assert (grey(compressed(make(pixels), syntax, tmp_path)) == grey(written(make(pixels)))).all()


LOSSY = {"JPEG": "1.2.840.10008.1.2.4.50", "JPEG-LS": "1.2.840.10008.1.2.4.81", "JPEG 2000": "1.2.840.10008.1.2.4.91"}


@pytest.mark.parametrize("syntax", LOSSY.values(), ids=LOSSY.keys())
def test_lossy_transfer_syntaxes_give_nearly_the_same_picture(tmp_path: Path, syntax: str) -> None:
    assert np.abs(grey(compressed(make(PIXELS_8), syntax, tmp_path)) - expected()).max() <= 6


JPEG, JPEG_EXTENDED, NEAR_LOSSLESS = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81))
HIGH_THROUGHPUT = [f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)]


def in_syntax(syntax: str, folder: Path) -> bytes:
    dataset = make(PIXELS_8 if syntax in (JPEG, NEAR_LOSSLESS) else PIXELS)
    if syntax in HIGH_THROUGHPUT:
        stream = pytest.importorskip("imagecodecs").htj2k_encode(PIXELS)
        return encapsulated(dataset, stream, syntax)
    return deflated(dataset) if syntax == "1.2.840.10008.1.2.1.99" else compressed(dataset, syntax, folder)


@pytest.mark.parametrize("is_optional_there", [True, False], ids=["with imagecodecs", "without imagecodecs"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_that_is_said_to_be_read_is_read_with_and_without_the_optional_package(
    syntax: str, is_optional_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = in_syntax(syntax, tmp_path)
    if not is_optional_there:
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert np.abs(grey(data) - expected()).max() <= (6 if syntax in (JPEG, JPEG_EXTENDED, NEAR_LOSSLESS) else 1)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, "modality is CT"),
        ({"Modality": "MG"}, "modality is MG"),
        ({"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "modality is not stated"),
        ({"BodyPartExamined": "CHEST LAT", "ViewPosition": None}, "view is not stated"),
        ({"SeriesDescription": "Thorax seitlich", "ViewPosition": None}, "view is not stated"),
        ({"ProtocolName": "Knee AP", "BodyPartExamined": None}, "body part is not stated"),
        ({"BodyPartExamined": "HAND"}, "body part is HAND"),
        ({"BodyPartExamined": "ABDOMEN"}, "body part is ABDOMEN"),
        ({"ViewPosition": "LL"}, "view is LL"),
        ({"ViewPosition": "LATERAL"}, "view is LATERAL"),
        ({"ViewPosition": "RLD"}, "view is RLD"),
        ({"ViewPosition": None, "ViewCodeSequence": code("399067008", "lateral")}, "view is lateral"),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, "rows run towards A"),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": code("85562004", "Hand")}, "body part is Hand"),
        ({"NumberOfFrames": 12}, "12 frames"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "FOR PROCESSING"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not greyscale"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420", "SamplesPerPixel": 3}, "not greyscale"),
        ({"Rows": 20}, "too small"),
        ({"Rows": 40_000, "Columns": 40_000}, "more than the limit"),
    ],
)
def test_a_header_that_speaks_of_anything_but_a_frontal_chest_is_refused(elements: dict[str, Any], reason: str) -> None:
    assert reason in refuse(make(PIXELS, **elements))


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": None, "ViewPosition": None},
        {"BodyPartExamined": "THORAX", "ViewPosition": "PA"},
        {"BodyPartExamined": "PORT CHEST", "ViewPosition": "AP SUPINE"},
        {"BodyPartExamined": "", "ViewPosition": ""},
        {"ViewPosition": "PA", "SeriesDescription": "Chest LAT"},
        {"ViewPosition": "", "StudyDescription": "Chest PA and lateral", "SeriesDescription": "Chest"},
        {"Modality": None},
        {"Modality": "DR"},
        {"ViewPosition": None, "ViewCodeSequence": code("399348003", "antero-posterior")},
        {"ViewPosition": None, "PatientOrientation": ["L", "F"]},
        {"BodyPartExamined": None, "AnatomicRegionSequence": code("816094009", "Chest")},
        {"PresentationIntentType": "FOR PRESENTATION"},
        {"NumberOfFrames": 1},
    ],
)
def test_what_is_a_frontal_chest_or_does_not_say_otherwise_is_screened(elements: dict[str, Any]) -> None:
    assert (grey(written(make(PIXELS, **elements))) == expected()).all()


@pytest.mark.parametrize(
    ("character_set", "raw"),
    [
        ("ISO_IR 192", "TÓRAX".encode()),
        ("ISO_IR 100", "TÓRAX".encode()),
        (None, "胸部".encode()),
        ("ISO_IR 100", "TÓRAX".encode("latin-1")),
        ("ISO_IR 144", "ГРУДНАЯ КЛЕТКА".encode("iso8859-5")),
        ("GB18030", "胸部正位".encode("gb18030")),
        (["", "ISO 2022 IR 87"], b"\x1b$B6;It\x1b(B"),
        ("ISO 2022 IR 149", "흉부".encode("euc-kr")),
    ],
)
def test_a_body_part_is_read_in_the_characters_of_the_file_or_in_utf_8(character_set: object, raw: bytes) -> None:
    raw += b" " * (len(raw) % 2)
    data = written(make(PIXELS, SpecificCharacterSet=character_set, BodyPartExamined="X" * len(raw)))
    assert (grey(data.replace(b"X" * len(raw), raw)) == expected()).all()


def test_an_encapsulated_pdf_is_refused_as_a_document() -> None:
    dataset = make(PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC", EncapsulatedDocument=b"%PDF")
    for name in ("PixelData", "Rows", "Columns"):
        delattr(dataset, name)
    assert "document" in refuse(dataset)


def test_a_report_without_a_picture_is_refused() -> None:
    dataset = make(PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    for name in ("PixelData", "Rows", "Columns"):
        delattr(dataset, name)
    assert refuse(dataset) == "the DICOM file is not an image (modality SR)"


def deflated(dataset: Dataset) -> bytes:
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    return written(dataset)


def test_a_deflated_file_is_read_with_and_without_a_preamble() -> None:
    data = deflated(make(PIXELS, StudyInstanceUID="1.2.3"))
    for file in (data, data[132:]):
        assert (grey(file) == expected()).all()
        assert read_header(file).study_uid == "1.2.3"


def test_a_deflated_file_is_inflated_to_a_limit_and_one_that_ends_too_early_may_still_be_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = deflated(make(PIXELS))
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("it was inflated without a limit"))
    with pytest.raises(Unfinished, match="cut off"):
        grey(data[: len(data) * 2 // 3])
    monkeypatch.setattr("shared.imaging.dicom_file.MAX_INFLATED", PIXELS.nbytes)
    for read in (grey, read_header):
        with pytest.raises(Unsuitable, match=r"holds more than 104,000 bytes"):
            read(data)


def test_the_syntax_that_a_file_without_preamble_states_counts(tmp_path: Path) -> None:
    dataset = make(PIXELS)
    whole = decode(written(dataset), (160, 160), Limits())
    packed = compressed(dataset, "1.2.840.10008.1.2.4.90", tmp_path)[132:]
    assert np.array_equal(decode(packed, (160, 160), Limits()), whole)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [("1.2.840.10008.1.2.4.100", "MPEG2"), ("1.2.3.4.5", "1.2.3.4.5")],
)
def test_a_transfer_syntax_without_a_decoder_is_refused_by_name(syntax: str, name: str) -> None:
    with pytest.raises(Unreadable, match=rf"transfer syntax {name}.* is not read"):
        decode(encapsulated(make(PIXELS), b"\0" * 100, syntax), (160, 160), Limits())


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"\xff" * 16, bytes(128), b"<html>\n"])
@pytest.mark.parametrize("syntax", [None, LOSSLESS["JPEG lossless"]], ids=["uncompressed", "JPEG lossless"])
def test_what_stands_behind_the_pixels_does_not_matter(tail: bytes, syntax: str | None, tmp_path: Path) -> None:
    data = written(make(PIXELS)) if syntax is None else compressed(make(PIXELS), syntax, tmp_path)
    assert (grey(data + tail) == expected()).all()


@pytest.mark.parametrize("actual", ["JPEG lossless", "JPEG-LS", "JPEG 2000 lossless", "RLE", "uncompressed"])
@pytest.mark.parametrize("stated", ["uncompressed", "JPEG", "JPEG lossless", "JPEG-LS", "JPEG 2000 lossless", "RLE"])
def test_pixels_in_another_transfer_syntax_than_the_header_states_are_read_and_noted(
    actual: str, stated: str, tmp_path: Path
) -> None:
    uids = {"uncompressed": "1.2.840.10008.1.2.1", **LOSSLESS, **LOSSY}
    data = written(make(PIXELS)) if actual == "uncompressed" else compressed(make(PIXELS), uids[actual], tmp_path)
    dataset, notes = pydicom.dcmread(BytesIO(data)), Notes()
    is_same = dataset.file_meta.TransferSyntaxUID == uids[stated]
    element = b"\x02\0\x10\0UI"
    at, uid = data.index(element) + len(element), uids[stated].encode()
    uid += b"\0" * (len(uid) % 2)
    end = at + 2 + int.from_bytes(data[at : at + 2], "little")
    data = data[:at] + len(uid).to_bytes(2, "little") + uid + data[end:]
    assert (np.asarray(decode(data, (160, 160), Limits(), notes), np.int16) == expected()).all()
    assert is_same or any(text.startswith("the header says") for text in notes.texts)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("format", ["JPEG", "JPEG2000"])
def test_a_grey_image_that_was_compressed_in_colour_is_grey(photometric: str, format: str) -> None:
    file = BytesIO()
    options: dict[str, Any] = {"quality": 95} if format == "JPEG" else {"no_jp2": True, "irreversible": True}
    Image.fromarray(PIXELS_8).convert("RGB").save(file, format, **options)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
    data = encapsulated(make(PIXELS_8, **colour), file.getvalue(), LOSSY["JPEG" if format == "JPEG" else "JPEG 2000"])
    assert np.abs(grey(data) - expected()).max() <= 6


def test_letters_in_colour_do_not_cost_a_grey_image() -> None:
    colours = np.repeat(PIXELS_8[:, :, np.newaxis], 3, axis=2)
    colours[5:15, 5:45] = (255, 255, 0)
    dataset = make(colours, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    reference = grey(written(make(colours[:, :, 0])))
    assert np.abs(grey(written(dataset)) - reference).max() == 0


def test_a_file_cut_in_its_pixels_may_still_be_under_way() -> None:
    data = written(make(PIXELS))
    for share in (0.4, 0.9):
        with pytest.raises(Unfinished, match="cut off"):
            decode(data[: int(len(data) * share)], (160, 160), Limits())


def test_a_file_cut_in_its_header_may_still_be_under_way_or_is_damaged_and_says_so() -> None:
    data = written(make(PIXELS))
    for length in range(132, 900, 7):
        with pytest.raises((Unfinished, Unreadable), match=r"cut off|damaged|not stated|not an image|is not read"):
            decode(data[:length], (160, 160), Limits())


@pytest.mark.parametrize("syntax", [*LOSSLESS.values(), *LOSSY.values()][2:])
def test_a_compressed_file_that_is_cut_or_scrambled_gives_a_reason(tmp_path: Path, syntax: str) -> None:
    data = bytearray(compressed(make(PIXELS_8), syntax, tmp_path))
    with pytest.raises((Unfinished, Unreadable)):
        decode(bytes(data[: len(data) * 2 // 3]), (160, 160), Limits())
    middle = len(data) * 2 // 3
    data[middle : middle + 200] = bytes(range(200))
    with suppress(Unfinished, Unreadable):  # some decoders notice it, others show a damaged picture
        decode(bytes(data), (160, 160), Limits())


@pytest.mark.parametrize("is_optional_there", [True, False], ids=["with imagecodecs", "without imagecodecs"])
@pytest.mark.parametrize("syntax", [JPEG, JPEG_EXTENDED, LOSSLESS["JPEG lossless"]])
def test_a_jpeg_stream_that_was_closed_after_it_was_cut_off_is_unfinished_and_one_with_a_border_is_not(
    syntax: str, is_optional_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = PIXELS + np.random.default_rng(0).integers(0, 16, PIXELS.shape).astype(np.uint16)
    noisy[-12:] = 0
    pixels = (noisy >> 4).astype(np.uint8) if syntax == JPEG else noisy
    data = compressed(make(pixels), syntax, tmp_path)
    frame = next(generate_frames(pydicom.dcmread(BytesIO(data)).PixelData, number_of_frames=1))
    if not is_optional_there:
        monkeypatch.setitem(sys.modules, "imagecodecs", None)
    grey(data)
    with pytest.raises(Unfinished, match="cut off"):
        grey(encapsulated(make(pixels), frame[: len(frame) // 2] + b"\xff\xd9", syntax))


def test_a_stream_larger_than_its_header_says_is_refused_before_it_is_decoded() -> None:
    picture = BytesIO()
    Image.fromarray(PIXELS_8).save(picture, "JPEG")
    stream = bytearray(picture.getvalue())
    at = stream.index(b"\xff\xc0")
    stream[at + 5 : at + 9] = struct.pack(">2H", 60_000, 60_000)
    data = encapsulated(make(PIXELS_8), bytes(stream), "1.2.840.10008.1.2.4.50")
    with pytest.raises(Unreadable, match=r"header says 260 x 200 pixels, its image has 60000 x 60000"):
        decode(data, (160, 160), Limits())


def test_a_jpeg_2000_stream_larger_than_its_header_says_is_refused(tmp_path: Path) -> None:
    data = compressed(make(PIXELS_8), "1.2.840.10008.1.2.4.90", tmp_path)
    at = data.index(b"\xff\x4f\xff\x51") + 8
    forged = data[:at] + struct.pack(">2I", 50_000, 50_000) + data[at + 8 :]
    with pytest.raises(Unreadable, match="its image has 50000 x 50000"):
        decode(forged, (160, 160), Limits())


def test_limits_hold_for_dicom_too() -> None:
    with pytest.raises(Unreadable, match="max_pixels"):
        decode(written(make(PIXELS)), (160, 160), Limits(pixels=1000))


def test_an_image_of_one_value_is_blank() -> None:
    assert "blank" in refuse(make(np.full((200, 260), 700, np.uint16)))


def test_a_dicom_file_is_prepared_as_any_other_picture(tmp_path: Path) -> None:
    preprocessing = Preprocessing(width=160, height=160, contrast="equalize")
    file = BytesIO()
    Image.fromarray(expected().astype(np.uint8)).save(file, "PNG")
    same = prepare(file.getvalue(), preprocessing, Limits())
    assert (prepare(written(make(PIXELS)), preprocessing, Limits()) == same).all()


def test_the_header_gives_what_joins_a_result_to_a_pacs() -> None:
    dataset = make(PIXELS, StudyInstanceUID="1.2.3", AccessionNumber=" A-7 ", IssuerOfPatientID="St. Elsewhere")
    header = read_header(written(dataset))
    assert header.study_uid == "1.2.3"
    assert header.sop_instance_uid == dataset.SOPInstanceUID
    assert header.accession_number == "A-7"
    assert header.patient == f"St. Elsewhere|{PATIENT}"


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "004Y"}, 4.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "026W"}, 0.5),
        ({"PatientBirthDate": "20220501", "StudyDate": "20260504"}, 4.0),
        ({"PatientBirthDate": "2022", "StudyDate": "20260504"}, None),
        ({"PatientBirthDate": None}, None),
        ({"PatientBirthDate": "20300101"}, None),
        ({"PatientAge": "old", "PatientBirthDate": None}, None),
    ],
)
def test_the_age_is_that_stated_or_that_on_the_day_of_the_study(elements: dict[str, Any], years: float | None) -> None:
    age = read_header(written(make(PIXELS, **elements))).age_years
    assert (age is None) if years is None else (age == pytest.approx(years, abs=0.02))


def test_a_header_without_ids_gives_none() -> None:
    names = ("StudyInstanceUID", "AccessionNumber", "PatientID")
    header = read_header(written(make(PIXELS, **dict.fromkeys(names))))
    assert (header.study_uid, header.accession_number, header.patient) == (None, None, None)


def test_odd_values_in_a_header_are_neither_warned_about_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    """pydicom's warnings would repeat them; warnings are errors here."""
    odd = {"PatientID": "x" * 200, "StudyInstanceUID": "no uid", "PatientAge": "very old", "PatientBirthDate": "May"}
    with pydicom.config.disable_value_validation():
        dataset = make(PIXELS, **odd, ViewPosition=NAME)
        data = written(dataset)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        read_header(data)
        with pytest.raises(Unreadable) as error:
            decode(data, (160, 160), Limits())
    assert "x" * 10 not in caplog.text
    assert len(str(error.value)) < 120


def test_pydicoms_own_test_files_give_a_picture_or_a_reason() -> None:
    """CT, MR, ultrasound, structured reports, broken files: none is a chest X-ray, none raises anything else."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    files = [file for file in sorted(folder.glob("*.dcm")) if file.read_bytes()[128:132] == b"DICM"]
    assert len(files) > 50
    for file in files:
        with pytest.raises((Unreadable, Unfinished)):
            decode(file.read_bytes(), (160, 160), Limits())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2\0\x02", "\x1b(J1.2", f"1.2.840\n{PATIENT}", "\\1.2"])
def test_a_damaged_transfer_syntax_is_not_repeated(syntax: str) -> None:
    data = written(make(PIXELS))
    at = data.index(b"1.2.840.10008.1.2.1\0")
    said = syntax.encode().ljust(20, b"\0")
    data = data[: at - 2] + len(said).to_bytes(2, "little") + said + data[at + 20 :]
    with pytest.raises(Unreadable) as error:
        decode(data, (160, 160), Limits())
    assert "whose number is damaged is not read" in str(error.value)
    assert str(error.value).isprintable()


def test_a_sequence_in_the_place_of_a_number_is_not_taken_for_it() -> None:
    dataset = make(PIXELS)
    item = Dataset()
    item.PatientName = NAME
    del dataset.AccessionNumber
    dataset.add_new("AccessionNumber", "SQ", Sequence([item]))
    assert read_header(written(dataset)).accession_number is None


def test_pixel_data_of_an_unknown_type_are_unreadable() -> None:
    data = written(make(PIXELS)).replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x10\0KB")
    with pytest.raises(Unreadable, match="damaged"):
        decode(data, (160, 160), Limits())


ASSUMED = [
    ({}, None),
    ({"BitsStored": None}, "does not state BitsStored"),
    ({"PhotometricInterpretation": None, "SamplesPerPixel": None}, "SamplesPerPixel, PhotometricInterpretation"),
    ({"HighBit": 7}, "12 bits of 16, the highest of them bit 7, which cannot be"),
    ({"WindowCenter": 2048, "WindowWidth": 0}, "the window cannot be read and is not used"),
    ({"PixelPaddingValue": 65535}, "the padding is said to be 65535, which the pixels write as 4095"),
]


@pytest.mark.parametrize(("elements", "note"), ASSUMED, ids=[str(note) for _, note in ASSUMED])
def test_what_a_header_leaves_open_or_gets_wrong_is_noted(elements: dict[str, Any], note: str | None) -> None:
    pixels, notes = np.where(X < 9, 4095, X + Y + 100).astype(np.uint16), Notes()
    decode(written(make(pixels, **elements)), (128, 128), Limits(), notes)
    assert note is None if notes.text is None else note in notes.text


def test_a_file_without_a_transfer_syntax_is_noted() -> None:
    data, notes = written(make((X + Y + 100).astype(np.uint16))), Notes()
    decode(data[data.index(b"\x08\x00\x16\x00") :], (128, 128), Limits(), notes)
    assert notes.text == "no transfer syntax is stated: read as Explicit VR Little Endian"
