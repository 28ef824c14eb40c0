"""From the bytes of a file to the pixels that a network sees.

limits                      how large a file may be, and a site's own words
formats                     how a file's format is recognised, and what decodes it
raster                      plain picture files (png: those of 16 bits, faster, and whether rows are missing)
dicom                       DICOM, from a file to grey; it uses the following
    dicom_file              elements of a file, of which any may be missing or damaged
    anatomy                 is it a frontal chest radiograph?
    codestream              what a compressed frame says of itself
    frames                  compressed and uncompressed frames as words
    gdcm_process            GDCM, in processes that may crash (gdcm_decoder)
    stored_values           which bits of a word are the value
    extent                  padding and shutters
    scaling                 averages over squares of pixels
    greyscale               Modality LUT, VOI LUT, window
    orientation             which way up
jpeg_end                    was a JPEG stream closed after it was cut off?
stretching                  more than 8 bits to 8
notes                       what was assumed about a file
preprocessing               the pixels of a model version: scaling and contrast
identifiers                 what is kept of a DICOM header
"""

from shared.imaging.formats import FORMATS, decode, is_dicom
from shared.imaging.limits import Limits, check_size
from shared.imaging.preprocessing import Preprocessing, arrange, prepare

__all__ = ["FORMATS", "Limits", "Preprocessing", "arrange", "check_size", "decode", "is_dicom", "prepare"]
