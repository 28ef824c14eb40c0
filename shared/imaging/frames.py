"""The one frame of a DICOM file as unsigned words: the fastest decoder that is exact, then a slower one.

imagecodecs (libjpeg-turbo) and pyjpegls are optional. Where one is missing or refuses a frame, pydicom's plug-ins
decode it, and GDCM in a subprocess.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging import gdcm_process
from shared.imaging.dicom_file import (
    COMPRESSED,
    EXPLICIT_BIG_ENDIAN,
    JPEG_2000,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    LOSSLESS,
    UNCOMPRESSED,
    number_of,
    syntax_of,
)
from shared.imaging.stored_values import Layout

Words = NDArray[Any]
END_OF_IMAGE = b"\xff\xd9"
SIZE_MARKER, SSIZ = b"\xff\x4f\xff\x51", 42
"""Where a JPEG 2000 stream states the depth of its first component, from the marker on."""
MAX_REDUCE = 3
"""JPEG 2000 holds halves of its picture, so many times over; further ones are often missing."""


MAX_OVERSHOOT = 0.01
"""Share of the pixels."""


@dataclass(frozen=True)
class Frame:
    """Unsigned words of shape (height, width); which bits of them are said to be values; which hold overlays.

    `scale` is how many pixels of the file make one of these on each axis.
    """

    words: Words
    stated: Layout
    overlay_bits: int = 0
    scale: int = 1


def read_frame(dataset: Dataset, max_reduce: int = 0, encoded: bytes | None = None) -> Frame:
    """The frame, of JPEG 2000 at 1 / 2**n of its size, where n is at most `max_reduce`; `encoded` is it if it is known.

    Raises Unsuitable for colour, and whatever decoders raise on damaged frames.
    """
    allocated = number_of(dataset, "BitsAllocated") or 16
    high = number_of(dataset, "HighBit")
    stored = min(number_of(dataset, "BitsStored") or (allocated if high is None else high + 1), allocated)
    is_signed = number_of(dataset, "PixelRepresentation") == 1
    if syntax_of(dataset) in UNCOMPRESSED and allocated in (8, 16, 32):
        shift = high + 1 - stored if high is not None and stored <= high + 1 <= allocated else 0
        return Frame(_uncompressed(dataset, allocated), Layout(stored, shift, is_signed), _overlay_bits(dataset))
    words, scale = _compressed(dataset, max_reduce, encoded)
    stored = min(stored, 8 * words.dtype.itemsize)
    highest = 2**stored - 1
    overlays = _overlay_bits(dataset)
    # Lossy and scaled pictures overshoot at edges, beyond the bits that are stated: not to be taken for wrong bits.
    may_overshoot = not (is_signed or overlays) and (syntax_of(dataset) not in LOSSLESS or scale > 1)
    if may_overshoot and 0 < (words > highest).mean() <= MAX_OVERSHOOT:
        words = np.minimum(words, words.dtype.type(highest))
    return Frame(words, Layout(stored, 0, is_signed), overlays, scale)


def _uncompressed(dataset: Dataset, allocated: int) -> Words:
    order = ">" if syntax_of(dataset) == EXPLICIT_BIG_ENDIAN else "<"
    rows, columns, samples = _shape(dataset)
    planes = np.frombuffer(dataset.PixelData, f"{order}u{allocated // 8}", samples * rows * columns)
    return _grey_plane(planes, rows, columns, samples, is_planar=number_of(dataset, "PlanarConfiguration") == 1)


def _compressed(dataset: Dataset, max_reduce: int, encoded: bytes | None) -> tuple[Words, int]:
    decoder = _fast_decoder(dataset)
    if decoder is not None:
        try:
            words, scale = decoder(first_frame(dataset) if encoded is None else encoded, max_reduce)
            rows, columns, _ = _shape(dataset)
            if words.ndim == 2 and words.shape == (-(-rows // scale), -(-columns // scale)):
                return words.view(f"u{words.dtype.itemsize}"), scale
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S110 - a frame that one decoder refuses another may read
            pass
    _fill_in(dataset)
    pixels = pixel_array(dataset, index=0, raw=True)
    if pixels.ndim == 3:
        pixels = _grey_plane(pixels, *pixels.shape, is_planar=False)
    return pixels.view(f"u{pixels.dtype.itemsize}"), 1


def first_frame(dataset: Dataset) -> bytes:
    """As it is encoded; raises whatever pydicom raises where there is none."""
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


FastDecoder = Callable[[bytes, int], tuple[Words, int]]


def _fast_decoder(dataset: Dataset) -> FastDecoder | None:
    syntax, (_, _, samples) = syntax_of(dataset), _shape(dataset)
    if samples != 1:
        return None
    is_deep = (number_of(dataset, "BitsStored") or 16) > 8
    if syntax in JPEG_LOSSLESS or (syntax == JPEG_EXTENDED and is_deep):
        return _jpeg
    if syntax in JPEG_LS:
        return _jpeg_ls
    if syntax in JPEG_2000 and number_of(dataset, "PixelRepresentation") != 1:
        return _jpeg_2000
    if syntax == RLELossless:
        return lambda frame, _: (_run_length(frame, dataset), 1)
    return None


def _jpeg(frame: bytes, _max_reduce: int) -> tuple[Words, int]:
    """JPEG lossless, or extended of 12 bits. libjpeg takes truncated streams as good: theirs must be the end marker."""
    import imagecodecs

    frame = frame.rstrip(b"\0")
    if not frame.endswith(END_OF_IMAGE):
        raise Unfinished("the JPEG stream has no end")
    return imagecodecs.jpeg8_decode(frame), 1


def _jpeg_ls(frame: bytes, _max_reduce: int) -> tuple[Words, int]:
    """CharLS looks for the end marker of a truncated stream for seconds, so it is given one."""
    frame = frame.rstrip(b"\0")
    frame = frame if frame.endswith(END_OF_IMAGE) else frame + END_OF_IMAGE
    try:
        import imagecodecs
    except ImportError:
        import jpeg_ls

        pixels, about = jpeg_ls.decode_buffer(frame)
        width = "u1" if about["bits_per_sample"] <= 8 else "<u2"
        return np.frombuffer(pixels, width).reshape(about["height"], about["width"]), 1
    return imagecodecs.jpegls_decode(frame), 1  # the same CharLS, and its pixels where NumPy has its memory


def _jpeg_2000(frame: bytes, max_reduce: int) -> tuple[Words, int]:
    start = frame.index(SIZE_MARKER) + SSIZ  # ITU T.800 A.5.1
    depth = (frame[start] & 0x7F) + 1
    if frame[start] & 0x80 or depth > 16:
        raise Unreadable("signed samples are left to another decoder")
    for reduce in dict.fromkeys((min(max_reduce, MAX_REDUCE), 0)):  # a good stream may lack the small sizes
        image: Any = Image.open(BytesIO(frame), formats=("JPEG2000",))
        if image.mode not in ("L", "I;16"):
            raise Unsuitable("the image is in colour: only greyscale radiographs are screened")
        image.reduce = reduce
        try:
            image.load()
        except OSError:
            if not reduce:
                raise
        else:
            pixels = np.asarray(image)  # Pillow shifts samples of 9 to 15 bits to the high end of a word
            return pixels >> (8 * pixels.dtype.itemsize - depth), 2**reduce
    raise AssertionError  # the last size raised


def _run_length(frame: bytes, dataset: Dataset) -> Words:
    """DICOM's RLE (PS3.5 annex G): a segment of packed bytes for each byte of a word, the highest first."""
    import imagecodecs

    rows, columns, _ = _shape(dataset)
    count, *offsets = struct.unpack_from("<16I", frame)
    if count not in (1, 2):
        raise Unreadable("an RLE frame of a greyscale image has one segment or two")
    ends = [*offsets[1:count], len(frame)]
    planes = []
    for start, end in zip(offsets, ends, strict=False):
        plane = np.frombuffer(imagecodecs.packbits_decode(frame[start:end]), np.uint8)
        if len(plane) < rows * columns:
            raise Unfinished("an RLE segment ends too early")
        planes.append(plane[: rows * columns].reshape(rows, columns))
    if count == 1:
        return planes[0]
    words = np.empty((rows, columns), "<u2")
    halves = words.view(np.uint8).reshape(rows, columns, 2)
    halves[:, :, 1], halves[:, :, 0] = planes
    return words


