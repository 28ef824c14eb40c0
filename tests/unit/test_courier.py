"""The courier with real peers: what each answer means, and that what they do not take yet waits."""

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from courier.delivering import Delivery
from courier.events import EventWatch
from courier.making import Maker
from courier.metrics import OUTCOMES, Metrics, Situation
from courier.preparing import GONE, Preparer
from courier.service import Courier
from local.private_broker import free_port
from shared import sources
from shared.base.filesystem import MARKER
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.base.settings import Settings, load
from shared.base.source_settings import AuditShare, FolderSettings
from shared.database import Database, OutboxRow, OutboxState, Promotion, Review
from shared.ledger import outbox, register, work
from shared.ledger.work import Identifiers, Screened
from shared.reports.message import sign
from tests.certificates import make as make_certificates
from tests.certificates import server_context
from tests.dicom import NAME, PATIENT, make, written
from tests.models import go_live, make_linear_version
from tests.orthanc import need_orthanc_web, orthanc
from tests.peers import mail_server, receiver, wait_for, web_server
from tests.unit.outbox_steps import outbox_rows, told
from tests.unit.steps import claim, send_all

SECRET = "a secret of some length"
STOP = threading.Event()
LOGIN = {"user": "ps", "password": "geheim"}
NOTHING_DRAWN = AuditShare(negatives=0.0, rest=0.0)


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    folder = tmp_path / "ward"
    folder.mkdir()
    (folder / MARKER).touch()
    return folder


def settings_of(home: Path, *, quiet_after: float | None = None, **destinations: dict[str, Any]) -> Settings:
    folder = FolderSettings(path=home / "ward", quiet_after=quiet_after)
    return load(home, sources={"ward": folder}, destinations=destinations)


def pacs(port: int, **more: Any) -> dict[str, Any]:
    return {"kind": "dicom", "host": "127.0.0.1", "port": port, "ae_title": "PACS", "timeout": 5, **more}


def screen(
    database: Database,
    ward: Path,
    number: int = 1,
    *,
    lane: str = "routine",
    probability: float = 0.9,
    share: AuditShare = NOTHING_DRAWN,
    now: datetime | None = None,
) -> str:
    """A DICOM file in the ward with a result; returns the SHA-256 of its content."""
    pixels = np.full((100, 90), 1000 + number, np.uint16)
    uids = {"SOPInstanceUID": f"1.2.{number}.1", "StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": "1.3"}
    data = written(make(pixels, **uids))
    file = ward / f"{number}.dcm"
    file.write_bytes(data)
    now = now or datetime.now(UTC)
    source = sources.build(settings_of(ward.parent))["ward"]
    found = source.find(file.name)
    assert isinstance(found, Found)
    with database.write() as session:
        register.register(session, "ward", lane, [found], now)
    (claimed,) = claim(database, send_all(database, Lane(lane), now=now), now)
    digest = hashlib.sha256(data).hexdigest()
    label = "PNEUMONIA" if probability >= 0.5 else "NORMAL"
    headers = Identifiers(f"1.2.{number}", f"1.2.{number}.1", "A-1", None)
    outcome = Screened(claimed, digest, "v1", probability, 0.5, label, identifiers=headers)
    with database.write() as session:
        work.finish(session, [outcome], now, lambda _: share)
    return digest


