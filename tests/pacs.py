"""A hospital in small: Orthanc as the PACS, and `up` with a node that receives from it and a courier that answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from local.private_broker import free_port
from tests.dicom import make, written
from tests.orthanc import Orthanc, orthanc
from tests.system import QUICK, System, make_linear_home, running

NODE = "PNEUMOSCREEN"
SOURCE, DESTINATION = "xray", "pacs"


@dataclass
class Hospital:
    pacs: Orthanc
    system: System

    def add(self, number: int, *, broken: bool = False, **elements: Any) -> str:
        """An image in a study of its own in the PACS; returns Orthanc's number of it."""
        pixels = np.random.default_rng(number).integers(0, 4096, (90, 80), dtype=np.uint16)
        uids = {"StudyInstanceUID": study(number), "SeriesInstanceUID": f"{study(number)}.1"}
        dataset = make(pixels, **uids, SOPInstanceUID=image(number), PatientID=f"P-{number}", **elements)
        dataset.file_meta.MediaStorageSOPInstanceUID = image(number)
        if broken:
            dataset.PixelData = dataset.PixelData[:100]
        return str(self.pacs.upload(written(dataset))["ID"])

    def send(self, *instances: str) -> bool:
        """Whether the node has taken all of them."""
        try:
            self.pacs.send(NODE, list(instances))
        except httpx.HTTPError:  # it is away for a moment, as either may be
            return False
        return True

    def rows(self) -> dict[str, str]:
        """The state of each image that the system knows, by its SOP instance UID; with its path where it has none."""
        rows = self.system.query("SELECT coalesce(sop_instance_uid, path), state FROM results WHERE source = ?", SOURCE)
        assert len({name for name, _ in rows}) == len(rows), "an image has two rows"
        return dict(rows)

    def answers(self, number: int) -> list[str]:
        """What stands in a study beside the image, by modality."""
        return sorted(kind for kind in ("SR", "OT") for _ in self.pacs.instances_of(study(number), kind))


def study(number: int) -> str:
    return f"1.2.826.0.1.{number}"


def image(number: int) -> str:
    return f"1.2.826.0.1.{number}.1.1"


@contextmanager
def hospital(folder: Path, objects: tuple[str, ...] = ("report", "capture"), **options: Any) -> Iterator[Hospital]:
    """Needs Orthanc; `options` go to `tests.system.running`."""
    port = free_port()
    with orthanc(folder / "orthanc", {NODE: (NODE, port)}) as pacs:
        sources = {SOURCE: {"kind": "dicom", "port": port, "ae_title": NODE, "keep_days": 30}}
        answer = {"kind": "dicom", "host": "127.0.0.1", "port": pacs.dicom_port, "ae_title": "ORTHANC"}
        destinations = {DESTINATION: {**answer, "objects": objects, "timeout": 10}}
        chosen = {
            **QUICK,
            "PNEUMOSCREEN_SOURCES": json.dumps(sources),
            "PNEUMOSCREEN_DESTINATIONS": json.dumps(destinations),
            **options.pop("settings", {}),
        }
        servers = options.get("servers")
        make_linear_home(folder / "home", servers.database_url if servers else None)
        with running(folder, inbox=False, settings=chosen, **options) as system:
            known = "SELECT 1 FROM destination_states WHERE name = ?"
            system.wait(lambda: system.query(known, DESTINATION), "the courier to know its destination")
            yield Hospital(pacs, system)
