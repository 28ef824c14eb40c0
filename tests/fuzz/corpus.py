"""Whole files of every kind that is read, to be damaged: computer-generated, the same bytes in every process."""

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from tests.dicom import compressed, encapsulated, make, written
from tests.radiographs import radiograph

SAMPLES = Path(__file__).parents[2] / "samples"
SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG extended": "1.2.840.10008.1.2.4.51",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "DICOM JPEG 2000": "1.2.840.10008.1.2.4.90",
}
"""What GDCM writes for us."""
JPEG_BASELINE, JPEG_EXTENDED, LOSSLESS, NEAR_LOSSLESS, JPEG_2000_LOSSY, HTJ2K = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 81, 91, 201)
)
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"


def originals() -> dict[str, dict[str, bytes]]:
    """By decoder and by name; the specimens are the largest of them."""
    film = radiograph(0).resize((200, 150))
    return {
        "JPEG": {**_jpegs(film), **_samples("normal-05.jpeg")},
        "PNG": {**_pngs(film), **_samples("normal-07.png")},
        "TIFF": _tiffs(film),
        "BMP": _bitmaps(film),
        "WebP": _webps(film),
        "JPEG 2000": _wavelets(film),
        **_dicoms(film),
    }


def _samples(*names: str) -> dict[str, bytes]:
    return {name: (SAMPLES / name).read_bytes() for name in names}


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _deep(film: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(film).astype(np.uint16) * 16 + 7)


