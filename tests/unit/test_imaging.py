import contextlib
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.base.errors import ImageError, Unfinished, Unreadable
from shared.imaging import Limits, Preprocessing, decode, prepare
from tests.dicom import make, written

SMALL = Preprocessing(width=32, height=24)


def picture(width: int = 200, height: int = 150) -> Image.Image:
    """Soft shapes, darker to the left and to the top, with a bright disc at the lower right."""
    y, x = np.mgrid[0:height, 0:width]
    values = 40 + 100 * x / width + 60 * y / height
    values[(x - 0.75 * width) ** 2 + (y - 0.75 * height) ** 2 < (0.15 * height) ** 2] = 250
    return Image.fromarray(values.astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def prepared(data: bytes, preprocessing: Preprocessing = SMALL) -> NDArray[np.uint8]:
    return prepare(data, preprocessing, Limits())


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_pixels_have_the_shape_and_type_that_the_manifest_says() -> None:
    pixels = prepared(encoded(picture()))
    assert (pixels.shape, pixels.dtype) == ((24, 32, 1), np.uint8)
    assert pixels.min() < 60
    assert pixels.max() > 240


def test_three_channels_are_the_grey_one_three_times() -> None:
    grey = prepared(encoded(picture()))
    three = prepared(encoded(picture()), Preprocessing(width=32, height=24, channels=3))
    assert three.shape == (24, 32, 3)
    assert all(np.array_equal(three[:, :, channel], grey[:, :, 0]) for channel in range(3))


def test_equalized_contrast_uses_the_whole_range() -> None:
    dull = picture().point(lambda value: 100 + value // 8)
    assert prepared(encoded(dull)).max() < 140
    pixels = prepared(encoded(dull), Preprocessing(width=32, height=24, contrast="equalize"))
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (encoded(picture().convert("RGB")), 1),
        (encoded(picture().convert("RGBA")), 1),
        (encoded(picture().convert("LA")), 1),
        (encoded(picture().convert("RGB").quantize(64)), 4),
        (encoded(picture(), "JPEG", quality=95), 1),
        (encoded(picture().convert("RGB"), "JPEG", quality=95), 1),
        (encoded(picture().convert("RGB"), "JPEG", quality=95, progressive=True), 1),
        (encoded(picture().convert("CMYK"), "JPEG", quality=95), 2),
        (encoded(picture(), "TIFF"), 0),
        (encoded(picture().convert("RGB"), "TIFF", compression="tiff_lzw"), 1),
        (encoded(picture(), "TIFF", compression="tiff_deflate"), 0),
        (encoded(picture(), "TIFF", compression="jpeg", quality=95), 2),
        (encoded(picture(), "TIFF", tiffinfo={262: 0}), 0),
        (encoded(picture().convert("CMYK"), "TIFF"), 2),
    ],
    ids=[
        *("colour", "alpha", "grey with alpha", "palette", "JPEG", "colour JPEG", "progressive JPEG", "CMYK JPEG"),
        *("TIFF", "TIFF with LZW", "TIFF deflated", "JPEG in TIFF", "TIFF of white as 0", "CMYK TIFF"),
    ],
)
def test_a_picture_gives_the_same_pixels_however_it_is_stored(data: bytes, tolerance: float) -> None:
    assert difference(prepared(data), prepared(encoded(picture()))) <= tolerance


def test_a_black_and_white_drawing_is_read() -> None:
    assert set(np.unique(np.asarray(decode(encoded(picture().convert("1")), (32, 24), Limits())))) == {0, 255}


def test_sixteen_bits_are_stretched_over_the_range_that_they_use() -> None:
    values = np.asarray(picture()).astype(np.uint16)
    twelve_bits = decode(encoded(Image.fromarray(values * 16 + 7)), (320, 240), Limits())
    assert twelve_bits.mode == "L"
    assert twelve_bits.getextrema() == (0, 255)
    stretched = (values - values.min()) * 255.0 / (values.max() - values.min())
    assert difference(np.asarray(twelve_bits), stretched.round().astype(np.uint8)) < 1


