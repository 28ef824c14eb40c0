"""A result as a picture: a secondary capture of the image, its evidence map, the score and the caption."""

from datetime import datetime

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage

from shared import __version__
from shared.base.errors import ImageError, OutOfReach, Rejected
from shared.imaging import Limits
from shared.imaging import dicom as dicom_images
from shared.ledger.result_facts import ResultFacts
from shared.models import evidence as maps
from shared.models.evidence import Map
from shared.reports import wording
from shared.reports.identity import Original
from shared.reports.structured_report import SCHEME, date_and_sign, series_of

SIDE = 1024
"""Pixels of the picture's longer side: enough to see which image it is. The original is beside it in the study."""
MAP_SIDE = 512
"""Pixels of its width where it stands beside its map."""
LINE, MARGIN = 22, 12
SOURCE = Code("121322", "DCM", "Source Image for Image Processing Operation")
PREDECESSOR = Code("PREDECESSOR", SCHEME, "Capture that this one replaces")


def build_capture(
    facts: ResultFacts,
    original: Original,
    data: bytes,
    limits: Limits,
    uid: str,
    replaces: str | None,
    made_at: datetime,
    evidence: Map | str,
) -> Dataset:
    """The capture as a data set, of 8-bit RGB with a map, else grey; `evidence` is the map, or why there is none.

    Raises Rejected if the image cannot be decoded any more.
    """
    try:
        picture = dicom_images.decode(data, (SIDE // 2, SIDE // 2), limits)
    except OutOfReach:
        raise
    except ImageError as error:
        raise Rejected(f"the image cannot be decoded for a capture: {error}") from error
    pixels = draw(picture, evidence, facts)
    capture = SCImage(
        pixel_array=pixels,
        photometric_interpretation="MONOCHROME2" if pixels.ndim == 2 else "RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=original.study_instance_uid,
        series_instance_uid=series_of(uid),
        series_number=wording.SERIES_NUMBERS["capture"],
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=wording.MANUFACTURER,
        patient_orientation=("L", "F"),
        manufacturer_model_name=facts.model_version,
        software_versions=__version__,
        series_description=wording.SERIES["capture"],
    )
    capture.PatientOrientation = []  # of the copy it is not known: the original says it
    capture.Laterality = ""
    capture.ConversionType = "WSD"
    capture.BurnedInAnnotation = "NO"  # no patient's name is in the caption
    capture.ImageComments = wording.AID
    capture.DerivationDescription = wording.finding(facts.label)
    capture.LossyImageCompression = "00"
    capture.SourceImageSequence = [_reference(original.sop_class_uid, original.sop_instance_uid, SOURCE)]
    if replaces is not None:
        capture.ReferencedInstanceSequence = [_reference(SecondaryCaptureImageStorage, replaces, PREDECESSOR)]
    date_and_sign(capture, original, made_at)
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = capture.ContentDate, capture.ContentTime
    return capture


def draw(picture: Image.Image, evidence: Map | str, facts: ResultFacts) -> NDArray[np.uint8]:
    """The picture, beside its map if there is one, above the caption: uint8, (rows, columns), with a map (…, 3)."""
    lines = wording.caption(facts)
    if isinstance(evidence, str):
        shown = picture.convert("L")
        shown.thumbnail((SIDE, SIDE))
        lines = [*lines, evidence]
    else:
        shown = maps.draw(picture, evidence, f"{wording.MANUFACTURER}: the picture, and its evidence map", MAP_SIDE)
    font = ImageFont.load_default(size=16)
    longest = max(round(font.getlength(line)) for line in lines)
    width = max(shown.width, longest + 2 * MARGIN)
    canvas = Image.new(shown.mode, (width, shown.height + LINE * len(lines) + 2 * MARGIN))
    canvas.paste(shown, ((width - shown.width) // 2, 0))
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        pen.text((MARGIN, shown.height + MARGIN + number * LINE), line, fill="white", font=font)
    return np.asarray(canvas)


def _reference(sop_class: str, uid: str, purpose: Code) -> Dataset:
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        purpose.value,
        purpose.scheme_designator,
        purpose.meaning,
    )
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    item.PurposeOfReferenceCodeSequence = [code]
    return item
