"""A real PACS for tests: Debian's Orthanc on free ports, in a temporary folder."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.private_broker import free_port
from tests import pace

SECONDS = 30
WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def need_orthanc() -> None:
    """Skips where it is not installed; in CI its absence is a failure."""
    if shutil.which("Orthanc") is None and not os.environ.get("CI"):
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")


def need_orthanc_web() -> None:
    """The same for its plug-in that speaks DICOMweb."""
    need_orthanc()
    if not WEB_PLUGIN.exists() and not os.environ.get("CI"):
        pytest.skip("Orthanc's plug-in is not installed: apt-get install orthanc-dicomweb")


def need(program: str) -> None:
    """The same for a tool of dcmtk or dicom3tools."""
    if shutil.which(program) is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed: apt-get install dcmtk dicom3tools")


class Orthanc:
    """The peer `ORTHANC`; `modalities` are those that it sends to: title and port on this host, by name.

    `more` are settings of Orthanc's own.
    """

    def __init__(self, folder: Path, modalities: dict[str, tuple[str, int]] | None = None, **more: Any) -> None:
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.configuration = {
            "Name": "Tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "HttpServerEnabled": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "DicomCheckCalledAet": True,
            "OverwriteInstances": False,
            "ConcurrentJobs": 2,
            "DicomModalities": {name: [title, "127.0.0.1", port] for name, (title, port) in (modalities or {}).items()},
            "Plugins": [str(WEB_PLUGIN)] if WEB_PLUGIN.exists() else [],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **more,
        }
        (folder / "orthanc.json").write_text(json.dumps(self.configuration))
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + pace.seconds(SECONDS)
        while True:
            with suppress(httpx.HTTPError):
                if self.client.get("/system").is_success:
                    return
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would end it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        self.client.close()

    def log(self) -> str:
        return (self.folder / "orthanc.log").read_text(errors="replace")[-4000:]

    def upload(self, data: bytes) -> dict[str, Any]:
        answer = self.client.post("/instances", content=data)
        answer.raise_for_status()
        return dict(answer.json())

    def send(self, modality: str, resources: list[str]) -> None:
        """By C-STORE to another one; returns when it was done. Raises HTTPStatusError if it failed."""
        body = {"Resources": resources, "Synchronous": True, "Timeout": 60}
        self.client.post(f"/modalities/{modality}/store", json=body, timeout=300).raise_for_status()

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        answer.raise_for_status()
        return answer.json()

    def file(self, instance: str) -> bytes:
        answer = self.client.get(f"/instances/{instance}/file")
        answer.raise_for_status()
        return answer.content

    def instances_of(self, study_uid: str, modality: str | None = None) -> list[str]:
        """Orthanc's numbers of a study's instances; `modality` SR or OT, or None for all."""
        query: dict[str, str] = {"StudyInstanceUID": study_uid}
        if modality is not None:
            query["Modality"] = modality
        body = {"Level": "Series", "Query": query, "Expand": True}
        answer = self.client.post("/tools/find", json=body)
        answer.raise_for_status()
        return [instance for series in answer.json() for instance in series["Instances"]]

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        deadline = time.monotonic() + pace.seconds(seconds)
        while not (found := condition()):
            assert time.monotonic() < deadline, f"waited for {what}\n{self.log()}"
            time.sleep(0.1)
        return found


@contextmanager
def orthanc(folder: Path, modalities: dict[str, tuple[str, int]] | None = None, **more: Any) -> Iterator[Orthanc]:
    need_orthanc()
    server = Orthanc(folder, modalities, **more)
    try:
        server.start()
        yield server
    finally:
        server.close()
