"""Ways to damage a file: everywhere alike, and in the fields that a decoder believes. `random` decides everything."""

import struct
import zlib
from collections.abc import Callable
from random import Random

NUMBERS = (0, 1, 2, 7, 63, 64, 255, 256, 4096, 9_999, 10_001, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
MAX_INSERTED = 4096
Damage = Callable[[bytes, Random], bytes]


def damaged(data: bytes, random: Random) -> bytes:
    """One to four kinds of damage; one in forty files stays whole."""
    if random.random() < 0.025:
        return data
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        edits = ANYWHERE if random.random() < 0.6 else _fields(data)
        data = random.choice(edits)(data, random)
    return data


def flip_bits(data: bytes, random: Random) -> bytes:
    """More often near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 2, 4, 16)) if data else 0):
        changed[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def insert(data: bytes, random: Random) -> bytes:
    place, length = _place(data, random), random.choice((1, 2, 3, 8, 100, MAX_INSERTED))
    new = random.choice((bytes(length), b"\xff" * length, random.randbytes(length), data[place : place + length]))
    return data[:place] + new + data[place:]


def remove(data: bytes, random: Random) -> bytes:
    place = _place(data, random)
    return data[:place] + data[place + random.choice((1, 2, 3, 8, 100, 4096)) :]


def overwrite(data: bytes, random: Random) -> bytes:
    """A number that is seldom expected, of one to four bytes and either order."""
    size = random.choice((1, 2, 4))
    number = (random.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, random.choice(("big", "little")))
    place = _place(data, random)
    return data[:place] + number + data[place + size :]


def move(data: bytes, random: Random) -> bytes:
    """Bytes of one place over those of another."""
    start, place, length = _place(data, random), _place(data, random), random.choice((2, 12, 200))
    piece = data[start : start + length]
    return data[:place] + piece + data[place + len(piece) :]


ANYWHERE: tuple[Damage, ...] = (flip_bits, flip_bits, truncate, insert, remove, overwrite, move)


def edit_jpeg(data: bytes, random: Random) -> bytes:
    """A marker, a segment's length, or what a segment says: size, precision, components, tables, EXIF."""
    start = data.find(b"\xff\xd8\xff")  # in a DICOM or TIFF file, perhaps within
    places = [start + 2] if start >= 0 else []
    while places and len(places) < 40 and data[places[-1] : places[-1] + 1] == b"\xff":
        length = int.from_bytes(data[places[-1] + 2 : places[-1] + 4], "big")
        if data[places[-1] + 1 : places[-1] + 2] == b"\xda" or length < 2:
            break
        places.append(places[-1] + 2 + length)
    if not places:
        return flip_bits(data, random)
    place = random.choice(places)
    if random.random() < 0.2:
        marker = bytes([0xFF, random.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xDD, 0xD9, 0xE1, 0xEE, 0xD0, 0x00))])
        return data[:place] + marker + data[place + 2 :]
    place += random.choice((2, 4, 5, 7, 9, 10, 11, random.randrange(4, 64)))
    size = random.choice((1, 2))
    return data[:place] + (random.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "big") + data[place + size :]


def edit_png(data: bytes, random: Random) -> bytes:
    """A chunk's content with its checksum made right, its name, its place; pixels are changed before compression."""
    chunks, place = list[tuple[bytes, bytes]](), 8
    while place + 8 <= len(data) and len(chunks) < 50:
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return flip_bits(data, random)
    number = random.choice((0, random.randrange(len(chunks))))
    kind, content = chunks[number]
    match random.randrange(8):
        case 0:
            chunks.insert(random.randrange(len(chunks) + 1), (kind, content))
        case 1:
            del chunks[number]
        case 2:
            kind = random.choice(
                (b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"eXIf", b"gAMA")
            )
            chunks.insert(random.randrange(len(chunks) + 1), (kind, random.choice((content, random.randbytes(40)))))
        case 3:
            bomb = random.choice((b"iCCP", b"zTXt", b"IDAT"))
            chunks.insert(1, (bomb, b"a\0\0" * (bomb != b"IDAT") + zlib.compress(bytes(3_000_000))))
        case 4 if kind == b"IDAT":
            try:
                pixels = zlib.decompress(content)
            except zlib.error:
                pixels = content
            chunks[number] = (kind, zlib.compress(random.choice(ANYWHERE)(pixels, random), 1))
        case _:
            chunks[number] = (kind, random.choice((flip_bits, overwrite, overwrite, truncate))(content, random))
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return data[:8] + b"".join(parts)


def edit_tiff(data: bytes, random: Random) -> bytes:
    """A tag, a type, a count or a value in the first directory."""
    order = ">" if data[:2] == b"MM" else "<"
    is_big = data[2:3] == b"\x2b" or data[3:4] == b"\x2b"
    try:
        start = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)[0]
        count = struct.unpack_from(order + ("Q" if is_big else "H"), data, start)[0]
    except (struct.error, OverflowError):
        return flip_bits(data, random)
    size, first = (20, start + 8) if is_big else (12, start + 2)
    entry = first + size * random.randrange(min(count, 100) + 1)  # one after the last: the next directory
    field = random.randrange(4)
    if field == 0:
        place, new = entry, struct.pack(order + "H", random.choice((254, 256, 258, 259, 262, 273, 277, 279, 284, 317)))
    elif field == 1:
        place, new = entry + 2, struct.pack(order + "H", random.randrange(20))
    elif field == 2:
        place, new = entry + 4, struct.pack(order + "I", random.choice(NUMBERS))
    else:
        place = entry + (12 if is_big else 8)
        new = struct.pack(
            *random.choice(((order + "H", random.choice(NUMBERS) & 0xFFFF), (order + "I", random.choice(NUMBERS))))
        )
    return data[:place] + new + data[place + len(new) :] if place < len(data) else flip_bits(data, random)


