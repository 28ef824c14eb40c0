"""The one frame of a DICOM file as unsigned words: the fastest decoder that is exact, then a slower one.

imagecodecs (libjpeg-turbo) and pyjpegls are optional. Where one is missing or refuses a frame, pydicom's plug-ins
decode it, and GDCM in a subprocess.
"""

import struct
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from shared.base.errors import Unfinished, Unreadable, Unsuitable
from shared.imaging import codestream, gdcm_process, jpeg_end
from shared.imaging.codestream import SSIZ, WAVELETS
from shared.imaging.dicom_file import (
    COMPRESSED,
    EXPLICIT_BIG_ENDIAN,
    HIGH_THROUGHPUT,
    JPEG,
    JPEG_2000,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    LOSSLESS,
    UNCOMPRESSED,
    bits_allocated,
    number_of,
    syntax_of,
)
from shared.imaging.stored_values import Layout

Words = NDArray[Any]
END_OF_IMAGE = b"\xff\xd9"
MAX_REDUCE = 3
"""JPEG 2000 holds halves of its picture, so many times over; further ones are often missing."""


MAX_OVERSHOOT = 0.01
"""Share of the pixels."""
ROWS_LOOKED_AT = 512
MAX_TINTED = 0.01
"""Share of the pixels of a grey image that may be in colour: letters and marks that were drawn into it."""


@dataclass(frozen=True)
class Frame:
    """Unsigned words of shape (height, width); which bits of them are said to be values; which hold overlays.

    `scale` is how many pixels of the file make one of these on each axis.
    """

    words: Words
    stated: Layout
    overlay_bits: int = 0
    scale: int = 1


def read_frame(dataset: Dataset, max_reduce: int = 0) -> Frame:
    """The frame, of JPEG 2000 at 1 / 2**n of its size, where n is at most `max_reduce`.

    Raises Unsuitable for colour, and whatever decoders raise on damaged frames.
    """
    allocated = bits_allocated(dataset)
    high = number_of(dataset, "HighBit")
    stored = min(number_of(dataset, "BitsStored") or (allocated if high is None else high + 1), allocated)
    is_signed = number_of(dataset, "PixelRepresentation") == 1
    if syntax_of(dataset) in UNCOMPRESSED and allocated in (8, 16, 32):
        shift = high + 1 - stored if high is not None and stored <= high + 1 <= allocated else 0
        return Frame(_uncompressed(dataset, allocated), Layout(stored, shift, is_signed), _overlay_bits(dataset))
    words, scale = _compressed(dataset, max_reduce)
    if syntax_of(dataset) in (JPEG, JPEG_EXTENDED, *JPEG_LOSSLESS):
        _check_end(dataset, words)
    stored = min(stored, 8 * words.dtype.itemsize)
    highest = 2**stored - 1
    overlays = _overlay_bits(dataset)
    # Lossy and scaled pictures overshoot at edges, beyond the bits that are stated: not to be taken for wrong bits.
    may_overshoot = not (is_signed or overlays) and (syntax_of(dataset) not in LOSSLESS or scale > 1)
    if may_overshoot and 0 < (words > highest).mean() <= MAX_OVERSHOOT:
        words = np.minimum(words, words.dtype.type(highest))
    return Frame(words, Layout(stored, 0, is_signed), overlays, scale)


def _check_end(dataset: Dataset, words: Words) -> None:
    def decode(stream: bytes) -> Words:
        again = copy(dataset)
        again.PixelData = encapsulate([stream])
        return _compressed(again, 0)[0]

    if jpeg_end.is_too_early(next(generate_frames(dataset.PixelData, number_of_frames=1)), words, decode):
        raise Unfinished("the image in the DICOM file ends too early: it was cut off before it was sent")


def _uncompressed(dataset: Dataset, allocated: int) -> Words:
    order = ">" if syntax_of(dataset) == EXPLICIT_BIG_ENDIAN else "<"
    rows, columns, samples = _shape(dataset)
    planes = np.frombuffer(dataset.PixelData, f"{order}u{allocated // 8}", samples * rows * columns)
    return _grey_plane(planes, rows, columns, samples, is_planar=number_of(dataset, "PlanarConfiguration") == 1)


