"""Images that come by STOW-RS: what the sender is told, and what is on the disk and in SQL by then."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from sqlalchemy.exc import OperationalError

from actions.sessions import make_token
from node.naming import path_of
from node.storing import ASIDE
from queries.accounts import find_account
from shared.base import settings as general
from shared.base.errors import DiskLow, WrongSettings
from shared.base.filesystem import MARKER
from shared.database import Database, Job
from tests.dicom import written
from tests.node import NAME, configured, image, sightings, wait_until
from tests.orthanc import need_orthanc_web, orthanc
from tests.web_server import WebServer, add_account, serving

ONE_DATABASE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
SENDER, READER = "ct-archive", "Ada"
BOUNDARY = "a-boundary"
KIND = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MAX_BYTES = 2_000_000


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[WebServer]:
    url = database.engine.url.render_as_string(hide_password=False)
    chosen = configured(tmp_path, stow_accounts=(SENDER,), max_bytes_=MAX_BYTES, database_url_=url)
    for name in (SENDER, READER):
        add_account(database, name)
    with serving(chosen, database) as server:
        yield server


def folder(server: WebServer) -> Path:
    return server.settings.sources[NAME].path


def files(server: WebServer) -> list[str]:
    """The files that are there under their names, by their paths."""
    found = (file.relative_to(folder(server)) for file in folder(server).rglob("*.dcm"))
    return sorted(map(str, found))


def aside(server: WebServer) -> list[Path]:
    return list((folder(server) / ASIDE).glob("*"))


def token_of(server: WebServer, name: str) -> str:
    from queries.accounts import as_account

    with server.database.write() as session:
        row = find_account(session, name)
        assert row is not None
        return make_token(session, as_account(row), "test", datetime.now(UTC)).token


def body_of(*parts: bytes, kind: str = "application/dicom") -> bytes:
    whole = b"".join(b"--%b\r\nContent-Type: %b\r\n\r\n%b\r\n" % (b"a-boundary", kind.encode(), p) for p in parts)
    return whole + b"--a-boundary--\r\n"


def stow(server: WebServer, body: Any, name: str | None = SENDER, kind: str = KIND, path: str = "") -> httpx.Response:
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    if name is not None:
        headers["Authorization"] = f"Bearer {token_of(server, name)}"
    return httpx.post(f"{server.url}/dicomweb/studies{path}", content=body, headers=headers, timeout=60)


def values(answer: httpx.Response, tag: str, within: str) -> list[Any]:
    return [item[within]["Value"][0] for item in answer.json().get(tag, {"Value": []})["Value"]]


def stored(answer: httpx.Response) -> list[str]:
    return values(answer, "00081199", "00081155")


def reasons(answer: httpx.Response) -> list[int]:
    return values(answer, "00081198", "00081197") + values(answer, "0008119A", "00081197")


def test_an_image_that_was_answered_with_success_has_its_file_and_its_row(
    server: WebServer, database: Database
) -> None:
    sent = image()
    answer = stow(server, body_of(written(sent)))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/dicom+json")
    assert stored(answer) == [str(sent.SOPInstanceUID)]
    (row,) = sightings(database)
    assert files(server) == [row.path] == [path_of(str(sent.SOPInstanceUID))]
    with database.read() as session:
        assert session.query(Job).filter_by(sighting_id=row.id).count() == 1
    back = dcmread(BytesIO((folder(server) / row.path).read_bytes()))
    assert back == dcmread(BytesIO(written(sent)))
    assert aside(server) == []


@ONE_DATABASE
def test_the_same_object_sent_again_is_one_content_and_another_under_its_uid_stays_beside_it(
    server: WebServer, database: Database
) -> None:
    sent = image()
    other = image(2, SOPInstanceUID=sent.SOPInstanceUID)
    answers = [stow(server, body_of(written(each), written(each))) for each in (sent, sent, other)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(files(server)) == len(sightings(database)) == 2


@ONE_DATABASE
def test_what_is_no_radiograph_is_refused_with_its_reason_and_the_rest_is_stored(
    server: WebServer, database: Database
) -> None:
    capture = written(image(3, SOPClassUID=CAPTURE))
    good = image()
    answer = stow(server, body_of(capture, written(good), b"no DICOM file" * 20, b""))
    assert answer.status_code == 202
    assert stored(answer) == [str(good.SOPInstanceUID)]
    assert reasons(answer) == [0x0122, 0xC000, 0xC000]
    assert len(sightings(database)) == 1
    assert stow(server, body_of(capture)).status_code == 409


@ONE_DATABASE
def test_below_a_study_only_its_own_objects_are_stored(server: WebServer, database: Database) -> None:
    sent = image(StudyInstanceUID="1.2.3")
    wrong = stow(server, body_of(written(sent)), path="/1.2.4")
    assert (wrong.status_code, reasons(wrong), files(server)) == (409, [0xA900], [])
    assert stow(server, body_of(written(sent)), path="/1.2.3").status_code == 200


@ONE_DATABASE
def test_only_the_tokens_of_named_accounts_send_and_those_do_nothing_else(
    server: WebServer, database: Database
) -> None:
    body = body_of(written(image()))
    nobody = stow(server, body, None)
    assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert stow(server, body, READER).status_code == 403
    assert sightings(database) == []
    headers = {"Authorization": f"Bearer {token_of(server, SENDER)}"}
    assert httpx.get(f"{server.url}/api/v1/me", headers=headers).status_code == 403
    reading = {"Authorization": f"Bearer {token_of(server, READER)}"}
    assert httpx.get(f"{server.url}/api/v1/me", headers=reading).status_code == 200


@ONE_DATABASE
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ('multipart/related; type="application/dicom+json"; boundary=a-boundary', body_of(b"{}"), 415),
        (KIND, body_of(b"{}", kind="application/dicom+json"), 415),
        ('multipart/related; type="application/dicom"', body_of(b"x"), 400),
        (KIND, b"no parts at all", 400),
        (KIND, body_of(b"x" * 500)[:300], 400),
        (KIND, b"--a-boundary--\r\n", 400),
        (KIND, body_of(b"x" * (MAX_BYTES + 1)), 413),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_leaves_nothing(
    server: WebServer, kind: str, body: bytes, status: int
) -> None:
    assert stow(server, body, kind=kind).status_code == status
    assert (files(server), aside(server)) == ([], [])


def _low(*_: object) -> None:
    raise DiskLow("the disk is low")


def _away(*_: object, **__: object) -> Any:
    raise OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))


@ONE_DATABASE
@pytest.mark.parametrize("trouble", [("node.storing.Store.check", _low), ("node.registering.register", _away)])
def test_with_too_little_room_or_without_the_database_the_sender_is_told_to_try_again(
    server: WebServer, database: Database, monkeypatch: pytest.MonkeyPatch, trouble: tuple[str, Any]
) -> None:
    sent = body_of(written(image()))
    with monkeypatch.context() as broken:
        broken.setattr(*trouble)
        answer = stow(server, sent)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert sightings(database) == []
    assert stow(server, sent).status_code == 200
    assert [row.path for row in sightings(database)] == files(server)


@ONE_DATABASE
def test_while_too_many_are_sending_the_next_is_told_to_try_again_and_may_then(
    database: Database, tmp_path: Path
) -> None:
    add_account(database, SENDER)
    body, going_on = body_of(written(image())), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        assert going_on.wait(60)
        yield body[len(body) // 2 :]

    with serving(configured(tmp_path, stow_accounts=(SENDER,), max_associations=1), database) as server:
        with ThreadPoolExecutor(1) as sender:
            first = sender.submit(stow, server, slowly())
            wait_until(lambda: aside(server))
            second = stow(server, body_of(written(image(2))))
            going_on.set()
            assert first.result().status_code == 200
        assert second.status_code == 503 and int(second.headers["Retry-After"]) > 0
        assert "Too many are sending" in second.text
        assert len(files(server)) == len(sightings(database)) == 1
        assert stow(server, body_of(written(image(2)))).status_code == 200


@ONE_DATABASE
def test_while_its_folder_is_away_nothing_is_taken_and_nothing_is_written_in_its_place(server: WebServer) -> None:
    (folder(server) / MARKER).unlink()
    assert stow(server, body_of(written(image()))).status_code == 503
    assert (files(server), aside(server)) == ([], [])


@ONE_DATABASE
def test_an_object_goes_to_the_disk_while_it_comes(server: WebServer) -> None:
    body = body_of(written(image(side=600)))

    def slowly() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        wait_until(lambda: sum(file.stat().st_size for file in aside(server)) > len(body) // 4)
        yield body[len(body) // 2 :]

    assert stow(server, slowly()).status_code == 200
    assert aside(server) == []


@ONE_DATABASE
def test_a_sender_that_breaks_off_leaves_nothing(server: WebServer, database: Database) -> None:
    body = body_of(written(image()))
    token = token_of(server, SENDER)
    head = (
        f"POST /dicomweb/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {KIND}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        wait_until(lambda: aside(server))
    wait_until(lambda: not aside(server))
    assert (files(server), sightings(database)) == ([], [])


@pytest.mark.parametrize("spelled", ["ct-archive", "CT-Archive"])
def test_an_account_sends_to_one_source_however_it_is_spelled(tmp_path: Path, spelled: str) -> None:
    senders = (("a", 1, SENDER), ("b", 2, spelled))
    both = {name: {"kind": "dicom", "port": port, "stow_accounts": [sender]} for name, port, sender in senders}
    with pytest.raises(WrongSettings, match=f"{spelled} sends to a and to b"):
        general.load(tmp_path, sources=both)


@ONE_DATABASE
def test_addresses_that_may_not_send_by_dicom_may_not_send_over_the_web(database: Database, tmp_path: Path) -> None:
    add_account(database, SENDER)
    chosen = configured(tmp_path, stow_accounts=(SENDER,), allowed_addresses=("192.0.2.0/24",))
    with serving(chosen, database) as server:
        assert stow(server, body_of(written(image()))).status_code == 403
        assert sightings(database) == []


@ONE_DATABASE
def test_orthanc_sends_by_stow_what_the_node_would_take(server: WebServer, database: Database, tmp_path: Path) -> None:
    need_orthanc_web()
    headers = {"Authorization": f"Bearer {token_of(server, SENDER)}"}
    peer = {"Url": f"{server.url}/dicomweb/", "HttpHeaders": headers}
    web = {"Enable": True, "Root": "/dicom-web/", "Servers": {"pneumoscreen": peer}}
    sent = [image(seed, SeriesInstanceUID=generate_uid()) for seed in (1, 2)]
    with orthanc(tmp_path / "orthanc", DicomWeb=web) as pacs:
        resources = [pacs.upload(written(each))["ID"] for each in sent]
        order = {"Resources": resources, "Synchronous": True}
        for _ in range(2):
            answer = pacs.client.post("/dicom-web/servers/pneumoscreen/stow", json=order)
            assert answer.is_success, (answer.text, pacs.log())
    assert {row.path for row in sightings(database)} == {path_of(str(each.SOPInstanceUID)) for each in sent}
    assert len(sightings(database)) == 2
