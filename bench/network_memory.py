"""The memory of node and courier while objects pass: whether it stays flat.

`python -m bench.network_memory --objects 2000` prints a row for each eighth of them. The node receives images by
`dcmsend`; half of these get a result, and the courier sends report and capture of each to a receiver in this process.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import psutil
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from rich.console import Console
from rich.table import Table

from bench.node import SOURCE, node, send, write_images
from courier.scu import CLASSES
from local.private_broker import free_port
from shared.base import pynetdicom_patch
from shared.base.errors import WorkFailed
from shared.base.found import MAX_ROWS
from shared.base.lanes import Lane
from shared.base.source_settings import received
from shared.database import Database, DestinationState, connect
from shared.ledger import send as sending
from shared.ledger import work
from shared.ledger.work import Claimed, Identifiers, Screened

PARTS = 8
SIDE = 500
"""Pixels on each side of an image, of two bytes."""
PATIENCE_SECONDS = 300.0


def measure(objects: int, folder: Path) -> tuple[list[float], list[float]]:
    """Megabytes of resident memory after each eighth: of the node, and of the courier."""
    home, each = folder / "home", objects // PARTS
    of_node: list[float] = []
    with node(home) as (port, process):
        for part in range(PARTS):
            images = write_images(folder / f"sent-{part}", each, SIDE)
            send([images], port, "PNEUMOSCREEN")
            of_node.append(_megabytes(process))
    database = connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    try:
        with _receiver() as (port, sizes), _courier(home, port) as process:
            _wait(lambda: _is_known(database), "the courier knows its destination")
            _screen(database, received(home, SOURCE), each * PARTS // 2)
            of_courier = []
            for part in range(1, PARTS + 1):
                _wait_for(sizes, each * part)
                of_courier.append(_megabytes(process))
    finally:
        database.close()
    return of_node, of_courier


def _screen(database: Database, folder: Path, number: int) -> None:
    """Give so many of the images a result, as a worker would."""
    done = 0
    while done < number:
        now = datetime.now(UTC)
        with database.write() as session:
            message = sending.take(session, Lane.ROUTINE, min(MAX_ROWS, number - done), now)
        assert message is not None
        with database.write() as session:
            claimed = work.claim(session, message, now, PATIENCE_SECONDS)
        outcomes = [_outcome(claim, folder / claim.path) for claim in claimed]
        with database.write() as session:
            work.finish(session, outcomes, datetime.now(UTC))
        done += len(outcomes)


def _outcome(claim: Claimed, file: Path) -> Screened:
    data = file.read_bytes()
    header = dcmread(BytesIO(data), stop_before_pixels=True)
    uids = Identifiers(str(header.StudyInstanceUID), str(header.SOPInstanceUID), None, None)
    return Screened(claim, sha256(data).hexdigest(), "bench", 0.9, 0.5, "PNEUMONIA", identifiers=uids)


@contextmanager
def _receiver() -> Iterator[tuple[int, list[int]]]:
    """Its port, and the size of each object that came."""
    pynetdicom_patch.apply()
    sizes: list[int] = []

    def take(event: Event) -> int:
        body = cast(C_STORE, event.request).DataSet
        assert body is not None
        sizes.append(len(body.getbuffer()))
        return 0x0000

    entity, port = AE("BENCH"), free_port()
    for sop_class in CLASSES:
        entity.add_supported_context(sop_class)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    assert server is not None
    try:
        yield port, sizes
    finally:
        server.shutdown()


@contextmanager
def _courier(home: Path, port: int) -> Iterator[psutil.Process]:
    peer = {"kind": "dicom", "host": "127.0.0.1", "port": port, "ae_title": "BENCH", "objects": ["report", "capture"]}
    variables = {
        "PNEUMOSCREEN_SOURCES": json.dumps({SOURCE: {"kind": "dicom"}}),
        "PNEUMOSCREEN_DESTINATIONS": json.dumps({"bench": peer}),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "courier", "--home", str(home)],
        env={**os.environ, **variables},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _is_known(database: Database) -> bool:
    with database.read() as session:
        return session.get(DestinationState, "bench") is not None


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


def _wait_for(sizes: list[int], objects: int) -> None:
    _wait(lambda: len(sizes) >= objects, f"{objects} objects were sent")


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise WorkFailed(f"waited in vain until {what}")
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    objects = parser.parse_args().objects
    with TemporaryDirectory() as folder:
        of_node, of_courier = measure(objects, Path(folder))
    table = Table("objects", "node, MB", "courier, MB")
    for part in range(PARTS):
        passed = objects // PARTS * (part + 1)
        table.add_row(f"{passed:,}", f"{of_node[part]:.0f}", f"{of_courier[part]:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
