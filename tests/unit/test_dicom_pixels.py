"""What a DICOM header says of its pixels is done; what makes no sense falls back step by step, and is noted."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging import Limits, decode, dicom, prepare
from shared.imaging.notes import Notes
from shared.imaging.scaling import average
from shared.imaging.stored_values import Layout
from shared.models import registry
from tests.cases import CASES, FOLDER, TOLERANCE, Case, needs_cases
from tests.dicom import compressed, encapsulated, make, written

Y, X = np.mgrid[0:200, 0:260]
PIXELS: NDArray[np.uint16] = ((np.sin(X / 40) + np.cos(Y / 30) + 2) * 1000).astype(np.uint16)
FULL = {"WindowCenter": 2048, "WindowWidth": 4096}


def grey(dataset: Dataset | bytes, notes: Notes | None = None) -> NDArray[np.int16]:
    data = dataset if isinstance(dataset, bytes) else written(dataset)
    return np.asarray(dicom.decode(data, (160, 160), Limits(), notes), dtype=np.int16)


def difference(one: Any, other: Any) -> int:
    return int(np.abs(one - other).max())


def table(data: NDArray[Any], first: int, bits: int, count: int | None = None) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [count or len(data), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = [int(value) for value in data]
    item["LUTData"].VR = "US"
    return Sequence([item])


@pytest.fixture(scope="module")
def reference() -> NDArray[np.int16]:
    return grey(make(PIXELS, **FULL))


NEGATIVE = {"RescaleSlope": -1, "RescaleIntercept": 4095}


@pytest.mark.parametrize(
    "elements",
    [
        {**FULL, **NEGATIVE},
        {"WindowCenter": 0, "WindowWidth": 0, **NEGATIVE},
        {**FULL, **NEGATIVE, "VOILUTFunction": ""},
        {**FULL, **NEGATIVE, "VOILUTFunction": "SOMETHING"},
        {"WindowCenter": 0.20475, "WindowWidth": 0.4095, "RescaleSlope": -0.0001, "RescaleIntercept": 0.4095},
        {**NEGATIVE},
        {"ModalityLUTSequence": table(np.arange(4095, -1, -1), 0, 12), **FULL},
        {"ModalityLUTSequence": table(np.arange(4095, -1, -1) * 16, 0, 16), "WindowCenter": 0, "WindowWidth": 0},
    ],
)
def test_a_negative_slope_or_a_falling_table_inverts_the_stored_values_whatever_the_window(
    elements: dict[str, Any], reference: NDArray[np.int16]
) -> None:
    falling = (4095 - PIXELS).astype(np.uint16)
    assert difference(grey(make(falling, **elements)), reference) <= 1
    inverted = make(PIXELS, PhotometricInterpretation="MONOCHROME1", **elements)
    assert difference(grey(inverted), reference) <= 1


@pytest.mark.parametrize("center", [b"2047,5", b"nonsen"])
def test_a_window_that_is_no_number_is_read_with_its_comma_or_not_used(
    center: bytes, reference: NDArray[np.int16]
) -> None:
    falling = make((4095 - PIXELS).astype(np.uint16), WindowCenter=2047.5, WindowWidth=4096, **NEGATIVE)
    data = written(falling)
    assert data.count(b"2047.5") == 1
    assert difference(grey(data.replace(b"2047.5", center)), reference) <= 1


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 30000, "WindowWidth": 2000},
        {"WindowCenter": -500, "WindowWidth": 100},
        {"WindowCenter": 2048, "WindowWidth": 1},
        {"WindowCenter": 0, "WindowWidth": 1},
        {"WindowCenter": 127, "WindowWidth": 255},
        {"WindowCenter": 127, "WindowWidth": 255, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 2048, "WindowWidth": 20},
        {"VOILUTSequence": table(np.full(4096, 7), 0, 16), **FULL},
        {"VOILUTSequence": table(np.arange(4096) * 16, 61440, 16), **FULL},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
def test_a_window_a_table_or_a_slope_without_sense_is_not_used_and_is_noted(
    elements: dict[str, Any], reference: NDArray[np.int16]
) -> None:
    notes = Notes()
    assert difference(grey(make(PIXELS, **elements), notes), reference) <= 1
    assert any("not used" in text for text in notes.texts), notes.texts


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("is_inverted", [False, True])
def test_a_dark_border_does_not_make_a_window_for_fewer_bits_look_sensible(share: float, is_inverted: bool) -> None:
    dark = PIXELS.copy()
    dark[:, : int(share * dark.shape[1])] = np.random.default_rng(0).integers(0, 80)
    stored = (4095 - dark).astype(np.uint16) if is_inverted else dark
    elements = {"PhotometricInterpretation": "MONOCHROME1"} if is_inverted else {}
    center = 4095 - 127 if is_inverted else 127
    notes = Notes()
    values = grey(make(stored, WindowCenter=center, WindowWidth=255, **elements), notes)
    assert difference(values, grey(make(stored, **elements))) == 0
    assert notes.texts == [f"the window {center}/255 makes no sense on these pixels and is not used"]


def test_a_window_in_fractional_units_is_applied_over_all_of_its_width(reference: NDArray[np.int16]) -> None:
    density = {"RescaleSlope": 0.001, "RescaleIntercept": 0, "WindowCenter": 2.048, "WindowWidth": 4.096}
    assert difference(grey(make(PIXELS, **density)), reference) <= 1


@pytest.mark.parametrize(
    ("photometric", "shape", "is_inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "", True),
    ],
)
def test_the_presentation_lut_shape_decides_which_end_is_white_and_a_contradiction_is_noted(
    photometric: str, shape: str, is_inverted: bool, reference: NDArray[np.int16]
) -> None:
    notes = Notes()
    values = grey(make(PIXELS, PhotometricInterpretation=photometric, PresentationLUTShape=shape, **FULL), notes)
    assert difference(values, 255 - reference if is_inverted else reference) <= 1
    assert bool(notes.texts) == (shape != "" and is_inverted != (photometric == "MONOCHROME1"))


def test_a_second_window_is_used_where_the_first_makes_no_sense(reference: NDArray[np.int16]) -> None:
    several = make(PIXELS, WindowCenter=[127, 2048], WindowWidth=[1, 4096])
    assert difference(grey(several), reference) <= 1


def test_a_steep_table_that_makes_sense_is_used_before_a_window() -> None:
    steep = make(PIXELS, VOILUTSequence=table(np.arange(256), 1920, 8), **FULL)
    values = grey(steep)
    assert (values[PIXELS < 1915] == 0).all()
    assert (values[PIXELS > 2180] == 255).all()


def test_a_table_of_8_bits_does_not_wrap_whether_its_entries_take_a_word_or_a_byte(
    reference: NDArray[np.int16],
) -> None:
    entries = (np.arange(4096) // 16).astype(np.uint16)
    assert difference(grey(make(PIXELS, VOILUTSequence=table(entries, 0, 8))), reference) <= 2
    packed = entries.astype(np.uint8).view("<u2")
    assert difference(grey(make(PIXELS, VOILUTSequence=table(packed, 0, 8, count=4096))), reference) <= 2


@pytest.mark.parametrize("bits", [8, 16, 0])
def test_a_falling_table_inverts_whatever_depth_its_descriptor_states(bits: int, reference: NDArray[np.int16]) -> None:
    falling = (4095 - PIXELS).astype(np.uint16)
    entries = np.arange(4095, -1, -1) // 16
    assert difference(grey(make(falling, VOILUTSequence=table(entries, 0, bits))), reference) <= 2


def test_a_table_may_begin_below_zero_where_the_rescale_does(reference: NDArray[np.int16]) -> None:
    falling = (4095 - PIXELS).astype(np.uint16)
    entries = table(np.arange(4095, -1, -1) * 16, 65536 - 1024, 16)
    dataset = make(falling, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=entries)
    assert difference(grey(dataset), reference) <= 1


SIGNED = (PIXELS.astype(np.int32) - 2048).astype(np.int16).view(np.uint16)
NOISE = np.random.default_rng(1).integers(0, 16, PIXELS.shape).astype(np.uint16) << 12
STAMP = np.where((Y < 40) & (X > 20) & (X < 60), 1 << 12, 0).astype(np.uint16)


@pytest.mark.parametrize(
    ("words", "elements"),
    [
        (PIXELS << 4, {"HighBit": 15}),
        (PIXELS, {"BitsStored": 10, "HighBit": 9}),
        (PIXELS, {"PixelRepresentation": 1}),
        (PIXELS << 4, {}),
        (PIXELS, {"HighBit": 15}),
        (SIGNED, {}),
        (SIGNED, {"BitsStored": 16, "HighBit": 15}),
        (SIGNED & 4095, {}),
        (PIXELS.byteswap(), {}),
        (PIXELS.byteswap(), {"BitsStored": 16, "HighBit": 15}),
        (PIXELS | NOISE, {}),
        (PIXELS | STAMP, {}),
        (PIXELS | STAMP << 3, {}),
        (PIXELS, {"BitsStored": 0, "HighBit": 0}),
    ],
    ids=[
        *("values at the high end", "more bits than stated", "unsigned said to be signed", "wider than stated"),
        *("values not at the high end", "signed said to be unsigned", "signed of 16 bits", "signed without its sign"),
        *("swapped bytes", "swapped bytes of 16 bits", "garbage above", "an overlay above", "an overlay on top"),
        "no bits",
    ],
)
def test_bits_that_the_header_misplaces_are_found_where_the_pixels_say_plainly_where_they_are(
    words: NDArray[np.uint16], elements: dict[str, Any], reference: NDArray[np.int16]
) -> None:
    assert difference(grey(make(words, **elements)), reference) <= 2


@pytest.mark.parametrize(
    ("words", "elements"),
    [
        (PIXELS, {}),
        (PIXELS.astype(np.uint16) * 16, {"BitsStored": 16, "HighBit": 15}),
        (65535 - PIXELS, {"BitsStored": 16, "HighBit": 15}),
        (np.where(X < 40, 0, 65535 - 8 * PIXELS).astype(np.uint16), {"BitsStored": 16, "HighBit": 15}),
        (np.where(X < 40, 65535, 8 * PIXELS).astype(np.uint16), {"BitsStored": 16, "HighBit": 15}),
        (SIGNED, {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}),
    ],
    ids=["12 bits", "16 bits", "high values", "high values and a border of 0", "a white border", "signed"],
)
def test_bits_that_are_where_the_header_says_are_not_looked_for_elsewhere(
    words: NDArray[np.uint16], elements: dict[str, Any]
) -> None:
    notes = Notes()
    grey(make(words, **elements), notes)
    assert not notes.texts


@pytest.mark.parametrize(
    ("allocated", "stored", "words"),
    [(8, 12, PIXELS), (8, 8, PIXELS), (16, 8, (PIXELS >> 4).astype(np.uint8)), (None, 8, (PIXELS >> 4).astype("u1"))],
    ids=["words of 16 said to have 8", "and 8 stored", "words of 8 said to have 16", "words of 8, nothing said"],
)
def test_how_many_bits_a_word_has_is_told_by_the_length_of_the_pixels(
    allocated: int | None, stored: int, words: NDArray[Any], reference: NDArray[np.int16]
) -> None:
    notes = Notes()
    dataset = make(words, **FULL if words.itemsize == 2 else {"WindowCenter": 128, "WindowWidth": 256})
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.BitsAllocated = 0
    data = written(dataset)
    element = b"\x28\0\x00\x01US\x02\0"
    new = b"" if allocated is None else element + allocated.to_bytes(2, "little")
    assert difference(grey(data.replace(element + b"\0\0", new), notes), reference) <= 2
    assert any("bits a word" in text for text in notes.texts)


FRAMES = ["1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{number}" for number in (51, 70, 80, 90))]


@pytest.mark.parametrize("is_optional_there", [True, False], ids=["with fast decoders", "without"])
@pytest.mark.parametrize("syntax", FRAMES)
@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": 8, "HighBit": 7},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
        {"BitsStored": 10, "HighBit": 9},
        {"BitsAllocated": 32},
        {"PixelRepresentation": 1},
        {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15},
    ],
    ids=["fewer bits", "smaller words", "ten bits", "larger words", "a sign", "a sign and more bits"],
)
def test_a_compressed_frame_has_the_bits_that_it_states_itself(
    syntax: str,
    elements: dict[str, Any],
    is_optional_there: bool,
    tmp_path: Path,
    reference: NDArray[np.int16],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if syntax.endswith(".51"):  # GDCM writes streams that state 16 bits
        stream = pytest.importorskip("imagecodecs").jpeg8_encode(PIXELS, bitspersample=12, level=98)
        data = encapsulated(make(PIXELS, **FULL), stream, syntax)
    else:
        data = compressed(make(PIXELS, **FULL), syntax, tmp_path)
    dataset = pydicom.dcmread(BytesIO(data))
    for name, value in elements.items():
        setattr(dataset, name, value)
    for package in () if is_optional_there else ("imagecodecs", "jpeg_ls"):
        monkeypatch.setitem(sys.modules, package, None)
    assert difference(grey(dataset), reference) <= 4


@pytest.mark.parametrize("elements", [{"BitsAllocated": 16}, {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}])
@pytest.mark.parametrize("number", [50, 70, 80, 90])
def test_a_compressed_frame_of_8_bits_may_be_said_to_have_words_of_16(
    number: int, elements: dict[str, Any], tmp_path: Path
) -> None:
    eight = (PIXELS >> 4).astype(np.uint8)
    dataset = pydicom.dcmread(BytesIO(compressed(make(eight), f"1.2.840.10008.1.2.4.{number}", tmp_path)))
    for name, value in elements.items():
        setattr(dataset, name, value)
    assert difference(grey(dataset), grey(make(eight))) <= 6


def test_bits_that_cannot_be_told_are_a_reason() -> None:
    noise = np.random.default_rng(1).integers(0, 65536, (200, 260)).astype(np.uint16)
    with pytest.raises(Unreadable, match="cannot be told"):
        grey(make(noise))


def test_signed_values_stay_signed() -> None:
    signed = (PIXELS.astype(np.int32) - 2048).astype(np.int16)
    values = grey(make(signed.view(np.uint16), PixelRepresentation=1, BitsStored=16, HighBit=15))
    assert difference(values, grey(make(PIXELS))) <= 1


def test_bits_of_overlays_above_the_value_are_no_part_of_it(reference: NDArray[np.int16]) -> None:
    marked = PIXELS.copy()
    marked[50:80, 60:90] |= 1 << 15
    dataset = make(marked, **FULL)
    dataset.add_new((0x6000, 0x0102), "US", 15)
    assert difference(grey(dataset), reference) <= 1


@pytest.mark.parametrize("value", [65535, 0])
def test_single_hot_and_dead_pixels_do_not_flatten_the_picture(value: int) -> None:
    hot = (PIXELS + 1000).astype(np.uint16)
    plain = grey(make(hot, BitsStored=16, HighBit=15))
    hot[100, 100:103] = value
    values = grey(make(hot, BitsStored=16, HighBit=15))
    values[100, 100:103] = plain[100, 100:103]
    assert difference(values, plain) <= 2


@pytest.mark.parametrize("share", [0.004, 0.04])
@pytest.mark.parametrize("value", [65535, 0])
def test_letters_and_borders_at_the_ends_of_16_bits_do_not_flatten_the_picture(share: float, value: int) -> None:
    words = (PIXELS // 4 + 20_000).astype(np.uint16)
    height = int((share * words.size / 2) ** 0.5)
    words[5 : 5 + height, 5 : 5 + 2 * height] = value
    rest = grey(make(words, BitsStored=16, HighBit=15))[80:]
    assert rest.max() - rest.min() > 120
    bordered = np.pad(words, 30, constant_values=value)
    rest = grey(make(bordered, BitsStored=16, HighBit=15))[110:-35, 35:-35]
    assert rest.max() - rest.min() > 120


def bordered(value: int, **elements: Any) -> Dataset:
    return make(np.pad(PIXELS, 30, constant_values=value), **elements)


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (
            0,
            {
                "PixelPaddingValue": 0,
                "PhotometricInterpretation": "MONOCHROME1",
                "RescaleSlope": -1,
                **FULL,
                "RescaleIntercept": 4095,
            },
        ),
        (61000, {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 60000, "BitsStored": 16, "HighBit": 15}),
        (4095, {"PixelPaddingValue": 4095}),
        (
            9,
            {
                "ShutterShape": "RECTANGULAR",
                "ShutterLeftVerticalEdge": 30,
                "ShutterRightVerticalEdge": 291,
                "ShutterUpperHorizontalEdge": 30,
                "ShutterLowerHorizontalEdge": 231,
            },
        ),
    ],
    ids=["padding that would be white", "a range of padding", "padding", "a rectangular shutter"],
)
def test_what_is_no_picture_is_cut_off(value: int, elements: dict[str, Any], reference: NDArray[np.int16]) -> None:
    values = grey(bordered(value, **elements))
    assert values.shape == reference.shape
    assert difference(values, reference) <= 2


def test_padding_that_is_written_with_the_other_sign_is_found(reference: NDArray[np.int16]) -> None:
    signed = np.pad((PIXELS.astype(np.int32) - 100).astype(np.int16), 30, constant_values=-2000)
    dataset = make(signed.view(np.uint16), PixelRepresentation=1, BitsStored=16, HighBit=15)
    dataset.add_new(0x00280120, "US", 65536 - 2000)
    assert difference(grey(dataset), reference) <= 2


@pytest.mark.parametrize(
    "elements",
    [
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [100, 130], "RadiusOfCircularShutter": 90},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [10, 10, 10, 250, 190, 250, 190, 60]},
    ],
)
def test_what_a_round_or_slanted_shutter_covers_is_black(elements: dict[str, Any]) -> None:
    values = grey(make(PIXELS // 2 + 500, **elements))
    assert (values[-3:, :3] == 0).all()
    assert values[values.shape[0] // 2, values.shape[1] // 2] > 0


def test_a_shutter_over_everything_is_not_used(reference: NDArray[np.int16]) -> None:
    edges = {f"Shutter{name}": 500 for name in ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge")}
    dataset = make(PIXELS, ShutterShape="RECTANGULAR", ShutterLowerHorizontalEdge=500, **edges, **FULL)
    assert difference(grey(dataset), reference) <= 1


@pytest.mark.parametrize(
    ("turned", "orientation"),
    [
        (PIXELS[:, ::-1], ["R", "F"]),
        (PIXELS[::-1], ["L", "H"]),
        (PIXELS[::-1, ::-1], ["R", "H"]),
        (PIXELS.T, ["F", "L"]),
        (np.rot90(PIXELS, 1), ["F", "R"]),
        (np.rot90(PIXELS, -1), ["H", "L"]),
    ],
    ids=["mirrored", "mirrored on its head", "on its head", "transposed", "turned left", "turned right"],
)
def test_a_picture_that_lies_as_its_header_says_is_put_upright(
    turned: NDArray[np.uint16], orientation: list[str]
) -> None:
    upright = np.ascontiguousarray(turned)
    values = grey(make(upright, PatientOrientation=orientation, **FULL))
    assert difference(values, grey(make(PIXELS, **FULL))) <= 1


@pytest.mark.parametrize("name", ["SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored"])
@pytest.mark.parametrize("syntax", [None, "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"])
def test_an_element_that_can_have_one_value_alone_may_be_missing(
    name: str, syntax: str | None, reference: NDArray[np.int16], tmp_path: Path
) -> None:
    import pydicom

    data = written(make(PIXELS, **FULL)) if syntax is None else compressed(make(PIXELS, **FULL), syntax, tmp_path)
    (tmp_path / "whole.dcm").write_bytes(data)
    dataset = pydicom.dcmread(tmp_path / "whole.dcm")
    delattr(dataset, name)
    assert difference(grey(dataset), reference) <= 1


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70"])
def test_overlays_in_few_bits_of_a_lossless_frame_change_no_value(syntax: str, tmp_path: Path) -> None:
    words = PIXELS.copy()
    words[20:24, 20:40] |= 0x8000
    dataset = make(words, **FULL)
    dataset.add_new((0x6000, 0x0100), "US", 16)
    dataset.add_new((0x6000, 0x0102), "US", 15)
    plain = np.asarray(dicom.decode(written(dataset), (999, 999), Limits()), dtype=np.int16)
    dataset.BitsStored, dataset.HighBit = 16, 15  # else GDCM would drop the bits as it compresses
    packed = pydicom.dcmread(BytesIO(compressed(dataset, syntax, tmp_path)))
    packed.BitsStored, packed.HighBit = 12, 11
    assert difference(np.asarray(dicom.decode(written(packed), (999, 999), Limits()), dtype=np.int16), plain) == 0


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_window_means_the_same_on_words_of_32_bits(is_signed: bool, reference: NDArray[np.int16]) -> None:
    dataset = make(PIXELS, **FULL)
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit, dataset.PixelRepresentation = 31, int(is_signed)
    dataset.PixelData = PIXELS.astype(np.uint32).tobytes()
    dataset["PixelData"].VR = "OW"
    assert difference(grey(dataset), reference) <= 1


def test_what_a_shutter_leaves_of_a_large_picture_is_scaled_by_its_own_size() -> None:
    large = np.kron(PIXELS, np.ones((8, 8), np.uint16))
    edges = {"ShutterLeftVerticalEdge": 501, "ShutterRightVerticalEdge": 900}
    edges |= {"ShutterUpperHorizontalEdge": 501, "ShutterLowerHorizontalEdge": 900}
    shown = dicom.decode(written(make(large, **FULL, ShutterShape="RECTANGULAR", **edges)), (160, 160), Limits())
    assert min(shown.size) >= 160


def test_a_file_without_preamble_or_transfer_syntax_is_read(reference: NDArray[np.int16], tmp_path: Path) -> None:
    dataset = make(PIXELS, **FULL)
    data = written(dataset)
    start = data.index(b"\x08\x00\x16\x00")
    assert difference(grey(data[start:]), reference) <= 1
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    dataset.save_as(tmp_path / "implicit.dcm", enforce_file_format=True)
    whole = (tmp_path / "implicit.dcm").read_bytes()
    bare = whole[whole.index(b"\x08\x00\x16\x00") :]
    assert difference(np.asarray(decode(bare, (160, 160), Limits()), dtype=np.int16), reference) <= 1


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"])
def test_a_compressed_file_without_its_last_delimiter_is_read_and_one_cut_off_is_not_finished(
    syntax: str, tmp_path: Path, reference: NDArray[np.int16]
) -> None:
    data = compressed(make(PIXELS, **FULL), syntax, tmp_path)
    delimiter = b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert data.endswith(delimiter)
    assert difference(grey(data[: -len(delimiter)]), reference) <= 1
    with pytest.raises(Unfinished, match="cut off"):
        grey(data[: len(data) * 2 // 3])


def test_grey_that_is_stored_as_colour_is_grey_and_colour_is_refused() -> None:
    eight = (PIXELS >> 4).astype(np.uint8)
    colours = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    dataset = make(np.repeat(eight[:, :, np.newaxis], 3, axis=2), **colours)
    assert difference(grey(dataset), grey(make(eight))) <= 1
    tinted = np.stack([eight, eight, np.zeros_like(eight)], axis=2)
    with pytest.raises(Unsuitable, match="in colour"):
        grey(make(tinted, **colours))


@pytest.mark.parametrize(("stated", "years"), [("003Y", 3), ("0003Y", 3), ("003y", 3), ("018M", 1.5)])
def test_an_age_is_read_as_devices_write_it(stated: str, years: float) -> None:
    import pydicom

    dataset = make(PIXELS)
    dataset["PatientAge"] = pydicom.DataElement("PatientAge", "AS", stated, validation_mode=0)
    assert dicom.read_header(written(dataset)).age_years == years


def test_modality_rg_is_a_radiograph(reference: NDArray[np.int16]) -> None:
    assert difference(grey(make(PIXELS, Modality="RG", **FULL)), reference) == 0


def test_scaling_while_decoding_changes_nothing_but_the_size(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(PIXELS).resize((1560, 1200), Image.Resampling.BICUBIC), dtype=np.uint16)
    for syntax in (None, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"):
        data = written(make(large, **FULL)) if syntax is None else compressed(make(large, **FULL), syntax, tmp_path)
        scaled = Image.fromarray(grey(data).astype(np.uint8))
        assert scaled.width < large.shape[1]
        whole = dicom.decode(data, (5000, 5000), Limits())
        assert whole.size == (1560, 1200)
        pair = [np.asarray(each.resize((260, 200), Image.Resampling.BOX), np.int16) for each in (scaled, whole)]
        assert difference(*pair) <= 3


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize(
    ("width", "bits", "shift"),
    [(8, 8, 0), (16, 16, 0), (16, 12, 0), (16, 12, 4), (16, 10, 3), (32, 20, 5), (32, 32, 0)],
)
def test_values_are_the_bits_that_the_header_names_whatever_stands_beside_them(
    order: str, is_signed: bool, width: int, bits: int, shift: int
) -> None:
    numbers = np.random.default_rng(bits).integers(0, 2**width, (20, 30))
    expected = numbers >> shift & (2**bits - 1)
    if is_signed:
        expected = np.where(expected >= 2 ** (bits - 1), expected - 2**bits, expected)
    words = numbers.astype(f"{order}u{width // 8}")
    assert (Layout(bits, shift, is_signed).read(words) == expected).all()


@pytest.mark.parametrize("kind", ["u1", "u2", ">u2", "i2", "i4", "f4"])
@pytest.mark.parametrize("step", [1, 2, 7])
def test_an_average_is_the_mean_of_each_square_and_leaves_out_what_is_over(kind: str, step: int) -> None:
    values = np.random.default_rng(step).integers(0, 127, (31, 45)).astype(kind)
    means = [
        [values[row : row + step, column : column + step].mean() for column in range(0, 45 - step + 1, step)]
        for row in range(0, 31 - step + 1, step)
    ]
    assert average(values, step) == pytest.approx(np.array(means), rel=1e-6)


@needs_cases
@pytest.mark.parametrize("case", CASES or [None], ids=lambda case: case and case.name)
def test_a_file_from_a_public_report_gets_the_row_of_its_reference(case: Case) -> None:
    data = case.file.read_bytes()
    if case.refusal:
        error, reason = case.refusal
        with pytest.raises(error, match=reason):
            decode(data, (128, 128), Limits())
    else:
        references, notes = [probability((FOLDER / name).read_bytes()) for name in case.references], Notes()
        assert min(abs(probability(data, notes) - reference) for reference in references) <= TOLERANCE
        assert bool(notes.texts) == case.is_repaired, notes.texts


def probability(data: bytes, notes: Notes | None = None) -> float:
    loaded = _bundled()
    pixels = prepare(data, loaded.manifest.preprocessing, Limits(), notes)
    return loaded.manifest.calibration.probability(float(loaded.network.logits(pixels[np.newaxis])[0]))


_LOADED: list[registry.Loaded] = []


def _bundled() -> registry.Loaded:
    if not _LOADED:
        _LOADED.append(registry.load_bundled("auto"))
    return _LOADED[0]
