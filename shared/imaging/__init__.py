"""From the bytes of a file to the pixels that a network sees.

limits          what a file may cost
formats         how a file's format is recognised, and what decodes it
raster, dicom   the decoders
preprocessing   the pixels of a model version: scaling and contrast
identifiers     what is kept of a DICOM header
"""

from shared.imaging.formats import FORMATS, decode, is_dicom
from shared.imaging.limits import Limits, check_size
from shared.imaging.preprocessing import Preprocessing, arrange, prepare

__all__ = ["FORMATS", "Limits", "Preprocessing", "arrange", "check_size", "decode", "is_dicom", "prepare"]
