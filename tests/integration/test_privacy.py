"""Names that are planted in files, folders and headers turn up in SQL at most: in no log, no monitor, no message."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import signal
import sqlite3
import threading
import tomllib
import urllib.parse
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from redis import Redis
from redis.exceptions import RedisError

from local.private_broker import free_port
from shared.base.filesystem import MARKER
from shared.base.settings import load
from shared.queue import broker
from shared.queue.messages import TASK
from tests import dicom
from tests.models import make_linear_version
from tests.node import associated, send
from tests.peers import Receiver, receiver
from tests.plan import short
from tests.system import QUICK, SAMPLES, SECONDS, System, distinct, inspect, make_linear_home, running, specimens

PATIENT = ("Okonkwo", "PID-4711-GEHEIM", "18830417", "Weizenbaum", "Blinddarmnarbe", "Unfallklinik", "Kauderwelsch")
"""Of the patient and of who treated her: nowhere at all, not in SQL either."""
HEADER = ("AKZ-Zugang-77", "2.25.471147114711")
"""What joins a result to a PACS: in SQL alone."""
NAMES = ("Mustermann", "Hildegard", "Stoerung", "Verschwunden", "Lehrstueck")
"""In names of files and folders: in SQL alone."""
PEOPLE = ("Dr. Pruefer", "sieht nach Erguss aus", "wegen Revision")
"""Reviewers, their notes and the reasons for a promotion: in SQL alone."""
ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})")
pytestmark = pytest.mark.timeout(600)  # the first test of each run waits for all that happens in it
FLOWER = "not-one-of-the-words"
TABLE = (
    "tasks/datatable?draw=1&start=0&length=100&search[value]=&search[regex]=false&order[0][column]=0&order[0][dir]=asc"
    "&columns[0][data]=name"
)


def words_in(text: str) -> set[str]:
    """Which planted words a text holds, in plain, escaped for an address or for JSON, or in base64."""
    spelled = [text, urllib.parse.unquote(text), ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), text)]
    for token in set(re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text)):
        with suppress(binascii.Error):
            spelled.append(base64.b64decode(token + "=" * (-len(token) % 4)).decode("utf-8", "replace"))
    whole = "\n".join(spelled).lower()
    return {
        word
        for word in (*PATIENT, *HEADER, *NAMES, *PEOPLE)
        if re.search(rf"(?<!\d){re.escape(word.lower())}(?!\d)", whole)
    }


@dataclass
class Evidence:
    """What could be read of a run, by where it was read."""

    system: System
    node: int  # its port
    pacs: Receiver
    places: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[str, str, str | None]] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)
    keys: list[str | None] = field(default_factory=list)
    audit: list[tuple[str, str, str]] = field(default_factory=list)
    training: list[tuple[str, str]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def add(self, place: str, text: str) -> None:
        self.places[place] = self.places.get(place, "") + text + "\n"

    def leaks(self, *places: str) -> dict[str, set[str]]:
        """Words found in the places whose names begin so; each of these must have been looked at."""
        chosen = {place: text for place, text in self.places.items() if place.startswith(places)}
        assert chosen
        assert all(any(place.startswith(beginning) for place in chosen) for beginning in places)
        found = {place: words_in(text) for place, text in chosen.items()}
        inbox = str(self.system.inbox)
        found |= {place: {*found[place], inbox} for place, text in chosen.items() if inbox in text}
        return {place: words for place, words in found.items() if words}


class Monitor:
    """Every command that goes to the broker: messages, events for Flower, answers of the workers."""

    def __init__(self, url: str) -> None:
        self.lines: list[str] = []
        self._redis = Redis.from_url(url)
        self._monitor = self._redis.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(RedisError, OSError, ValueError):
            for command in self._monitor.listen():
                self.lines.append(command["command"])

    def stop(self) -> str:
        socket = self._monitor.connection._sock
        with suppress(OSError):
            socket.shutdown(2)
        self._thread.join()
        self._monitor.__exit__(None, None, None)
        self._redis.close()
        return "\n".join(self.lines)


def _labelled(folder: Path, kind: str) -> Path:
    """Labelled images that cannot be learned from: one class alone, or too few patients and a file that is none."""
    data = folder / "Lehrstueck"
    (data / "PNEUMONIA").mkdir(parents=True)
    distinct(SAMPLES / "pneumonia-01.jpeg", data / "PNEUMONIA" / "Lehrstueck-1.jpeg", 1)
    if kind == "text":
        (data / "NORMAL").mkdir()
        distinct(specimens()[0], data / "NORMAL" / "Lehrstueck-2.jpeg", 2)
        (data / "NORMAL" / "Lehrstueck-3.jpeg").write_bytes(b"no picture")
        distinct(specimens()[0], data / "NORMAL" / "Lehrstueck-4.jpeg", 2)
    return data


@pytest.fixture(scope="module", params=short(["text"], ["text", "json"]))
def evidence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("private")
    make_linear_home(folder / "home")
    port, away = free_port(), free_port()
    pacs = {"kind": "dicom", "host": "127.0.0.1", "ae_title": "PACS", "objects": ["report", "capture"], "timeout": 10}
    settings = {
        "LOG_FORMAT": request.param,
        "FLOWER_PASSWORD": FLOWER,
        "PRODUCER_METRICS_PORT": str(free_port()),
        "WORKER_METRICS_PORT": str(free_port()),
        "WEB_METRICS_PORT": str(free_port()),
        "NODE_METRICS_PORT": str(free_port()),
        "COURIER_METRICS_PORT": str(free_port()),
        "SOURCES": json.dumps({"xray": {"kind": "dicom", "port": port}}),
        "MIN_FREE_DISK": "0",
        "TRAINING_DATA": str(_labelled(folder, request.param)),
    }
    with receiver() as peer:
        peer.answer, peer.comment = 0xA900, "Okonkwo^Ngozi PID-4711-GEHEIM"
        settings["DESTINATIONS"] = json.dumps({"pacs": {**pacs, "port": peer.port}, "away": {**pacs, "port": away}})
        more = {f"PNEUMOSCREEN_{name}": value for name, value in settings.items()}
        with running(folder, flower=True, web=True, trainer=True, settings={**QUICK, **more}) as system:
            found = Evidence(system, port, peer)
            monitor = Monitor(system.broker_url)
            try:
                _live_through(found, folder)
                system.wait(lambda: system.query("SELECT 1 FROM training_runs WHERE state = 'failed'"), "the training")
                _look_at_sql(found)
                _look_around(found, "at the end")
            finally:
                found.add("broker: all that went through it", monitor.stop())
    found.add("up: what it printed", (folder / "up.out").read_text(errors="replace"))
    for file in sorted((system.home / "logs").iterdir()):
        found.add(f"log: {file.name}", file.read_text(errors="replace"))
    for file in sorted(path for path in (system.home / "broker").rglob("*") if path.is_file()):
        found.add(f"broker: {file.name}", file.read_bytes().decode("utf-8", "backslashreplace"))
    return found


def _live_through(found: Evidence, folder: Path) -> None:
    """All that can happen to images and messages, and what people do about them."""
    system = found.system
    system.wait(lambda: system.query("SELECT count(*) FROM destination_states") == [(2,)], "the courier to be there")
    _plant(found, folder / "aside")
    _send_to_the_node(found)
    system.wait(lambda: _final(found) == found.count, "the planted files")
    _refuse_and_take_reports(found)
    _read_on_the_pages(found)
    _vanish_while_workers_stand_still(found, folder)
    _work_by_hand(found, folder)
    app = broker.application(load(system.home))
    for body in ({"schema": 1, "delivery": 1}, {"jobs": [1]}, "no object"):
        app.send_task(TASK, args=[body])
    app.close()
    system.wait(lambda: system.query("SELECT count(*) FROM dead_letters") == [(3,)], "three dead letters")
    _fail_in_the_database(found)


def _final(found: Evidence) -> int:
    return int(found.system.query("SELECT count(*) FROM results WHERE state <> 'waiting'")[0][0])


def _picture(number: int) -> np.ndarray[Any, Any]:
    with Image.open(specimens()[number]) as image:
        return np.asarray(image.convert("L"))


def _dicom(number: int, **more: Any) -> Any:
    return dicom.make(
        _picture(number),
        **{
            "PatientName": "Okonkwo^Ngozi",
            "PatientID": "PID-4711-GEHEIM",
            "PatientBirthDate": "18830417",
            "ReferringPhysicianName": "Weizenbaum^Ada",
            "PerformingPhysicianName": "Weizenbaum^Ada",
            "PatientComments": "Blinddarmnarbe",
            "ImageComments": "Blinddarmnarbe",
            "InstitutionName": "Unfallklinik",
            "SeriesDescription": "Kauderwelsch",
            "AccessionNumber": "AKZ-Zugang-77",
            "StudyInstanceUID": "2.25.471147114711",
            "SeriesInstanceUID": "2.25.471147114711.1",
            **more,
        },
    )


def _plant(found: Evidence, aside: Path) -> None:
    """A folder with good and bad files, moved in at once."""
    box = aside / "Mustermann-Erika"
    box.mkdir(parents=True)
    distinct(specimens()[0], box / "Mustermann-Erika.jpeg", 1)
    distinct(specimens()[1], box / os.fsdecode(b"Mustermann-\xff\n.jpeg"), 2)
    whole = dicom.written(_dicom(2))
    jpeg_2000, jpeg_ls = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"
    files = {
        "Hildegard-good.dcm": whole,
        "Hildegard-garbage.dcm": dicom.encapsulated(_dicom(4), b"Okonkwo PID-4711-GEHEIM" * 9, jpeg_2000),
        "Hildegard-aborts.dcm": dicom.encapsulated(_dicom(5), b"\xff\xd8 Okonkwo" * 9, jpeg_ls),
        "Hildegard-damaged.dcm": whole[:400] + b"\xff\xff" * 40 + b"Okonkwo^Ngozi" + whole[500:],
        "Hildegard-cut.dcm": whole[:700],
        "Hildegard-header.dcm": whole[:132] + b"Okonkwo" * 30,
        "Hildegard-values.dcm": dicom.written(_dicom(6)).replace(b"20260504", b"Okonkwo ").replace(b"\nAP", b"\nOk"),
        "Hildegard-charset.dcm": dicom.written(_dicom(7, SpecificCharacterSet="ISO_IR 192")).replace(
            b"ISO_IR 192", b"OkonkwoXYZ"
        ),
        "Hildegard-part.dcm": dicom.written(_dicom(8, BodyPartExamined="HILDEGARD")),  # its reason repeats that
        "Mustermann-cut.jpeg": specimens()[2].read_bytes()[:5000],
        "Mustermann-text.jpeg": b"Okonkwo, Ngozi: PID-4711-GEHEIM",
        "Mustermann-comment.png": specimens()[9].read_bytes() + b"Okonkwo",
    }
    for name, content in files.items():
        (box / name).write_bytes(content)
        os.utime(box / name, (1, 1))  # older than what may be still under way
    os.mkfifo(box / "Mustermann.pipe")
    box.rename(found.system.inbox / box.name)
    found.count += 2 + len(files)


def _send_to_the_node(found: Evidence) -> None:
    """An image, and a class that is refused."""
    found.system.wait(lambda: _listens(found.node), "the node")
    assert send(found.node, _dicom(3)) == [0x0000]
    found.count += 1
    with associated(found.node, "1.2.840.10008.5.1.4.1.1.2") as association:
        assert not association.is_established or not association.accepted_contexts


def _listens(port: int) -> bool:
    with associated(port) as association:
        return bool(association.is_established)


def _refuse_and_take_reports(found: Evidence) -> None:
    """The PACS refuses for good, in words that name the patient, and takes everything once that is mended."""
    system, states = found.system, "SELECT state FROM outbox WHERE destination = 'pacs' AND source = 'xray'"
    system.wait(lambda: system.query(states) == [("failed",)] * 2, "report and capture to be refused")
    found.pacs.answer, found.pacs.comment = 0x0000, ""
    done = system.command("outbox", "retry", "--destination", "pacs", "--by", "Dr. Pruefer")
    assert done.returncode == 0, (done.stdout, done.stderr)
    system.wait(lambda: system.query(states) == [("sent",)] * 2, "report and capture to be taken")


def _read_on_the_pages(found: Evidence) -> None:
    """Each way by which a name, a path, a patient's id or a secret reaches the web service."""
    system, secrets = found.system, found.secrets
    announced = system.home / "run" / "up.toml"
    url = system.wait(lambda: tomllib.loads(announced.read_text()).get("web_url"), "the pages' address")
    with httpx.Client(
        base_url=url, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False, timeout=SECONDS
    ) as client:
        system.wait(lambda: _answers(client), "the pages")
        client.post("/login", data={"name": "Mustermann", "password": "Okonkwo PID-4711-GEHEIM"})
        made = system.command("users", "add", "Dr. Pruefer")
        link = re.search(r"/link/(\S+)", made.stdout)
        assert link, (made.stdout, made.stderr)
        secrets["one-time link"], secrets["password"] = link[1], "vier Worte fuer Weizenbaum"
        used = client.post(link[0], data={"password": secrets["password"], "again": secrets["password"]})
        assert used.status_code == 303, used.text
        secrets["session"] = next(iter(client.cookies.values()))
        csrf = re.search('name="csrf" content="([^"]+)"', client.get("/account").text)
        assert csrf
        secrets["CSRF token"] = client.headers["X-CSRF-Token"] = csrf[1]
        for text in ("PID-4711-GEHEIM", "Mustermann", "AKZ-Zugang-77"):
            client.get(client.post("/worklist/search", data={"text": text}).headers.get("location", "/worklist"))
        for address in ("Mustermann", "read/Okonkwo", "worklist?reader=Dr.%20Pruefer", "worklist?since=Mustermann"):
            client.get(f"/{address}")
        good = "SELECT sighting_id FROM results WHERE path LIKE ?"
        for path in ("%Hildegard-good.dcm", "%Hildegard-garbage.dcm", "%Mustermann-text.jpeg"):
            number = system.query(good, path)[0][0]
            for page in (f"/read/{number}", f"/images/{number}/pixels", f"/images/{number}/thumbnail"):
                client.get(page)
        number = system.query(good, "%Hildegard-good.dcm")[0][0]
        opened = client.get(f"/read/{number}/panel").json()
        said = {"label": "NORMAL", "note": "sieht nach Erguss aus", "submission": "a word of a test"}
        said["prediction"] = opened["prediction"]
        assert client.post(f"/read/{number}/word", data=said).status_code == 200
        token = re.search(r"pns_[\w-]+", client.post("/account/tokens", data={"name": "Mustermann"}).text)
        assert token
        secrets["API token"] = token[0]
        for shown in (token[0], "pns_Mustermann"):
            client.get("/api/v1/images?patient=PID-4711-GEHEIM", headers={"Authorization": f"Bearer {shown}"})
        client.get("/worklist", headers={"User-Agent": "Mustermann", "Referer": "http://pacs/?name=Mustermann"})
        client.post("/logout")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def _vanish_while_workers_stand_still(found: Evidence, folder: Path) -> None:
    """Messages wait in the broker and in the hands of a worker while all monitors are asked."""
    system = found.system
    workers = system.processes("cli.main worker")
    children = [process for process in workers if process.ppid() in {other.pid for other in workers}]
    assert children
    system.halt(children)
    try:
        for number in range(3):
            distinct(specimens()[3], system.inbox / f"Verschwunden-{number}.jpeg", 100 + number)
        sent = "SELECT count(*) FROM jobs JOIN sightings ON sightings.id = sighting_id WHERE jobs.state = 'sent'"
        system.wait(lambda: system.query(sent)[0][0] >= 3, "three messages under way")
        _look_around(found, "while messages wait")
        for number in range(3):
            (system.inbox / f"Verschwunden-{number}.jpeg").unlink()
    finally:
        for child in children:
            with suppress(psutil.Error):
                child.send_signal(signal.SIGCONT)
    found.count += 3
    system.wait(lambda: _final(found) == found.count, "the vanished files")


