"""What a program takes from where it is started: each test starts one, in a folder and with variables of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import hostile

TOP = Path(__file__).parents[2]
SCRIPT = "import sys\nfrom cli.__main__ import main\nsys.exit(main())\n"
"""As an installer writes it."""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pneumoscreen").write_text(SCRIPT)
    return folder / "pneumoscreen"


@pytest.fixture
def home(tmp_path: Path, migrated_file: Path) -> Path:
    (tmp_path / "home").mkdir()
    shutil.copyfile(migrated_file, tmp_path / "home" / "pneumoscreen.db")
    return tmp_path / "home"


def run(
    script: Path, *arguments: object, cwd: Path, code: int = 0, **variables: str
) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(TOP), **variables}
    process = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        **{"cwd": cwd, "env": environment, "capture_output": True, "text": True, "timeout": 60},
    )
    assert process.returncode == code, process.stdout + process.stderr
    return process


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--version", 0),
        ("status", 1),
        ("results --format json", 0),
        (f"inspect {TOP}/samples/normal-15.dcm", 0),
        ("db backup ../a.backup", 0),
    ],
)
def test_no_command_runs_a_file_of_the_folder_it_is_started_in(
    script: Path, home: Path, command: str, code: int
) -> None:
    trace = home.parent / "trace"
    folder = hostile.fill(home.parent / "inbox", trace)
    run(script, *command.split(), cwd=folder, code=code, PNEUMOSCREEN_HOME=str(home))
    assert not trace.exists(), trace.read_text()


def test_an_empty_entry_in_a_list_of_folders_is_not_the_working_folder(script: Path, home: Path) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/opt/x` leaves one; what Python reads before us it reads there in any program."""
    trace = home.parent / "trace"
    folder = hostile.fill(home.parent / "inbox", trace, tuple(set(hostile.IMPORTED) - {"cli", "shared", "re"}))
    (folder / "pg_dump").write_text("#!/bin/sh\n")
    (folder / "pg_dump").chmod(0o755)
    script.write_text(
        "import os, sys\nfrom shared.base import surroundings\nsurroundings.prepare()\n"
        "import json, logging, tempfile, redis, shutil\n"
        "print(shutil.which('pg_dump') or '', *map(os.environ.get, surroundings.SEARCHED), os.getcwd() in sys.path)\n"
    )
    lists = {"PYTHONPATH": f"{TOP}::lib", "LD_LIBRARY_PATH": ":/usr/lib", "PATH": f".:{os.environ['PATH']}:"}
    found = run(script, cwd=folder, **lists).stdout.strip()
    assert found.removeprefix(shutil.which("pg_dump") or "").strip() == f"{os.environ['PATH']} /usr/lib {TOP} False"
    assert not trace.exists(), trace.read_text()


def test_a_checkout_finds_itself_though_it_is_the_working_folder(script: Path) -> None:
    assert run(script, "--version", cwd=TOP, PYTHONPATH=f":{TOP}").stdout


def test_variables_by_which_another_application_is_set_up_are_not_ours(script: Path, tmp_path: Path) -> None:
    script.write_text(
        "import os\nfrom shared.base import surroundings\nsurroundings.prepare()\n"
        "from celery import Celery\napp = Celery(broker='redis://ours/0')\n"
        "print(app.conf.broker_url, os.environ['KERAS_BACKEND'], [n for n in os.environ if 'CELERY' in n])\n"
    )
    assert run(script, cwd=tmp_path, **hostile.VARIABLES).stdout == "redis://ours/0 tensorflow []\n"


def test_names_of_files_are_read_the_same_in_every_locale(script: Path, tmp_path: Path) -> None:
    script.write_text(
        "import os, sys\nfrom shared.base import surroundings\nsurroundings.prepare()\nprint(ascii(sys.argv[1]))\n"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert run(script, "Röntgen", cwd=tmp_path, **plain).stdout == "'R\\xf6ntgen'\n"


def test_a_service_leaves_the_working_folder_and_has_room_for_temporary_files(script: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    script.write_text(
        "import os, tempfile\nfrom pathlib import Path\nfrom shared.base import surroundings\n"
        f"surroundings.prepare()\nsurroundings.settle(Path({str(tmp_path)!r}))\n"
        "print(os.getcwd(), tempfile.gettempdir())\n"
    )
    assert run(script, cwd=tmp_path, TMPDIR=str(tmp_path)).stdout == f"/ {tmp_path}\n"
    no_other = "tempfile._candidate_tempdir_list = lambda: [os.environ.get('TMPDIR', '/nowhere')]\n"
    script.write_text("import os, tempfile\n" + no_other + script.read_text())
    assert run(script, cwd=tmp_path).stdout == f"/ {tmp_path / 'run'}\n"
