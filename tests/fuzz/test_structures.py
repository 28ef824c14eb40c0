"""Files that are whole as files, with fields and parts that make no sense: Hypothesis puts them together."""

import base64
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dicom import encapsulated, make, written
from tests.fuzz.images import WAYS, Child
from tests.fuzz.size import TIMEOUT, examples, seeded
from tests.radiographs import radiograph

pytestmark = pytest.mark.timeout(TIMEOUT)
FILM = radiograph(0)
PIXELS = np.asarray(FILM)
NUMBERS = st.one_of(st.sampled_from([0, 1, 63, 64, 96, 255, 256, 10_001, 0x7FFF, 0xFFFF]), st.integers(0, 0xFFFF))
LARGE = st.one_of(NUMBERS, st.sampled_from([0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))


class Looking:
    """A process that is replaced when it dies."""

    def __init__(self) -> None:
        self.child = Child()

    def __call__(self, data: bytes, way: int) -> None:
        if not self.child.is_alive:
            self.child.close()
            self.child = Child()
        verdict = self.child.ask({"data": base64.b64encode(data).decode(), "way": way})
        assert verdict.problem is None, verdict.problem

    def close(self) -> None:
        self.child.close()


@pytest.fixture(scope="module")
def look() -> Iterator[Looking]:
    with closing(Looking()) as looking:
        yield looking


def encoded(format: str, **options: Any) -> bytes:
    file = BytesIO()
    FILM.save(file, format, **options)
    return file.getvalue()


def packed(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def element(tag: int, kind: bytes, value: bytes) -> bytes:
    """Explicit VR, little endian."""
    value += bytes(len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))) + value


WORDS = st.one_of(
    st.sampled_from(
        [b"", b"CHEST", b"PA", b"LL", b"MONOCHROME1", b"YBR_FULL", b"003Y", b"999D", b"20260231", b"DX\\CT"]
    ),
    st.sampled_from([b"ISO_IR 192", b"\\ISO 2022 IR 87", b"GB18030", b"ISO 2022 IR 13", b"SIGMOID", b"FOR PROCESSING"]),
    st.binary(max_size=40),
)
SHORTS = st.lists(NUMBERS, min_size=1, max_size=1).map(packed) | st.lists(NUMBERS, max_size=4).map(packed)
DECIMALS = st.one_of(
    st.sampled_from([b"0", b"-1", b"1e308", b"-1e308", b"1e-300", b"nan", b"-inf", b"", b"1\\2", b"x"]),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.6g}".encode()),
)
LENGTHS = st.sampled_from([None, None, None, 0, 7, 0xFFFFFFFF])


def sequence(items: list[tuple[bytes, bytes, list[int], bytes, list[int], int | None]]) -> bytes:
    """Items of a code and a lookup table, each with its true length, or another."""
    parts = []
    for code, meaning, descriptor, kind, values, length in items:
        body = element(0x00080100, b"SH", code) + element(0x00080104, b"LO", meaning)
        body += element(0x00283002, b"US", packed(descriptor)) + element(0x00283006, kind, packed(values))
        parts.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(body) if length is None else length) + body)
    return b"".join(parts)


ITEMS = st.tuples(
    *(WORDS, WORDS, st.lists(NUMBERS, max_size=4), st.sampled_from([b"US", b"OW", b"UN", b"SS"])),
    *(st.lists(NUMBERS, max_size=300), LENGTHS),
)
SEQUENCES = st.lists(ITEMS, max_size=2).map(sequence)
FIELDS: dict[int, tuple[bytes, st.SearchStrategy[bytes]]] = {
    **dict.fromkeys((0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103), (b"US", SHORTS)),
    **dict.fromkeys((0x00280002, 0x00280006, 0x00280120, 0x00280121), (b"US", SHORTS)),  # samples, planes, padding
    **dict.fromkeys((0x00281050, 0x00281051, 0x00281052, 0x00281053), (b"DS", DECIMALS)),  # window and rescale
    **dict.fromkeys((0x00280008, 0x00200013), (b"IS", DECIMALS)),  # frames, number
    **dict.fromkeys((0x00080060, 0x00180015, 0x00185101, 0x00280004, 0x00080005, 0x00080068), (b"CS", WORDS)),
    **dict.fromkeys((0x00281056, 0x00200020, 0x00280301), (b"CS", WORDS)),  # kind of window, orientation
    **dict.fromkeys((0x00100020, 0x00100021), (b"LO", WORDS)),  # the patient's id and who gave it
    **dict.fromkeys((0x00100030, 0x00080020), (b"DA", WORDS)),
    **dict.fromkeys((0x00101010, 0x00080050, 0x0020000D, 0x00080016), (b"SH", WORDS)),  # age, numbers
    **dict.fromkeys((0x00283010, 0x00283000, 0x00540220, 0x00082218), (b"SQ", SEQUENCES)),  # tables, view, region
}
FIRST = (0x00280010, 0x00280011, 0x00080060, 0x00280004)  # what is looked at first is changed seldom
KINDS = st.sampled_from([b"US", b"SS", b"UN", b"LO", b"PN", b"DS", b"FD", b"AT", b"SQ", b"OW", b"zz"])