def edit_deflated(data: bytes, random: Random) -> bytes:
    """Any damage to the elements of a deflated DICOM file, before they are deflated."""
    start = 144 + int.from_bytes(data[140:144], "little")  # after the file's meta information
    elements = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = elements.decompress(data[start:], 10_000_000)
    except zlib.error:
        return flip_bits(data, random)
    header = b"\0" * 128 + b"DICM"  # where `edit_dicom` looks
    edited = random.choice((*ANYWHERE, edit_dicom, edit_dicom, edit_dicom))(header + inflated, random)[132:]
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return data[:start] + stream.compress(edited) + stream.flush()


def edit_dicom(data: bytes, random: Random) -> bytes:
    """The value, the type, the length or the number of an element of a well-known group."""
    groups = (b"\x02\x00", b"\x08\x00", b"\x10\x00", b"\x18\x00", b"\x20\x00", b"\x28\x00", b"\x28\x00", b"\xe0\x7f")
    group, places, place = random.choice(groups), list[int](), 132
    while (place := data.find(group, place)) >= 0 and len(places) < 60 and place < 4096:
        if data[place + 4 : place + 6].isalpha():
            places.append(place)
        place += 2
    if not places:
        return overwrite(data, random)
    place = random.choice(places)
    match random.randrange(6):
        case 0:
            new, place = (
                random.choice((b"US", b"SS", b"OW", b"UN", b"SQ", b"DS", b"LO", b"AT", b"FD", b"zz")),
                place + 4,
            )
        case 1:
            new, place = random.choice((0, 1, 2, 3, 8, 0xFFFE, 0xFFFF)).to_bytes(2, "little"), place + 6
        case 2:
            new, place = random.randrange(0x110).to_bytes(2, "little"), place + 2
        case 3:
            new, place = random.choice(WORDS), place + 8
        case _:
            new, place = (random.choice(NUMBERS) & 0xFFFF).to_bytes(2, "little"), place + 8
    return data[:place] + new + data[place + len(new) :]


WORDS = (
    *(
        b"DX",
        b"CR",
        b"CT",
        b"MONOCHROME1 ",
        b"PALETTE COLOR",
        b"RGB ",
        b"\xff\xfe\xff\xfe",
        b"1\\2\\3\\4 ",
        b"nan ",
        b"-inf",
    ),
    *(
        b"1e308 ",
        b"-1",
        b"1.2.840.10008.1.2.4.70",
        b"1.2.840.10008.1.2.4.90",
        b"1.2.840.10008.1.2.5",
        b"1.2.840.10008.1.2\0",
    ),
    *(
        b"\x1b$B%d%b",
        b"\x1b(J\xff\xff",
        b"ISO 2022 IR 87",
        b"GB18030 ",
        b"\\\\\\\\",
        b"\0\0\0\0",
        b"000Y",
        b"\xed\xa0\x80 ",
    ),
)


ITEM = b"\xfe\xff\x00\xe0"
"""What stands before the frame of a compressed DICOM file, the last of its items."""


def header_edit(mark: bytes, span: int) -> Damage:
    """A number within so many bytes from a mark's last place on: what a decoder believes of sizes and offsets."""

    def edit(data: bytes, random: Random) -> bytes:
        place, size = max(data.rfind(mark), 0) + random.randrange(span), random.choice((1, 2, 4))
        number = (random.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, random.choice(("big", "little")))
        return data[:place] + number + data[place + size :]

    return edit


HEADERS = (
    (b"\x89PNG", edit_png),
    (b"II", edit_tiff),
    (b"MM", edit_tiff),
    (b"BM", header_edit(b"BM", 54)),
    (b"RIFF", header_edit(b"RIFF", 64)),
    (b"\0\0\0\x0cjP", header_edit(b"jP", 90)),
)
"""By how a file begins."""
edit_wavelets = header_edit(b"\xff\x4f\xff\x51", 120)
edit_frame = header_edit(ITEM, 72)


def _fields(data: bytes) -> tuple[Damage, ...]:
    """The kinds of header edit that fit."""
    wavelets = (edit_wavelets,) if b"\xff\x4f\xff\x51" in data else ()
    if data[128:132] == b"DICM" and b"1.2.840.10008.1.2.1.99" in data:
        return (edit_deflated,)
    if data[128:132] == b"DICM":
        stream = wavelets or ((edit_jpeg,) if b"\xff\xd8\xff" in data else (edit_frame,))
        return (edit_dicom, *stream, edit_frame) if ITEM in data else (edit_dicom,)
    edits = [edit for beginning, edit in HEADERS if data.startswith(beginning)]
    return (*edits, *wavelets) or (edit_jpeg,)


def _place(data: bytes, random: Random) -> int:
    if not data:
        return 0
    near = (len(data), len(data), 4096, 700, 100)
    return random.randrange(min(len(data), random.choice(near)))
