"""What importing a module may not do. Each test needs a fresh interpreter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

LIGHT = """
import importlib, os, pkgutil, sys

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras"}:
            raise ImportError(f"{name} was imported")

def forbid(event, arguments):
    if event in {"socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen", "os.fork", "os.mkdir"}:
        raise RuntimeError(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise RuntimeError(f"a file was opened for writing: {arguments}")

read = os._Environ.__getitem__

def no_settings(environment, name):
    if name.startswith("PNEUMOSCREEN"):
        raise RuntimeError(f"the environment was read: {name}")
    return read(environment, name)

sys.dont_write_bytecode = True
os._Environ.__getitem__ = no_settings
sys.meta_path.insert(0, NoTensorFlow())
sys.addaudithook(forbid)
names = []
for package in ("shared", "queries", "actions", "producer", "worker", "node", "courier", "local", "cli", "web"):
    names.append(package)
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, package + "."):
        importlib.import_module(module.name)
        names.append(module.name)
print(len(names))
"""


def python(code: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(TOP)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_importing_light_modules_needs_no_tensorflow_reads_no_setting_and_opens_nothing(tmp_path: Path) -> None:
    found = python(LIGHT, tmp_path)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > 35
    assert list(tmp_path.iterdir()) == []


def test_the_module_that_celery_finds_builds_an_app_and_nothing_else(tmp_path: Path) -> None:
    code = "from worker.app import app; import sys; print(app.main, 'tensorflow' in sys.modules)"
    found = python(code, tmp_path)
    assert (found.stdout, found.stderr) == ("pneumoscreen False\n", "")
    assert list(tmp_path.iterdir()) == []


HEAVY = {
    *("tensorflow", "keras", "ai_edge_litert", "sklearn", "scipy", "matplotlib"),
    *("numpy", "PIL", "pydicom", "pyarrow", "watchdog", "celery", "kombu", "alembic"),
}
NETWORK = {"redis"}
SETTINGS_AND_DATABASE = {"pydantic", "pydantic_settings", "sqlalchemy", "psutil"}
LIGHT_COMMANDS = {
    "--version": HEAVY | NETWORK | SETTINGS_AND_DATABASE | {"rich"},
    "--help": HEAVY | NETWORK | SETTINGS_AND_DATABASE,
    "bench --help": HEAVY | NETWORK | {"bench", "sqlalchemy", "psutil"},
    "results": HEAVY | NETWORK,
    "results --to-review --format csv": HEAVY | NETWORK,
    "review ward/a.png NORMAL --by Ada": HEAVY | NETWORK,
    "status": HEAVY,
}
"""What each command must not import: a second of its start-up is a second of everybody who types it."""

IMPORTED = """
import sys
from cli.main import main

try:
    main()
except SystemExit as end:
    assert end.code in (None, 0, 1), end.code
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("command", LIGHT_COMMANDS)
def test_a_light_command_imports_nothing_heavy(command: str, tmp_path: Path, migrated_file: Path) -> None:
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PNEUMOSCREEN_HOME": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", IMPORTED, *command.split()],
        env={**environment, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    imported = set(process.stdout.splitlines()[-1].removeprefix("imported: ").split())
    assert "cli" in imported
    assert imported & LIGHT_COMMANDS[command] == set()
