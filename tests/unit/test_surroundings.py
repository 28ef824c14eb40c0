"""What a program takes from where it is started: each test starts one, in a folder and with variables of its own."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared import database
from shared.base.found import Found
from shared.ledger.register import register
from tests import hostile
from tests.plan import short

TOP = Path(__file__).parents[2]
SCRIPT = "import sys\nfrom cli.__main__ import main\nsys.exit(main())\n"
"""As an installer writes it."""


READ: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "timeout": 60}


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
    process = subprocess.run([sys.executable, str(script), *map(str, arguments)], cwd=cwd, env=environment, **READ)
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


NAMES = "\U0001f600 gr\xfc\xdf [br] :x:"
STREAMS = [*(f" --format csv {each}" for each in (">&-", "2>&-", "<&- >&- 2>&-", "| head -c 5")), " | head -c 5"]


@pytest.fixture
def named(home: Path) -> Path:
    """A home with an image of an odd name, and an odd reason."""
    found = database.connect(f"sqlite:///{home / 'pneumoscreen.db'}")
    with found.write() as session:
        register(session, "ward", "routine", [Found(f"{NAMES}.png", "1-1", 10)], datetime.now(UTC))
    found.close()
    return home


CODES = {
    "results": 0,
    "results --format csv": 0,
    "results --format json": 0,
    f"retry '{NAMES}'": 1,
    f"--{NAMES[0]}": 2,
    f"db backup ./{NAMES[0]}": 0,
}


@pytest.mark.parametrize("command", short(["results", "results --format csv", f"--{NAMES[0]}"], CODES))
def test_a_name_that_the_terminal_cannot_show_is_shown_by_its_numbers(script: Path, named: Path, command: str) -> None:
    words = shlex.split(command)
    done = run(script, *words, cwd=named, code=CODES[command], PNEUMOSCREEN_HOME=str(named), PYTHONIOENCODING="latin-1")
    assert "Traceback" not in done.stderr
    assert "\\U0001f600" in done.stdout + done.stderr


def test_a_name_is_printed_as_it_is(script: Path, named: Path) -> None:
    done = run(script, "results", cwd=named, PNEUMOSCREEN_HOME=str(named), COLUMNS="300")
    assert NAMES in done.stdout


@pytest.mark.parametrize("streams", short([STREAMS[2], STREAMS[-1]], STREAMS))
def test_a_closed_stream_ends_no_command_and_is_no_file_of_ours(script: Path, named: Path, streams: str) -> None:
    """Else the next file that is opened, as the database, has the number to which is printed."""
    text = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} results{streams}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(named),
        "PYTHONPATH": str(TOP),
        "PNEUMOSCREEN_HOME": str(named),
    }
    done = subprocess.run(["sh", "-c", text], env=environment, **READ)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 0
    assert (
        database.connect(f"sqlite:///{named / 'pneumoscreen.db'}")
        .engine.connect()
        .exec_driver_sql("PRAGMA integrity_check")
        .scalar()
        == "ok"
    )


USER = 12345
"""Of no entry in passwd."""
PACKAGES = ("shared", "queries", "actions", "local", "cli")
"""What the commands of the test import."""


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of that user, not below pytest's, which are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, USER, USER)
        yield Path(folder)


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Path]:
    """The program in a folder that others may enter, which a clone in somebody's home is not."""
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            shutil.copytree(TOP / package, Path(folder) / package)  # compiled files too
        for each, _, _ in os.walk(folder):
            Path(each).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can run another user's")
@pytest.mark.parametrize("variables", short([{}], [{}, {"HOME": "/proc"}, {"XDG_STATE_HOME": "/proc"}]))
def test_a_user_without_a_name_or_a_folder_needs_a_home_alone(
    script: Path, theirs: Path, open_to_all: Path, variables: dict[str, str]
) -> None:
    # It may read the interpreter wherever that lies, and write nothing but its own.
    rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *rights, sys.executable]

    def do(program: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, str(program), *map(str, arguments)],
            cwd="/",
            **READ,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(open_to_all),
                "PYTHONDONTWRITEBYTECODE": "1",
                **variables,
            },
        )

    for words, code in ((["db", "upgrade"], 0), (["status"], 1)):
        done = do(script, *words, "--home", theirs)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    without = do(script, "results")
    assert (without.returncode, "Traceback" in without.stderr) == (2 if "HOME" not in variables else 3, False)
    script.write_text(
        f"from shared.base.home import registered\nwith registered({str(theirs)!r}):\n    print('goes on')\n"
    )
    assert do(script).stdout == "goes on\n"
