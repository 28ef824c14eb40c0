"""`doctor` names what is wrong at an installation and the way out, and hangs on nothing."""

import io
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rich.console import Console
from sqlalchemy import text

from cli import doctor as face
from queries import doctor
from queries.doctor import (
    asking,
    backups,
    broker,
    clocks,
    disk,
    engine,
    finding,
    folders,
    ports,
    programs,
    settings_file,
)
from queries.doctor import database as database_check
from queries.doctor.asking import Broken, Late, Question
from queries.doctor.finding import Finding, State
from shared.base.decoder import DECODER_REVISION
from shared.base.filesystem import MARKER
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database, Worker
from shared.models import registry
from tests import pace, servers
from tests.hanging_share import PretendedShare
from tests.models import DAY, go_live, make_linear_version
from tests.unit.conftest import Run
from tests.unit.steps import NOW, finish, in_hand, screened
from tests.unit.test_helpers import share  # noqa: F401 - a fixture

NOBODY = 65534
TOP = Path(__file__).parents[2]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder to which every user finds the way, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def as_nobody(function: Callable[[], Any]) -> Any:
    """What it returns for a user without any right; tests run as root, whom nothing is refused."""
    finding.user()  # imported before, since this user may not read our modules
    with ProcessPoolExecutor(1, get_context("fork"), become_nobody) as pool:
        return pool.submit(function).result()


def problems(findings: list[Finding]) -> list[str]:
    for each in findings:
        assert each.way_out or each.state != State.PROBLEM, f"no way out: {each}"
    return [each.text for each in findings if each.state == State.PROBLEM]