def taken_apart(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """What stands before the elements of the picture, and those elements, by their numbers."""
    at, elements = data.index(b"\x08\0\x16\0UI"), dict[int, bytes]()
    head = data[:at]
    while at < len(data):
        group, number, _, short = struct.unpack_from("<HH2sH", data, at)
        end = len(data) if group == 0x7FE0 else at + 8 + short  # the pixels come last
        elements[group << 16 | number] = data[at:end]
        at = end
    return head, elements


def whole(kind: str) -> bytes:
    """A file that is as it should be, whose pixels are stored in one of four ways."""
    match kind:
        case "8 bits":
            return written(make(PIXELS))
        case "12 bits":
            return written(make(PIXELS.astype(np.uint16) * 16))
        case "JPEG":
            return encapsulated(make(PIXELS), encoded("JPEG"), "1.2.840.10008.1.2.4.50")
    return encapsulated(make(PIXELS), encoded("JPEG2000", no_jp2=True), "1.2.840.10008.1.2.4.90")


@st.composite
def dicoms(draw: st.DrawFn) -> bytes:
    head, elements = taken_apart(whole(draw(st.sampled_from(["8 bits", "12 bits", "JPEG", "JPEG 2000"]))))
    tags = draw(st.lists(st.sampled_from([tag for tag in FIELDS if tag not in FIRST]), max_size=5, unique=True))
    if draw(st.integers(0, 9)) == 0:
        tags.append(draw(st.sampled_from(FIRST)))
    for tag in tags:
        kind, values = FIELDS[tag]
        elements[tag] = element(tag, kind if draw(st.integers(0, 5)) else draw(KINDS), draw(values))
    return head + b"".join(elements[tag] for tag in sorted(elements))


@seeded
@examples(0.3)
@given(data=dicoms(), way=st.integers(0, len(WAYS) - 1))
def test_dicom_files_of_odd_elements(look: Looking, data: bytes, way: int) -> None:
    look(data, way)


CHUNKS = st.tuples(
    st.sampled_from([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"zTXt", b"tEXt", b"iTXt"])
    | st.sampled_from([b"eXIf", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"zzzz"]),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda name, text: name + b"\0\0" + zlib.compress(text), st.binary(max_size=5), st.binary(max_size=60)
        ),
        st.builds(
            lambda width, height, *rest: struct.pack(">IIBBBBB", width, height, *rest),
            *(LARGE, LARGE, st.sampled_from([1, 2, 4, 8, 16, 3]), st.integers(0, 7)),
            *(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)),
        ),
    ),
)


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    depth, colour, interlaced = (
        draw(st.sampled_from([1, 2, 4, 8, 16])),
        draw(st.integers(0, 6)),
        draw(st.integers(0, 1)),
    )
    header = struct.pack(
        ">IIBBBBB", *(draw(st.sampled_from([64, 96, 200])) for _ in "wh"), depth, colour, 0, 0, interlaced
    )
    pixels = zlib.compress(draw(st.binary(max_size=200)) * draw(st.sampled_from([1, 100, 1000])))
    cut = draw(st.integers(0, len(pixels)))
    chunks = [(b"IHDR", header), (b"IDAT", pixels[:cut]), (b"IDAT", pixels[cut:]), (b"IEND", b"")]
    for chunk in draw(st.lists(CHUNKS, max_size=4)):
        chunks.insert(draw(st.integers(0, len(chunks))), chunk)
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@seeded
@examples(0.3)
@given(data=pngs(), way=st.integers(0, len(WAYS) - 1))
def test_png_files_of_odd_chunks(look: Looking, data: bytes, way: int) -> None:
    look(data, way)


