"""What a node answers to C-STORE, and what is on the disk and in SQL by then."""

import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from sqlalchemy.exc import OperationalError

from node import c_store, header, leftovers, storing
from node.file_meta import FileMeta, decode_others
from node.naming import is_uid, path_of, path_of_other
from node.registering import Registrar
from shared.base.filesystem import MARKER
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.database import Database, Job
from shared.imaging.dicom import RADIOGRAPHS
from shared.imaging.dicom_file import EXPLICIT_BIG_ENDIAN, SYNTAXES
from tests.dicom import CR, DX, compressed
from tests.node import NAME, Running, associated, configured, image, running, send, served, sightings, wait_until

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, stat_titles=("ER",)) as node:
        yield node


@pytest.fixture
def home(migrated_file: Path, tmp_path: Path) -> Path:
    """With an SQLite database."""
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    return tmp_path


@pytest.fixture
def plain(home: Path) -> Iterator[Running]:
    """A node with SQLite, for what has nothing to do with the database."""
    with running(home, stat_titles=("ER",)) as node:
        yield node


def ledger(node: Running) -> Database:
    return node.node.database


def encoded(dataset: Dataset, *, implicit: bool = False) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def test_an_image_that_was_answered_with_success_has_its_file_and_its_row(node: Running, database: Database) -> None:
    sent = image()
    assert send(node.port, sent) == [0x0000]
    (row,) = sightings(database)
    assert node.files == [row.path] == [path_of(str(sent.SOPInstanceUID))]
    assert (row.state, row.lane, row.size) == ("waiting", "routine", (node.folder / row.path).stat().st_size)
    with database.read() as session:
        assert session.query(Job).filter_by(sighting_id=row.id).count() == 1
    assert node.count("objects_total", outcome="stored") == 1


def test_the_data_set_lies_on_the_disk_as_it_came_behind_what_says_who_sent_it(plain: Running) -> None:
    sent = image(PatientComments="as it came ")
    send(plain.port, sent, title="CR-ROOM-3")
    content = (plain.folder / plain.files[0]).read_bytes()
    assert content.endswith(encoded(sent, implicit=True))  # implicit is what pynetdicom offers first
    read = dcmread(BytesIO(content))
    assert read.file_meta.SourceApplicationEntityTitle == "CR-ROOM-3"
    assert read.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert read.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_object_lies_on_the_disk_byte_for_byte_as_it_was_sent(
    plain: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)  # the file as it is
    sent, file = image(PatientComments="as it came "), tmp_path / "sent.dcm"
    file.write_bytes(compressed(sent, syntax, tmp_path))
    with file.open("rb") as opened:
        _, start = decode_others(opened)
    body = file.read_bytes()[start:]
    assert send(plain.port, file, syntaxes=[syntax]) == [0x0000]
    meta = FileMeta(DX, str(sent.SOPInstanceUID), syntax, "MODALITY")
    assert (plain.folder / plain.files[0]).read_bytes() == meta.encode() + body


def test_the_same_object_sent_again_by_another_is_one_content_with_one_row(node: Running, database: Database) -> None:
    sent = image()
    assert send(node.port, sent, sent) + send(node.port, sent, title="OTHER") == [0, 0, 0]
    assert len(node.files) == len(sightings(database)) == 1
    assert node.count("objects_total", outcome="again") == 2


def test_another_content_under_the_same_uid_never_replaces_the_first(node: Running, database: Database) -> None:
    first = image(1)
    other = image(2, SOPInstanceUID=first.SOPInstanceUID)
    assert send(node.port, first) == [0]
    before = (node.folder / node.files[0]).read_bytes()
    assert send(node.port, other, other) == [0, 0]
    first_path, other_path = sorted(node.files, key=len)
    assert (node.folder / first_path).read_bytes() == before
    assert {row.path for row in sightings(database)} == {first_path, other_path}
    assert node.count("objects_total", outcome="other_content") == 1


@pytest.mark.parametrize(
    "text", ["", "../../etc/passwd", "1.2.3/4", "1..2", ".1", "1.", "1.2\0", "1" * 65, "1.2.x", "1 2"]
)
def test_what_is_no_uid_never_becomes_a_name(text: str) -> None:
    assert not is_uid(text)
    for name in (lambda: path_of(text), lambda: path_of_other(text, memoryview(b""))):
        with pytest.raises(ValueError, match="no UID"):
            name()


def test_two_contents_of_a_uid_have_two_names_which_no_other_uid_has() -> None:
    names = {path_of("1.2.3"), path_of_other("1.2.3", memoryview(b"a")), path_of_other("1.2.3", memoryview(b"b"))}
    assert len(names) == 3
    assert all(len(Path(name).parts) == 2 for name in names)
    assert not is_uid(Path(path_of_other("1.2.3", memoryview(b"a"))).stem)