def test_before_the_first_start_there_is_no_problem_and_nothing_is_made(run_command: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    code, out, _ = run_command("doctor", "--home", home)
    assert code == 0 and out.endswith("No problem was found.\n")
    assert "✓ engine" in out and "gives its reference logits" in out
    assert not home.exists()


def test_a_running_installation_has_no_problem(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SECONDS", pace.seconds(60))  # other tests use the machine, too
    registry.install_bundled(database, tmp_path / "models", DAY)
    finish(database, screened(in_hand(database, "a.png")[0]))
    findings = doctor.examine(tmp_path)
    assert problems(findings) == []
    assert {each.state for each in findings} == {State.OK}
    assert any("it has schema" in each.text for each in findings)


def test_problems_end_with_exit_code_1_and_each_has_its_way_out_in_a_table_and_in_json(
    run_command: Run, tmp_path: Path
) -> None:
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{tmp_path / "none"}"\n')
    code, out, _ = run_command("doctor", "--home", tmp_path)
    assert code == 1
    assert f"✗ source ward: rights  there is no folder {tmp_path / 'none'}" in out
    assert "-> make it or mount its share, or mend `path` under [sources.ward]" in out and "1 problem." in out
    code, out, _ = run_command("doctor", "--home", tmp_path, "--format", "json")
    (wrong,) = [each for each in json.loads(out) if each["state"] == "problem"]
    assert (code, wrong["check"]) == (1, "source ward: rights")
    code, _, errors = run_command("doctor", "--format", "xml")
    assert code == 2 and "--format" in errors


def test_where_only_ascii_can_be_printed_the_marks_are_words(
    monkeypatch: pytest.MonkeyPatch, run_command: Run, tmp_path: Path
) -> None:
    printed = io.BytesIO()
    terminal = io.TextIOWrapper(printed, encoding="ascii")
    monkeypatch.setattr(face, "out", Console(file=terminal, soft_wrap=True, highlight=False))
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{tmp_path / "none"}"\n')
    assert run_command("doctor", "--home", tmp_path)[0] == 1
    terminal.flush()
    assert b"\nPROBLEM source ward: rights" in printed.getvalue() and b"ok      settings" in printed.getvalue()


ODD = """
import os, time
from queries.doctor import helper
helper.CHECKS = {
    "sleep": lambda home: time.sleep(600),
    "die": lambda home: os._exit(1),
    "fail": lambda home: int("x"),
    "say": lambda home, text: [print("chatter"), text * 1_000_000][1:],
}
helper.main()
"""


def test_what_does_not_answer_in_time_or_dies_is_said_and_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{TOP}")
    monkeypatch.setattr(asking, "PROGRAM", "odd")
    began = time.monotonic()
    with asking.Asking() as process:
        assert process.ask([Question("say", ("", "a"), 30.0)]) == [["a" * 1_000_000]], "more than a pipe holds"
        late, broken, said = process.ask(
            [Question("sleep", ("",), 0.3), Question("fail", ("",), 30.0), Question("say", ("", "b"), 30.0)]
        )
        assert (late, said) == (Late(0.3), ["b" * 1_000_000])
        assert isinstance(broken, Broken) and "ValueError: invalid literal" in broken.reason
        dead, said = process.ask([Question("die", ("",), 30.0), Question("say", ("", "c"), 30.0)])
        assert (dead, said) == (Broken("its process died"), ["c" * 1_000_000])
    assert time.monotonic() - began < 60


def test_every_check_that_needs_the_settings_alone_has_its_module_and_every_module_is_asked() -> None:
    modules = {
        file.stem for file in Path(doctor.__file__).parent.glob("*.py") if "def examine(settings" in file.read_text()
    }
    assert set(doctor.CHECKS) == modules


def test_a_share_that_hangs_is_named_and_the_other_sources_are_looked_at(
    share: PretendedShare,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "home").mkdir(), (tmp_path / "fine").mkdir()
    places = {"hung": share.mount, "fine": tmp_path / "fine"}
    lines = "".join(f'[sources.{name}]\npath = "{place}"\n' for name, place in places.items())
    (tmp_path / "home" / "pneumoscreen.toml").write_text(lines)
    share.hang()
    findings = {each.check: each for each in doctor.examine(tmp_path / "home", seconds=5)}
    assert findings["source hung"].state == State.UNKNOWN
    assert f"no answer within 5 s from {share.mount} (a share that hangs" in findings["source hung"].text
    assert findings["source fine: rights"].state == State.OK


def test_a_server_that_accepts_and_says_nothing_holds_up_its_own_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", f"postgresql+psycopg://{place}/none")
        monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", f"redis://{place}/0")
        findings = doctor.examine(tmp_path, seconds=3)
    silent_checks = {each.check for each in findings if each.text.startswith("no answer within 3 s")}
    assert {"database", "broker", "clocks"} <= silent_checks
    assert {each.check for each in findings if each.state == State.OK} >= {"settings", "disk", "ports"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_folders_and_files_that_this_user_may_not_read_are_named_with_the_command_that_grants_it(
    open_folder: Path,
) -> None:
    examine = partial(folders.examine, "ward", FolderSettings(path=open_folder / "ward"))
    (ward := open_folder / "ward").mkdir()
    (ward / MARKER).touch()
    assert problems(as_nobody(examine)) == []

    (ward / "a.png").write_bytes(b"x")
    (ward / "a.png").chmod(0o600)
    found = as_nobody(examine)
    assert len(problems(found)) == 1 and f"may not read 1 of 1 files: {ward / 'a.png'}" in problems(found)[0]
    assert f"setfacl --recursive --modify u:nobody:rX {ward}" in found[0].way_out

    (ward / "closed").mkdir(mode=0o700)
    assert f"may not list 1 of its folders: {ward / 'closed'}" in problems(as_nobody(examine))[0]

    ward.chmod(0o700)
    assert problems(as_nobody(examine)) == [f"{ward} may not be listed by nobody"]
    ward.chmod(0o755)
    open_folder.chmod(0o700)
    assert problems(as_nobody(examine)) == [f"{open_folder} may not be listed by nobody"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_marker_that_is_missing_and_cannot_be_written_is_a_problem_and_else_none(open_folder: Path) -> None:
    examine = partial(folders.examine, "ward", FolderSettings(path=open_folder))
    assert f"{MARKER} is missing, and nobody may not write it" in problems(as_nobody(examine))
    assert problems(examine()) == []
    (open_folder / MARKER).touch()
    assert problems(as_nobody(examine)) == []


def test_a_source_is_known_by_the_marker_that_its_setting_names_or_by_what_lies_in_it(tmp_path: Path) -> None:
    named = partial(folders.examine, "ward", FolderSettings(path=tmp_path, marker="site/about.txt"))
    assert problems(named()) == ["site/about.txt is missing, by which it is known"]
    without = partial(folders.examine, "ward", FolderSettings(path=tmp_path, marker="none"))
    assert problems(without()) == [f"{tmp_path} is empty, and counts as away: it has no marker"]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "about.txt").touch()
    assert problems(named()) == problems(without()) == []


def test_a_share_is_polled_and_a_setting_that_forbids_it_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "network_filesystem", lambda _: "nfs4")
    said = folders.examine("ward", FolderSettings(path=tmp_path))[-1]
    assert said.state == State.OK and "(nfs4): it is polled" in said.text
    wrong = folders.examine("ward", FolderSettings(path=tmp_path, polling=False))
    assert problems(wrong) == [f"{tmp_path} is on a network share (nfs4), which reports no events"]


def test_clocks_that_differ_are_told_of(tmp_path: Path) -> None:
    second = timedelta(seconds=1)
    assert problems([clocks.compare("the database's", NOW + 3 * second, NOW, NOW + second)]) == []
    assert "40 s ahead of" in problems([clocks.compare("its", NOW + 41 * second, NOW, NOW + second)])[0]
    assert "40 s behind" in problems([clocks.compare("its", NOW - 40 * second, NOW, NOW + second)])[0]
    assert "gpu-1 is 90 s ahead" in problems(clocks.ahead([("gpu-1", NOW + 90 * second), ("old", NOW)], NOW))[0]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_worker_of_the_future_is_found_on_a_database_that_several_hosts_share_postgresql(
    database: Database, tmp_path: Path
) -> None:
    assert [each.state for each in clocks.examine(load(tmp_path))] == [State.OK]
    with database.write() as session:
        later = session.scalars(text("SELECT clock_timestamp() + interval '1 hour'")).one()
        session.add(Worker(host="gpu-1", pid=7, device="cpu", started_at=later, heartbeat_at=later))
    assert "the clock of the worker gpu-1" in problems(clocks.examine(load(tmp_path)))[0]


def test_a_redis_that_evicts_forgets_takes_no_writes_or_refuses_the_password_is_a_problem(tmp_path: Path) -> None:
    with servers.redis() as url, Redis.from_url(url) as client:
        chosen = load(tmp_path, broker_url=url)
        assert {each.state for each in broker.examine(chosen)} == {State.OK}
        assert client.keys() in ([], [broker.KEY.encode()])
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
        said = " ".join(problems(broker.examine(chosen)))
        assert "maxmemory-policy is allkeys-lru" in said and "appendonly no" in said
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
        client.replicaof("127.0.0.1", "9")
        (wrong,) = [each for each in broker.examine(chosen) if each.state == State.PROBLEM]
        assert "takes no writes" in wrong.text and wrong.way_out == "name the primary in broker_url"
        stranger = load(tmp_path, broker_url=url.replace("://:", "://:x"))
        assert "refuses the password" in problems(broker.examine(stranger))[0]
    assert "out of reach" in problems(broker.examine(chosen))[0]


def test_a_database_of_another_schema_or_without_tables_is_a_problem(database: Database, tmp_path: Path) -> None:
    chosen = load(tmp_path)

    def put(revision: str) -> None:
        with database.write() as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))

    assert problems(database_check.examine(chosen)) == []
    put("0003")
    assert "it has schema 0003, and this program needs" in problems(database_check.examine(chosen))[0]
    put("9999")
    assert "of a newer program" in problems(database_check.examine(chosen))[0]
    if database.engine.dialect.name == "postgresql":
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
        assert "there are no tables" in problems(database_check.examine(chosen))[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_home_that_root_made_is_a_problem_for_the_user_who_runs_it(open_folder: Path, migrated_file: Path) -> None:
    shutil.copyfile(migrated_file, open_folder / "pneumoscreen.db")
    chosen = load(open_folder)
    for examine in (database_check.examine, disk.examine):
        assert problems(examine(chosen)) == []
        found = as_nobody(partial(examine, chosen))
        assert len(problems(found)) == 1 and found[0].way_out.startswith("chown --recursive nobody")


def test_servers_that_are_away_are_problems_and_the_rest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", "postgresql+psycopg://nobody:pass-word@127.0.0.1:9/none")
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", "redis://127.0.0.1:9/0")
    findings = doctor.examine(tmp_path)
    assert {each.check for each in findings if each.state == State.PROBLEM} == {"database", "broker"}
    assert {each.check for each in findings if each.state == State.UNKNOWN} == {"clocks", "programs"}
    assert "pass-word" not in str(findings)


def test_a_port_for_metrics_that_another_program_holds_is_a_problem_that_names_it(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        chosen = load(tmp_path, worker_metrics_port=port)
        (said,) = problems(ports.examine(chosen))
        assert said.startswith(f"127.0.0.1:{port} is held by ") and f"process {os.getpid()}" in said
    assert problems(ports.examine(chosen)) == []


def test_a_disk_with_little_room_is_a_problem(tmp_path: Path) -> None:
    (said,) = problems(disk.examine(load(tmp_path, min_free_disk=10**18)))
    assert "less than min_free_disk" in said
    assert list(tmp_path.iterdir()) == []


def test_the_folder_for_backups_must_be_there_and_writable_and_pg_dump_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        problems(backups.examine(load(tmp_path))) == problems(backups.examine(load(tmp_path, backup_every=60.0))) == []
    )
    folder = tmp_path / "backups-elsewhere"
    chosen = load(tmp_path, backup_every=60.0, backup_dir=folder)
    assert problems(backups.examine(chosen)) == [f"there is no folder {folder} (backup_dir)"]
    folder.mkdir()
    assert problems(backups.examine(chosen)) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    server = load(tmp_path, backup_every=60.0, backup_dir=folder, database_url="postgresql+psycopg://h/d")
    assert "pg_dump is not installed" in problems(backups.examine(server))[0]


def test_a_live_version_that_is_damaged_is_a_problem(database: Database, tmp_path: Path) -> None:
    version = go_live(database, make_linear_version(tmp_path / "models", "mine")).version
    assert "the live version mine loads" in engine.examine(load(tmp_path))[-1].text
    (tmp_path / "models" / version / "weights.npy").write_bytes(b"damaged")
    assert "the live version mine does not load" in problems(engine.examine(load(tmp_path)))[0]


def test_results_of_a_newer_program_and_workers_that_complain_are_problems(database: Database, tmp_path: Path) -> None:
    chosen = load(tmp_path)
    go_live(database, make_linear_version(tmp_path / "models", "mine"))
    finish(database, screened(in_hand(database, "a.png")[0]))
    assert problems(programs.examine(chosen)) == []
    with database.write() as session:
        session.execute(text(f"UPDATE predictions SET decoder_revision = {DECODER_REVISION + 1}"))
    assert "of a newer program" in problems(programs.examine(chosen))[0]
    now = datetime.now(UTC)
    with database.write() as session:
        session.add(Worker(host="gpu-1", pid=7, device="cpu", error="outdated", started_at=now, heartbeat_at=now))
    assert "worker gpu-1, process 7: outdated" in problems(programs.examine(chosen))[1]


def test_settings_that_are_unknown_old_or_open_to_all_are_problems_and_the_home_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pneumoscreen.toml"
    file.write_text(
        f'patient_secret = "thirty random characters"\nwatch = 5\n[folders.a]\npath = "{tmp_path}/in"\ncolour = 1\n'
    )
    file.chmod(0o644)
    monkeypatch.setenv("PNEUMOSCREEN_SETLE", "5")
    said = "\n".join(problems(doctor.examine(tmp_path)))
    for part in (
        "there is no setting watch",
        "[folders.NAME] is the old name of [sources.NAME]",
        "a source has no setting colour, but a has one",
        "there is no setting for the variable PNEUMOSCREEN_SETLE",
        f"every user of this machine may read {file}",
    ):
        assert part in said
    file.write_text('patient_secret = "thirty random characters"\n')
    file.chmod(0o640)
    monkeypatch.delenv("PNEUMOSCREEN_SETLE")
    assert problems(settings_file.load(tmp_path)[0]) == [] and problems(settings_file.secrets(tmp_path)) == []