class Driver:
    """A courier whose steps are taken one by one."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        self.maker = Maker(settings, database)
        preparer = Preparer(database, settings)
        self.deliveries = {
            name: Delivery(name, chosen, database, preparer, Metrics(settings))
            for name, chosen in settings.destinations.items()
        }
        self.maker.make(datetime.now(UTC))  # the destinations are known from now on

    def step(self, now: datetime | None = None) -> None:
        """Make what is due, and deliver until nothing is due."""
        self.maker.make(now or datetime.now(UTC))
        for delivery in self.deliveries.values():
            while delivery.deliver_next(datetime.now(UTC), STOP):
                pass

    def close(self) -> None:
        for delivery in self.deliveries.values():
            delivery._close()


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    started: list[Driver] = []
    yield started
    for driver in started:
        driver.close()


def start(drivers: list[Driver], database: Database, home: Path, **destinations: Any) -> Driver:
    drivers.append(Driver(settings_of(home, **destinations), database))
    return drivers[-1]


def test_a_pacs_gets_report_and_capture_with_the_patient_s_identity_over_one_association(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port, objects=["report", "capture"]))
        for number in range(1, 4):
            screen(database, ward, number)
        driver.step()
        assert [state for *_, state in told(database)] == ["sent"] * 6
        assert len(peer.received) == 6 and peer.associations == 1
        assert {str(each.PatientName) for each in peer.received} == {NAME}
        assert {each.PatientID for each in peer.received} == {PATIENT}
        assert {each.StudyInstanceUID for each in peer.received} == {"1.2.1", "1.2.2", "1.2.3"}
        assert {each.SOPInstanceUID for each in peer.received} == {row.uid for row in outbox_rows(database)}


def test_sending_again_sends_the_same_uid(database: Database, ward: Path, drivers: list[Driver]) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        screen(database, ward)
        driver.maker.make(datetime.now(UTC))
        with database.write() as session:  # a courier that sent it and was killed before it could say so
            (taken,) = outbox.take(session, "pacs", 1, datetime.now(UTC), -1.0)
        driver.deliveries["pacs"]._send(taken)
        driver.step()
        first, second = peer.received
        assert first == second
        assert told(database) == [("pacs", "report", 1, "sent")]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (0x0000, "sent"),
        (0xB000, "sent"),
        (0x0111, "sent"),
        (0xA700, "waiting"),
        (0x0124, "waiting"),
        (0xC000, "waiting"),
        (0xA900, "failed"),
        (0x0122, "failed"),
    ],
)
def test_each_answer_of_a_pacs_settles_puts_off_or_fails_a_row(
    database: Database, ward: Path, drivers: list[Driver], answer: int, state: str
) -> None:
    with receiver() as peer:
        peer.answer = answer
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        screen(database, ward)
        driver.step()
        (row,) = outbox_rows(database)
        assert row.state == state
        assert (f"0x{answer:04X}" in str(row.problem)) == (answer not in (0x0000, 0x0111))


def test_a_pacs_that_takes_no_reports_fails_them_with_that_reason_and_takes_the_captures(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver(classes=["1.2.840.10008.5.1.4.1.1.7"]) as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port, objects=["report", "capture"]))
        screen(database, ward)
        driver.step()
        assert {row.kind: row.state for row in outbox_rows(database)} == {"report": "failed", "capture": "sent"}
        assert "does not accept" in str(outbox_rows(database)[0].problem)


def test_nothing_is_lost_while_a_pacs_is_away_and_it_gets_everything_when_it_is_back(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    port = free_port()
    driver = start(drivers, database, ward.parent, pacs=pacs(port))
    for number in range(1, 4):
        screen(database, ward, number)
    driver.step()
    assert [row.state for row in outbox_rows(database)] == ["waiting"] * 3
    assert [row.attempts for row in outbox_rows(database)] == [0] * 3, "no row is to blame"
    with receiver(port) as peer:
        with database.write() as session:
            session.execute(outbox.update(outbox.DestinationState).values(next_try=None))
        driver.step()
        assert len(peer.received) == 3


@pytest.mark.parametrize("kind", ["dicom", "stow", "webhook", "mail"])
def test_one_object_over_which_a_destination_breaks_off_holds_up_no_other(
    database: Database, ward: Path, drivers: list[Driver], kind: str
) -> None:
    with receiver() as pacs_, web_server() as web, mail_server() as post:
        pacs_.breaks_over, web.fails_over, post.breaks_over = {"1.2.1"}, {b"1.2.1.1", b'"1.2.1"'}, {"1.2.1"}
        destination = {
            "dicom": pacs(pacs_.port),
            "stow": {"kind": "stow", "url": web.url, "timeout": 5},
            "webhook": {"kind": "webhook", "url": web.url, "secret": SECRET},
            "mail": mail_to(post.port, encryption="none"),
        }[kind]
        driver = start(drivers, database, ward.parent, it=destination)
        for number in range(1, 4):
            screen(database, ward, number, lane="stat")
        driver.step()
        for _ in range(3):  # the destination counts as away for some seconds
            with database.write() as session:
                session.execute(outbox.update(outbox.DestinationState).values(next_try=None))
            driver.step()
        rows = outbox_rows(database)
        assert [row.state for row in rows] == ["waiting", "sent", "sent"]
        assert rows[0].attempts == 1 and rows[0].problem, "and it is tried again later"
        with database.read() as session:
            assert session.get_one(outbox.DestinationState, "it").away_since is None


def test_what_a_pacs_says_of_an_object_is_not_repeated_since_it_may_name_the_patient(
    database: Database, ward: Path, drivers: list[Driver], caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        for number, answer in enumerate((0xC000, 0xA900), start=1):
            peer.answer, peer.comment = answer, f"no patient {PATIENT}"
            screen(database, ward, number)
            with caplog.at_level(logging.DEBUG, "courier"):
                driver.step()
        rows = outbox_rows(database)
        assert [each.state for each in rows] == ["waiting", "failed"]
        assert all(
            "answered 0x" in str(row.problem) and PATIENT not in str(row.problem) for row in outbox_rows(database)
        )
        assert "answered 0x" in caplog.text and PATIENT not in caplog.text


def test_a_title_that_the_pacs_does_not_know_is_said_and_nothing_fails(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port, ae_title="WRONG"))
        screen(database, ward)
        driver.step()
        assert told(database) == [("pacs", "report", 1, "waiting")]
        with database.read() as session:
            assert "rejects the association" in str(session.get(outbox.DestinationState, "pacs").problem)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"), "server", "courier")


def test_tls_to_a_pacs_checks_its_certificate_and_shows_one(
    database: Database, ward: Path, drivers: list[Driver], certificates: Path
) -> None:
    context = server_context(certificates, "server", asks_for_certificate=True)
    with receiver(ssl_context=context) as peer:
        ours = {"tls": True, "certificate": certificates / "courier.pem", "key": certificates / "courier.key"}
        good = pacs(peer.port, ca=certificates / "authority.pem", **ours)
        driver = start(drivers, database, ward.parent, good=good, unknown_authority=pacs(peer.port, **ours))
        screen(database, ward)
        driver.step()
        states = {row.destination: row.state for row in outbox_rows(database)}
        assert states == {"good": "sent", "unknown_authority": "waiting"}
        assert len(peer.received) == 1


@pytest.mark.parametrize("ca", ["authority.pem", None, "stranger.pem"])
def test_webhook_and_stow_go_to_a_server_that_the_site_s_own_authority_vouches_for_and_to_no_other(
    database: Database, ward: Path, drivers: list[Driver], certificates: Path, ca: str | None
) -> None:
    with web_server(server_context(certificates, "server")) as peer:
        trusted = {} if ca is None else {"ca": certificates / ca}
        web = {"kind": "stow", "url": f"{peer.url}/dicom-web", "token": "t", "timeout": 5, **trusted}
        told_to = {**hook(peer.url, "urgent_positive"), **trusted}
        driver = start(drivers, database, ward.parent, web=web, hook=told_to)
        screen(database, ward, lane="stat")
        driver.step()
        is_trusted = ca == "authority.pem"
        assert {row.state for row in outbox_rows(database)} == {"sent" if is_trusted else "waiting"}
        assert len(peer.requests) == 2 * is_trusted


def test_stow_shows_a_certificate_where_the_server_asks_for_one(
    database: Database, ward: Path, drivers: list[Driver], certificates: Path
) -> None:
    with web_server(server_context(certificates, "server", asks_for_certificate=True)) as peer:
        web = {"kind": "stow", "url": peer.url, "ca": certificates / "authority.pem", "timeout": 5}
        ours = {"certificate": certificates / "courier.pem", "key": certificates / "courier.key"}
        driver = start(drivers, database, ward.parent, known={**web, **ours}, unknown=web)
        screen(database, ward)
        driver.step()
        states = {row.destination: row.state for row in outbox_rows(database)}
        assert states == {"known": "sent", "unknown": "waiting"}


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
@pytest.mark.parametrize("ca", ["authority.pem", "stranger.pem"])
def test_a_mail_and_its_password_go_encrypted_to_a_server_whose_certificate_was_checked(
    database: Database, ward: Path, drivers: list[Driver], certificates: Path, encryption: str, ca: str
) -> None:
    context = server_context(certificates, "server")
    with mail_server(context, is_encrypted_at_once=encryption == "tls") as peer:
        secured = {"encryption": encryption, "timeout": 5, "ca": certificates / ca}
        driver = start(drivers, database, ward.parent, mail=mail_to(peer.port, **LOGIN, **secured))
        screen(database, ward, lane="stat")
        driver.step()
        is_trusted = ca == "authority.pem"
        assert outbox_rows(database)[0].state == ("sent" if is_trusted else "waiting")
        assert len(peer.mails) == is_trusted
        assert ("AUTH" in peer.encrypted) == is_trusted
        assert not {"AUTH", "MAIL"} & set(peer.plain)


def test_a_mail_server_that_offers_no_encryption_gets_neither_mail_nor_password(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with mail_server() as peer:
        driver = start(drivers, database, ward.parent, mail=mail_to(peer.port, **LOGIN))
        screen(database, ward, lane="stat")
        driver.step()
        assert outbox_rows(database)[0].state == "waiting"
        assert not {"AUTH", "MAIL"} & set(peer.plain)


def test_where_the_file_with_the_identity_is_gone_the_row_fails_for_good_with_that_reason(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        screen(database, ward)
        (ward / "1.dcm").unlink()
        driver.step()
        (row,) = outbox_rows(database)
        assert (row.state, row.problem) == ("failed", GONE)


def test_a_file_that_was_overwritten_gives_nobody_s_identity_to_the_old_result(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        screen(database, ward)
        (ward / "1.dcm").write_bytes(written(make(np.full((100, 90), 7, np.uint16), SOPInstanceUID="1.2.1.1")))
        driver.step()
        assert outbox_rows(database)[0].state == "failed"
        assert peer.received == []


def test_a_source_that_is_away_puts_its_rows_off(database: Database, ward: Path, drivers: list[Driver]) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        screen(database, ward)
        ward.rename(ward.with_name("elsewhere"))
        driver.step()
        (row,) = outbox_rows(database)
        assert row.state == "waiting" and "cannot be read" in str(row.problem)


def test_a_word_reaches_the_pacs_as_an_edition_that_refers_to_the_first(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver() as peer:
        driver = start(drivers, database, ward.parent, pacs=pacs(peer.port))
        digest = screen(database, ward)
        driver.step()
        with database.write() as session:
            now = datetime.now(UTC)
            session.add(Review(sha256=digest, label="NORMAL", reviewer="Dr. Okafor", created_at=now, method="cli"))
        driver.step()
        first, second = peer.received
        predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
        assert "Okafor" not in str(second)


def test_a_webhook_is_signed_and_holds_no_score_and_no_name(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with web_server() as peer:
        hook = {"kind": "webhook", "url": f"{peer.url}/alert", "secret": SECRET}
        driver = start(drivers, database, ward.parent, hook=hook)
        screen(database, ward, lane="stat")
        screen(database, ward, 2)
        driver.step()
        ((path, headers, body),) = peer.requests
        assert path == "/alert"
        assert headers["X-Pneumoscreen-Signature"] == sign(SECRET, int(headers["X-Pneumoscreen-Timestamp"]), body)
        told_of = json.loads(body)
        assert (told_of["event"], told_of["study_uid"]) == ("urgent_positive", "1.2.1")
        assert not {"probability", "label", "source", "accession_number"} & set(told_of)
        assert PATIENT.encode() not in body


@pytest.mark.parametrize(
    ("answer", "state", "is_away"),
    [
        (204, "sent", False),
        (429, "waiting", False),
        (503, "waiting", True),
        (401, "waiting", True),
        (422, "failed", False),
    ],
)
def test_each_answer_of_a_web_server_settles_puts_off_or_fails_a_message(
    database: Database, ward: Path, drivers: list[Driver], answer: int, state: str, is_away: int
) -> None:
    with web_server() as peer:
        peer.answer = answer
        hook = {"kind": "webhook", "url": peer.url, "secret": SECRET}
        driver = start(drivers, database, ward.parent, hook=hook)
        screen(database, ward, lane="stat")
        driver.step()
        assert outbox_rows(database)[0].state == state
        with database.read() as session:
            assert (session.get(outbox.DestinationState, "hook").away_since is not None) == is_away


def test_stow_sends_one_part_of_dicom_and_understands_that_an_object_was_refused(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with web_server() as peer:
        web = {"kind": "stow", "url": f"{peer.url}/dicom-web", "token": "t", "timeout": 5}
        driver = start(drivers, database, ward.parent, web=web)
        screen(database, ward)
        driver.step()
        ((path, headers, body),) = peer.requests
        assert path == "/dicom-web/studies" and headers["Authorization"] == "Bearer t"
        assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')
        assert body.count(b"DICM") == 1
        assert told(database) == [("web", "report", 1, "sent")]
        failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}
        peer.answer, peer.body = 409, json.dumps(failed).encode()
        screen(database, ward, 2)
        driver.step()
        assert "0xA900" in str(outbox_rows(database)[1].problem)
        assert outbox_rows(database)[1].state == "failed"


def test_orthanc_takes_report_and_capture_by_stow_and_has_them_once_though_they_are_sent_again(
    database: Database, ward: Path, drivers: list[Driver], tmp_path: Path
) -> None:
    need_orthanc_web()
    with orthanc(tmp_path / "orthanc") as archive:
        web = {"kind": "stow", "url": f"{archive.url}/dicom-web", "objects": ["report", "capture"]}
        driver = start(drivers, database, ward.parent, web=web)
        screen(database, ward)
        driver.step()
        assert [row.state for row in outbox_rows(database)] == ["sent", "sent"]
        with database.write() as session:  # as after a courier that was killed before it could say so
            session.execute(update(OutboxRow).values(state=OutboxState.WAITING, settled_at=None))
        driver.step()
        assert [(row.state, row.attempts) for row in outbox_rows(database)] == [("sent", 2)] * 2
        assert [len(archive.instances_of("1.2.1", modality)) for modality in ("SR", "OT")] == [1, 1]


def test_mail_goes_to_every_recipient_and_holds_no_score_and_no_name(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with mail_server() as peer:
        recipients = ["a@hospital.example", "b@hospital.example"]
        driver = start(
            drivers, database, ward.parent, mail=mail_to(peer.port, encryption="none", recipients=recipients)
        )
        screen(database, ward, lane="stat")
        driver.step()
        (text,) = peer.mails
        assert "urgent" in text and "1.2.1" in text
        assert PATIENT not in text and "0.9" not in text
        peer.replies["RCPT"] = "450 later"
        screen(database, ward, 2, lane="stat")
        driver.step()
        assert [row.state for row in outbox_rows(database)] == ["sent", "waiting"]
        peer.replies["MAIL"] = "530 who are you"
        screen(database, ward, 3, lane="stat")
        driver.step()
        assert [row.state for row in outbox_rows(database)] == ["sent", "waiting", "waiting"]


def messages(requests: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(body) for _, _, body in requests]


def mail_to(port: int, **more: Any) -> dict[str, Any]:
    addresses = {"sender": "ps@hospital.example", "recipients": ["a@hospital.example"]}
    return {"kind": "mail", "host": "127.0.0.1", "port": port, **addresses, **more}


def hook(url: str, *events: str) -> dict[str, Any]:
    return {"kind": "webhook", "url": url, "secret": SECRET, "events": events}


def look_again(driver: Driver, now: datetime) -> None:
    """As at that moment, however short ago the last look was."""
    driver.maker._events = EventWatch(driver.settings, driver.database)
    driver.step(now)


def test_a_swap_of_the_model_version_is_told_once(database: Database, ward: Path, drivers: list[Driver]) -> None:
    with web_server() as peer:
        driver = start(drivers, database, ward.parent, hook=hook(peer.url, "version_swapped"))
        go_live(database, make_linear_version(ward.parent / "models", "v1"), datetime.now(UTC))
        for _ in range(2):
            look_again(driver, datetime.now(UTC))
        (told_of,) = messages(peer.requests)
        assert told_of["model_version"] == "v1"
        with database.read() as session:
            assert session.query(Promotion).count() == 1


def test_a_source_that_falls_silent_is_told_once_and_again_when_it_falls_silent_the_next_time(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with web_server() as peer:
        driver = start(drivers, database, ward.parent, quiet_after=60.0, hook=hook(peer.url, "source_silent"))
        screen(database, ward)
        began = datetime.now(UTC)
        for seconds in (0, 50):
            look_again(driver, began + timedelta(seconds=seconds))
        assert peer.requests == []
        for seconds in (70, 3600):
            look_again(driver, began + timedelta(seconds=seconds))
        (first,) = messages(peer.requests)
        assert (first["event"], first["source"]) == ("source_silent", "ward")
        screen(database, ward, 2, now=began + timedelta(hours=2))
        look_again(driver, began + timedelta(hours=2, seconds=30))
        assert len(peer.requests) == 1
        look_again(driver, began + timedelta(hours=2, seconds=70))
        _, second = messages(peer.requests)
        assert second["last_image"] > first["last_image"]


def test_a_recall_below_what_was_promised_is_told_once_a_month_by_what_blind_readers_said(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with web_server() as peer:
        driver = start(drivers, database, ward.parent, hook=hook(peer.url, "accuracy_broken"))
        go_live(database, make_linear_version(ward.parent / "models", "v1"), datetime.now(UTC))
        drawn = AuditShare(negatives=1.0, rest=1.0)
        called_ill = [screen(database, ward, number, share=drawn) for number in range(1, 5)]
        called_well = [screen(database, ward, number, probability=0.1, share=drawn) for number in range(5, 11)]
        read(database, "PNEUMONIA", *called_ill)
        read(database, "NORMAL", *called_well[2:])
        now = datetime.now(UTC)
        look_again(driver, now)
        assert peer.requests == [], "nobody was missed so far"
        read(database, "PNEUMONIA", *called_well[:2])
        for _ in range(2):
            look_again(driver, now)
        (told_of,) = messages(peer.requests)
        assert (told_of["event"], told_of["source"], told_of["model_version"]) == ("accuracy_broken", "ward", "v1")
        assert (told_of["missed"], told_of["promised_recall"]) == (2, 0.95)
        assert told_of["recall"] == pytest.approx(4 / 6)
        look_again(driver, now + timedelta(days=32))
        assert len(peer.requests) == 2


def read(database: Database, label: str, *contents: str) -> None:
    given = {"method": "cli", "is_blind": True, "created_at": datetime.now(UTC), "reviewer": "Dr. Okafor"}
    with database.write() as session:
        session.add_all(Review(sha256=digest, label=label, **given) for digest in contents)


def test_metrics_tell_what_waits_what_failed_who_is_away_and_what_was_delivered(
    database: Database, ward: Path, drivers: list[Driver]
) -> None:
    with receiver() as there, receiver() as refusing:
        refusing.answer = 0xA900
        away = pacs(free_port())
        driver = start(drivers, database, ward.parent, there=pacs(there.port), refusing=pacs(refusing.port), away=away)
        for number in (1, 2):
            screen(database, ward, number)
        driver.step()
    registry = CollectorRegistry()
    registry.register(Situation(driver.settings))

    def told(metric: str) -> dict[str, float]:
        return {
            name: registry.get_sample_value(f"pneumoscreen_{metric}", {"destination": name})
            for name in driver.deliveries
        }

    assert told("outbox_waiting") == {"there": 0, "refusing": 0, "away": 2}
    assert told("outbox_failed") == {"there": 0, "refusing": 2, "away": 0}
    assert told("destination_away") == {"there": 0, "refusing": 0, "away": 1}
    age = told("outbox_age_seconds")
    assert (age["there"], age["refusing"]) == (0, 0) and 0 < age["away"] < 600
    for name, outcome in (("there", "sent"), ("refusing", "failed")):
        counted = {
            each: driver.deliveries[name]._metrics.registry.get_sample_value(
                "pneumoscreen_outbox_delivered_total", {"destination": name, "kind": "report", "outcome": each}
            )
            for each in OUTCOMES
        }
        assert counted == {each: 2 * (each == outcome) for each in OUTCOMES}


def test_the_service_makes_and_delivers_by_itself_logs_no_name_and_ends_when_told(
    database: Database, ward: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiver() as peer:
        service = Courier(settings_of(ward.parent, pacs=pacs(peer.port, objects=["report", "capture"])))
        stop = threading.Event()
        thread = threading.Thread(target=service.run, args=(stop,))
        thread.start()
        try:
            wait_for(lambda: _is_known(database, "pacs"))
            screen(database, ward)
            wait_for(lambda: len(peer.received) == 2)
            wait_for(lambda: [row.state for row in outbox_rows(database)] == ["sent", "sent"])
        finally:
            stop.set()
            thread.join(20)
        assert not thread.is_alive()
    mine = [record.getMessage() for record in caplog.records if not record.name.startswith("sqlalchemy")]
    assert not [line for line in mine if PATIENT in line or NAME in line]


def _is_known(database: Database, name: str) -> bool:
    with database.read() as session:
        return session.get(outbox.DestinationState, name) is not None
