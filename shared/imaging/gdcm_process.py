"""GDCM can crash on damaged frames (JPEG lossless and JPEG-LS), so it runs in processes of its own.

A crash in the worker itself would lose every image that it is working on. This module is a plug-in for pydicom's
decoders that replaces pydicom's own GDCM plug-in. The processes run `gdcm_decoder`, and stay for the next frame.
"""

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging.gdcm_decoder import NO_LIBRARY

Pixels = NDArray[np.uint8]
"""The bytes of a frame's pixels."""
DECODER_DEPENDENCIES = {
    f"1.2.840.10008.1.2.4.{number}": ("python-gdcm",)
    for number in (51, 57, 70, 80, 81)  # JPEG extended of 12 bits, JPEG lossless, JPEG-LS
}
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
SECONDS = 30.0
NO_PROCESS = "could not start a process to decode with GDCM"
"""Callers look for it in an error's text, since pydicom passes nothing else on."""
PROGRAM = Path(__file__).with_name("gdcm_decoder.py")
MAX_KEPT = 2**26
"""A process that decoded a frame of more bytes does not stay, since it keeps its memory."""
MALLOC = {"GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={2**30}:glibc.malloc.trim_threshold={2**30}"}
"""It keeps its memory, since to get that anew for each frame takes a fifth of what decoding takes."""


class ProcessDied(Exception):
    """With the exit code, or minus the number of the signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class DecoderProcess:
    """A running `gdcm_decoder`, for one thread at a time. It ends with this process, which is the end of its input.

    Raises OSError where it cannot be started.
    """

    def __init__(self) -> None:
        self._shared = _shared_memory()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM), str(self._shared.fileno())],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._shared.fileno(),),
                process_group=0,  # a signal to ours, as from a terminal, does not cost the frame
                env={**MALLOC, **os.environ},
            )
        except BaseException:
            self._shared.close()
            raise

    def decode(self, request: Mapping[str, Any], frame: bytes) -> Pixels:
        """Raises ProcessDied, or TimeoutError if it hangs; after any error it can only be ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pixels = np.empty(request["rows"] * request["columns"] * request["format"][1] // 8, np.uint8)
        length = os.pwrite(self._shared.fileno(), frame, 0)
        about = {"length": length, "pixels": len(pixels), "seconds": 2 * SECONDS}
        try:
            self.process.stdin.write(json.dumps({**request, **about}).encode() + b"\n")
        except BrokenPipeError as error:
            raise ProcessDied(self.process.wait()) from error
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(SECONDS):
                raise TimeoutError
        if not self.process.stdout.readline():
            raise ProcessDied(self.process.wait())
        self._shared.seek(0)
        self._shared.readinto(pixels.data)
        return pixels

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close()

    def leave(self) -> None:
        """In a fork of the process that started it: keep nothing of it, least of all its input open."""
        self.process.returncode = 0  # not to be waited for
        self._close()

    def _close(self) -> None:
        for file in (self.process.stdin, self.process.stdout, self._shared):
            assert file is not None
            file.close()


def _shared_memory() -> FileIO:
    """An open file without a name, in memory where the system can: a pipe would take longer than all else."""
    if hasattr(os, "memfd_create"):  # Linux
        return FileIO(os.memfd_create("frame"), "r+")
    return tempfile.TemporaryFile(buffering=0)


idle: deque[DecoderProcess] = deque()
"""Those that wait for a frame."""


def end_idle() -> None:
    while idle:
        idle.pop().end()


def _leave_idle() -> None:
    while idle:
        idle.pop().leave()


atexit.register(end_idle)
os.register_at_fork(after_in_child=_leave_idle)


def is_available(uid: str) -> bool:
    """pydicom asks each plug-in this."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: Any) -> memoryview:
    """Called by pydicom with its `DecodeRunner`; returns the bytes of the pixels.

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
    pixels = decode(request, frame)
    if is_deep_dct:
        return pixels.view("<i2").clip(0, 2**bits - 1).astype("<u2").data.cast("B")
    return pixels.data


def decode(request: Mapping[str, Any], frame: bytes) -> Pixels:
    """By a process that is idle, or else by a new one. Raises ValueError."""
    try:
        try:
            return _decode(idle.pop(), request, frame)
        except (IndexError, ProcessDied):  # perhaps of what an earlier frame left behind, or between two frames
            return _decode(DecoderProcess(), request, frame)
    except TimeoutError as error:
        raise ValueError(f"GDCM did not decode the frame in {SECONDS:g} s") from error
    except OSError as error:
        raise ValueError(NO_PROCESS) from error
    except ProcessDied as error:
        if error.code in (-signal.SIGKILL, NO_LIBRARY):  # the kernel ran out of memory, or there is no GDCM
            raise ValueError(NO_PROCESS) from error
        raise ValueError(f"GDCM did not decode the frame (exit code {error.code})") from error


def _decode(process: DecoderProcess, request: Mapping[str, Any], frame: bytes) -> Pixels:
    """Afterwards the process is idle, or ended."""
    stays = False
    try:
        pixels = process.decode(request, frame)
        stays = max(len(frame), len(pixels)) <= MAX_KEPT
    finally:
        if stays:
            idle.append(process)
        else:
            process.end()
    return pixels