def test_a_tiff_of_sixteen_bits_is_read_also_where_white_is_zero() -> None:
    values = np.asarray(picture()).astype(np.uint16) * 16
    plain = prepared(encoded(Image.fromarray(values), "TIFF"))
    assert difference(plain, prepared(encoded(Image.fromarray(values)))) == 0
    inverted = Image.fromarray((values.max() + values.min() - values).astype(np.uint16))
    assert difference(plain, prepared(encoded(inverted, "TIFF", tiffinfo={262: 0}))) < 1


def test_a_large_jpeg_decoded_at_a_smaller_scale_gives_nearly_the_same_pixels() -> None:
    large = picture(1600, 1200)
    data = encoded(large, "JPEG", quality=90)
    assert decode(data, (160, 160), Limits()).size == (400, 300)  # a quarter: an eighth would not cover 160 rows
    full = np.asarray(Image.open(BytesIO(data)).convert("L").resize((32, 24), Image.Resampling.BILINEAR))
    assert difference(prepared(data)[:, :, 0], full) < 1.5


def test_a_picture_turned_by_exif_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    upright = picture().transpose(Image.Transpose.ROTATE_270)
    for format in ("JPEG", "PNG"):
        turned = prepared(encoded(picture(), format, exif=exif))
        assert difference(turned, prepared(encoded(upright))) < 2, format


def test_an_empty_file_is_unfinished() -> None:
    with pytest.raises(Unfinished, match="empty"):
        prepared(b"")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
def test_an_image_that_ends_too_early_is_unfinished(format: str, part: float) -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200)).astype(np.uint8))
    data = encoded(noisy, format)
    with pytest.raises(Unfinished, match="cut off"):
        prepared(data[: int(len(data) * part)])


@pytest.mark.parametrize(("format", "length"), [("JPEG", 100), ("PNG", 30)])
def test_an_image_cut_within_its_header_is_unfinished(format: str, length: int) -> None:
    with pytest.raises(Unfinished):
        prepared(encoded(picture(), format)[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"this is text, whatever its name says\n" * 100,
        b"\0" * 1000,
        b"%PDF-1.7\n" + b"\0" * 1000,
        encoded(picture(), "GIF"),
    ],
    ids=["text", "zeros", "PDF", "GIF"],
)
def test_a_file_of_another_format_is_unreadable_whatever_its_name(data: bytes) -> None:
    with pytest.raises(Unreadable, match="not an image in a format that is read"):
        prepared(data)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
@pytest.mark.parametrize("value", [0, 255])
def test_a_blank_image_is_unreadable(mode: str, value: int) -> None:
    colour = (value,) * 3 if mode == "RGB" else value
    with pytest.raises(Unreadable, match="blank"):
        prepared(encoded(Image.new(mode, (100, 100), colour)))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_file_of_several_pictures_is_unreadable(format: str) -> None:
    data = encoded(picture(), format, save_all=True, append_images=[picture().rotate(90)])
    with pytest.raises(Unreadable, match="animated or has several pages"):
        prepared(data)


def test_a_tiff_of_many_thousand_pages_is_refused_at_its_second() -> None:
    entries = ((256, 4, 1, 100), (257, 4, 1, 100), (262, 3, 1, 1), (273, 4, 1, 8))
    page = struct.pack("<H", 4) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    pages = b"".join(page[:-4] + struct.pack("<I", 8 + (number + 1) * len(page)) for number in range(50_000))
    with pytest.raises(Unreadable, match="several pages"):
        prepared(b"II*\0" + struct.pack("<I", 8) + pages + page)


@pytest.mark.parametrize(("width", "height"), [(63, 500), (500, 63), (1, 1)])
def test_an_image_too_small_for_a_radiograph_is_unreadable(width: int, height: int) -> None:
    with pytest.raises(Unreadable, match=f"{width} x {height} pixels: too small"):
        prepared(encoded(picture(width, height)))


def test_the_smallest_image_that_is_taken_has_64_pixels_a_side() -> None:
    assert prepared(encoded(picture(64, 64))).shape == (24, 32, 1)


def test_a_file_with_too_many_bytes_is_refused_with_the_name_of_the_setting() -> None:
    data = encoded(picture())
    with pytest.raises(Unreadable, match="max_bytes"):
        prepare(data, SMALL, Limits(bytes=len(data) - 1))
    prepare(data, SMALL, Limits(bytes=len(data)))


