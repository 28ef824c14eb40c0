import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError
from typer.main import get_command

from cli import main as cli
from cli import screen as screening
from cli.results import results
from cli.up import REFRESH_SECONDS, Rate, Watch, describe
from local import private_broker, services, supervisor
from local.private_broker import free_port
from queries.counts import Counts
from queries.results import Filters, statement
from queries.submission import outcomes
from shared import __version__
from shared.base.decoder import DECODER_REVISION
from shared.base.schema import SCHEMA
from shared.base.settings import load
from shared.database import Database, connect
from shared.database.tables import Instant
from shared.imaging.identifiers import read_identifiers
from shared.ledger.work import Quarantined, Screened
from shared.queue.broker import wait_until_ready
from tests.dicom import make, written
from tests.models import go_live, make_linear_version
from tests.unit.steps import drop, file, finish, in_hand, screened
from trainer import architectures

TOP = Path(__file__).parents[2]


def commands(group: Any, name: str = "pneumoscreen") -> Iterator[tuple[str, Any]]:
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


COMMANDS = dict(commands(get_command(cli.app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_text_and_a_documented_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert command.epilog.startswith("Example: ")
    assert all(parameter.help for parameter in command.params), "an option or argument without a help text"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_every_command_is_one_that_it_understands(name: str) -> None:
    words = shlex.split(COMMANDS[name].epilog.removeprefix("Example: ").partition(" > ")[0])
    start = words.index("pneumoscreen")
    length = len(name.split())
    assert " ".join(words[start : start + length]) == name
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in words[start + length :] if word.startswith("--")} <= known


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """What `pneumoscreen` does in this process: exit code, output, errors. A traceback would fail the test."""
    monkeypatch.setattr(sys, "argv", ["pneumoscreen", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    found = capsys.readouterr()
    code = stop.value.code
    assert isinstance(code, int | None)
    return code or 0, found.out, found.err


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._with = capsys, monkeypatch

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        return run(*self._with, *arguments)


@pytest.fixture
def pneumoscreen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command; the services that it starts take over signals, which the tests need back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield Command(capsys, monkeypatch)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_versions_of_program_schema_and_decoder_are_printed(pneumoscreen: Command) -> None:
    code, out, _ = pneumoscreen("--version")
    assert (code, out) == (0, f"pneumoscreen {__version__} (schema {SCHEMA}, decoder revision {DECODER_REVISION})\n")


def sentence(errors: str) -> str:
    """The one line that an error of ours is told in."""
    (line,) = errors.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["results", "--no-such-option"], ["screen", "/no/such/file"], ["results", "--limit", "0"]],
    ids=" ".join,
)
def test_wrong_usage_ends_with_exit_code_2_and_says_what_is_wrong(
    pneumoscreen: Command, database: Database, tmp_path: Path, arguments: list[str]
) -> None:
    code, out, errors = pneumoscreen(*arguments)
    assert (code, out) == (2, "")
    assert errors.startswith("Usage: ")
    assert "Error" in errors


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["results", "--format", "xml"], "--format"),
        (["results", "--state", "finished"], "--state"),
        (["results", "--label", "FINE"], "--label"),
        (["results", "--since", "yesterday"], "--since"),
        (["results", "--since", "0001-01-01T00:00+14:00"], "--since"),
        (["results", "--source", "wrd"], "submitted"),
        (["retry"], "--all"),
        (["up", "--flower-port", "99999"], "--flower-port"),
        (["results", "--blind"], "it goes with --to-review"),
        (["calibrate", "list-draw", "--format", "xml"], "--format must be table or csv"),
        (["calibrate", "list", "--format", "xml"], "--format must be table or json"),
        (["accuracy", "--format", "xml"], "--format must be table or json"),
        (["drift", "--format", "xml"], "--format must be table or json"),
        (["models", "compare", "v1", "v2", "--format", "xml"], "--format must be table or json"),
        (["models", "compare", "--shadow", "--format", "xml"], "--format must be table or json"),
        (["models", "compare"], "Name two versions, or use --shadow"),
        (["models", "compare", "v1", "v1"], "v1 is one version: name two of them"),
        (["models", "compare", "v1"], "Name two versions, or use --shadow"),
        (["models", "compare", "v1", "v2", "--shadow"], "--shadow takes at most one version, and no --data"),
        (["models", "compare", "--shadow", "--data", "/tmp"], "--shadow takes at most one version, and no --data"),
        (["models", "shadow", "v1"], "Say of which source: --source NAME"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_value_that_makes_no_sense_ends_with_exit_code_2_and_one_sentence(
    pneumoscreen: Command, database: Database, tmp_path: Path, arguments: list[str], named: str
) -> None:
    code, _, errors = pneumoscreen(*arguments, "--home", tmp_path)
    assert code == 2
    assert named in sentence(errors)


def test_a_wrong_setting_ends_with_exit_code_2_and_one_sentence(pneumoscreen: Command, tmp_path: Path) -> None:
    (tmp_path / "pneumoscreen.toml").write_text("setle = 3\n")
    code, _, errors = pneumoscreen("status", "--home", tmp_path)
    assert code == 2
    assert "setle" in sentence(errors)


@pytest.mark.parametrize("command", ["status", "results", "models list", "models show", "retry --all", "producer"])
def test_without_a_database_commands_end_with_exit_code_3_and_say_how_to_make_one(
    pneumoscreen: Command, tmp_path: Path, command: str
) -> None:
    code, _, errors = pneumoscreen(*command.split(), "--home", tmp_path / "none")
    assert code == 3
    assert "pneumoscreen up" in sentence(errors)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["worker", "flower"])
def test_services_without_a_broker_end_with_exit_code_3(
    pneumoscreen: Command, database: Database, tmp_path: Path, command: str
) -> None:
    code, _, errors = pneumoscreen(command, "--home", tmp_path)
    assert code == 3
    assert "PNEUMOSCREEN_BROKER_URL" in sentence(errors)


@pytest.mark.parametrize("command", ["worker", "flower", "producer", "up"])
def test_services_whose_broker_is_out_of_reach_end_with_exit_code_3(
    pneumoscreen: Command, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    go_live(database, make_linear_version(tmp_path / "models", "linear-1"))
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", f"redis://:geheim@127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(services, "BROKER_SECONDS", 0)
    code, _, errors = pneumoscreen(command, "--home", tmp_path)
    assert code == 3
    assert "is out of reach" in sentence(errors)
    assert "geheim" not in errors


@pytest.mark.parametrize("command", ["worker", "producer", "up", "status", "results", "db upgrade"])
def test_commands_whose_postgresql_is_out_of_reach_end_with_exit_code_3(
    pneumoscreen: Command, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", redis_url)
    url = f"postgresql+psycopg://user:geheim@127.0.0.1:{free_port()}/pneumoscreen"
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", url)
    code, _, errors = pneumoscreen(*command.split(), "--home", tmp_path)
    assert code == 3
    assert "database" in sentence(errors)
    assert "geheim" not in errors


@pytest.mark.parametrize("command", ["worker", "up"])
def test_without_a_whole_model_version_the_worker_ends_with_exit_code_3(
    pneumoscreen: Command,
    database: Database,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", redis_url)
    version = make_linear_version(tmp_path / "models", "linear-1")
    go_live(database, version)
    shutil.rmtree(version)
    code, _, errors = pneumoscreen(command, "--home", tmp_path)
    assert code == 3
    assert "no model version to screen with" in sentence(errors)


def test_screen_without_a_worker_ends_with_exit_code_3(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "a.png").touch()
    code, _, errors = pneumoscreen("screen", tmp_path / "a.png", "--home", tmp_path)
    assert code == 3
    assert "No worker is running" in sentence(errors)


def test_a_system_that_needs_a_person_has_a_status_with_exit_code_1(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    code, out, _ = pneumoscreen("status", "--home", tmp_path)
    assert code == 1
    assert "Needs a person: no worker process gives a sign of life" in out


def test_a_database_of_another_schema_ends_with_exit_code_3_and_names_the_remedy(
    pneumoscreen: Command, tmp_path: Path
) -> None:
    (tmp_path / "pneumoscreen.db").touch()
    code, _, errors = pneumoscreen("results", "--home", tmp_path)
    assert code == 3
    assert "pneumoscreen db upgrade" in sentence(errors)
    assert pneumoscreen("db", "upgrade", "--home", tmp_path)[0] == 0
    assert pneumoscreen("results", "--home", tmp_path)[0] == 0


def test_a_file_that_is_no_database_ends_with_exit_code_3(pneumoscreen: Command, tmp_path: Path) -> None:
    (tmp_path / "pneumoscreen.db").write_bytes(b"this is no database" * 1000)
    code, _, errors = pneumoscreen("results", "--home", tmp_path)
    assert code == 3
    assert "pneumoscreen.db" in sentence(errors)


def test_a_home_that_is_a_file_ends_with_one_sentence(pneumoscreen: Command, tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    code, _, errors = pneumoscreen("db", "upgrade", "--home", tmp_path / "home")
    assert code in (1, 2, 3)
    assert str(tmp_path / "home") in sentence(errors)


def test_db_upgrade_makes_a_new_home(pneumoscreen: Command, tmp_path: Path) -> None:
    code, out, _ = pneumoscreen("db", "upgrade", "--home", tmp_path / "new" / "home")
    assert code == 0
    assert "the tables were made" in out
    assert (tmp_path / "new" / "home" / "pneumoscreen.db").exists()


def fill(database: Database) -> None:
    odd = file('it\'s, "odd"\n[red]%_.png', second=1)
    ill, well, bad = in_hand(database, odd, file("well.png", second=2), file("bad.png", second=3))
    finish(
        database,
        screened(ill, 0.9, "a"),
        screened(well, 0.1, "b"),
        Quarantined(bad, "blank: 100%"),
    )
    drop(database, file("waiting.png", second=4))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], ["waiting.png", "bad.png", "well.png", 'it\'s, "odd"\n[red]%_.png']),
        (["--state", "done"], ["well.png", 'it\'s, "odd"\n[red]%_.png']),
        (["--label", "NORMAL"], ["well.png"]),
        (["--label", "normal"], ["well.png"]),
        (["--path", "%"], ['it\'s, "odd"\n[red]%_.png']),
        (["--path", "%_"], ['it\'s, "odd"\n[red]%_.png']),
        (["--path", "'"], ['it\'s, "odd"\n[red]%_.png']),
        (["--source", "ward", "--limit", "1"], ["waiting.png"]),
        (["--source", "submitted"], []),
        (["--model", "v1", "--label", "PNEUMONIA"], ['it\'s, "odd"\n[red]%_.png']),
        (["--since", "2026-05-04"], ["waiting.png", "bad.png", "well.png", 'it\'s, "odd"\n[red]%_.png']),
        (["--since", "2026-05-04T12:00:00.000001"], []),
        (["--since", "2026-05-05T00:00+14:00", "--state", "waiting"], ["waiting.png"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_results_are_filtered_and_survive_csv_and_json(
    pneumoscreen: Command, database: Database, tmp_path: Path, options: list[str], found: list[str]
) -> None:
    fill(database)
    code, out, _ = pneumoscreen("results", "--home", tmp_path, "--format", "json", *options)
    assert code == 0
    assert [row["path"] for row in json.loads(out)] == found
    code, out, _ = pneumoscreen("results", "--home", tmp_path, "--format", "csv", *options)
    assert [row["path"] for row in csv.DictReader(io.StringIO(out, newline=""))] == found


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_time_without_a_zone_is_utc_wherever_the_server_stands(
    pneumoscreen: Command, database: Database, tmp_path: Path, zone: str
) -> None:
    fill(database)
    with database.write() as session:
        session.execute(text(f"ALTER DATABASE {database.engine.url.database} SET timezone = '{zone}'"))
    for since, count in (("2026-05-04T12:00", 4), ("2026-05-04T12:00:01", 0)):
        code, out, _ = pneumoscreen("results", "--home", tmp_path, "--format", "json", "--since", since)
        assert (code, len(json.loads(out))) == (0, count), since


def test_a_time_is_handed_to_the_database_with_its_zone() -> None:
    """PostgreSQL would read one without it, or a text, in the zone of the session."""
    since = datetime(2026, 5, 4, tzinfo=UTC)
    query = statement(load(Path("/nowhere")), Filters(since=since), since).compile(dialect=postgresql.dialect())
    assert {type(bind.type) for bind in query.binds.values() if bind.value == since} == {Instant}


def test_superseded_is_a_state_of_the_history_alone(pneumoscreen: Command, database: Database, tmp_path: Path) -> None:
    code, _, errors = pneumoscreen("results", "--state", "superseded", "--home", tmp_path)
    assert (code, "waiting, done, quarantined, not" in sentence(errors)) == (2, True)
    _, _, errors = pneumoscreen("results", "--state", "gone", "--history", "--home", tmp_path)
    assert "waiting, done, quarantined, superseded, not" in sentence(errors)
    assert pneumoscreen("results", "--state", "superseded", "--history", "--home", tmp_path)[0] == 0


def test_a_source_is_known_by_the_settings_or_by_its_rows(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "pneumoscreen.toml").write_text(f'[sources.clinic]\npath = "{tmp_path / "clinic"}"\n')
    fill(database)
    for source in ("clinic", "ward", "submitted"):
        assert pneumoscreen("results", "--source", source, "--home", tmp_path)[0] == 0
    code, _, errors = pneumoscreen("results", "--source", "wrd", "--home", tmp_path)
    assert code == 2
    assert "no source named 'wrd'; there are: clinic, submitted, ward." in sentence(errors)


def test_the_old_name_of_an_option_works_with_a_warning(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    fill(database)
    code, out, errors = pneumoscreen("results", "--root", "submitted", "--home", tmp_path, "--format", "json")
    assert (code, json.loads(out)) == (0, [])
    assert "--root is called --source now" in errors


def test_a_list_without_rows_says_so(pneumoscreen: Command, database: Database, tmp_path: Path) -> None:
    code, _, errors = pneumoscreen("results", "--home", tmp_path)
    assert (code, errors) == (0, "No row matches.\n")
    code, out, errors = pneumoscreen("results", "--home", tmp_path, "--format", "csv")
    assert (len(out.splitlines()), errors) == (1, "")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a\x1b]0;b\n\u202e.png", "a\\x1b]0;b\\n\\u202e.png"),
        ("rayon é 肺\u3000\u202fब\u200dभ.png", "rayon é 肺\u3000\u202fब\u200dभ.png"),
    ],
)
def test_a_file_s_name_cannot_give_the_terminal_orders(name: str, told: str) -> None:
    from cli.console import shown

    assert shown(name) == told


def odd_and_usual(database: Database) -> list[int]:
    """Two images that were screened, of which the first is unlike what the model knows; returns their sightings."""
    odd, usual = in_hand(database, "odd.png", "usual.png")
    finish(
        database,
        Screened(odd, "a" * 64, "v1", 0.9998, 0.5, "PNEUMONIA", False, unfamiliar=True),
        Screened(usual, "b" * 64, "v1", 0.1, 0.5, "NORMAL", False, unfamiliar=False),
    )
    return [odd.sighting, usual.sighting]


def cells(out: str, path: str) -> list[str]:
    """A row of a table."""
    return [cell.strip() for line in out.splitlines() if path in line for cell in line.split("│")[1:-1]]


def test_the_table_of_results_names_each_image_and_says_which_is_unfamiliar(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    odd, usual = odd_and_usual(database)
    _, out, errors = pneumoscreen("results", "--home", tmp_path)
    assert cells(out, "odd.png") == [str(odd), "ward", "odd.png", "done", "PNEUMONIA", "0.9998", "yes", "v1"]
    assert cells(out, "usual.png") == [str(usual), "ward", "usual.png", "done", "NORMAL", "0.1000", "", "v1"]
    point = "By the version's own threshold, as the source had no operating point then: 2 of ward."
    assert errors.splitlines() == [point, "A screening aid, not a diagnosis."]


def test_a_table_of_usual_names_fits_a_terminal(pneumoscreen: Command, database: Database, tmp_path: Path) -> None:
    (claimed,) = in_hand(database, "2026/scan-0001.dcm")
    finish(database, screened(claimed))
    _, out, _ = pneumoscreen("results", "--home", tmp_path)
    assert max(map(len, out.splitlines())) <= 120


def test_a_flag_is_true_or_false_whatever_the_database(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    odd_and_usual(database)
    for more in ([], ["--history"]):
        _, out, _ = pneumoscreen("results", "--home", tmp_path, "--format", "json", *more)
        found = {row["path"]: row for row in json.loads(out)}
        assert [found["odd.png"][flag] for flag in ("unfamiliar", "outside_population")] == [True, False]
        assert found["usual.png"]["unfamiliar"] is False
        _, out, _ = pneumoscreen("results", "--home", tmp_path, "--format", "csv", *more)
        assert {row["unfamiliar"] for row in csv.DictReader(io.StringIO(out))} == {"1", "0"}


def test_screen_says_which_images_are_unfamiliar(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    odd, usual = odd_and_usual(database)
    with database.read() as session:
        both, one = (outcomes(session, ids) for ids in ([odd, usual], [usual]))
    screening._show(both)
    out = capsys.readouterr().out
    assert cells(out, "odd.png") == ["odd.png", "done", "PNEUMONIA", "0.9998", "0.5000", "yes", ""]
    assert cells(out, "usual.png")[-2:] == ["", ""]
    assert out.endswith("2 images: 1 PNEUMONIA, 1 unfamiliar, 0 quarantined. A screening aid, not a diagnosis.\n")
    screening._show(one)
    assert "1 images: 0 PNEUMONIA, 0 quarantined." in capsys.readouterr().out


def test_the_help_of_train_names_every_architecture() -> None:
    (option,) = (parameter for parameter in COMMANDS["pneumoscreen train"].params if parameter.name == "architecture")
    words = re.findall(r"[\w:]+", option.help)
    assert {*architectures.NAMES, "variants:all"} <= set(words)


def test_the_table_of_results_shows_names_with_brackets_as_they_are(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    fill(database)
    code, out, _ = pneumoscreen("results", "--home", tmp_path)
    assert code == 0
    assert "[red]%_.png" in out
    assert "blank: 100%" in out


def test_retry_takes_what_it_is_told_to(pneumoscreen: Command, database: Database, tmp_path: Path) -> None:
    fill(database)
    code, _, errors = pneumoscreen("retry", "well.png", "--home", tmp_path)
    assert code == 1
    assert "Nothing that is quarantined matches" in sentence(errors)
    code, out, _ = pneumoscreen("retry", "--reason", "100%", "--home", tmp_path)
    assert (code, out) == (0, "1 images are screened again.\n")


def test_an_image_is_named_alike_for_every_command(pneumoscreen: Command, database: Database, tmp_path: Path) -> None:
    fill(database)
    with database.read() as session:
        number = session.execute(text("SELECT id FROM sightings WHERE path = 'bad.png'")).scalar_one()
    for name in ("bad.png", "ward/bad.png", number):
        code, out, _ = pneumoscreen("results", name, "--format", "json", "--home", tmp_path)
        assert (code, [row["path"] for row in json.loads(out)]) == (0, ["bad.png"])
        assert pneumoscreen("review", name, "NOT_READABLE", "--by", "me", "--home", tmp_path)[0] == 0
    for command in (["retry"], ["dismiss", "--by", "me", "--reason", "text"], ["results"]):
        code, _, errors = pneumoscreen(*command, "none.png", "--home", tmp_path)
        assert (code, "there is no image 'none.png'" in sentence(errors)) == (1, True)
    assert pneumoscreen("dismiss", number, "--by", "me", "--reason", "a letter", "--home", tmp_path)[0] == 0
    assert pneumoscreen("retry", number, "--home", tmp_path)[:2] == (0, "1 images are screened again.\n")


def test_results_of_several_images_and_of_a_content_can_be_asked_for(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    fill(database)
    for names, found in (
        (["b" * 64, "bad.png"], ["bad.png", "well.png"]),
        (["ward/well.png", "--state", "quarantined"], []),
    ):
        for more in ([], ["--history"]):
            _, out, _ = pneumoscreen("results", *names, *more, "--format", "json", "--home", tmp_path)
            assert [row["path"] for row in json.loads(out)] == found


def test_the_table_of_what_is_quarantined_shows_what_is_resolved(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    fill(database)
    pneumoscreen("dismiss", "--all-matching", "100%", "--by", "me", "--reason", "a letter", "--home", tmp_path)
    _, out, _ = pneumoscreen("results", "--state", "quarantined", "--home", tmp_path)
    assert cells(out, "bad.png")[-2:] == ["blank: 100%", "dismissed"]


def of_a_pacs(database: Database, secret: str) -> None:
    """Two images of one patient in two studies, and one of another; the headers are read as the worker does."""
    first, second, other = in_hand(database, "first.dcm", "second.dcm", "other.dcm")
    headers = [
        {"PatientID": "PID-4711", "StudyInstanceUID": "1.2.1", "AccessionNumber": "A-1"},
        {"PatientID": "PID-4711", "StudyInstanceUID": "1.2.2", "AccessionNumber": "A-2"},
        {"PatientID": "PID-4711", "IssuerOfPatientID": "clinic", "StudyInstanceUID": "1.2.3", "AccessionNumber": "A-3"},
    ]
    outcomes = []
    for claimed, header, content in zip((first, second, other), headers, "abc", strict=True):
        identifiers, _ = read_identifiers(written(make(np.zeros((8, 8), np.uint16), **header)), SecretStr(secret))
        outcomes.append(Screened(claimed, content * 64, "v1", 0.9, 0.5, "PNEUMONIA", False, identifiers))
    finish(database, *outcomes)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--accession", "A-2"], {"second.dcm"}),
        (["--study-uid", "1.2.1"], {"first.dcm"}),
        (["--patient", "PID-4711"], {"first.dcm", "second.dcm"}),
        (["--patient", "PID-4711", "--issuer", "clinic"], {"other.dcm"}),
        (["--patient", "4712"], set()),
    ],
)
def test_results_are_found_by_accession_number_study_and_patient(
    pneumoscreen: Command,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    found: set[str],
) -> None:
    secret = "a secret of the hospital"
    of_a_pacs(database, secret)
    monkeypatch.setenv("PNEUMOSCREEN_PATIENT_SECRET", secret)
    _, out, _ = pneumoscreen("results", *options, "--format", "json", "--home", tmp_path)
    assert {row["path"] for row in json.loads(out)} == found
    assert "PID-4711" not in out


def test_a_patient_cannot_be_looked_for_without_the_secret(
    pneumoscreen: Command, database: Database, tmp_path: Path
) -> None:
    code, _, errors = pneumoscreen("results", "--patient", "PID-4711", "--home", tmp_path)
    assert (code, "patient_secret" in sentence(errors), "PID-4711" in errors) == (2, True, False)
    code, _, errors = pneumoscreen("results", "--issuer", "clinic", "--home", tmp_path)
    assert (code, "--patient" in sentence(errors)) == (2, True)


def exported(home: Path, capture: pytest.CaptureFixture[bytes], **filters: Any) -> Any:
    parquet = pytest.importorskip("pyarrow.parquet")
    results(load(home), Filters(**filters), format="parquet")
    return parquet.read_table(io.BytesIO(capture.readouterr().out))


def test_a_parquet_file_has_the_same_typed_columns_whatever_its_rows_hold(
    database: Database, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pa = pytest.importorskip("pyarrow")
    fill(database)
    done, waiting = (exported(tmp_path, capfdbinary, state=state) for state in ("done", "waiting"))
    assert done.schema.equals(waiting.schema)
    assert pa.concat_tables([done, waiting]).num_rows == 3
    types = {"seen_at": pa.timestamp("us", "UTC"), "probability": pa.float64(), "unfamiliar": pa.bool_()}
    types |= {"sighting_id": pa.int64(), "reviewed_label": pa.string()}
    assert {name: done.schema.field(name).type for name in types} == types
    assert done.column("seen_at")[0].as_py() == datetime(2026, 5, 4, 12, tzinfo=UTC)
    assert done.column("label").to_pylist() == ["NORMAL", "PNEUMONIA"]
    history = exported(tmp_path, capfdbinary, history=True)
    assert history.schema.field("is_result").type == pa.int64()


def test_models_are_listed_and_shown(pneumoscreen: Command, database: Database, tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        go_live(database, make_linear_version(tmp_path / "models", name))
    code, out, _ = pneumoscreen("models", "list", "--home", tmp_path)
    assert code == 0
    assert [("v1" in line, "live" in line) for line in out.splitlines() if "linear" in line] == [
        (True, False),
        (False, True),
    ]
    code, out, _ = pneumoscreen("models", "show", "--home", tmp_path)
    assert '"version": "v2"' in out
    code, _, errors = pneumoscreen("models", "show", "v9", "--home", tmp_path)
    assert code == 1
    assert "'v9'" in sentence(errors)


def test_the_command_itself_ends_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.main", "results", "--home", str(tmp_path / "none")]
    found = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (3, "")
    assert sentence(found.stderr)


def test_a_reader_that_closes_the_pipe_early_sees_no_traceback(database: Database, tmp_path: Path) -> None:
    drop(database, *(f"{'long ' * 30}{number}.png" for number in range(1000)))
    command = f"{shlex.quote(sys.executable)} -m cli.main results --format csv --home {shlex.quote(str(tmp_path))}"
    found = subprocess.run(f"{command} | head -n 1", shell=True, cwd=TOP, capture_output=True, text=True, timeout=60)
    assert found.stdout.startswith("sighting_id,")
    assert found.stderr == ""


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(seconds=5.0)
    assert rate.update(100, now=0.0) == 0.0
    assert rate.update(110, now=1.0) == 10.0
    assert rate.update(150, now=5.0) == 10.0
    assert rate.update(150, now=6.0) == 8.0  # since second 1, when there were 110
    assert rate.update(150, now=60.0) == 0.0


def test_the_rate_is_never_negative() -> None:
    rate = Rate()
    rate.update(100, now=0.0)
    assert rate.update(50, now=1.0) == 0.0  # a retry takes images back


def test_the_line_says_that_the_model_is_loading_until_it_is_ready() -> None:
    counts = Counts(waiting=1234, done=5, quarantined=0)
    assert describe(counts, 0.0, is_ready=False) == (
        "waiting 1,234 · done 5 · quarantined 0 · the worker is loading its model"
    )
    assert describe(counts, 12.34, is_ready=True).endswith("12.3 images/s")


def test_the_line_says_that_the_database_is_out_of_reach_and_goes_on_when_it_is_back(database: Database) -> None:
    watch = Watch(connect(f"postgresql+psycopg://postgres@127.0.0.1:{free_port()}/nothing"))
    watch.look(0.0)
    assert watch.line(1.0).startswith("the database is out of reach, everything else goes on: ")
    assert watch.line(30.0) == "the database has not answered for 30 s"
    watch = Watch(database)
    watch.look(60.0)
    assert watch.line(61.0).startswith("waiting 0 · done 0 · quarantined 0")


def test_a_database_that_takes_long_to_count_is_left_alone_for_much_longer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: object) -> Counts:
        time.sleep(0.1)
        return Counts(done=10_000_000)

    monkeypatch.setattr("cli.up.count", slow)
    watch = Watch(database)
    assert (pause := pause_after_a_look(watch)) >= 2.0
    assert watch.line(time.monotonic() + pause + 5).startswith("waiting 0 · done 10,000,000")


def test_a_database_that_is_out_of_reach_is_asked_again_soon(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> Counts:
        time.sleep(0.1)
        raise OperationalError("SELECT", {}, Exception("connection refused"))

    monkeypatch.setattr("cli.up.count", gone)
    assert pause_after_a_look(Watch(database)) == REFRESH_SECONDS


def pause_after_a_look(watch: Watch) -> float:
    """In seconds."""
    pauses: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return len(pauses) > 1

    watch.run(Stop())
    return pauses[1]


def test_the_rate_is_known_where_looks_are_far_apart() -> None:
    rate = Rate(seconds=5.0)
    rate.update(0, now=0.0)
    assert rate.update(240, now=12.0) == 20.0


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts programs that are gone after the test."""
    programs: list[subprocess.Popen[bytes]] = []

    def begin(command: Sequence[str], **more: str) -> "subprocess.Popen[bytes]":
        programs.append(subprocess.Popen(command, env={**os.environ, **more}, stdout=subprocess.DEVNULL))
        return programs[-1]

    yield begin
    for program in programs:
        program.kill()
        program.wait()


def test_what_a_killed_supervisor_left_behind_is_ended_and_nothing_else(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    """It would work on in a home in which `up` starts anew."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    programs = [start(command, **{supervisor.MARK: str(tmp_path / name)}) for name in ("home", "another")]
    supervisor._end_programs(tmp_path / "home")
    assert programs[0].wait(60) == -signal.SIGKILL
    assert programs[1].poll() is None


def test_a_broker_that_a_killed_supervisor_left_behind_is_ended_and_no_other_homes(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    """Two on one file would spoil it. A server overwrites its environment, where its home's mark was."""
    brokers = [private_broker.prepare(tmp_path / name) for name in ("home", "another")]
    servers = [start(broker.command) for broker in brokers]
    for broker in brokers:
        wait_until_ready(broker.url, 20)
    supervisor._end_programs(tmp_path / "home")
    assert servers[0].wait(60) == -signal.SIGKILL
    assert servers[1].poll() is None


@pytest.mark.parametrize("command", [["retry"], ["db", "forget", "--by", "me", "--yes"], ["review", "--by", "me"]])
def test_a_name_that_is_not_utf_8_on_the_command_line_is_no_traceback(
    pneumoscreen: Command, database: Database, tmp_path: Path, command: list[str]
) -> None:
    label = ["NORMAL"] if command[0] == "review" else []
    code, _, errors = pneumoscreen(*command, os.fsdecode(b"inv\xffalid.png"), *label, "--home", tmp_path)
    assert code == 1
    sentence(errors)
