"""The process in which GDCM decodes: `python -P gdcm_decoder.py DESCRIPTOR`; `gdcm_process` starts and ends it.

The open file DESCRIPTOR holds a frame, and afterwards its pixels. Each line of standard input is a request in JSON, and
is answered with a line when the pixels are there. At a frame that does not decode the process ends.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

NO_LIBRARY = 3
"""Exit code where GDCM cannot be loaded, which is no fault of a frame's."""


def main() -> None:
    shared = int(sys.argv[1])
    try:
        import gdcm  # noqa: F401 - only in the process that it may crash
    except ImportError:
        os._exit(NO_LIBRARY)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # if GDCM hangs, and nobody is left to end it
        is_decoded = decode(
            request,
            os.pread(shared, request["length"], 0),
            lambda pixels, size=request["pixels"]: os.pwrite(shared, pixels, 0) == size,  # type: ignore[misc]
        )
        if not is_decoded:
            os._exit(1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(flush=True)


def decode(request: Mapping[str, Any], frame: bytes, take: Callable[[memoryview], object]) -> object:
    """Decode a frame with the `syntax`, `columns`, `rows` and pixel `format` of a request.

    Returns what `take` makes of the pixels, which are gone afterwards; None where it does not decode.
    """
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((request["columns"], request["rows"], 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)  # whichever end is white
    image.SetPhotometricInterpretation(grey)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(request["syntax"])))
    image.SetPixelFormat(gdcm.PixelFormat(*request["format"]))
    change = gdcm.ImageChangeTransferSyntax()  # `GetBuffer` of the image would not say that it failed
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    change.SetInput(image)
    image.thisown = False  # it is now that of `change`, and freeing it twice aborts
    if not change.Change():
        return None
    plain = change.GetOutput()
    # `GetBuffer` would make text of the pixels, which takes as long as decoding them.
    address = int(plain.GetDataElement().GetByteValue().GetVoidPointer())
    return take(memoryview((ctypes.c_ubyte * plain.GetBufferLength()).from_address(address)))


if __name__ == "__main__":
    main()