TAGS = st.sampled_from(
    [
        *range(254, 285),
        292,
        *range(317, 331),
        338,
        339,
        347,
        512,
        513,
        *range(529, 533),
        700,
        33432,
        34665,
        34675,
        34853,
    ]
)
ENTRIES = st.tuples(TAGS, st.integers(0, 18), st.one_of(st.integers(0, 8), LARGE), LARGE)


@st.composite
def tiffs(draw: st.DrawFn) -> bytes:
    order = draw(st.sampled_from("<>"))
    compression = draw(st.sampled_from([1, 1, 5, 7, 8, 32773, 2, 3, 4, 6, 34925, 50000, 50001, 34712]))
    bits, samples = draw(st.sampled_from([1, 8, 8, 16, 32])), draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
    body = draw(st.sampled_from([PIXELS.tobytes(), zlib.compress(PIXELS.tobytes()), encoded("JPEG"), b"", bytes(100)]))
    entries = {
        **{
            256: (4, 1, 96),
            257: (4, 1, 96),
            258: (3, 1, bits),
            259: (3, 1, compression),
            262: (3, 1, draw(st.integers(0, 9))),
        },
        **{273: (4, 1, 8), 277: (3, 1, samples), 278: (4, 1, 96), 279: (4, 1, len(body))},
    }
    for tag, *rest in draw(st.lists(ENTRIES, max_size=4)):
        entries[tag] = tuple(rest)  # type: ignore[assignment]
    directory = struct.pack(order + "H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        small = kind == 3 and count == 1 and value <= 0xFFFF
        directory += struct.pack(order + "HHI", tag, kind, count) + struct.pack(
            order + ("HH" if small else "I"), *((value, 0) if small else (value,))
        )
    beginning = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    return (
        beginning
        + body
        + directory
        + struct.pack(order + "I", draw(st.sampled_from([0, 0, 8, 8 + len(body), 0xFFFFFFFF])))
    )


@seeded
@examples(0.3)
@given(data=tiffs(), way=st.integers(0, len(WAYS) - 1))
def test_tiff_files_of_odd_directories(look: Looking, data: bytes, way: int) -> None:
    look(data, way)


SEGMENTS = st.tuples(
    st.sampled_from([0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE]),
    st.one_of(
        st.binary(max_size=40),
        st.builds(lambda rest: b"Exif\0\0II*\0\x08\0\0\0" + rest, st.binary(max_size=60)),
        st.builds(lambda rest: b"Photoshop 3.0\x008BIM" + rest, st.binary(max_size=40)),
        st.builds(lambda rest: b"MPF\0II*\0\x08\0\0\0" + rest, st.binary(max_size=60)),
        st.builds(
            lambda precision, height, width, parts: (
                struct.pack(">BHHB", precision, height, width, len(parts)) + b"".join(parts)
            ),
            *(
                st.sampled_from([8, 12, 16, 2]),
                NUMBERS,
                NUMBERS,
                st.lists(st.binary(min_size=3, max_size=3), max_size=5),
            ),
        ),
    ),
)


@st.composite
def jpegs(draw: st.DrawFn) -> bytes:
    data = encoded("JPEG", progressive=draw(st.booleans()))
    for marker, body in draw(st.lists(SEGMENTS, min_size=1, max_size=4)):
        at = draw(st.sampled_from([2, 20, data.find(b"\xff\xdb"), data.find(b"\xff\xc4"), data.find(b"\xff\xda")]))
        data = data[:at] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[at:]
    return data


@seeded
@examples(0.3)
@given(data=jpegs(), way=st.integers(0, len(WAYS) - 1))
def test_jpeg_files_of_odd_segments(look: Looking, data: bytes, way: int) -> None:
    look(data, way)


@seeded
@examples(0.1)
@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda rest: bytes(128) + b"DICM" + rest)))
def test_arbitrary_bytes(look: Looking, data: bytes) -> None:
    look(data, 0)
