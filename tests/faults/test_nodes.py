"""Nodes killed in every step of receiving, while modalities send on: whoever got success has one file and one row."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from sqlalchemy import func, select

from local.private_broker import free_port
from shared.database import Database, Job, Sighting, connect
from tests.dicom import DX
from tests.faults.trial import BOUND, LENGTHY, SEAMS, Account
from tests.node import NAME, associated, image, running, send, sightings
from tests.servers import PostgreSQL, Servers

STEPS = ("aside", "named", "registered", "any moment")
"""After the file is written aside, after it has its name, after its row is committed, and at some moment."""
SENDERS, EACH = 4, 30


class Node:
    """A node as a process, started again when it was killed, as a supervisor does."""

    def __init__(self, home: Path, strikes: Path, url: str | None) -> None:
        self.port = free_port()
        source = {"kind": "dicom", "port": self.port, "max_associations": 16}
        variables = {"PNEUMOSCREEN_SOURCES": json.dumps({NAME: source}), "PNEUMOSCREEN_MIN_FREE_DISK": "0"}
        if url:
            variables["PNEUMOSCREEN_DATABASE_URL"] = url
        self._environment = {**os.environ, **variables, "PYTHONPATH": str(SEAMS), "STRIKES": str(strikes)}
        self._command = [sys.executable, "-m", "cli.main", "node", "--home", str(home)]
        self.starts = 0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)
        self.starts += 1

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(BOUND)

    def wait_for_death(self) -> None:
        assert self._process.wait(BOUND) == -signal.SIGKILL


class Modality(threading.Thread):
    """Sends its images in turn, each until it is told success; then it forgets it, as its disk is small."""

    def __init__(self, port: int, images: list[Dataset]) -> None:
        super().__init__(daemon=True)
        self._port, self._images = port, images
        self.sent: list[str] = []

    def run(self) -> None:
        entity = AE(ae_title="MODALITY")
        entity.add_requested_context(DX)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        deadline = time.monotonic() + BOUND
        while len(self.sent) < len(self._images) and time.monotonic() < deadline:
            association = entity.associate("127.0.0.1", self._port, ae_title="PNEUMOSCREEN")
            while association.is_established and len(self.sent) < len(self._images):
                dataset = self._images[len(self.sent)]
                try:
                    answer = association.send_c_store(dataset)
                except (RuntimeError, ValueError):  # the association ended meanwhile
                    break
                if answer.get("Status") != 0x0000:
                    break
                self.sent.append(str(dataset.SOPInstanceUID))
                time.sleep(0.02)
            if association.is_established:
                association.release()
            time.sleep(0.1)


def test_a_node_killed_in_any_step_of_receiving_neither_loses_nor_doubles_an_image(
    tmp_path: Path, servers: Servers | None, database: Database, record_property: Callable[[str, object], None]
) -> None:
    strikes = tmp_path / "strikes"
    strikes.mkdir()
    node = Node(tmp_path, strikes, servers.database_url if servers else None)
    template = image()
    count = EACH * max(1, LENGTHY)
    modalities = [Modality(node.port, [_another(template) for _ in range(count)]) for _ in range(SENDERS)]
    for modality in modalities:
        modality.start()
    for number, step in enumerate(step for _ in range(LENGTHY) for step in STEPS):
        before = sum(len(modality.sent) for modality in modalities)
        _wait(lambda before=before: sum(len(each.sent) for each in modalities) >= before + 3)
        if step == "any moment":
            node.kill()
        else:
            (strikes / f"{step}-{number}").touch()
        node.wait_for_death()
        node.start()
    for modality in modalities:
        modality.join(BOUND)
    with associated(node.port):
        assert node.end() == 0
    sent = [uid for modality in modalities for uid in modality.sent]
    folder = tmp_path / "received" / NAME
    files = Counter(file.stem for file in folder.rglob("*.dcm"))
    with database.read() as session:
        rows = Counter(Path(path).stem for path in session.scalars(select(Sighting.path)))
        jobs = session.scalar(select(func.count()).select_from(Job))
    lost = [uid for uid in sent if not files[uid] or not rows[uid]]
    doubled = sum(rows.values()) - len(rows) + sum(files.values()) - len(files)
    kills = LENGTHY * len(STEPS)
    account = Account("node killed while images come", kills, len(sent), len(lost), doubled, 0, 0)
    record_property("fault", asdict(account))
    assert (len(sent), lost, doubled) == (SENDERS * count, [], 0)
    assert rows == files and jobs == len(rows)
    assert node.starts == kills + 1


def test_while_a_postgresql_is_stopped_a_node_answers_that_it_is_out_of_resources_and_then_takes_images_again(
    tmp_path: Path,
) -> None:
    server = PostgreSQL(max_connections=10)
    try:
        url = f"{server.url}/postgres"
        with closing(connect(url)) as database:
            database.upgrade()
            with running(tmp_path, database_url_=url) as node:
                first, second = image(1), image(2)
                assert send(node.port, first) == [0x0000]
                server.crash()
                assert send(node.port, second, second) == [0xA700, 0xA700]
                server.start()
                _wait(lambda: send(node.port, second) == [0x0000])
                assert send(node.port, second, first) == [0x0000, 0x0000]
                assert {row.path for row in sightings(node.node.database)} == set(node.files)
                assert len(node.files) == 2
    finally:
        server.close()


def _another(template: Dataset) -> Dataset:
    dataset = deepcopy(template)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