def _jpegs(film: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    return {
        "grey.jpeg": encoded(film, "JPEG"),
        "colour.jpeg": encoded(film.convert("RGB"), "JPEG", subsampling=2),
        "progressive.jpeg": encoded(film.convert("RGB"), "JPEG", progressive=True),
        "cmyk.jpeg": encoded(film.convert("CMYK"), "JPEG"),
        "restarts.jpeg": encoded(film, "JPEG", restart_marker_blocks=4),
        "exif.jpeg": encoded(film, "JPEG", exif=exif, comment=b"a comment", dpi=(72, 72)),
        "two.mpo": encoded(film, "MPO", save_all=True, append_images=[film]),
    }


def _pngs(film: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 8
    palette = film.convert("RGB").quantize(64)
    return {
        "grey.png": encoded(film, "PNG", exif=exif),
        "colour.png": encoded(film.convert("RGBA"), "PNG"),
        "grey-alpha.png": encoded(film.convert("LA"), "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=bytes([0] * 32 + [255] * 32)),
        "bilevel.png": encoded(film.convert("1"), "PNG"),
        "16-bits.png": encoded(_deep(film), "PNG"),
        "animated.png": encoded(film, "PNG", save_all=True, append_images=[film.rotate(9)]),
    }


def _tiffs(film: Image.Image) -> dict[str, bytes]:
    packed = {
        f"{name}.tiff": encoded(film, "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd", "lzma")
    }
    return packed | {
        "plain.tiff": encoded(film, "TIFF"),
        "white-is-zero.tiff": encoded(film, "TIFF", tiffinfo={262: 0}),
        "16-bits.tiff": encoded(_deep(film), "TIFF"),
        "16-bits-lzw.tiff": encoded(_deep(film), "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
        "fractions.tiff": encoded(film.convert("F"), "TIFF"),
        "32-bits.tiff": encoded(film.convert("I"), "TIFF"),
        "colour.tiff": encoded(film.convert("RGB"), "TIFF", compression="jpeg"),
        "cmyk.tiff": encoded(film.convert("CMYK"), "TIFF"),
        "palette.tiff": encoded(film.convert("P"), "TIFF"),
        "fax.tiff": encoded(film.convert("1"), "TIFF", compression="group4"),
        "big.tiff": encoded(film, "TIFF", big_tiff=True),
        "strips.tiff": encoded(film, "TIFF", compression="tiff_lzw", strip_size=2000),
        "pages.tiff": encoded(film, "TIFF", save_all=True, append_images=[film]),
    }


def _bitmaps(film: Image.Image) -> dict[str, bytes]:
    modes = {"grey": film, "colour": film.convert("RGB"), "palette": film.convert("P"), "bilevel": film.convert("1")}
    return {f"{name}.bmp": encoded(image, "BMP") for name, image in modes.items()}


def _webps(film: Image.Image) -> dict[str, bytes]:
    return {
        "lossy.webp": encoded(film, "WEBP", quality=80),
        "lossless.webp": encoded(film, "WEBP", lossless=True),
        "alpha.webp": encoded(film.convert("RGBA"), "WEBP"),
        "animated.webp": encoded(film, "WEBP", save_all=True, append_images=[film.rotate(9)]),
    }


def _wavelets(film: Image.Image) -> dict[str, bytes]:
    return {
        "grey.jp2": encoded(film, "JPEG2000"),
        "colour.jp2": encoded(film.convert("RGB"), "JPEG2000", irreversible=True),
        "alpha.jp2": encoded(film.convert("LA"), "JPEG2000"),
        "stream.j2k": encoded(film, "JPEG2000", no_jp2=True),
        "tiles.j2k": encoded(film, "JPEG2000", no_jp2=True, tile_size=(64, 64)),
        "16-bits.jp2": encoded(_deep(film), "JPEG2000"),
    }


def _dicoms(film: Image.Image) -> dict[str, dict[str, bytes]]:
    import imagecodecs  # it alone writes streams of HTJ2K, and of JPEG with 12 bits; GDCM states 16

    shallow, deep = np.asarray(film), np.asarray(_deep(film))
    by_gdcm = {name: {f"{name}.dcm": _by_gdcm(deep, syntax)} for name, syntax in SYNTAXES.items()}
    by_gdcm["RLE"]["RLE of 8 bits.dcm"] = _by_gdcm(shallow, SYNTAXES["RLE"])
    by_gdcm["JPEG extended"]["12 bits.dcm"] = encapsulated(
        _fixed(deep), imagecodecs.jpeg8_encode(deep, bitspersample=12), JPEG_EXTENDED
    )
    by_gdcm["JPEG extended"]["8 bits.dcm"] = encapsulated(_fixed(shallow), encoded(film, "JPEG"), JPEG_EXTENDED)
    by_gdcm["JPEG lossless"]["other predictors.dcm"] = _by_gdcm(deep, LOSSLESS)
    by_gdcm["JPEG-LS"]["near lossless.dcm"] = _by_gdcm(shallow, NEAR_LOSSLESS)
    by_gdcm["DICOM JPEG 2000"]["lossy.dcm"] = encapsulated(
        _fixed(shallow), encoded(film, "JPEG2000", irreversible=True, no_jp2=True), JPEG_2000_LOSSY
    )
    implicit = _written_as(_fixed(deep), IMPLICIT, implicit_vr=True, little_endian=True)
    return by_gdcm | {
        "little endian": {
            **_headers(shallow, deep),
            **_samples("normal-15.dcm", "pneumonia-16.dcm"),
            "implicit.dcm": implicit,
            "without preamble": implicit[implicit.index(b"\x08\0\x16\0") :],
        },
        "big endian": {
            "big.dcm": _written_as(_fixed(deep.byteswap()), BIG_ENDIAN, implicit_vr=False, little_endian=False)
        },
        "deflated": {"deflated.dcm": _written_as(_fixed(deep), DEFLATED, implicit_vr=False, little_endian=True)},
        "DICOM JPEG": {
            "grey.dcm": encapsulated(_fixed(shallow), encoded(film, "JPEG"), JPEG_BASELINE),
            "progressive.dcm": encapsulated(_fixed(shallow), encoded(film, "JPEG", progressive=True), JPEG_BASELINE),
        },
        "HTJ2K": {
            "high-throughput.dcm": encapsulated(_fixed(deep), imagecodecs.htj2k_encode(deep), HTJ2K),
            "plain.dcm": encapsulated(_fixed(shallow), encoded(film, "JPEG2000", no_jp2=True), HTJ2K),
        },
    }


def _headers(shallow: Any, deep: Any) -> dict[str, bytes]:
    """Uncompressed, with each element that says how a picture is to be read."""
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 16], list(range(0, 65536, 16))
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    code = Dataset()
    code.CodeValue, code.CodeMeaning, code.CodingSchemeDesignator = "816094009", "Chest", "SCT"
    shutter = {"ShutterShape": ["CIRCULAR"], "CenterOfCircularShutter": [75, 100], "RadiusOfCircularShutter": 70}
    return {
        "8-bits.dcm": written(_fixed(shallow)),
        "12-bits.dcm": written(_fixed(deep)),
        "windowed.dcm": written(
            _fixed(deep, WindowCenter=1800, WindowWidth=2000, RescaleSlope=2, RescaleIntercept=-100)
        ),
        "inverted.dcm": written(_fixed(deep, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=7)),
        "table.dcm": written(_fixed(deep, VOILUTSequence=Sequence([table]))),
        "modality.dcm": written(_fixed(deep, ModalityLUTSequence=Sequence([table]))),
        "codes.dcm": written(_fixed(deep, BodyPartExamined=None, AnatomicRegionSequence=Sequence([code]))),
        "turned.dcm": written(_fixed(deep, PatientOrientation=["R", "H"], **shutter)),
        "utf-8.dcm": written(_fixed(deep, SpecificCharacterSet="ISO_IR 192", IssuerOfPatientID="Köln")),
        "kanji.dcm": written(_fixed(deep, SpecificCharacterSet=["", "ISO 2022 IR 87"])),
    }


def _by_gdcm(pixels: Any, syntax: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        packed = dcmread(BytesIO(compressed(_fixed(pixels), syntax, Path(folder))))  # with a number of its own
    frame = next(generate_frames(packed.PixelData, number_of_frames=1))
    return encapsulated(_fixed(pixels), frame, syntax)


def _written_as(dataset: Dataset, syntax: str, **encoding: bool) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    dcmwrite(file, dataset, force_encoding=True, **encoding)
    return file.getvalue()


def _fixed(pixels: Any, **elements: Any) -> Dataset:
    """As `tests.dicom.make`, with the same identifiers each time."""
    uid = generate_uid(entropy_srcs=["fuzz"])
    dataset = make(pixels, SOPInstanceUID=uid, StudyInstanceUID=uid, **elements)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    return dataset
