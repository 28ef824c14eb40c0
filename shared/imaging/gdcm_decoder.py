"""The process in which GDCM decodes: `python -P gdcm_decoder.py DESCRIPTOR`; `gdcm_process` starts and ends it.

It holds GDCM ready and forks for each frame. A frame that crashes or hangs GDCM so ends its fork alone, and none meets
what an earlier one left in memory. The open file DESCRIPTOR holds the frame, and afterwards its pixels; each line of
standard input is a request, in JSON, and is answered with the fork's exit code (minus the number of a signal).
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any


def main() -> None:
    import gdcm  # noqa: F401 - before the forks, which then have it

    shared = int(sys.argv[1])
    for line in sys.stdin.buffer:
        fork = os.fork()
        if fork == 0:
            _answer(json.loads(line), shared)
        _, status = os.waitpid(fork, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _answer(request: Mapping[str, Any], shared: int) -> None:
    """Put the pixels in the place of the frame, and end the process: 0, or 1 if there are none."""
    code = 1
    try:
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # its signal ends the process, whatever GDCM is at
        frame = os.pread(shared, request["length"], 0)
        code = not decode(request, frame, lambda pixels: os.truncate(shared, os.pwrite(shared, pixels, 0)))
    finally:
        os._exit(code)


def decode(request: Mapping[str, Any], frame: bytes, take: Callable[[memoryview], object]) -> bool:
    """Decode a frame with the `syntax`, `columns`, `rows` and pixel `format` of a request, and say whether it could.

    `take` is called with the pixels, which are gone afterwards.
    """
    import gdcm  # only in the process that it may crash

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
        return False
    plain = change.GetOutput()
    # `GetBuffer` would make text of the pixels, which takes as long as decoding them.
    address = int(plain.GetDataElement().GetByteValue().GetVoidPointer())
    take(memoryview((ctypes.c_ubyte * plain.GetBufferLength()).from_address(address)))
    return True


if __name__ == "__main__":
    main()