def _work_by_hand(found: Evidence, folder: Path) -> None:
    """Each command that changes something; what it prints is for who calls it."""
    system = found.system
    version = make_linear_version(folder / "candidates", "linear-2", seed=2)
    path = "Mustermann-Erika/Mustermann-Erika.jpeg"
    gone = "Mustermann-Erika/Mustermann-cut.jpeg"
    (system.inbox / gone).unlink()
    by = ("--by", "Dr. Pruefer")
    for arguments in (
        ("review", path, "NORMAL", *by, "--note", "sieht nach Erguss aus"),
        ("retry", "Mustermann-Erika/Mustermann-text.jpeg", *by),
        ("models", "publish", str(version)),
        ("models", "promote", "linear-2", *by, "--reason", "wegen Revision"),
        ("rescreen", "--model", "linear-2", *by),
        ("models", "rollback", *by, "--reason", "wegen Revision"),
        ("db", "forget", gone, *by, "--yes"),
        ("screen", str(system.inbox / "Mustermann-Erika" / "Mustermann-Erika.jpeg")),
    ):
        done = system.command(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    found.count -= 1
    again = "SELECT count(*) FROM predictions WHERE model_version = 'linear-2'"
    system.wait(lambda: system.query(again)[0][0] >= 3, "the rescreen")


def _fail_in_the_database(found: Evidence) -> None:
    """Statements fail whose values are names: what is logged of them must not repeat the values."""
    system = found.system
    for name, trigger, file in (
        ("producer", "INSERT ON sightings", "Stoerung.jpeg"),
        ("worker", "INSERT ON dicom_headers", "Stoerung.dcm"),
    ):
        log = system.home / "logs" / f"{name}.log"
        before = log.stat().st_size
        _execute(system, f"CREATE TRIGGER fault BEFORE {trigger} BEGIN SELECT RAISE(ABORT, 'planted fault'); END")
        if file.endswith("dcm"):
            (system.inbox / file).write_bytes(dicom.written(_dicom(10)))
        else:
            distinct(specimens()[4], system.inbox / file, 200)
        system.wait(lambda: "planted fault" in log.read_text(errors="replace")[before:], f"{name} to log the fault")  # noqa: B023
        _execute(system, "DROP TRIGGER fault")
        found.count += 1
        system.wait(lambda: _final(found) == found.count, f"work to go on after {name}'s fault")


def _execute(system: System, statement: str) -> None:
    with closing(sqlite3.connect(system.home / "pneumoscreen.db", timeout=60)) as connection:
        connection.execute(statement)
        connection.commit()


def _look_around(found: Evidence, moment: str) -> None:
    """All that monitors and the broker tell."""
    system = found.system
    with Redis.from_url(system.broker_url, decode_responses=True, encoding_errors="backslashreplace") as redis:
        kinds = {
            "string": redis.get,
            "list": lambda key: redis.lrange(key, 0, -1),
            "set": redis.smembers,
            "zset": lambda key: redis.zrange(key, 0, -1),
            "hash": redis.hgetall,
        }
        keys = {key: kinds[redis.type(key)](key) for key in redis.scan_iter()}
    assert keys
    found.add(f"broker: keys {moment}", "\n".join(f"{key} {value}" for key, value in keys.items()))
    for kind, answer in inspect(system.environment, "active", "reserved", "scheduled", "stats", "conf").items():
        found.add(f"celery inspect: {kind} {moment}", answer)
    for name in ("PRODUCER", "WORKER", "WEB", "NODE", "COURIER"):
        port = system.environment[f"PNEUMOSCREEN_{name}_METRICS_PORT"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
            found.add(f"metrics: {name.lower()} {moment}", answer.read().decode())
    system.wait(lambda: _is_open(system), "Flower")  # it may still be starting
    tasks = json.loads(_flower(system, "api/tasks?limit=1000"))
    node = next(iter(json.loads(_flower(system, "api/workers?refresh=1"))))
    one = [page for task in list(tasks)[:5] for page in (f"task/{task}", f"api/task/info/{task}")]
    for page in ("workers", "tasks", TABLE, f"worker/{node}", "broker", "metrics", "api/workers", "api/tasks", *one):
        found.add(f"flower: {page.partition('?')[0]} {moment}", _flower(system, page))
    assert tasks


def _is_open(system: System) -> bool:
    """Whether Flower has found the worker, and has seen tasks."""
    try:
        return "screening@" in _flower(system, "api/workers?refresh=1") and _flower(system, "api/tasks") != "{}"
    except OSError:
        return False


def _flower(system: System, page: str) -> str:
    request = urllib.request.Request(f"{system.flower}/{page}")
    credentials = base64.b64encode(f"pneumoscreen:{FLOWER}".encode()).decode()
    request.add_header("Authorization", f"Basic {credentials}")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return str(answer.read().decode())


def _look_at_sql(found: Evidence) -> None:
    system = found.system
    for (table,) in system.query("SELECT name FROM sqlite_master WHERE type = 'table'"):
        found.tables[table] = "\n".join(str(row) for row in system.query(f"SELECT * FROM {table}"))
    found.rows = system.query("SELECT path, state, reason FROM results ORDER BY path")  # type: ignore[assignment]
    found.keys = [key for (key,) in system.query("SELECT DISTINCT patient_key FROM dicom_headers")]
    found.audit = system.query("SELECT actor, action, at FROM audit_log ORDER BY id")  # type: ignore[assignment]
    found.training = system.query("SELECT state, problem FROM training_runs")  # type: ignore[assignment]


def test_what_was_planted_went_through_every_way(evidence: Evidence) -> None:
    reasons = {path: reason for path, state, reason in evidence.rows if state == "quarantined"}
    done = {path for path, state, _ in evidence.rows if state == "done"}
    assert {"Mustermann-Erika/Mustermann-Erika.jpeg", "Mustermann-Erika/Hildegard-good.dcm"} <= done
    assert {"Stoerung.jpeg", "Stoerung.dcm"} <= done
    names = {str(each.PatientName) for each in evidence.pacs.received}
    assert names == {"Okonkwo^Ngozi"} and len(evidence.pacs.received) >= 2, "a PACS gets what the image's header says"
    assert reasons["Verschwunden-1.jpeg"] == "the file is gone: it was removed from its source"
    assert len([path for path in reasons if "Hildegard" in path]) >= 5, reasons
    assert MARKER not in reasons
    assert evidence.training[0][0] == "failed"
    assert ("Lehrstueck" in evidence.training[0][1]) == (
        evidence.system.environment["PNEUMOSCREEN_LOG_FORMAT"] == "json"
    )


def test_the_search_finds_words_however_they_are_spelled() -> None:
    for spelled in (
        "error in Mustermann-Erika.jpeg",
        "MUSTERMANN",
        base64.b64encode(b'{"path": "ward/Mustermann"}').decode(),
        urllib.parse.quote("Mustermänn Mustermann"),
        json.dumps("ä: Mustermann"),
        "".join(f"\\x{ord(letter):02x}" for letter in "Mustermann"),
    ):
        assert words_in(spelled) == {"Mustermann"}, spelled
    assert words_in("PatientBirthDate 18830417") == {"18830417"}
    assert words_in("mtime 1883041712345 and nothing else") == set()


def test_no_log_holds_a_name(evidence: Evidence) -> None:
    names = ("producer", "worker", "trainer", "flower", "broker", "web", "node", "courier", "supervisord")
    assert evidence.leaks(*(f"log: {name}.log" for name in names), "log: ") == {}
    assert "failed for good: PACS at" in evidence.places["log: courier.log"], "it tells what there is to tell"
    assert "xray" in evidence.places["log: node.log"]
    if evidence.system.environment["PNEUMOSCREEN_LOG_FORMAT"] == "json":
        lines = evidence.places["log: worker.log"].splitlines()
        assert any(line.startswith("{") and "planted fault" in line for line in lines)


def test_the_access_log_of_the_pages_holds_routes_and_numbers_alone(evidence: Evidence) -> None:
    log = evidence.places["log: web.log"]
    for line in ("GET /images/{sighting}/pixels (sighting ", "POST /worklist/search", "GET no route", "POST /login"):
        assert line.replace("{sighting}", "{sighting:int}") in log or line in log, line
    assert evidence.leaks("log: web.log", "metrics: web") == {}


def test_no_password_link_session_or_token_of_the_pages_is_told_anywhere(evidence: Evidence) -> None:
    assert len(evidence.secrets) == 5
    everywhere = evidence.places | {f"SQL: {table}": text for table, text in evidence.tables.items()}
    told = {
        (kind, place)
        for kind, secret in evidence.secrets.items()
        for place, text in everywhere.items()
        if secret in text
    }
    assert told <= {("CSRF token", "SQL: web_sessions")}, "which is worth nothing without the session's cookie"


def test_up_prints_no_name(evidence: Evidence) -> None:
    """But the paths of the folders that it watches."""
    printed = evidence.places["up: what it printed"]
    assert str(evidence.system.inbox) in printed
    assert words_in(printed) == set()
    assert FLOWER not in printed


def test_no_answer_of_flower_holds_a_name(evidence: Evidence) -> None:
    pages = ("workers", "tasks", "tasks/datatable", "worker/", "task/", "broker", "metrics", "api/tasks", "api/workers")
    assert evidence.leaks(*(f"flower: {page}" for page in pages)) == {}
    assert "images" in evidence.places["flower: tasks/datatable at the end"], "it shows what there is to show"


def test_no_metrics_and_no_answer_of_celery_hold_a_name(evidence: Evidence) -> None:
    services = ("producer", "worker", "node", "courier")
    assert (
        evidence.leaks(*(f"metrics: {name}" for name in services), "celery inspect: active", "celery inspect: ") == {}
    )
    held = [evidence.places[f"celery inspect: {kind} while messages wait"] for kind in ("active", "reserved", "stats")]
    assert TASK in "".join(held)


def test_nothing_that_goes_through_the_broker_holds_a_name(evidence: Evidence) -> None:
    assert evidence.leaks("broker: keys while", "broker: keys at", "broker: all", "broker: ") == {}
    assert TASK in evidence.places["broker: all that went through it"]


def test_sql_holds_of_the_patient_a_keyed_hash_alone(evidence: Evidence) -> None:
    found = {table: words_in(text) & set(PATIENT) for table, text in evidence.tables.items()}
    assert {table: words for table, words in found.items() if words} == {}
    assert "Mustermann" in words_in(evidence.tables["sightings"]), "paths stand there"
    assert "AKZ-Zugang-77" in words_in(evidence.tables["dicom_headers"])
    secret = (evidence.system.home / "patient.secret").read_text().strip()
    mine = hmac.new(secret.encode(), b"|PID-4711-GEHEIM", hashlib.sha256).hexdigest()
    assert mine in evidence.keys
    assert set(evidence.keys) <= {mine, None}


@pytest.mark.parametrize("action", ["review", "retry", "promote", "rollback", "rescreen", "forget", "outbox retry"])
def test_each_deed_leaves_a_row_that_says_who_and_when(evidence: Evidence, action: str) -> None:
    rows = [row for row in evidence.audit if row[1] == action]
    assert {row[0] for row in rows} == {"Dr. Pruefer"}
    assert all(row[2] for row in rows)


def test_the_audit_log_names_no_file(evidence: Evidence) -> None:
    assert words_in(evidence.tables["audit_log"]) <= set(PEOPLE)
