"""Storage commitment: a node says of objects whether it has them, to those who may ask."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)
from sqlalchemy import delete

from local.private_broker import free_port
from node.commitment import Reference
from shared.database import Database, Job, Sighting
from tests.certificates import client_context, make, server_context
from tests.dicom import CR, DX, written
from tests.node import Running, associated, configured, image, running, send, served, sightings, wait_until
from tests.orthanc import Orthanc, orthanc


class Asker:
    """An application that stored images and wants to know that they are safe."""

    def __init__(self, port: int, certificates: Path | None = None) -> None:
        """With a folder of certificates, it speaks TLS alone."""
        self.port = port
        self._listening: dict[str, Any] = {}
        self._asking: dict[str, Any] = {}
        if certificates is not None:
            self._listening["ssl_context"] = server_context(certificates, "pacs", asks_for_certificate=True)
            self._asking["tls_args"] = (client_context(certificates, "pacs"), None)
        self.reports: list[tuple[int, Dataset]] = []
        self.status = 0x0000
        self._came = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        entity = AE(ae_title="PACS")
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers, **self._listening)
        try:
            yield
        finally:
            server.shutdown()

    def _take(self, event: Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return self.status, None

    def ask(self, node: Running, *objects: tuple[str, str], title: str = "PACS", action: int = 1) -> int:
        request = Dataset()
        request.TransactionUID = generate_uid()
        items = []
        for sop_class, sop_instance in objects:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            items.append(item)
        request.ReferencedSOPSequence = Sequence(items)
        with associated(node.port, StorageCommitmentPushModel, title=title, **self._asking) as association:
            assert association.is_established
            where = (StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
            status, _ = association.send_n_action(request, action, *where)
        return int(status.Status)


@pytest.fixture
def asker() -> Asker:
    return Asker(free_port())


@pytest.fixture
def home(migrated_file: Path, tmp_path: Path) -> Path:
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    return tmp_path


@pytest.fixture
def node(home: Path, asker: Asker) -> Iterator[Running]:
    with running(home, commitment=(f"PACS@127.0.0.1:{asker.port}",)) as node:
        yield node


def test_images_that_are_safe_are_said_to_be_and_others_are_not(
    database: Database, tmp_path: Path, asker: Asker
) -> None:
    with running(tmp_path, commitment=(f"PACS@127.0.0.1:{asker.port}",)) as node, asker.listening():
        sent = image()
        assert send(node.port, sent) == [0]
        assert asker.ask(node, (DX, sent.SOPInstanceUID)) == 0x0000
        wait_until(lambda: asker.reports)
        assert asker.ask(node, (DX, sent.SOPInstanceUID), (CR, sent.SOPInstanceUID), (DX, "1.2.3")) == 0x0000
        wait_until(lambda: len(asker.reports) == 2)
        (all_safe, first), (some_failed, second) = asker.reports
        assert (all_safe, some_failed) == (1, 2)
        assert [each.ReferencedSOPInstanceUID for each in first.ReferencedSOPSequence] == [sent.SOPInstanceUID]
        assert "FailedSOPSequence" not in first
        assert [each.ReferencedSOPInstanceUID for each in second.ReferencedSOPSequence] == [sent.SOPInstanceUID]
        assert [each.FailureReason for each in second.FailedSOPSequence] == [0x0119, 0x0112]
        wait_until(lambda: node.count("commitments_total", outcome="answered") == 2)


def test_over_tls_both_sides_show_certificates_and_nobody_in_the_clear_or_of_another_authority_gets_an_answer(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.commitment.FIRST_PAUSE", 0.1)
    certificates = make(tmp_path_factory.mktemp("tls"), "node", "pacs")
    files = {"tls_certificate": "node.pem", "tls_key": "node.key", "tls_clients": "authority.pem"}
    asker = Asker(free_port(), certificates)
    chosen = {name: certificates / file for name, file in files.items()}
    with running(home, commitment=(f"PACS@127.0.0.1:{asker.port}",), **chosen) as node:
        sent = image()
        assert send(node.port, sent, **asker._asking) == [0]
        assert asker.ask(node, (DX, sent.SOPInstanceUID)) == 0x0000
        commitments = node.node._inlets["pacs"].commitments
        for impostor in (Asker(asker.port), Asker(asker.port, make(tmp_path_factory.mktemp("other"), "pacs"))):
            with impostor.listening():
                before = max((task.attempts for task in commitments._tasks), default=0)
                wait_until(lambda before=before: any(task.attempts > before + 1 for task in commitments._tasks))
            assert impostor.reports == []
        with asker.listening():
            wait_until(lambda: asker.reports)
        ((kind, told),) = asker.reports
        assert kind == 1
        assert [each.ReferencedSOPInstanceUID for each in told.ReferencedSOPSequence] == [sent.SOPInstanceUID]


def test_orthanc_asks_over_tls_whether_what_it_sent_is_safe(
    home: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificates = make(tmp_path_factory.mktemp("tls"), "node", "pacs")
    port = free_port()
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificates / "pacs.pem"),
        "DicomTlsPrivateKey": str(certificates / "pacs.key"),
        "DicomTlsTrustedCertificates": str(certificates / "authority.pem"),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"node": {"AET": "PNEUMOSCREEN", "Host": "127.0.0.1", "Port": port, "UseDicomTls": True}},
    }
    files = {"tls_certificate": "node.pem", "tls_key": "node.key", "tls_clients": "authority.pem"}
    chosen = {name: certificates / file for name, file in files.items()}
    with orthanc(tmp_path / "orthanc", **tls) as pacs:
        asked = (f"ORTHANC@127.0.0.1:{pacs.dicom_port}",)
        with running(home, port=port, commitment=asked, **chosen):
            sent = image(SeriesInstanceUID=generate_uid())
            pacs.send("node", [str(pacs.upload(written(sent))["ID"])])
            objects = [[str(DX), str(sent.SOPInstanceUID)], [str(DX), "1.2.3"]]
            told = [_commit(pacs, [objects[0]]), _commit(pacs, objects)]
        assert [each["Status"] for each in told] == ["Success", "Failure"]
        assert [each["SOPInstanceUID"] for each in told[1]["Failures"]] == ["1.2.3"]


def _commit(pacs: Orthanc, objects: list[list[str]]) -> dict[str, Any]:
    """What Orthanc was told of these objects, as class and UID."""
    answer = pacs.client.post("/modalities/node/storage-commitment", json={"DicomInstances": objects})
    answer.raise_for_status()
    path = answer.json()["Path"]
    pacs.wait(lambda: pacs.get(path)["Status"] != "Pending", "the node's report")
    return dict(pacs.get(path))


def test_an_asker_that_cannot_be_reached_is_told_later(
    node: Running, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.commitment.FIRST_PAUSE", 0.1)
    sent = image()
    send(node.port, sent)
    assert asker.ask(node, (DX, sent.SOPInstanceUID)) == 0x0000
    commitments = node.node._inlets["pacs"].commitments
    wait_until(lambda: any(task.attempts for task in commitments._tasks))
    with asker.listening():
        wait_until(lambda: asker.reports)


def test_only_those_whose_address_is_known_may_ask_and_only_for_what_there_is(node: Running, asker: Asker) -> None:
    assert asker.ask(node, (DX, "1.2.3"), title="STRANGER") == 0x0124
    assert asker.ask(node, (DX, "1.2.3"), action=7) == 0x0123
    assert asker.ask(node, (DX, "../x")) == 0x0117
    assert node.count("commitments_total", outcome="asked") == 0


def test_an_answer_that_waits_is_lost_with_the_node_and_whoever_asks_again_gets_one(home: Path, asker: Asker) -> None:
    chosen = configured(home, commitment=(f"PACS@127.0.0.1:{asker.port}",))
    sent = image()
    with served(chosen) as node:
        assert send(node.port, sent) == [0]
        assert asker.ask(node, (DX, sent.SOPInstanceUID)) == 0x0000
        commitments = node.node._inlets["pacs"].commitments
        wait_until(lambda: any(task.attempts for task in commitments._tasks))
    with served(chosen) as node, asker.listening():
        assert node.node._inlets["pacs"].commitments._tasks == []
        assert asker.ask(node, (DX, sent.SOPInstanceUID)) == 0x0000
        wait_until(lambda: asker.reports)
        wait_until(lambda: node.count("commitments_total", outcome="answered") == 1)
    ((kind, report),) = asker.reports
    assert kind == 1
    assert [each.ReferencedSOPInstanceUID for each in report.ReferencedSOPSequence] == [sent.SOPInstanceUID]


def test_a_file_without_a_row_is_not_safe_yet(node: Running) -> None:
    sent = image()
    send(node.port, sent)
    failure = node.node._inlets["pacs"].commitments._failure
    reference = Reference(DX, str(sent.SOPInstanceUID))
    assert failure(reference) is None
    with node.node.database.write() as session:
        session.execute(delete(Job))
        session.execute(delete(Sighting))
    assert failure(reference) == 0x0112
    assert len(node.files) == 1


def test_a_row_without_its_file_is_not_safe_any_more(node: Running) -> None:
    sent = image()
    send(node.port, sent)
    failure = node.node._inlets["pacs"].commitments._failure
    reference = Reference(DX, str(sent.SOPInstanceUID))
    assert failure(reference) is None
    (file,) = node.files
    (node.folder / file).unlink()
    assert failure(reference) == 0x0112
    assert len(sightings(node.node.database)) == 1


def test_without_somebody_who_may_ask_storage_commitment_is_not_offered(home: Path) -> None:
    with running(home) as node, associated(node.port, StorageCommitmentPushModel, DX) as association:
        assert [context.abstract_syntax for context in association.rejected_contexts] == [StorageCommitmentPushModel]
