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
SPECIMENS = ("normal-05.jpeg", "normal-07.png", "normal-15.dcm", "pneumonia-16.dcm")
PLAIN = {
    "implicit": "1.2.840.10008.1.2",
    "big-endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
}
COMPRESSED = {
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-lossless": "1.2.840.10008.1.2.4.57",
    "jpeg-lossless-sv1": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}
JPEG_BASELINE, JPEG_EXTENDED, JPEG_2000_LOSSY, HTJ2K = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 91, 201))


def originals() -> dict[str, bytes]:
    """By name; the specimens are the largest of them."""
    film = radiograph(0).resize((200, 150))
    files = {name: (SAMPLES / name).read_bytes() for name in SPECIMENS}
    return {**files, **_jpegs(film), **_pngs(film), **_tiffs(film), **_dicoms(film)}


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


def _dicoms(film: Image.Image) -> dict[str, bytes]:
    shallow, deep = np.asarray(film), np.asarray(_deep(film))
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 16], list(range(0, 65536, 16))
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    code = Dataset()
    code.CodeValue, code.CodeMeaning, code.CodingSchemeDesignator = "816094009", "Chest", "SCT"
    files = {
        "8-bits.dcm": written(_fixed(shallow)),
        "12-bits.dcm": written(_fixed(deep)),
        "windowed.dcm": written(
            _fixed(deep, WindowCenter=1800, WindowWidth=2000, RescaleSlope=2, RescaleIntercept=-100)
        ),
        "inverted.dcm": written(_fixed(deep, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=7)),
        "table.dcm": written(_fixed(deep, VOILUTSequence=Sequence([table]))),
        "codes.dcm": written(_fixed(deep, BodyPartExamined=None, AnatomicRegionSequence=Sequence([code]))),
        "utf-8.dcm": written(_fixed(deep, SpecificCharacterSet="ISO_IR 192", IssuerOfPatientID="Köln")),
        "kanji.dcm": written(_fixed(deep, SpecificCharacterSet=["", "ISO 2022 IR 87"])),
        "jpeg.dcm": encapsulated(_fixed(shallow), encoded(film, "JPEG"), JPEG_BASELINE),
        "jpeg-extended.dcm": encapsulated(_fixed(shallow), encoded(film, "JPEG"), JPEG_EXTENDED),
        "jpeg-2000-lossy.dcm": encapsulated(
            _fixed(shallow), encoded(film, "JPEG2000", irreversible=True, no_jp2=True), JPEG_2000_LOSSY
        ),
        "high-throughput.dcm": encapsulated(_fixed(shallow), encoded(film, "JPEG2000", no_jp2=True), HTJ2K),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, syntax in COMPRESSED.items():
            by_gdcm = dcmread(BytesIO(compressed(_fixed(deep), syntax, Path(folder))))  # with a number of its own
            frame = next(generate_frames(by_gdcm.PixelData, number_of_frames=1))
            files[f"{name}.dcm"] = encapsulated(_fixed(deep), frame, syntax)
    for name, syntax in PLAIN.items():
        dataset, file = _fixed(deep.byteswap() if name == "big-endian" else deep), BytesIO()
        dataset.file_meta.TransferSyntaxUID = syntax
        dcmwrite(file, dataset, implicit_vr=name == "implicit", little_endian=name != "big-endian", force_encoding=True)
        files[f"{name}.dcm"] = file.getvalue()
    return files


def _fixed(pixels: Any, **elements: Any) -> Dataset:
    """As `tests.dicom.make`, with the same identifiers each time."""
    uid = generate_uid(entropy_srcs=["fuzz"])
    dataset = make(pixels, SOPInstanceUID=uid, StudyInstanceUID=uid, **elements)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    return dataset
