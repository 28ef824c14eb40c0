"""Plain pictures: of more than 8 bits, with previews beside them, and of every format that is read."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging import Limits, decode, png
from shared.imaging.notes import Notes

Y, X = np.mgrid[0:200, 0:260]
GREY: NDArray[np.float64] = (np.sin(X / 40) + np.cos(Y / 30) + 2) / 4
EIGHT: NDArray[np.uint8] = (GREY * 250).astype(np.uint8)


def read(data: bytes, notes: Notes | None = None) -> NDArray[np.int16]:
    return np.asarray(decode(data, (160, 160), Limits(), notes), dtype=np.int16)


def expected() -> NDArray[np.int16]:
    return np.asarray((GREY - GREY.min()) / (GREY.max() - GREY.min()) * 255, dtype=np.int16)


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def deep_png(values: NDArray[np.uint16]) -> bytes:
    """16 bits a channel, which Pillow does not write in colour or with transparency."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    header = struct.pack(">2I5B", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("bits", [16, 12, 10])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_keeps_all_of_them_however_few_are_used(bits: int, channels: int) -> None:
    values = (GREY * (2**bits - 1)).astype(np.uint16)
    colours = np.repeat(values[:, :, np.newaxis], channels, axis=2)
    assert np.abs(read(deep_png(colours)) - expected()).max() <= 2


@pytest.mark.parametrize("bits", [16, 12, 10])
def test_grey_of_16_bits_with_transparency_keeps_all_of_them(bits: int) -> None:
    values = (GREY * (2**bits - 1)).astype(np.uint16)
    assert np.abs(read(deep_png(np.stack([values, np.full_like(values, 65535)], axis=2))) - expected()).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "P", "I;16"])