def event_of(request: SimpleNamespace) -> SimpleNamespace:
    context = SimpleNamespace(transfer_syntax=ImplicitVRLittleEndian)
    return SimpleNamespace(
        request=request, context=context, assoc=SimpleNamespace(requestor=SimpleNamespace(ae_title="X"))
    )


def answer(node: Running, event: SimpleNamespace) -> int:
    return int(c_store.handler(node.node._inlets[NAME].receiver)(event).Status)


def test_an_object_whose_uid_is_none_is_refused_as_such(plain: Running) -> None:
    with associated(plain.port) as association:
        event = event_of(SimpleNamespace(AffectedSOPInstanceUID="../x", AffectedSOPClassUID=DX, DataSet=None))
        assert answer(plain, event) == 0x0117
        assert association.is_established
    assert plain.files == []


@pytest.mark.parametrize("element", ["SOPInstanceUID", "SOPClassUID"])
def test_a_data_set_that_states_another_class_or_uid_than_its_request_is_refused(plain: Running, element: str) -> None:
    sent = image()
    wrong = {"SOPInstanceUID": generate_uid(), "SOPClassUID": CR}[element]
    body = encoded(image(**{"SOPInstanceUID": sent.SOPInstanceUID, element: wrong}), implicit=True)
    request = SimpleNamespace(AffectedSOPInstanceUID=sent.SOPInstanceUID, AffectedSOPClassUID=DX, DataSet=BytesIO(body))
    event = event_of(request)
    assert answer(plain, event) == 0xA900
    assert plain.files == []


def test_a_damaged_object_is_taken_so_that_a_row_says_what_is_wrong_with_it(plain: Running) -> None:
    body = b"\xff\xfe\xfd" * 1000
    request = SimpleNamespace(AffectedSOPInstanceUID="1.2.3", AffectedSOPClassUID=DX, DataSet=BytesIO(body))
    assert answer(plain, event_of(request)) == 0x0000
    assert len(sightings(ledger(plain))) == 1


def test_cr_and_dx_images_are_taken_and_every_other_class_is_refused_at_negotiation(plain: Running) -> None:
    with associated(plain.port, DX, CR, CAPTURE, REPORT, RAW) as association:
        assert {context.abstract_syntax for context in association.accepted_contexts} == {DX, CR} == set(RADIOGRAPHS)
        rejected = {context.abstract_syntax: context.result for context in association.rejected_contexts}
    assert rejected == {CAPTURE: 3, REPORT: 3, RAW: 3}, "3: the abstract syntax is not supported"


def test_every_syntax_that_is_read_is_negotiated_and_no_other(plain: Running) -> None:
    mpeg = "1.2.840.10008.1.2.4.100"
    for syntax in (*SYNTAXES, mpeg):
        with associated(plain.port, DX, syntaxes=[syntax]) as association:
            assert association.is_established == (syntax != mpeg), syntax


def test_an_echo_is_answered_and_the_wrong_called_title_is_refused(plain: Running) -> None:
    with associated(plain.port) as association:
        assert association.send_c_echo().Status == 0x0000
    with associated(plain.port, called="SOMEBODY") as association:
        assert association.is_rejected
    assert plain.count("rejections_total", reason="negotiation") == 1


def test_only_the_titles_that_are_allowed_may_send(home: Path) -> None:
    with running(home, allowed_titles=("CR1",)) as node:
        assert send(node.port, image(), title="CR1") == [0]
        with associated(node.port, title="CR2") as association:
            assert association.is_rejected


@pytest.mark.parametrize(
    ("title", "elements", "lane"),
    [
        ("ER", {}, "stat"),
        ("CR1", {"StudyPriorityID": "HIGH"}, "stat"),
        ("CR1", {"RequestedProcedurePriority": "stat"}, "stat"),
        ("CR1", {"RequestedProcedurePriority": "LOW"}, "routine"),
        ("CR1", {}, "routine"),
    ],
)
def test_an_image_goes_into_the_lane_of_its_sender_or_of_its_priority(
    plain: Running, title: str, elements: dict[str, str], lane: str
) -> None:
    assert send(plain.port, image(**elements), title=title) == [0]
    assert [row.lane for row in sightings(ledger(plain))] == [lane]


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "deflated"])
def test_the_priority_is_read_in_each_syntax_without_the_pixels(syntax: str) -> None:
    body = encoded(image(StudyPriorityID="HIGH"), implicit=syntax == "implicit")
    if syntax == "deflated":
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    uid = {"implicit": ImplicitVRLittleEndian, "explicit": "1.2.840.10008.1.2.1"}.get(
        syntax, DeflatedExplicitVRLittleEndian
    )
    assert header.read(memoryview(body), str(uid)).priorities == ("HIGH",)


def test_a_head_that_inflates_without_end_costs_no_more_than_its_bound() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(50_000_000)) + packer.flush()
    assert len(header._head(memoryview(bomb), str(DeflatedExplicitVRLittleEndian))) == header.HEAD
    assert header.read(memoryview(bomb), str(DeflatedExplicitVRLittleEndian)) == header.Head()
    assert header.read(memoryview(b"\0\x08"), EXPLICIT_BIG_ENDIAN) == header.Head()


