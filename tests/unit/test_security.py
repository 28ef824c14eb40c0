"""What would let a stranger in: code in data, messages of other kinds, passwords shown. Paths: `test_reading`."""

import ast
import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.message import Message as Envelope
from kombu.serialization import dumps

from local import services
from shared.base.errors import MalformedMessage, WrongSettings
from shared.base.settings import load
from shared.database import connect
from shared.queue import broker
from shared.queue.messages import TASK, Message

TOP = Path(__file__).parents[2]
PACKAGES = ("shared", "producer", "worker", "trainer", "node", "courier", "cli", "bench", "samples")
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "dbm", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.Loader", "yaml.UnsafeLoader"),
    *("pandas.read_pickle", "torch.load", "os.system", "os.popen", "tempfile.mktemp"),
}


def findings(source: str, name: str) -> Iterator[str]:
    """Each use of what would run code that stands in data, by its line."""
    for node in ast.walk(ast.parse(source)):
        found: list[str] = []
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names if alias.name.partition(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                found = [module] if module.partition(".")[0] in MODULES else []
                found += [f"{module}.{alias.name}" for alias in names if f"{module}.{alias.name}" in ATTRIBUTES]
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if f"{owner}.{attribute}" in ATTRIBUTES:
                found = [f"{owner}.{attribute}"]
            case ast.Call(func=ast.Name(id=called)) if called in CALLS:
                found = [f"{called}()"]
            case ast.keyword(arg="allow_pickle" | "shell" | "enable_unsafe_deserialization", value=value):
                found = [] if isinstance(value, ast.Constant) and value.value is False else [f"{node.arg}="]
            case ast.keyword(arg="safe_mode", value=value):
                found = [] if isinstance(value, ast.Constant) and value.value is True else ["safe_mode="]
        yield from (f"{name}:{getattr(node, 'lineno', 0)}: {what}" for what in found)


def test_no_module_runs_code_that_stands_in_data() -> None:
    files = [file for package in PACKAGES for file in sorted((TOP / package).rglob("*.py"))]
    assert len(files) > 80
    assert [line for file in files for line in findings(file.read_text(encoding="utf-8"), str(file))] == []


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "import joblib.parallel", "from marshal import loads", "import shelve as s", "import dill"),
        *("import yaml\nyaml.load(text)", "from yaml import load", "eval('1')", "exec(code)", "__import__(name)"),
        *("np.load(file, allow_pickle=True)", "np.load(file, allow_pickle=flag)", "run(command, shell=True)"),
        *("load_model(path, safe_mode=False)", "def f():\n    from pickle import loads", "os.system('ls')"),
    ],
)
def test_each_of_these_would_be_found(source: str) -> None:
    assert list(findings(source, "module"))


@pytest.fixture
def configuration(tmp_path: Path) -> dict[str, Any]:
    return broker.configuration(load(tmp_path, broker_url="redis://localhost"))


def test_celery_accepts_and_sends_json_alone_and_keeps_no_results(configuration: dict[str, Any]) -> None:
    assert configuration["accept_content"] == ["json"]
    assert configuration["task_serializer"] == "json"
    assert configuration["task_ignore_result"] is True
    assert "result_backend" not in configuration
    app = broker.application(load(Path("/nowhere"), broker_url="redis://localhost"))
    assert app.conf.accept_content == ["json"]
    assert app.conf.result_accept_content in (None, ["json"])


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a message was unpickled",)


def envelope(configuration: dict[str, Any], body: bytes | str, kind: str, encoding: str) -> Envelope:
    """A message as a worker's consumer gets it from Redis."""
    return Envelope(
        body=body,
        content_type=kind,
        content_encoding=encoding,
        headers={"task": TASK, "id": "1"},
        accept={f"application/{name}" if "/" not in name else name for name in configuration["accept_content"]},
    )


def test_a_pickled_message_is_refused_before_anything_of_it_is_run(configuration: dict[str, Any]) -> None:
    body = pickle.dumps([[{"schema": 1, "delivery": 1, "jobs": [1]}], {}, Bomb()])
    for kind in ("application/x-python-serialize", "application/x-yaml", "application/x-msgpack", "application/octet"):
        with pytest.raises(ContentDisallowed):
            _ = envelope(configuration, body, kind, "binary").decode()


def test_a_pickle_that_says_it_is_json_is_not_run_either(configuration: dict[str, Any]) -> None:
    body = pickle.dumps(Bomb())
    for content in (body, base64.b64encode(body)):
        with pytest.raises(DecodeError):
            _ = envelope(configuration, content, "application/json", "utf-8").decode()


def test_our_own_message_is_taken(configuration: dict[str, Any]) -> None:
    kind, encoding, body = dumps([[Message(1, (7,)).encode()], {}, {}], serializer="json")
    (found,), *_ = envelope(configuration, body, kind, encoding).decode()
    assert Message.decode(found) == Message(1, (7,))


@pytest.mark.parametrize(
    "tagged", ["datetime", "date", "time", "decimal", "uuid", "builtins.eval", "os.system", "__import__"]
)
def test_kombus_own_types_within_json_name_no_job(configuration: dict[str, Any], tagged: str) -> None:
    """kombu turns some tagged objects into Python's: never into what would be one of our messages."""
    body = {"schema": 1, "delivery": 1, "jobs": [{"__type__": tagged, "__value__": "1"}]}
    try:
        (found,), *_ = envelope(configuration, json.dumps([[body], {}, {}]), "application/json", "utf-8").decode()
    except DecodeError:
        return  # refused as it was read
    with pytest.raises(MalformedMessage):
        Message.decode(found)


def flower(monkeypatch: pytest.MonkeyPatch, home: Path, **values: Any) -> list[str]:
    """The options with which Flower would be started."""
    started: list[str] = []
    monkeypatch.setattr(services, "_celery", lambda _, *arguments: started.extend(arguments))
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "what the test leaves behind is taken away")
    services.flower(load(home, broker_url="redis://localhost", **values), 5555)
    return started


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "flower.hospital.example"])
def test_flower_listens_beyond_this_machine_with_a_password_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    with pytest.raises(WrongSettings, match="without a password: set PNEUMOSCREEN_FLOWER_PASSWORD"):
        flower(monkeypatch, tmp_path, flower_host=host)
    assert f"--address={host}" in flower(monkeypatch, tmp_path, flower_host=host, flower_password="long enough")


def test_without_a_word_from_anybody_flower_and_metrics_listen_on_this_machine_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "--address=127.0.0.1" in flower(monkeypatch, tmp_path)
    assert load(tmp_path).metrics_host == "127.0.0.1"


LIBRARIES = """
import logging, sys, warnings
from pathlib import Path
from shared.base import logs, settings
logs.configure(settings.load(Path(sys.argv[1])))
import pydicom
warnings.warn("Mustermann")
for name in ("pydicom", "pydicom.pixels.decoders", "PIL.Tiff", "openjpeg.utils", "pylibjpeg", "highdicom.base"):
    logging.getLogger(name).error("Mustermann")
logging.getLogger("worker").warning("a warning of ours")
"""


@pytest.mark.parametrize(("level", "count"), [("INFO", 0), ("DEBUG", 7)])
def test_what_libraries_say_of_a_file_is_logged_at_debug_alone(tmp_path: Path, level: str, count: int) -> None:
    """pydicom repeats a header's character set, and whatever stands in its place, at every file."""
    command = [sys.executable, "-c", LIBRARIES, tmp_path]
    done = subprocess.run(
        command, env={"PNEUMOSCREEN_LOG_LEVEL": level}, cwd=TOP, capture_output=True, text=True, timeout=60
    )
    assert "a warning of ours" in done.stderr
    assert sum("Mustermann" in line and "warnings.warn" not in line for line in done.stderr.splitlines()) == count


def test_the_name_of_a_database_shows_no_password_wherever_its_url_has_it() -> None:
    urls = ("postgresql+psycopg://me:geheim@host/xray?sslmode=require", "postgresql+psycopg:///xray?password=geheim")
    for url in urls:
        database = connect(url)
        assert "xray" in database.name and "geheim" not in database.name, url
        database.close()