def _compressed(dataset: Dataset, max_reduce: int) -> tuple[Words, int]:
    decoder = _fast_decoder(dataset)
    if decoder is not None:
        try:
            words, scale = decoder(next(generate_frames(dataset.PixelData, number_of_frames=1)), max_reduce)
            rows, columns, _ = _shape(dataset)
            if words.ndim == 2 and words.shape == (-(-rows // scale), -(-columns // scale)):
                return words.view(f"u{words.dtype.itemsize}"), scale
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S110 - a frame that one decoder refuses another may read
            pass
    pixels = pixel_array(_for_decoders(dataset), index=0, raw=True)
    if pixels.ndim == 3:
        pixels = _grey_plane(pixels, *pixels.shape, is_planar=False)
    return pixels.view(f"u{pixels.dtype.itemsize}"), 1


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
    if syntax in JPEG_2000:
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
    start = frame.index(WAVELETS) + SSIZ
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


def _for_decoders(dataset: Dataset) -> Dataset:
    """A copy with what pydicom's decoders want, made so that they give the words as the frame holds them."""
    filled = copy(dataset)
    syntax, shape = syntax_of(dataset), _shape(dataset)
    stream = codestream.recognise(next(generate_frames(dataset.PixelData, number_of_frames=1)), syntax)
    allocated = number_of(dataset, "BitsAllocated") or 16
    filled.SamplesPerPixel, filled.BitsAllocated = shape[2], allocated
    filled.PhotometricInterpretation = dataset.get("PhotometricInterpretation") or "MONOCHROME2"
    if shape[2] > 1:
        filled.PlanarConfiguration = number_of(dataset, "PlanarConfiguration") or 0
    if shape[2] == 3 and syntax == JPEG and b"JFIF\0" in dataset.PixelData[:64]:
        filled.PhotometricInterpretation = "YBR_FULL_422"  # as that of JFIF always is, whatever the header says
    if syntax in (*JPEG_2000, *HIGH_THROUGHPUT):
        filled.PixelRepresentation = number_of(dataset, "PixelRepresentation") or 0
        filled.BitsStored = number_of(dataset, "BitsStored") or allocated
    else:  # what of a word is the value, and whether it has a sign, is seen to later
        filled.PixelRepresentation = 0
        bits = (number_of(dataset, "BitsStored") if syntax == JPEG_EXTENDED else None) or allocated
        filled.BitsStored = min((stream and stream.bits) or bits, allocated)
    filled.HighBit = filled.BitsStored - 1
    return filled


def _grey_plane(words: NDArray[Any], rows: int, columns: int, samples: int, *, is_planar: bool) -> NDArray[Any]:
    """One channel of a grey image, also of one that is stored in colour; raises Unsuitable for one that is in colour.

    Compression moves channels a little. Where the second and third say how much of a colour there is, half is none.
    """
    if samples == 1:
        return words.reshape(rows, columns)
    planes = (
        words.reshape(samples, rows, columns) if is_planar else np.moveaxis(words.reshape(rows, columns, samples), 2, 0)
    )
    wide, none = planes[:, :: 1 + rows // ROWS_LOOKED_AT].astype(np.int64), 1 << (8 * words.dtype.itemsize - 1)
    for rest in (wide[0], none):
        is_tinted = np.abs(wide[1:] - rest).max(axis=0) > max(1, none // 16)
        if is_tinted.mean() <= MAX_TINTED:
            return np.asarray(planes[0])
    raise Unsuitable("the image is in colour: only greyscale radiographs are screened")


def _register_gdcm_process() -> None:
    """GDCM can crash on damaged frames, so run it in a subprocess, and only where nothing else decodes."""
    for syntax in COMPRESSED:
        decoder = get_decoder(UID(syntax))
        for plugin in {"gdcm", "pyjpegls"} & set(decoder.available_plugins):  # CharLS is guarded in `_jpeg_ls`
            decoder.remove_plugin(plugin)
        if gdcm_process.is_available(syntax) and "gdcm_process" not in decoder.available_plugins:
            decoder.add_plugin("gdcm_process", ("shared.imaging.gdcm_process", "decode_frame"))


_register_gdcm_process()