def test_an_image_with_too_many_pixels_is_refused_with_the_name_of_the_setting() -> None:
    with pytest.raises(Unreadable, match=r"200 x 150 pixels, more than the limit of 29,999 \(max_pixels\)"):
        prepare(encoded(picture()), SMALL, Limits(pixels=200 * 150 - 1))
    prepare(encoded(picture()), SMALL, Limits(pixels=200 * 150))


def header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost no data, as a decompression bomb does."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_limit_on_pixels_holds_before_anything_is_decoded() -> None:
    with pytest.raises(Unreadable, match="max_pixels"):
        prepared(header_only(11_000, 11_000))


def test_our_limit_on_pixels_is_the_one_that_counts() -> None:
    with pytest.raises(Unreadable, match="max_pixels"):
        prepared(header_only(40_000, 40_000))


def test_metadata_that_cannot_be_read_does_not_cost_the_image() -> None:
    assert difference(prepared(encoded(picture(), exif=b"no TIFF header")), prepared(encoded(picture()))) == 0


def test_a_palette_with_transparent_colours_is_read_as_it_looks_without_them() -> None:
    palette = picture().convert("RGB").quantize(64)
    transparent = encoded(palette, transparency=bytes([0] * 32 + [255] * 32))
    assert difference(prepared(transparent), prepared(encoded(palette))) == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # the worker does the same
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0", b"II*\0\xff\xff\xff\xff"])
def test_exif_data_of_a_jpeg_that_cannot_be_read_do_not_cost_the_image(exif: bytes) -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0" + exif)
    assert np.array_equal(prepared(data), prepared(encoded(picture(), "JPEG")))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # the worker does the same
def test_damage_anywhere_leads_to_an_image_or_to_a_reason_and_to_nothing_else() -> None:
    random = np.random.default_rng(0)
    originals = [encoded(picture(), format) for format in ("JPEG", "PNG", "TIFF")]
    originals += [encoded(picture().convert("P")), encoded(picture(), "TIFF", compression="tiff_lzw")]
    for original in [*originals, written(make(np.asarray(picture())))]:
        for _ in range(100):
            data = bytearray(original)
            for place in random.integers(0, len(data), random.integers(1, 10)):
                data[place] = random.integers(0, 256)
            with contextlib.suppress(ImageError):
                assert prepared(bytes(data)).shape == (24, 32, 1)


def retyped(data: bytes, tag: int, kind: int, value: bytes) -> bytes:
    """A little-endian TIFF in which one entry says another type, and points to another value at the end of the file."""
    at = data.index(struct.pack("<H", tag), struct.unpack_from("<I", data, 4)[0])
    count = struct.unpack_from("<I", data, at + 4)[0]
    return data[: at + 2] + struct.pack("<HII", kind, count, len(data)) + data[at + 12 :] + value


def test_a_tiff_of_several_widths_and_a_huge_height_is_unreadable_and_takes_no_memory() -> None:
    data = encoded(picture(), "TIFF")
    at = struct.unpack_from("<I", data, 4)[0] + 2
    width, height = data.index(b"\0\1", at), data.index(b"\1\1", at)
    wide = data[: width + 4] + struct.pack("<II", 2, len(data)) + data[width + 12 :] + struct.pack("<2I", 200, 200)
    huge = wide[: height + 2] + struct.pack("<HII", 4, 1, 0xFFFFFFFF) + wide[height + 12 :]
    with pytest.raises(Unreadable, match="several widths"):
        prepared(huge)


RATIONAL, SIGNED_SHORT = 5, 8


@pytest.mark.parametrize(
    "data",
    [
        retyped(encoded(picture(), "TIFF"), 273, RATIONAL, struct.pack("<II", 100, 3)),
        retyped(encoded(picture().convert("P"), "TIFF"), 320, SIGNED_SHORT, struct.pack("<768h", *[-300] * 768)),
    ],
    ids=["a fraction as an offset", "a palette of negative colours"],
)
def test_a_tiff_whose_values_are_of_another_type_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^the image is damaged: [ -~]+$"):
        prepared(data)
