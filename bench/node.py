"""A node beside dcmtk's `storescp`, on the same disk: images of 15 MB over several associations at a time.

The sender is dcmtk's `dcmsend`, a process for each association, so that it is the same and cheap for both.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from local.private_broker import free_port
from shared.base.errors import WorkFailed
from shared.database import connect

SIDE = 2738
"""Pixels on each side, of two bytes: 15 MB."""
SOURCE = "bench"
START_SECONDS, SEND_SECONDS = 60.0, 600.0


def measure(files: Path, work: Path, associations: int = 8, objects: int = 10) -> dict[str, float]:
    """Images a second of each, their ratio, and the node's memory in the first and in the last third.

    `objects` are sent over each association. Raises WorkFailed without dcmtk.
    """
    work.mkdir(parents=True, exist_ok=True)
    folders = [write_images(work / f"sent-{number}", objects, SIDE) for number in range(associations)]
    with _storescp(work / "storescp") as port:
        other = send(folders, port, "STORESCP")
    with node(work / "home") as (port, process):
        memory: list[float] = []
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=[process, memory, done])
        watch.start()
        ours = send(folders, port, "PNEUMOSCREEN")
        done.set()
        watch.join()
    count = associations * objects
    received = sum(1 for _ in (work / "home" / "received" / SOURCE).rglob("*.dcm"))
    if received != count:
        raise WorkFailed(f"the node has {received} of {count} images")
    third = max(1, len(memory) // 3)
    return {
        "node_images_per_second": count / ours,
        "storescp_images_per_second": count / other,
        "ratio": other / ours,
        "node_mb_in_the_first_third": max(memory[:third]),
        "node_mb_in_the_last_third": max(memory[-third:]),
    }


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise WorkFailed(f"{name} is missing: apt-get install dcmtk")
    return path


def write_images(folder: Path, objects: int, side: int) -> Path:
    """A folder of square images of noise, which no file system makes smaller."""
    folder.mkdir()
    pixels = np.random.default_rng(objects).integers(0, 4096, (side, side), dtype=np.uint16)
    for number in range(objects):
        _write(pixels, folder / f"{number}.dcm")
    return folder


def _write(pixels: NDArray[np.uint16], file: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.Modality = "BENCH", "DX"
    (dataset.Rows, dataset.Columns), dataset.SamplesPerPixel = pixels.shape, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(file, enforce_file_format=True)


def send(folders: list[Path], port: int, title: str) -> float:
    """Seconds in which all of them are sent, an association for each folder."""
    command = [_program("dcmsend"), "--max-send-pdu", "131072", "-aec", title]
    command += ["127.0.0.1", str(port), "--scan-directories"]
    began = time.monotonic()
    senders = [
        subprocess.Popen([*command, folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for folder in folders
    ]
    for sender in senders:
        said, _ = sender.communicate(timeout=SEND_SECONDS)
        if sender.returncode != 0:
            raise WorkFailed(f"dcmsend failed: {said[-500:]}")
    return time.monotonic() - began


@contextmanager
def _storescp(folder: Path) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    options = ("--fork", "--max-pdu", "131072", "--output-directory", str(folder), "--accept-all")
    command = [_program("storescp"), *options, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def node(home: Path) -> Iterator[tuple[int, psutil.Process]]:
    home.mkdir()
    port = free_port()
    database = connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    database.upgrade()
    database.close()
    sources = {SOURCE: {"kind": "dicom", "port": port}}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "node", "--home", str(home)],
        env={**os.environ, "PNEUMOSCREEN_SOURCES": json.dumps(sources)},
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    command = [_program("echoscu"), "-aec", "PNEUMOSCREEN", "127.0.0.1", str(port)]
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise WorkFailed(f"nobody answers on port {port}")
        time.sleep(0.2)


def _watch(process: psutil.Process, memory: list[float], done: threading.Event) -> None:
    with suppress(psutil.Error):
        while not done.wait(0.2):
            memory.append(process.memory_info().rss / 1e6)
