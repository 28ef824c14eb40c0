"""A running node in a thread, and senders, for tests."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from sqlalchemy import select

from local.private_broker import free_port
from node.service import Node
from shared.base import pynetdicom_patch, settings
from shared.base.settings import Settings
from shared.database import Database, Sighting
from tests import pace
from tests.dicom import CR, DX, make

VERIFICATION = "1.2.840.10008.1.1"
SECONDS = pace.seconds(20)
pynetdicom_patch.apply()  # for the senders of these tests, where no node runs in this process
NAME = "pacs"


@dataclass
class Running:
    settings: Settings
    node: Node

    @property
    def port(self) -> int:
        return self.settings.sources[NAME].port

    @property
    def folder(self) -> Path:
        return self.settings.sources[NAME].path

    @property
    def files(self) -> list[str]:
        """The files that are there under their names, by their paths."""
        found = (file.relative_to(self.folder) for file in self.folder.rglob("*") if file.is_file())
        return sorted(str(path) for path in found if not str(path).startswith("."))

    def count(self, metric: str, **labels: str) -> float:
        """A counter's value."""
        return (
            self.node.metrics.registry.get_sample_value(f"pneumoscreen_node_{metric}", {"source": NAME, **labels}) or 0
        )


def configured(home: Path, **chosen: Any) -> Settings:
    """Settings with a source that receives on a free port; those of all sources with a trailing underscore."""
    general = {name.rstrip("_"): chosen.pop(name) for name in list(chosen) if name.endswith("_")}
    general.setdefault("min_free_disk", 0)
    source = {"kind": "dicom", "port": free_port(), **chosen}
    return settings.load(home, sources={NAME: source}, **general)


@contextmanager
def running(home: Path, **chosen: Any) -> Iterator[Running]:
    with served(configured(home, **chosen)) as node:
        yield node


@contextmanager
def served(chosen: Settings) -> Iterator[Running]:
    node, stop = Node(chosen), threading.Event()
    thread = threading.Thread(target=node.run, args=[stop], name="node")
    thread.start()
    try:
        wait_until(lambda: node.metrics.registry.get_sample_value("pneumoscreen_node_last_step_timestamp_seconds"))
        yield Running(chosen, node)
    finally:
        stop.set()
        thread.join(SECONDS)
        assert not thread.is_alive()


@contextmanager
def associated(
    port: int,
    *contexts: str,
    title: str = "MODALITY",
    called: str = "PNEUMOSCREEN",
    host: str = "127.0.0.1",
    syntaxes: list[str] | None = None,
    **options: Any,
) -> Iterator[Association]:
    """An association, established or not; released at the end."""
    entity = AE(ae_title=title)
    for context in contexts or (DX, CR, VERIFICATION):
        if syntaxes:
            entity.add_requested_context(context, syntaxes)
        else:
            entity.add_requested_context(context)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
    association = entity.associate(host, port, ae_title=called, **options)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.ident is not None:  # else it never began
            association.join(SECONDS)


def send(port: int, *datasets: Dataset | Path, **options: Any) -> list[int | None]:
    """Send data sets or files over one association; the statuses, None where there was no answer."""
    with associated(port, **options) as association:
        assert association.is_established
        return [association.send_c_store(dataset).get("Status") for dataset in datasets]


def image(seed: int = 1, side: int = 64, **elements: Any) -> Dataset:
    return make(np.random.default_rng(seed).integers(0, 4096, (side, side), dtype=np.uint16), **elements)


def sightings(database: Database) -> list[Sighting]:
    with database.read() as session:
        return list(session.scalars(select(Sighting).where(Sighting.source == NAME).order_by(Sighting.id)))


def wait_until(condition: Any, seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer
