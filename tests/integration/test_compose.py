"""docker-compose.yml without a container engine: what stands in it, and its very commands as processes.

Each service of ours is started with its command and its environment, against a real PostgreSQL and the broker that the
file's own command starts. Only names that exist inside containers are replaced: hosts, ports and folders.
"""

import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from sqlalchemy import NullPool, create_engine, make_url, text

from local import private_broker
from local.private_broker import free_port
from shared import database
from shared.base.filesystem import MARKER
from shared.base.settings import Settings, load
from shared.models import registry
from shared.queue.broker import wait_until_ready
from tests import pace
from tests.models import go_live, make_linear_version
from tests.system import drop, specimens

ROOT = Path(__file__).parents[2]
SECONDS = pace.seconds(60)
OURS = ("migrate", "producer", "worker", "flower", "trainer", "web")
INSTALLED = ("light", "dicom", "network")
"""Images that hold the product and nothing that the lock does not have."""
LASTING = ("producer", "worker", "trainer", "flower", "web")
SECRETS = {
    "REDIS_PASSWORD": "broker-2f9a61c07d",
    "POSTGRES_PASSWORD": "database-81be40d5",
    "FLOWER_PASSWORD": "flower: 100%41 # \"odd' $$ signs@/",
    "PATIENT_SECRET": "patients-5d1f0c9e7a2b",
}
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<text>[^}]*))?\}|(?P<other>.))")
"""The forms of Compose's variables that the file may use."""


class Refused(Exception):
    """What Compose says instead of starting."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """A part of the file with its variables replaced, as Compose does it: in values, after reading the YAML."""
    if isinstance(value, dict):
        return {key: interpolated(part, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]

    def replace(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        assert found["name"], f"{found[0]} is a form that these tests do not know"
        if content := variables.get(found["name"]):
            return content
        if found["kind"] == ":?":
            raise Refused(f"required variable {found['name']} is missing a value: {found['text']}")
        return found["text"] or ""

    return VARIABLE.sub(replace, value) if isinstance(value, str) else value


def raw(name: str = "docker-compose.yml") -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def services(variables: Mapping[str, str] = SECRETS) -> dict[str, dict[str, Any]]:
    return interpolated(raw(), variables)["services"]


def used_variables() -> set[str]:
    files = ("docker-compose.yml", "compose.backup.yml", "compose.dicom.yml")
    texts = ((ROOT / name).read_text() for name in files)
    return {found["name"] for text in texts for found in VARIABLE.finditer(text) if found["name"]}


def explained() -> dict[str, str | None]:
    """The variables of .env.example: None for those that a person must fill in, else the default that is shown."""
    found = re.findall(r"^(# )?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    return {name: value if comment else None for comment, name, value in found}


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


# --- What stands in the files ---


def test_every_variable_that_is_used_is_explained_in_the_example_and_no_other() -> None:
    assert set(explained()) == used_variables()


def test_the_example_shows_the_defaults_that_hold() -> None:
    shown = {name: value for name, value in explained().items() if value is not None}
    assert services(SECRETS | shown) == services(SECRETS)
    assert {name for name, value in explained().items() if value is None} == set(SECRETS)


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("empty", [True, False])
def test_a_secret_that_is_missing_or_empty_is_refused_by_name(name: str, empty: bool) -> None:
    variables = {key: value for key, value in SECRETS.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(Refused, match=rf"{name} is missing a value: set it in \.env"):
        services(variables)


def test_no_secret_stands_on_a_command_line_or_in_an_image() -> None:
    for name, service in services().items():
        service.pop("environment", None)
        for secret in SECRETS.values():
            assert secret not in json.dumps(service), name
    assert not re.search(r"ARG.*(PASSWORD|SECRET)|COPY.*\.env", dockerfile())


def test_only_who_needs_a_secret_is_given_it() -> None:
    holders = {
        name: {
            other
            for other, service in services().items()
            if any(secret in value for value in service.get("environment", {}).values())
        }
        for name, secret in SECRETS.items()
    }
    assert holders == {
        "REDIS_PASSWORD": {"redis", "migrate", "producer", "worker", "trainer", "flower", "web"},
        "POSTGRES_PASSWORD": {"postgres", "migrate", "producer", "worker", "trainer", "web"},
        "FLOWER_PASSWORD": {"flower"},
        "PATIENT_SECRET": {"worker", "web"},
    }


def test_every_setting_in_the_file_exists() -> None:
    known = {"PNEUMOSCREEN_" + name.upper() for name in Settings.model_fields}
    for name in OURS:
        environment = services()[name].get("environment", {})
        assert set(environment) <= known, name
        assert all(isinstance(value, str) for value in environment.values()), "YAML must not turn them into numbers"


def test_every_service_agrees_on_the_folders_and_mounts_them_where_the_settings_say() -> None:
    ours = services()
    folders = ours["producer"]["environment"]["PNEUMOSCREEN_SOURCES"]
    assert ours["worker"]["environment"]["PNEUMOSCREEN_SOURCES"] == folders
    assert ours["migrate"]["environment"]["PNEUMOSCREEN_SOURCES"] == folders
    for folder in json.loads(folders).values():
        mounts = {
            name: next(m for m in ours[name]["volumes"] if isinstance(m, dict) and m["target"] == folder["path"])
            for name in ("producer", "worker")
        }
        assert mounts["producer"]["source"] == mounts["worker"]["source"]
        assert mounts["worker"]["read_only"]
        assert "read_only" not in mounts["producer"], "it writes the marker"


def test_the_worker_cannot_write_the_home_but_for_its_own_notes() -> None:
    worker = services()["worker"]
    assert worker["volumes"][0] == "home:/var/lib/pneumoscreen:ro"
    assert any(mount.startswith("/var/lib/pneumoscreen/run:") for mount in worker["tmpfs"])
    assert re.search(r"install -d .* /var/lib/pneumoscreen/run$", dockerfile(), re.MULTILINE), "to be mounted at"


@pytest.mark.parametrize("name", sorted(raw()["services"]))
def test_no_service_is_root_keeps_a_capability_or_writes_outside_its_volumes(name: str) -> None:
    service = services()[name]
    assert str(service["user"]).split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert not {"privileged", "cap_add", "pid", "network_mode", "devices"} & set(service)


def test_services_of_ours_run_as_the_user_of_the_image() -> None:
    assert {service["user"] for name, service in services().items() if name in OURS} == {"10001:10001"}
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)
    finals = [stage for stage in stages if re.search(r" AS (light|backup|dicom|network|gpu)$", stage.splitlines()[0])]
    assert len(finals) == 5
    assert all(stage.rstrip().split("\nUSER ")[-1].split()[0] == "10001:10001" for stage in finals)


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_everybody_waits_for_the_migration(name: str) -> None:
    awaited = services()[name]["depends_on"]
    assert awaited["migrate"] == {"condition": "service_completed_successfully"}
    assert awaited["redis"] == awaited["postgres"] == {"condition": "service_healthy"}


def test_the_migration_waits_for_the_database_and_runs_once() -> None:
    migrate = services()["migrate"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert migrate["restart"] == "no"


@pytest.mark.parametrize("name", ["redis", "postgres", *LASTING])
def test_what_runs_for_long_is_watched_restarted_and_given_time_to_finish(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d\ds", service["stop_grace_period"])
    if name in ("producer", "worker"):
        assert service["stop_grace_period"] == "90s"


def test_flower_and_the_pages_alone_are_published_and_on_this_machine_only() -> None:
    published = {name: s["ports"] for name, s in services().items() if "ports" in s}
    assert published == {"flower": ["127.0.0.1:5555:5555"], "web": ["127.0.0.1:8600:8600"]}
    assert services(SECRETS | {"FLOWER_PORT": "8080"})["flower"]["ports"] == ["127.0.0.1:8080:5555"]


def test_what_reads_the_images_has_no_way_out_but_for_the_pages_that_people_open() -> None:
    assert raw()["networks"]["inside"] == {"internal": True}
    assert {name for name, service in services().items() if service["networks"] != ["inside"]} == {"flower", "web"}


def test_every_image_and_its_base_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in services().values() if "image" in service]
    assert len(images) == 2
    (python,) = re.findall(r"^ARG PYTHON=(.*)$", dockerfile(), re.MULTILINE)
    for image in (*images, f"python:{python}"):
        assert re.search(r":\d+\.\d+[\w.-]*$", image), image
    assert set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)) == {"python:${PYTHON}", "base", "light"}


def test_what_is_installed_was_checked_against_the_lock_but_for_graphics_cards() -> None:
    stages = {
        found[1]: found[2] for found in re.finditer(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", dockerfile(), re.M | re.S)
    }
    assert "pip download --require-hashes --only-binary :all:" in stages["wheels"]
    assert {name for name, stage in stages.items() if "pip install" in stage} == {"wheels", *INSTALLED, "gpu"}
    assert all("pip install --no-index " in stages[name] for name in ("wheels", *INSTALLED))
    assert "--constraint /wheels/constraints.txt" in stages["gpu"]


def test_every_target_that_compose_builds_exists() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile(), re.MULTILINE))
    targets = {name: service["build"]["target"] for name, service in services().items() if "build" in service}
    network = {"worker": "network", "trainer": "network", "web": "network"}
    assert targets == {"migrate": "light", "producer": "light", "flower": "light", **network}
    assert {*targets.values(), raw("compose.gpu.yml")["services"]["worker"]["build"]["target"]} <= stages


def test_the_image_gets_every_folder_that_the_wheel_packs_and_every_extra_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert set(re.findall(r"^COPY (\w+) \1$", dockerfile(), re.MULTILINE)) == packed
    sent = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    files = {"pyproject.toml", "requirements.lock", project["project"]["readme"], "LICENSE"}
    assert sent == packed | files
    assert all((ROOT / name).exists() for name in sent)
    copied = " ".join(re.findall(r"^COPY (.*) \./$", dockerfile(), re.MULTILINE)).split()
    assert set(copied) == files
    extras = {
        extra for group in re.findall(r"\[([a-z,]+)\]\"$", dockerfile(), re.MULTILINE) for extra in group.split(",")
    }
    assert extras == {"postgresql", "courier", "network", "gpu", "trainer", "parquet"}
    assert extras <= set(project["project"]["optional-dependencies"])


def test_the_file_for_backups_adds_one_service_as_confined_as_the_others_with_the_servers_own_client() -> None:
    file = interpolated(raw("compose.backup.yml"), SECRETS)
    assert list(file) == ["services"] and list(file["services"]) == ["backup"]
    backup, migrate = file["services"]["backup"], services()["migrate"]
    for key in ("user", "read_only", "cap_drop", "security_opt", "tmpfs", "networks", "init", "logging"):
        assert backup[key] == migrate[key], key
    environment = backup["environment"]
    assert set(environment) <= {"PNEUMOSCREEN_" + name.upper() for name in Settings.model_fields}
    for name in ("PNEUMOSCREEN_HOME", "PNEUMOSCREEN_DATABASE_URL"):
        assert environment[name].split() == migrate["environment"][name].split()
    assert backup["volumes"][1]["target"] == environment["PNEUMOSCREEN_BACKUP_DIR"]
    assert SECRETS["POSTGRES_PASSWORD"] not in json.dumps({**backup, "environment": {}})
    (server,) = re.findall(r"postgres:(\d+)", services()["postgres"]["image"])
    assert f"postgresql-client-{server} " in dockerfile() and backup["build"]["target"] == "backup"


DICOM = {
    "DICOM_SENDERS": '["10.1.2.3"]',
    "DICOM_DESTINATIONS": '{"pacs": {"kind": "dicom", "host": "10.1.2.3", "port": 104, "ae_title": "PACS"}}',
}


def test_the_file_for_dicom_adds_two_services_as_confined_as_the_others_and_one_source_for_all(tmp_path: Path) -> None:
    added = interpolated(raw("compose.dicom.yml"), SECRETS | DICOM)
    mine = added["services"]
    assert set(mine) == {"migrate", "producer", "worker", "trainer", "node", "courier"}
    for name in ("node", "courier"):
        service, other = mine[name], services()["producer"]
        for key in ("user", "read_only", "cap_drop", "security_opt", "tmpfs", "init", "logging", "restart"):
            assert service[key] == other[key], (name, key)
        assert service["networks"] == ["inside", "hospital"]
        assert service["build"]["target"] == "dicom"
        assert set(service["environment"]) <= {"PNEUMOSCREEN_" + key.upper() for key in Settings.model_fields}
        assert SECRETS["POSTGRES_PASSWORD"] not in json.dumps({**service, "environment": {}})
    assert mine["courier"]["volumes"][0] == "home:/var/lib/pneumoscreen:ro"
    assert mine["node"]["ports"] == ["11112:11112"] and "ports" not in mine["courier"]
    texts = {mine[name]["environment"]["PNEUMOSCREEN_SOURCES"] for name in mine}
    (text,) = texts
    of_others = json.loads(services()["producer"]["environment"]["PNEUMOSCREEN_SOURCES"])
    chosen = json.loads(text)
    assert chosen.pop("radiology") and chosen == of_others
    loaded = load(
        tmp_path,
        sources=json.loads(text),
        destinations=json.loads(mine["node"]["environment"]["PNEUMOSCREEN_DESTINATIONS"]),
    )
    assert loaded.sources["radiology"].port == 11112
    for name in DICOM:
        with pytest.raises(Refused, match=name):
            interpolated(
                raw("compose.dicom.yml"), {key: value for key, value in (SECRETS | DICOM).items() if key != name}
            )


ADDITIONS = [(), ("compose.backup.yml",), ("compose.dicom.yml",), ("compose.gpu.yml",)]


@pytest.mark.parametrize("addition", ADDITIONS, ids=" ".join)
def test_compose_itself_takes_each_file_where_there_is_one(addition: tuple[str, ...], tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "docker compose version"], capture_output=True, check=False).returncode:
        pytest.skip("`docker compose` is not installed, so only what these tests know of its format is looked at")
    files = [part for name in ("docker-compose.yml", *addition) for part in ("--file", str(ROOT / name))]
    command = ["docker", "compose", "--project-directory", str(ROOT), *files, "config", "--format", "json"]
    variables = {**os.environ, **{name: text.replace("$", "") for name, text in (SECRETS | DICOM).items()}}
    run = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    merged = json.loads(run.stdout)["services"]
    assert set(merged) >= {*raw()["services"], *(name for file in addition for name in raw(file)["services"])}


@pytest.mark.parametrize("name", ["compose.backup.yml", "compose.gpu.yml"])
def test_an_additional_file_names_nothing_that_is_neither_in_it_nor_in_the_main_file(name: str) -> None:
    main, added = raw(), raw(name)
    for service in added["services"].values():
        assert set(service.get("depends_on", ())) <= {*main["services"], *added["services"]}
        assert set(service.get("networks", ())) <= main["networks"].keys()
        volumes = {each.partition(":")[0] for each in service.get("volumes", ()) if isinstance(each, str)}
        assert volumes <= main["volumes"].keys()


def test_the_file_for_graphics_cards_changes_the_worker_alone() -> None:
    gpu = raw("compose.gpu.yml")
    assert list(gpu) == ["services"]
    assert list(gpu["services"]) == ["worker"]
    assert set(gpu["services"]["worker"]) == {"build", "deploy"}
    (device,) = gpu["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]


# --- Its commands as processes ---


class Stack:
    """The services as processes on this machine."""

    def __init__(self, folder: Path, postgresql_url: str) -> None:
        self.folder = folder
        self.home, self.inbox = folder / "home", folder / "inbox"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.before: set[Path] = set()
        self.ports = {name: str(free_port()) for name in ("redis", "5555", "8600", "9101", "9102", "9103")}
        postgresql = make_url(postgresql_url)
        self._outside = {
            "redis:6379": f"127.0.0.1:{self.ports['redis']}",
            "postgres:5432": f"{postgresql.host}:{postgresql.port}",
            "/var/lib/pneumoscreen": str(self.home),
            "/data/inbox": str(self.inbox),
            "/data/labelled": str(folder / "labelled"),
        } | {port: self.ports[port] for port in ("5555", "8600", "9101", "9102", "9103")}
        self.services = {name: self._mapped(service) for name, service in services().items()}
        for part in (self.home, self.inbox, folder / "labelled", folder / "redis", folder / "cwd", folder / "tmp"):
            part.mkdir()

    def _mapped(self, value: Any) -> Any:
        """All at once, so that nothing is replaced in what was put in."""
        if isinstance(value, dict):
            return {key: self._mapped(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._mapped(part) for part in value]
        pattern = "|".join(map(re.escape, self._outside))
        return re.sub(pattern, lambda found: self._outside[found[0]], value) if isinstance(value, str) else value

    def environment(self, name: str) -> dict[str, str]:
        """The service's own, and what every container has."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        container = {
            "PATH": path,
            "HOME": str(self.folder / "tmp"),
            "HOSTNAME": socket.gethostname(),
            "LANG": "C.UTF-8",
        }
        return container | self.services[name].get("environment", {})

    def run(self, name: str, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            env=self.environment(name),
            cwd=self.folder / "cwd",
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def start(self, name: str, command: list[str] | None = None, cwd: str = "cwd") -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command or self.services[name]["command"],
                env=self.environment(name),
                cwd=self.folder / cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start_broker(self) -> None:
        """By the file's own command, with a port of its own; waits until it answers at the address the others get."""
        shell, options, script = self.services["redis"]["command"]
        server = f"exec {shlex.quote(private_broker.server())} - --port {self.ports['redis']} --bind 127.0.0.1 "
        script, count = re.subn(r"^exec valkey-server - ", server, script)
        assert count == 1
        self.start("redis", [shell, options, script], cwd="redis")
        url = self.services["flower"]["environment"]["PNEUMOSCREEN_BROKER_URL"]
        wait_until_ready(url, 20)

    def health(self, name: str) -> "subprocess.CompletedProcess[str]":
        kind, *command = self.services[name]["healthcheck"]["test"]
        return self.run(name, ["sh", "-c", *command] if kind == "CMD-SHELL" else command)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        engine = create_engine(
            self.services["producer"]["environment"]["PNEUMOSCREEN_DATABASE_URL"], poolclass=NullPool
        )
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]

    def kept(self) -> set[Path]:
        """What is in the home, less `run`."""
        return {file for file in self.home.rglob("*") if file.is_file() and self.home / "run" not in file.parents}

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if value := condition():
                return value
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended while waiting for {what}:\n{self.logs()}"
            time.sleep(0.1)
        raise AssertionError(f"waited {SECONDS} s for {what}:\n{self.logs()}")

    def logs(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def stop(self, names: Iterable[str]) -> dict[str, int]:
        """As Compose does: SIGTERM to all of them, then the grace period of each; returns their exit codes."""
        for name in names:
            if self.processes[name].poll() is None:
                self.processes[name].send_signal(signal.SIGTERM)
        return {name: self.processes[name].wait(pace.seconds(self._grace(name))) for name in names}

    def _grace(self, name: str) -> int:
        return int(self.services[name]["stop_grace_period"].rstrip("s"))

    def kill(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                children = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            process.wait()


@contextmanager
def own_database(postgresql_url: str, environment: Mapping[str, str]) -> Iterator[None]:
    """What the image makes of its variables when its volume is new; removed at the end."""
    user, name, password = (environment[f"POSTGRES_{part}"] for part in ("USER", "DB", "PASSWORD"))
    engine = create_engine(f"{postgresql_url}/postgres", isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'"))
        connection.execute(text(f"CREATE DATABASE {name} OWNER {user}"))
        try:
            yield
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            connection.execute(text(f"DROP ROLE {user}"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgresql_url: str) -> Iterator[Stack]:
    """Everything that the file starts, in its order, with a version that needs no TensorFlow live in place of the
    bundled one."""
    found = Stack(tmp_path_factory.mktemp("compose"), postgresql_url)
    with ExitStack() as ending:
        ending.enter_context(own_database(postgresql_url, found.services["postgres"]["environment"]))
        ending.callback(found.kill)
        found.start_broker()
        migrated = found.run("migrate", found.services["migrate"]["command"])
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        assert found.query("SELECT version FROM promotions") == [(registry.bundled().name,)]
        assert (found.home / "models" / registry.bundled().name).is_dir()
        with_database = database.connect(found.services["worker"]["environment"]["PNEUMOSCREEN_DATABASE_URL"])
        go_live(with_database, make_linear_version(found.home / "models", "linear-1"))
        with_database.close()
        found.before = found.kept()
        for name in LASTING:
            found.start(name)
        found.wait(lambda: found.query("SELECT 1 FROM workers WHERE model_version = 'linear-1'"), "a worker")
        yield found


def test_what_is_dropped_into_the_watched_folder_becomes_rows_in_postgresql(stack: Stack) -> None:
    for source in specimens()[:5]:
        drop(source, stack.inbox / source.name)
    done = "SELECT path, root FROM results WHERE state = 'done' AND model_version = 'linear-1' ORDER BY path"
    rows = stack.wait(lambda: len(found := stack.query(done)) == 5 and found, "five rows")
    assert rows == [(source.name, "inbox") for source in specimens()[:5]]
    assert (stack.inbox / MARKER).exists()
    assert stack.query("SELECT count(*) FROM results") == [(5,)]


@pytest.mark.parametrize("name", LASTING)
def test_the_health_check_passes_while_the_service_runs(stack: Stack, name: str) -> None:
    deadline = time.monotonic() + SECONDS
    while (found := stack.health(name)).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found.returncode == 0, found.stdout + found.stderr + stack.logs()


def test_flower_opens_with_its_password_alone(stack: Stack) -> None:
    address = f"http://127.0.0.1:{stack.ports['5555']}/"

    def code(credentials: str | None = None) -> int:
        request = urllib.request.Request(address)
        if credentials:
            request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except urllib.error.URLError:  # it is starting
            return 0

    assert stack.wait(code, "Flower") == 401
    assert code("pneumoscreen:wrong") == 401
    assert code(f"pneumoscreen:{SECRETS['FLOWER_PASSWORD']}") == 200


def test_the_broker_asks_for_its_password_keeps_what_it_has_and_evicts_nothing(stack: Stack) -> None:
    once = Retry(NoBackoff(), 0)
    with Redis(port=int(stack.ports["redis"]), retry=once) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with Redis(port=int(stack.ports["redis"]), password=SECRETS["REDIS_PASSWORD"], decode_responses=True) as redis:
        assert redis.config_get("appendonly", "maxmemory-policy", "maxmemory") == {
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "maxmemory": str(256 * 2**20),
        }
    assert list((stack.folder / "redis").rglob("*.aof"))


def test_no_secret_is_seen_among_the_running_processes(stack: Stack) -> None:
    running = [psutil.Process(process.pid) for process in stack.processes.values()]
    lines = [" ".join(p.cmdline()) for parent in running for p in (parent, *parent.children(recursive=True))]
    assert len(lines) > 4
    assert not [line for line in lines for secret in SECRETS.values() if secret in line]


def test_migrating_again_changes_nothing(stack: Stack) -> None:
    promotions = stack.query("SELECT version FROM promotions ORDER BY id")
    assert stack.run("migrate", stack.services["migrate"]["command"]).returncode == 0
    assert stack.query("SELECT version FROM promotions ORDER BY id") == promotions


def test_an_empty_labelled_folder_trains_nothing(stack: Stack) -> None:
    assert stack.query("SELECT count(*) FROM training_runs") == [(0,)]
    assert "nothing is due" in (stack.folder / "trainer.log").read_text()


@pytest.mark.parametrize("password", ["one,two,three", "pässword"])
def test_a_password_that_flower_would_misread_is_refused(stack: Stack, password: str) -> None:
    with_password = stack.environment("flower") | {"PNEUMOSCREEN_FLOWER_PASSWORD": password}
    command = stack.services["flower"]["command"]
    found = subprocess.run(command, env=with_password, capture_output=True, text=True, timeout=SECONDS)
    assert found.returncode == 2
    assert "without commas and accents" in " ".join(found.stderr.split())


def test_all_end_well_on_sigterm_and_the_health_checks_tell(stack: Stack) -> None:
    assert stack.stop(LASTING) == dict.fromkeys(LASTING, 0), stack.logs()
    assert stack.query("SELECT * FROM workers") == []
    assert stack.kept() == stack.before, "the worker cannot write there, and Flower has no home at all"
    assert all(stack.health(name).returncode != 0 for name in LASTING)