def _overlay_bits(dataset: Dataset) -> int:
    """A mask of the bits that hold overlays, as older files have them."""
    bits = 0
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is not None and (bit := int(position.value or 0)):
            bits |= 1 << bit
    return bits


def _shape(dataset: Dataset) -> tuple[int, int, int]:
    """Rows, columns, samples."""
    rows, columns = number_of(dataset, "Rows") or 0, number_of(dataset, "Columns") or 0
    return rows, columns, number_of(dataset, "SamplesPerPixel") or 1


def _fill_in(dataset: Dataset) -> None:
    """Elements that pydicom's decoders want, where they are missing and can have one value alone."""
    allocated = number_of(dataset, "BitsAllocated") or 16
    high = number_of(dataset, "HighBit")
    defaults = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": dataset.get("PhotometricInterpretation") or "MONOCHROME2",
        "PixelRepresentation": 0,
        "BitsAllocated": allocated,
        "BitsStored": allocated if high is None else min(high + 1, allocated),
    }
    for name, value in defaults.items():
        if dataset.get(name) is None:
            setattr(dataset, name, value)


def _grey_plane(words: NDArray[Any], rows: int, columns: int, samples: int, *, is_planar: bool) -> NDArray[Any]:
    """One channel of a grey image, also of one that is stored as red, green and blue; raises Unsuitable for colour."""
    if samples == 1:
        return words.reshape(rows, columns)
    planes = (
        words.reshape(samples, rows, columns) if is_planar else np.moveaxis(words.reshape(rows, columns, samples), 2, 0)
    )
    if not (planes == planes[0]).all():
        raise Unsuitable("the image is in colour: only greyscale radiographs are screened")
    return np.asarray(planes[0])


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """The (width, height) stated in a JPEG, JPEG-LS or JPEG 2000 stream: what its decoder would allocate."""
    if frame[:2] != b"\xff\xd8" and (start := frame.find(SIZE_MARKER)) >= 0:  # JPEG 2000, perhaps in a file's boxes
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return right - left, bottom - top
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4])
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">2H", frame, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + length
    return None


def _register_gdcm_process() -> None:
    """GDCM can crash on damaged frames, so run it in a subprocess, and only where nothing else decodes."""
    for syntax in COMPRESSED:
        decoder = get_decoder(UID(syntax))
        for plugin in {"gdcm", "pyjpegls"} & set(decoder.available_plugins):  # CharLS is guarded in `_jpeg_ls`
            decoder.remove_plugin(plugin)
        if gdcm_process.is_available(syntax) and "gdcm_process" not in decoder.available_plugins:
            decoder.add_plugin("gdcm_process", ("shared.imaging.gdcm_process", "decode_frame"))


_register_gdcm_process()