def test_with_too_little_room_an_image_is_refused_for_now_and_leaves_nothing(
    plain: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(plain.folder)
    monkeypatch.setattr(plain.node._inlets[NAME].store, "_min_free", usage.total * 2)
    with associated(plain.port) as association:
        answer = association.send_c_store(image())
    assert answer.Status == 0xA700
    assert answer.ErrorComment == "disk low, send again later"
    assert (plain.files, sightings(ledger(plain))) == ([], [])
    assert plain.count("objects_total", outcome="refused") == 1


def test_while_its_folder_is_away_images_are_refused_and_nothing_is_written_in_its_place(plain: Running) -> None:
    (plain.folder / MARKER).unlink()
    assert send(plain.port, image()) == [0xA700]
    assert plain.files == []
    (plain.folder / MARKER).touch()
    assert send(plain.port, image()) == [0]


def test_while_the_database_is_away_an_image_is_refused_and_the_next_sending_gives_it_its_row(
    plain: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))

    sent = image()
    with monkeypatch.context() as away:
        away.setattr("node.registering.register", fail)
        assert send(plain.port, sent) == [0xA700]
    assert sightings(ledger(plain)) == []
    assert plain.node._inlets[NAME].receiver.has_leftovers
    assert send(plain.port, sent) == [0]
    assert [row.path for row in sightings(ledger(plain))] == plain.files


def test_a_file_that_got_no_row_while_the_database_was_away_gets_one_without_being_sent_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr("node.service.LEFTOVER_SECONDS", 0.0)
    monkeypatch.setattr("node.service.STEP_SECONDS", 0.05)
    with running(home) as node:
        with monkeypatch.context() as away:
            away.setattr("node.registering.register", fail)
            assert send(node.port, image()) == [0xA700]
        wait_until(lambda: sightings(ledger(node)))
        assert [row.path for row in sightings(ledger(node))] == node.files


def test_a_file_that_the_web_service_left_without_a_row_gets_one_from_the_node(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEFTOVER_SECONDS", "RELEASE_SECONDS", "STEP_SECONDS"):
        monkeypatch.setattr(f"node.service.{name}", 0.05)
    with running(home, stow_accounts=("ct-archive",)) as node:
        sent = image()
        meta = FileMeta(DX, str(sent.SOPInstanceUID), str(ImplicitVRLittleEndian))
        node.node._inlets[NAME].store.store(meta, memoryview(encoded(sent, implicit=True)))
        wait_until(lambda: sightings(ledger(node)))


def test_a_fault_of_the_node_is_told_as_its_own_so_that_the_sender_tries_again(
    plain: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("node.receiving.lanes.choose", lambda *_: 1 / 0)
    assert send(plain.port, image()) == [0xA700]
    assert "a fault of the node" in caplog.text


def test_a_file_left_by_a_node_that_was_killed_gets_its_row_at_the_next_start_in_the_lane_of_its_sender(
    database: Database, tmp_path: Path
) -> None:
    chosen = configured(tmp_path, stat_titles=("ER",))
    with served(chosen) as node:
        pass
    urgent, sent = image(1), image(2)
    store = node.node._inlets[NAME].store
    for dataset, title in ((urgent, "ER"), (sent, "CR1")):
        meta = FileMeta(DX, str(dataset.SOPInstanceUID), str(ImplicitVRLittleEndian), title)
        store.store(meta, memoryview(encoded(dataset, implicit=True)))
    old = node.folder / storing.ASIDE / "left.part"
    old.write_bytes(b"half an image")
    os.utime(old, (0, 0))
    assert sightings(database) == []
    with served(chosen) as node:
        rows = {row.path: row.lane for row in sightings(database)}
    assert rows == {path_of(str(urgent.SOPInstanceUID)): "stat", path_of(str(sent.SOPInstanceUID)): "routine"}
    assert not old.exists()
    assert leftovers.register_leftovers(node.node._inlets[NAME].source, chosen.sources[NAME], database) == 0


def test_a_disk_without_hard_links_never_replaces_a_file_either(
    plain: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("node.storing.os.link", refuse)
    first = image(1)
    other = image(2, SOPInstanceUID=first.SOPInstanceUID)
    assert send(plain.port, first, other, first, other) == [0, 0, 0, 0]
    assert len(plain.files) == len(sightings(ledger(plain))) == 2
    assert list((plain.folder / storing.ASIDE).iterdir()) == []


def test_what_waits_for_the_database_is_committed_together(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    registrar = Registrar(database)
    with ThreadPoolExecutor(20) as senders:
        orders = [
            senders.submit(registrar.register, NAME, Lane.ROUTINE, Found(f"{n % 10}.dcm", "1:1", 1)) for n in range(40)
        ]
        for order in orders:
            order.result()
    registrar.stop()
    assert len(sightings(database)) == 10
