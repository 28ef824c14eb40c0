"""What a hostile or a broken peer can do to a node: very little, and nothing to the others."""

import shutil
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node import transport
from node.peers import SPARE, Gate, plain
from shared.base.errors import WrongSettings
from tests.certificates import client_context, make
from tests.dicom import DX
from tests.node import Running, associated, configured, image, running, send, wait_until


@pytest.fixture
def home(migrated_file: Path, tmp_path: Path) -> Path:
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    return tmp_path


@pytest.fixture
def node(home: Path) -> Iterator[Running]:
    with running(home) as node:
        yield node


def connect(node: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=20)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends it; whatever it says before that is passed over."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_an_address_means_the_same_however_it_is_written() -> None:
    assert plain("::ffff:10.1.2.3") == plain("10.1.2.3")
    assert plain("fe80::1%eth0") == plain("fe80::1")
    for allowed in ("10.1.2.0/24", "::ffff:10.1.2.0/120"):
        gate = Gate([allowed], 8)
        assert gate.enter("::ffff:10.1.2.3") is None
        assert gate.enter("10.1.2.3") is None
        assert gate.enter("10.1.3.3") == "address"


def test_one_address_holds_three_quarters_of_the_places_at_most_and_others_have_the_rest() -> None:
    gate = Gate([], 8)
    assert [gate.enter("10.0.0.1") for _ in range(7)] == [None] * 6 + ["places"]
    assert gate.enter("::ffff:10.0.0.1") == "places"
    assert [gate.enter("10.0.0.2") for _ in range(3)] == [None] * 2 + ["places"]
    gate.leave("::ffff:10.0.0.1")
    assert gate.enter("10.0.0.1") is None
    assert gate.open == 8


def test_spare_places_are_counted_by_themselves_so_that_a_flood_of_one_address_takes_nobody_elses() -> None:
    gate = Gate([], 1)
    assert gate.enter("10.0.0.1") is None
    share = SPARE * 3 // 4
    assert [gate.enter_spare("10.0.0.1") for _ in range(share + 2)] == [True] * share + [False] * 2
    assert [gate.enter_spare(f"10.0.1.{n}") for n in range(SPARE)] == [True] * (SPARE - share) + [False] * share
    assert gate.open == 1 + SPARE
    gate.leave_spare("::ffff:10.0.0.1")
    assert gate.enter_spare("10.0.0.2")
    gate.leave("10.0.0.1")
    assert gate.enter("10.0.0.2") is None


def test_a_connection_from_an_address_that_is_not_allowed_is_ended_unread(home: Path) -> None:
    with running(home, allowed_addresses=("10.99.0.0/16",)) as node:
        with closing(connect(node)) as connection:
            assert is_closed(connection)
        wait_until(lambda: node.count("rejections_total", reason="address") == 1)


def test_silent_connections_take_no_place_for_long_and_others_still_get_in(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr("node.listening.FIRST_SECONDS", 0.5)
    with running(home, max_associations=4) as node, ExitStack() as stack:
        silent = [stack.enter_context(closing(connect(node))) for _ in range(20)]
        assert all(is_closed(each) for each in silent)
        assert node.count("rejections_total", reason="places") == 20 - 3
        wait_until(lambda: node.node._inlets["pacs"].listener.gate.open == 0)
        assert send(node.port, image()) == [0]


def is_told_to_try_later(association: Association) -> bool:
    """Whether it was rejected as transient, by the provider (presentation), for a local limit: PS3.8 9.3.4."""
    told = association.acceptor.primitive
    return association.is_rejected and (told.result, told.result_source, told.diagnostic) == (2, 3, 2)


def from_address(node: Running, address: str, **options: Any) -> AbstractContextManager[Association]:
    return associated(node.port, bind_address=(address, 0), **options)


def test_when_all_places_are_taken_the_same_address_is_told_to_try_again_later_and_may_then(home: Path) -> None:
    with running(home, max_associations=1) as node:
        with associated(node.port) as first:
            assert first.is_established
            for _ in range(SPARE + 1):  # none of them stays
                with associated(node.port) as second:
                    assert is_told_to_try_later(second)
            assert node.count("rejections_total", reason="places") == SPARE + 1
            assert node.count("rejections_total", reason="negotiation") == 0
            assert first.send_c_echo().Status == 0x0000
        wait_until(lambda: node.node._inlets["pacs"].listener.gate.open == 0)
        assert send(node.port, image()) == [0]


def test_an_address_with_its_share_is_told_to_try_again_later_while_another_has_the_rest_and_then_is_told_as_well(
    home: Path,
) -> None:
    with running(home, max_associations=4) as node, ExitStack() as stack:
        held = [stack.enter_context(associated(node.port)) for _ in range(3)]
        assert all(each.is_established for each in held), "three quarters of four"
        told = [stack.enter_context(associated(node.port)) for _ in range(3)]
        assert all(map(is_told_to_try_later, told))
        assert stack.enter_context(from_address(node, "127.0.0.2")).is_established
        assert is_told_to_try_later(stack.enter_context(from_address(node, "127.0.0.2")))


def test_a_flood_that_wants_to_be_told_is_bounded_and_takes_no_place_of_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FIRST_SECONDS", 60.0)
    monkeypatch.setattr("node.listening.FIRST_SECONDS", 60.0)
    with running(home, max_associations=4) as node, ExitStack() as stack:
        for _ in range(3):
            assert stack.enter_context(associated(node.port)).is_established
        for _ in range(SPARE * 3):
            stack.enter_context(closing(connect(node)))
        wait_until(lambda: node.count("rejections_total", reason="places") == SPARE * 3)
        assert node.node._inlets["pacs"].listener.gate.open == 3 + SPARE * 3 // 4
        with associated(node.port) as beyond:
            assert not beyond.is_established and not is_told_to_try_later(beyond), "its connection is closed"
        assert stack.enter_context(from_address(node, "127.0.0.2")).is_established
        assert is_told_to_try_later(stack.enter_context(from_address(node, "127.0.0.2")))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "node.rejections"]


