"""GDCM can crash on damaged frames (JPEG lossless and JPEG-LS), so it runs in a subprocess.

A crash in the worker itself would lose every image that it is working on. Imported, this module is a plug-in for
pydicom's decoders that replaces pydicom's own GDCM plug-in; run as a program, it is the subprocess.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

DECODER_DEPENDENCIES = {
    f"1.2.840.10008.1.2.4.{number}": ("python-gdcm",)
    for number in (51, 57, 70, 80, 81)  # JPEG extended of 12 bits, JPEG lossless, JPEG-LS
}
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
SECONDS = 30
NO_PROCESS = "could not start a process to decode with GDCM"
"""Callers look for it in an error's text, since pydicom passes nothing else on."""


def is_available(uid: str) -> bool:
    """pydicom asks each plug-in this."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: Any) -> bytes:
    """Called by pydicom with its `DecodeRunner`; returns the pixels.

    Raises ValueError for a frame that does not decode.
    """
    if runner.samples_per_pixel != 1:
        raise ValueError("only greyscale images are decoded")
    syntax, bits = str(runner.transfer_syntax), int(runner.bits_stored)
    if syntax in JPEG_LS:
        if bits in (6, 7) or (syntax == JPEG_LS[1] and bits < 8 and runner.pixel_representation == 1):
            raise ValueError("GDCM does not decode JPEG-LS of so few bits")
        runner.set_option("planar_configuration", 0)
        bits = int(runner.get_option("jls_precision", bits))
        runner.set_option("bits_allocated", 8 if bits <= 8 else 16)
    is_deep_dct = syntax == JPEG_EXTENDED and bits > 8 and runner.pixel_representation == 0
    pixel_format = [1, int(runner.bits_allocated), bits, bits - 1, int(runner.pixel_representation)]
    request = {
        "syntax": syntax,
        "columns": int(runner.columns),
        "rows": int(runner.rows),
        # Rounding in a lossy stream goes below 0 and above the highest value: signed, so that it does not wrap around.
        "format": [1, 16, bits + 1, bits, 1] if is_deep_dct else pixel_format,
    }
    try:
        finished = subprocess.run(
            [sys.executable, "-P", str(Path(__file__))],
            input=json.dumps(request).encode() + b"\n" + frame,
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"GDCM did not decode the frame in {SECONDS} s") from error
    except OSError as error:
        raise ValueError(NO_PROCESS) from error
    if finished.returncode == -signal.SIGKILL:  # the kernel ran out of memory
        raise ValueError(NO_PROCESS)
    if finished.returncode != 0:
        raise ValueError(f"GDCM did not decode the frame (exit code {finished.returncode})")
    if is_deep_dct:
        return np.frombuffer(finished.stdout, "<i2").clip(0, 2**bits - 1).astype("<u2").tobytes()
    return finished.stdout


def main() -> None:
    """Read a request (one line of JSON) and the frame from standard input; write the pixels to standard output."""
    import gdcm  # only in the process that it may crash

    request, frame = json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer.read()
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
    is_decoded = change.Change()
    if is_decoded:
        sys.stdout.buffer.write(change.GetOutput().GetBuffer().encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    os._exit(not is_decoded)  # skip destructors: both Python and `change` own `image`, and freeing it twice can abort


if __name__ == "__main__":
    main()
