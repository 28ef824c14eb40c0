"""GDCM crashes, hangs and is killed in processes of its own: that costs the frame that it decodes, and no other."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from shared.base.errors import OutOfReach, Unreadable
from shared.imaging import Limits, decode, gdcm_process
from tests import pace
from tests.dicom import compressed, make

TOP = Path(__file__).parents[2]
JPEG_LOSSLESS, JPEG_LS = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"
NOISE: NDArray[np.uint16] = np.random.default_rng(3).integers(0, 4096, (1200, 1200), np.uint16)
"""GDCM decodes this for a while."""


@pytest.fixture(autouse=True)
def _gdcm_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No other decoder, and processes of this test alone."""
    monkeypatch.setattr("shared.imaging.frames._fast_decoder", lambda _: None)
    gdcm_process.end_idle()
    yield
    gdcm_process.end_idle()


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    y, x = np.mgrid[0:200, 0:260]
    return compressed(make(((np.sin(x / 40) + np.cos(y / 30) + 2) * 900).astype(np.uint16)), JPEG_LOSSLESS, tmp_path)


@pytest.fixture
def long_file(tmp_path: Path) -> bytes:
    return compressed(make(NOISE), JPEG_LS, tmp_path)


def screen(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(decode(data, (160, 160), Limits()))


def process() -> psutil.Process:
    """The one that waits for the next frame."""
    (idle,) = gdcm_process.idle
    return psutil.Process(idle.process.pid)


def test_an_installation_without_gdcm_is_not_the_files_fault(
    file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gdcm.py").write_text("raise ImportError('libgdcmMSFF.so: cannot open shared object file')")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(OutOfReach):
            screen(file)
    screen(file)


def test_one_process_decodes_one_frame_after_the_other(file: bytes) -> None:
    screen(file)
    first = process()
    screen(file)
    assert process() == first


@pytest.mark.parametrize(("place", "value"), [(4, 255), (14, 0)], ids=["a precision of 255 bits", "no table"])
def test_a_frame_that_crashes_gdcm_is_unreadable_and_the_next_one_is_read(file: bytes, place: int, value: int) -> None:
    damaged = bytearray(file)
    damaged[damaged.index(b"\xff\xc3\x00\x0b") + place] = value  # GDCM: a segmentation fault, an abort
    right = screen(file)
    with pytest.raises(Unreadable, match="did not decode"):
        screen(bytes(damaged))
    assert (screen(file) == right).all()


@pytest.mark.parametrize("what", ["GDCM", "the process"])
def test_what_hangs_is_ended_and_the_next_frame_is_read(
    what: str, long_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, hanging = screen(long_file), process()
    if what == "the process":
        hanging.suspend()
    with monkeypatch.context() as patch:
        patch.setattr("shared.imaging.gdcm_process.SECONDS", 0.001)
        with pytest.raises(Unreadable, match="did not decode"):
            screen(long_file)
    assert not hanging.is_running()
    assert (screen(long_file) == right).all()


def test_a_process_that_was_killed_between_two_frames_is_replaced(file: bytes) -> None:
    right, killed = screen(file), process()
    killed.kill()
    assert (screen(file) == right).all()
    assert process() != killed


def test_a_kept_process_that_dies_does_not_put_the_blame_on_the_frame(file: bytes) -> None:
    """An earlier frame may have damaged its memory."""
    right, kept = screen(file), process()
    kept.suspend()
    dying = threading.Timer(0.2, kept.send_signal, [signal.SIGSEGV])
    dying.start()
    kill = threading.Timer(0.3, kept.send_signal, [signal.SIGCONT])
    kill.start()
    assert (screen(file) == right).all()
    assert process() != kept


def test_an_image_whose_decoder_is_killed_is_tried_again_later(long_file: bytes) -> None:
    """As the kernel kills when memory is short: that is no fault of the frame."""
    before = set(psutil.Process().children())

    def kill() -> None:
        patience = pace.Patience(pace.seconds(20), lambda: None)
        while not (started := set(psutil.Process().children()) - before) and not patience.is_over():
            pass
        started.pop().kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(OutOfReach, match="could not start a process"):
        screen(long_file)
    killer.join()
    assert screen(long_file).any()


def test_where_no_process_can_be_started_the_image_is_tried_again_later(
    file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.imaging.gdcm_process.sys.executable", "/nowhere/python")
    with pytest.raises(OutOfReach, match="could not start a process"):
        screen(file)


def test_threads_decode_at_the_same_time_each_with_a_process_of_its_own(tmp_path: Path) -> None:
    pictures = [np.roll(NOISE[:300, :300] >> 4, number * 7, axis=1).astype(np.uint16) * 8 for number in range(12)]
    files = [compressed(make(picture), JPEG_LOSSLESS, tmp_path) for picture in pictures]
    alone = [screen(data) for data in files]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(screen, files))
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))
    assert len(gdcm_process.idle) <= 3


PROGRAM = """
import os, sys, time
from pathlib import Path
from shared.imaging import Limits, decode, frames, gdcm_process
frames._fast_decoder = lambda _: None
data = Path(sys.argv[1]).read_bytes()
def screen():
    picture = decode(data, (160, 160), Limits()).tobytes()
    return gdcm_process.idle[0].process.pid, hash(picture)
before, right = screen()
"""
FORK = """
reading, writing = os.pipe()
if os.fork() == 0:
    inherited = len(gdcm_process.idle)
    pid, picture = screen()
    os.write(writing, f"{inherited} {pid != before} {picture == right}".encode())
    os._exit(0)
os.wait()
print(os.read(reading, 100).decode(), screen() == (before, right))
"""
WAIT = """
print(before, flush=True)
time.sleep(1000)
"""


def start(program: str, file: bytes, folder: Path) -> "subprocess.Popen[str]":
    (folder / "file.dcm").write_bytes(file)
    command = [sys.executable, "-c", PROGRAM + program, str(folder / "file.dcm")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TOP)


def test_a_fork_starts_a_process_of_its_own(file: bytes, tmp_path: Path) -> None:
    with start(FORK, file, tmp_path) as forking:
        output, _ = forking.communicate(timeout=pace.seconds(60))
    assert output.split() == ["0", "True", "True", "True"]


def test_the_process_ends_with_the_one_that_started_it_however_that_ends(file: bytes, tmp_path: Path) -> None:
    with start(WAIT, file, tmp_path) as parent:
        assert parent.stdout is not None
        decoder = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    with suppress(psutil.NoSuchProcess):
        decoder.wait(pace.seconds(20))
    assert not decoder.is_running()