def test_the_log_has_the_address_of_whoever_is_refused_once_and_why(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(home, max_associations=1, allowed_addresses=("127.0.0.1",), allowed_titles=("CR1",)) as node:
        for _ in range(3):
            with from_address(node, "127.0.0.2", title="CR1") as association:
                assert not association.is_established
        with associated(node.port, title="CR1", called="SOMEBODY") as association:
            assert association.is_rejected
        wait_until(lambda: node.node._inlets["pacs"].listener.gate.open == 0)
        with associated(node.port, title="CR1"), associated(node.port, title="CR1") as told:
            assert is_told_to_try_later(told)
    assert warnings(caplog) == [
        "source pacs: a connection from 127.0.0.2 was refused: it is not in allowed_addresses",
        "source pacs: a connection from 127.0.0.1 was refused: it called another AE title than ae_title",
        "source pacs: a connection from 127.0.0.1 was refused: max_associations are open, "
        "or three quarters of them from there",
    ]


@pytest.mark.parametrize(("kind", "length"), [(1, transport.MAX_OTHER_PDU + 1), (4, transport.MAX_PDU + 7), (1, 2**31)])
def test_a_pdu_that_says_it_is_huge_ends_the_connection_before_it_is_read(
    node: Running, caplog: pytest.LogCaptureFixture, kind: int, length: int
) -> None:
    with closing(connect(node)) as connection:
        connection.sendall(struct.pack(">BBL", kind, 0, length))
        assert is_closed(connection)
    assert f"a connection from 127.0.0.1 was ended: a PDU of {length:,} bytes" in warnings(caplog)[0]
    assert node.count("rejections_total", reason="limits") == 1
    assert send(node.port, image()) == [0]


@pytest.mark.parametrize(
    "bytes_sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"\x01\x00\x00\x00\x00\x05abcde", b"\xff"]
)
def test_what_is_no_dicom_ends_its_own_connection_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, bytes_sent: bytes
) -> None:
    monkeypatch.setattr(transport, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr("node.listening.FIRST_SECONDS", 0.5)
    with running(home) as node:
        with closing(connect(node)) as connection:
            connection.sendall(bytes_sent)
            assert is_closed(connection)
        assert send(node.port, image()) == [0]


def _is_refused(connection: socket.socket) -> bool:
    """Whether one byte more is not taken."""
    try:
        connection.sendall(b"\0")
    except ConnectionError:
        return True
    return False


def test_a_pdu_that_comes_byte_by_byte_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_SECONDS", 0.4)
    with running(home) as node, closing(connect(node)) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 1000))
        wait_until(lambda: _is_refused(connection))
        assert node.count("rejections_total", reason="limits") == 1


