"""Which way up a DICOM picture lies, where its header says so (PatientOrientation, PS3.3 C.7.6.1.1.1).

Radiographs are shown with the head on top and the patient's left at the right. Letters burned into the picture are not
read: nothing is guessed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging.greyscale import Notes

OPPOSITE = {"L": "R", "R": "L", "H": "F", "F": "H"}


def turn(picture: NDArray[np.uint8], orientation: tuple[str, ...], notes: Notes) -> NDArray[np.uint8]:
    """Turn and mirror so that rows run to the patient's left and columns to the feet.

    `orientation` is towards what rows and columns run: two of the letters L, R, H, F. Anything else changes nothing.
    """
    if len(orientation) != 2 or not set(orientation) <= set(OPPOSITE):
        return picture
    rows, columns = orientation
    if rows in (columns, OPPOSITE[columns]):
        return picture
    if rows in "HF":
        picture, rows, columns = picture.T, columns, rows
    turned: NDArray[Any] = picture[:: -1 if columns == "H" else 1, :: -1 if rows == "R" else 1]
    if orientation != ("L", "F"):
        notes.add(
            f"turned or mirrored: the header says that rows run to {orientation[0]} and columns to {orientation[1]}"
        )
    return np.ascontiguousarray(turned)