def test_a_png_whose_pixels_end_properly_before_the_last_row_is_unfinished(mode: str) -> None:
    file = BytesIO()
    picture = Image.fromarray(EIGHT)
    (Image.fromarray(EIGHT.astype(np.uint16) * 200) if mode == "I;16" else picture.convert(mode)).save(file, "PNG")
    whole = file.getvalue()
    start = whole.index(b"IDAT")
    length = int.from_bytes(whole[start - 4 : start], "big")
    rows = zlib.decompressobj().decompress(whole[start + 4 : start + 4 + length])
    short = b"IDAT" + zlib.compress(rows[: len(rows) // 2])
    short = struct.pack(">I", len(short) - 4) + short + struct.pack(">I", zlib.crc32(short))
    with pytest.raises(Unfinished, match="rows of its pixels are missing"):
        read(whole[: start - 4] + short + whole[-12:])
    dark = EIGHT.copy()
    dark[-20:] = 0
    file = BytesIO()
    Image.fromarray(dark).save(file, "PNG")
    assert (read(file.getvalue())[-20:] == 0).all()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_was_closed_after_it_was_cut_off_is_unfinished(share: float, mode: str) -> None:
    file = BytesIO()
    Image.fromarray(EIGHT).convert(mode).save(file, "JPEG", quality=95)
    whole = file.getvalue()
    with pytest.raises(Unfinished, match="cut off"):
        read(whole[: int(share * len(whole))] + b"\xff\xd9")


@pytest.mark.parametrize("border", [0, 3, 8, 40])
@pytest.mark.parametrize("grey", [0, 90, 255])
def test_a_whole_jpeg_with_a_border_of_one_grey_is_whole(border: int, grey: int) -> None:
    file = BytesIO()
    Image.fromarray(np.pad(EIGHT, border, constant_values=grey)).save(file, "JPEG", quality=95)
    read(file.getvalue())


def test_deep_colour_in_jpeg_2000_is_refused_rather_than_cut_to_8_bits() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    colours = np.repeat((GREY * 4095).astype(np.uint16)[:, :, np.newaxis], 3, axis=2)
    with pytest.raises(Unsuitable, match="save it as PNG or TIFF"):
        read(imagecodecs.jpeg2k_encode(colours, codecformat="jp2", bitspersample=16, level=0))


def test_a_tiff_of_signed_bytes_does_not_wrap_around() -> None:
    assert np.abs(read(tiff((GREY * 250 - 125).astype(np.int8), photometric="minisblack")) - expected()).max() <= 3


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_what_is_no_number_in_a_tiff_of_fractions_is_no_part_of_the_range(value: float) -> None:
    values = (GREY + 20).astype(np.float32)
    values[:30] = value
    picture = read(tiff(values, photometric="minisblack"))
    assert (picture[:30] == 0).all()
    assert picture[30:].max() == 255
    assert picture[30:].std() > 40


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("kind", ["uint16", "uint32", "float32", "int16"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_a_tiff_of_more_than_8_bits_is_read_whatever_its_numbers_and_its_white(
    byteorder: Any, kind: str, photometric: Any
) -> None:
    highest = {"uint16": 60_000, "uint32": 4_000_000_000, "float32": 1.0, "int16": 30_000}[kind]
    shown = 1 - GREY if photometric == "miniswhite" else GREY
    data = tiff((shown * highest).astype(kind), byteorder=byteorder, photometric=photometric)
    assert np.abs(read(data) - expected()).max() <= 2


def test_a_tiff_with_a_thumbnail_is_its_large_page_and_one_of_two_pages_is_refused() -> None:
    small = np.ascontiguousarray(EIGHT[::2, ::2])
    notes, file = Notes(), BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(EIGHT, photometric="minisblack")
        writer.write(small, photometric="minisblack")
    assert np.abs(read(file.getvalue(), notes) - EIGHT).max() == 0
    assert notes.texts
    with pytest.raises(Unreadable, match="several pages"):
        read(tiff(np.stack([EIGHT, EIGHT[::-1]]), photometric="minisblack"))


def test_a_jpeg_with_further_pictures_is_its_first() -> None:
    file, notes = BytesIO(), Notes()
    Image.fromarray(EIGHT).save(file, "MPO", save_all=True, append_images=[Image.fromarray(EIGHT[::-1])], quality=98)
    assert np.abs(read(file.getvalue(), notes) - EIGHT).max() <= 8
    assert notes.texts


@pytest.mark.parametrize("format", ["BMP", "WEBP", "JPEG2000", "PNG", "TIFF"])
def test_a_picture_is_the_same_in_every_lossless_format(format: str) -> None:
    file = BytesIO()
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    Image.fromarray(EIGHT).save(file, format, **options)
    assert np.abs(read(file.getvalue()) - EIGHT).max() <= 1


def test_one_hot_pixel_does_not_flatten_16_bits() -> None:
    values = (GREY * 3000).astype(np.uint16)
    plain, hot = BytesIO(), BytesIO()
    Image.fromarray(values).save(plain, "PNG")
    values[100, 130] = 65535
    Image.fromarray(values).save(hot, "PNG")
    one, other = read(plain.getvalue()), read(hot.getvalue())
    one[100, 130] = other[100, 130]
    assert np.abs(one - other).max() <= 1


NOISY: NDArray[np.uint16] = (GREY * 50000 + 5000 + np.random.default_rng(5).normal(0, 60, GREY.shape)).astype(np.uint16)


def saved(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [(260, 200), (64, 64), (101, 77)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_png_of_16_bits_has_the_pixels_that_pillow_reads(size: tuple[int, int], level: int) -> None:
    data = saved(Image.fromarray(NOISY).resize(size), compress_level=level)
    assert (png.decode(data + b"something behind its end", size) == np.asarray(Image.open(BytesIO(data)))).all()


def test_other_png_files_are_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.fromarray(NOISY), exif=exif)
    at = turned.index(b"eXIf") - 4
    length = 12 + int.from_bytes(turned[at : at + 4])
    behind = turned[:at] + turned[at + length : -12] + turned[at : at + length] + turned[-12:]
    bomb = bytearray(saved(Image.fromarray(NOISY)))
    bomb[23] -= 1  # a row less than is in it
    for data in (behind, bytes(bomb), saved(Image.fromarray(EIGHT)), saved(Image.fromarray(NOISY))[:-1000]):
        assert png.decode(data, struct.unpack_from(">2I", data, 16)) is None
    assert (read(turned) == read(behind)).all()
    assert read(turned).shape == GREY.shape[::-1]


def test_a_second_size_in_a_png_of_16_bits_takes_no_memory() -> None:
    file = BytesIO()
    Image.fromarray((GREY * 60_000).astype(np.uint16)).save(file, "PNG")
    data = file.getvalue()
    header = data[12:29]
    huge = header[:4] + struct.pack(">2I", 1_000_000_000, 1_000_000_000) + header[12:]
    first = struct.pack(">I", 13) + huge + struct.pack(">I", zlib.crc32(huge))
    assert np.abs(read(data[:8] + first + data[8:]) - expected()).max() <= 2  # Pillow takes the last


def test_a_png_of_16_bits_that_was_cut_off_is_unfinished() -> None:
    with pytest.raises(Unfinished):
        read(saved(Image.fromarray(NOISY))[:-1000])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF of 32 bits", "colour"])
def test_a_large_picture_of_more_than_8_bits_is_scaled_down_before_anything_else(kind: str) -> None:
    large = np.asarray(Image.fromarray(NOISY).resize((1560, 1200), Image.Resampling.BICUBIC), dtype=np.uint16)
    match kind:
        case "PNG":
            data = saved(Image.fromarray(large))
        case "colour":
            data = tiff(np.repeat(large[:, :, np.newaxis], 3, axis=2), photometric="rgb")
        case _:
            data = tiff(large.astype(np.uint16 if kind == "TIFF" else np.uint32))
    scaled, whole = (decode(data, at_least, Limits()) for at_least in ((160, 160), (5000, 5000)))
    assert whole.size == (1560, 1200)
    assert scaled.size == (whole.size if kind == "colour" else (520, 400))
    one, other = (np.asarray(each.resize((260, 200), Image.Resampling.BOX), np.int16) for each in (scaled, whole))
    assert np.abs(one - other).max() <= 3