def test_an_object_that_is_larger_than_the_limit_ends_the_association_and_leaves_nothing(home: Path) -> None:
    with running(home, max_bytes_=1_000_000) as node:
        with associated(node.port) as association:
            answer = association.send_c_store(image(side=1024))  # two megabytes
            assert "Status" not in answer
        assert node.files == []
        assert node.count("rejections_total", reason="limits") == 1
        assert send(node.port, image(side=512)) == [0]


def test_many_objects_together_may_be_larger_than_the_limit_for_one(home: Path) -> None:
    with running(home, max_bytes_=600_000) as node:
        assert send(node.port, *(image(n, side=512) for n in range(3))) == [0, 0, 0]


def test_a_peer_that_does_not_wait_for_answers_is_stopped(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what it sends would pile up in memory."""
    store = node.node._inlets["pacs"].store
    monkeypatch.setattr(store, "store", lambda *_: time.sleep(1) or 1 / 0)
    with associated(node.port, DX, syntaxes=[ImplicitVRLittleEndian]) as association:
        for number in range(12):
            request = C_STORE()
            request.MessageID, request.AffectedSOPClassUID = number + 1, DX
            request.AffectedSOPInstanceUID, request.Priority = f"1.2.{number}", 2
            request.DataSet = BytesIO(bytes(1000))
            association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        wait_until(lambda: node.count("rejections_total", reason="limits") == 1)
        wait_until(lambda: not association.is_established)


def test_beyond_this_machine_a_node_wants_to_know_who_may_send(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="it would take images from everybody who reaches 0\\.0\\.0\\.0"):
        configured(tmp_path, host="0.0.0.0")
    configured(tmp_path, host="0.0.0.0", allowed_addresses=["10.1.2.0/24"])
    with pytest.raises(WrongSettings, match="go together"):
        configured(tmp_path, tls_key=tmp_path / "key.pem")


def test_a_port_that_is_taken_is_told_in_a_sentence(node: Running, home: Path) -> None:
    with (
        pytest.raises(WrongSettings, match=rf"cannot listen on 127\.0\.0\.1 \(host\), port {node.port}"),
        running(home, port=node.port),
    ):
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a node's and a sender's certificate of it, and a stranger's of nobody."""
    return make(tmp_path_factory.mktemp("tls"), "node", "sender")


@pytest.fixture
def secured(home: Path, certificates: Path) -> Iterator[Running]:
    files = {"tls_certificate": "node.pem", "tls_key": "node.key", "tls_clients": "authority.pem"}
    with running(home, **{name: certificates / file for name, file in files.items()}) as node:
        yield node


def test_with_tls_a_sender_shows_a_certificate_of_the_authority(secured: Running, certificates: Path) -> None:
    tls = (client_context(certificates, "sender"), None)
    assert send(secured.port, image(), image(2), tls_args=tls) == [0, 0]


@pytest.mark.parametrize("name", ["stranger", None])
def test_with_tls_nobody_else_is_let_in(
    secured: Running, certificates: Path, caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    with associated(secured.port, tls_args=(client_context(certificates, name), None)) as association:
        assert not association.is_established
    wait_until(lambda: secured.count("rejections_total", reason="tls") == 1)
    with associated(secured.port) as association:  # in the clear
        assert not association.is_established
    wait_until(lambda: secured.count("rejections_total", reason="tls") == 2)
    (line,) = warnings(caplog)
    assert "a connection from 127.0.0.1 was refused: it showed no valid certificate" in line


def test_with_tls_as_well_whoever_finds_no_place_is_told_to_try_again_later(home: Path, certificates: Path) -> None:
    files = {"tls_certificate": "node.pem", "tls_key": "node.key", "tls_clients": "authority.pem"}
    tls = (client_context(certificates, "sender"), None)
    with (
        running(home, max_associations=1, **{name: certificates / file for name, file in files.items()}) as node,
        associated(node.port, tls_args=tls) as first,
        associated(node.port, tls_args=tls) as second,
    ):
        assert first.is_established
        assert is_told_to_try_later(second)


def test_with_tls_a_silent_peer_holds_up_nobody(secured: Running, certificates: Path) -> None:
    with closing(connect(secured)):
        assert send(secured.port, image(), tls_args=(client_context(certificates, "sender"), None)) == [0]


def test_certificates_that_cannot_be_used_are_told_before_anybody_sends(home: Path) -> None:
    (home / "x.pem").write_text("no certificate")
    files = dict.fromkeys(("tls_certificate", "tls_key", "tls_clients"), home / "x.pem")
    with pytest.raises(WrongSettings, match="certificates of PNEUMOSCREEN cannot be used"), running(home, **files):
        pass
