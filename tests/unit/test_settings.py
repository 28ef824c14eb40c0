import os
import re
import tomllib
from pathlib import Path

import psutil
import pytest
from pydantic_core import PydanticUndefined

from shared import settings
from shared.errors import WrongSettings
from shared.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "pneumoscreen.toml.example"


def write(home: Path, text: str) -> None:
    (home / "pneumoscreen.toml").write_text(text, encoding="utf-8")


def announce(home: Path, text: str) -> None:
    settings.announcement(home).parent.mkdir(exist_ok=True)
    settings.announcement(home).write_text(text, encoding="utf-8")


def test_a_fresh_home_needs_no_settings_file(tmp_path: Path) -> None:
    found = settings.load(tmp_path)
    assert (found.settle, found.message_size, found.folders) == (2.0, 128, {})
    assert found.database == f"sqlite:///{tmp_path}/pneumoscreen.db"
    assert found.models == tmp_path / "models"


def test_the_environment_wins_over_the_file_and_the_file_over_what_up_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(tmp_path, 'settle = 1\nlinger = 1\nlease = 1\nbroker_url = "redis://announced"\n')
    write(tmp_path, "settle = 2\nlinger = 2\n")
    monkeypatch.setenv("PNEUMOSCREEN_SETTLE", "3")
    found = settings.load(tmp_path)
    assert (found.settle, found.linger, found.lease) == (3, 2, 1)
    assert found.broker_url is not None
    assert found.broker_url.get_secret_value() == "redis://announced"


def test_an_argument_wins_over_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_SETTLE", "3")
    assert settings.load(tmp_path, settle=4).settle == 4


def test_settings_cannot_be_changed_later(tmp_path: Path) -> None:
    found = settings.load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.settle = 9


def test_a_password_in_the_brokers_address_is_not_shown(tmp_path: Path) -> None:
    found = settings.load(tmp_path, broker_url="redis://:geheim@host/0")
    assert "geheim" not in repr(found) + str(found)


def test_folders_come_from_the_file_with_their_lane(tmp_path: Path) -> None:
    write(tmp_path, '[folders.ward]\npath = "/srv/ward"\n[folders.er]\npath = "/srv/er"\nlane = "stat"\n')
    found = settings.load(tmp_path)
    assert {name: (str(f.path), f.lane, f.polling) for name, f in found.folders.items()} == {
        "ward": ("/srv/ward", "routine", None),
        "er": ("/srv/er", "stat", None),
    }
    assert set(found.roots) == {"ward", "er", "submitted"}
    assert found.roots["submitted"].path == tmp_path / "submitted"


def test_folders_may_come_from_the_environment_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_FOLDERS", '{"ward": {"path": "/srv/ward"}}')
    assert settings.load(tmp_path).folders["ward"].path == Path("/srv/ward")


def test_a_tilde_in_a_path_is_the_users_home(tmp_path: Path) -> None:
    write(tmp_path, '[folders.ward]\npath = "~/ward"\n')
    assert settings.load(tmp_path).folders["ward"].path == Path.home() / "ward"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("settle", "-1"),
        ("settle", "soon"),
        ("settle", "nan"),
        ("settle", "3601"),
        ("sweep_every", "0"),
        ("linger", "-0.1"),
        ("message_size", "0"),
        ("message_size", "1001"),
        ("message_size", "1.5"),
        ("messages_ahead", "0"),
        ("batch_size", "0"),
        ("batch_size", "1025"),
        ("processes", "0"),
        ("decode_threads", "0"),
        ("max_pixels", "0"),
        ("max_bytes", "0"),
        ("lease", "0"),
        ("resend_after", "0"),
        ("recover_every", "0"),
        ("log_level", "LOUD"),
    ],
)
def test_a_wrong_value_gives_one_sentence_that_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PNEUMOSCREEN_{name.upper()}", value)
    with pytest.raises(WrongSettings, match=rf"^Wrong setting: {name}: [^\n]+$") as caught:
        settings.load(tmp_path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("setle = 3", "setle"),
        ("settle = 'soon'", "settle"),
        ("[folders.ward]\nlane = 'stat'", "folders.ward.path"),
        ("[folders.ward]\npath = '/srv'\nlane = 'express'", "folders.ward.lane"),
        ("[folders.ward]\npath = '/srv'\nlane = 'suspect'", "folders.ward.lane"),
        ("[folders.ward]\npath = '/srv'\npoling = true", "folders.ward.poling"),
        ("[folders.submitted]\npath = '/srv'", "folders"),
    ],
)
def test_a_wrong_line_in_the_file_gives_one_sentence_that_names_the_setting(
    tmp_path: Path, text: str, named: str
) -> None:
    write(tmp_path, text)
    with pytest.raises(WrongSettings, match=rf"^Wrong setting: {re.escape(named)}: [^\n]+$"):
        settings.load(tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    write(tmp_path, "settle: 3\n")
    with pytest.raises(WrongSettings, match=re.escape(f"{tmp_path}/pneumoscreen.toml cannot be read")):
        settings.load(tmp_path)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "pneumoscreen.toml").write_bytes("# für die Station\n".encode("latin-1"))
    with pytest.raises(WrongSettings, match=re.escape(f"{tmp_path}/pneumoscreen.toml cannot be read")):
        settings.load(tmp_path)


def test_folders_in_the_environment_that_are_not_json_give_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_FOLDERS", "/srv/ward")
    with pytest.raises(WrongSettings, match="folders"):
        settings.load(tmp_path)


def test_a_misspelt_variable_is_refused_like_a_misspelt_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_SETLE", "3")
    with pytest.raises(WrongSettings, match="PNEUMOSCREEN_SETLE"):
        settings.load(tmp_path)


@pytest.mark.parametrize("name", ["lease", "resend_after"])
def test_a_time_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PNEUMOSCREEN_{name.upper()}", "inf")
    with pytest.raises(WrongSettings, match=name):
        settings.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[folders.ward]\npath = '~nobody-of-that-name/ward'", "folders.ward.path: .*no such user"),
        ("training_data = '~nobody-of-that-name'", "training_data: .*no such user"),
        ('[folders.ward]\npath = "/srv\\u0000"', "folders.ward.path: .*zero byte"),
        ("folders = " + "[" * 5000, "brackets within brackets"),
    ],
)
def test_what_can_be_no_path_or_no_value_gives_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    with pytest.raises(WrongSettings, match=f"^Wrong setting: {said}"):
        settings.load(tmp_path)


def test_variables_nested_without_end_give_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_FOLDERS", "[" * 50_000)
    with pytest.raises(WrongSettings, match="brackets within brackets"):
        settings.load(tmp_path)


def test_a_home_of_a_user_who_does_not_exist_gives_a_sentence() -> None:
    with pytest.raises(WrongSettings, match="home folder cannot be found"):
        settings.load(Path("~nobody-of-that-name"))


def test_the_home_named_in_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_HOME", str(tmp_path / "mine"))
    assert settings.find_home() == tmp_path / "mine"
    assert settings.load().home == tmp_path / "mine"


def test_without_any_hint_the_home_is_below_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert settings.find_home() == Path.home() / ".pneumoscreen"


def test_a_running_system_is_found_from_a_second_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    note = settings.register_home(tmp_path / "running")
    assert settings.find_home() == tmp_path / "running"
    monkeypatch.setenv("PNEUMOSCREEN_HOME", str(tmp_path / "mine"))
    assert settings.find_home() == tmp_path / "mine"
    monkeypatch.delenv("PNEUMOSCREEN_HOME")
    note.unlink()
    assert settings.find_home() == Path.home() / ".pneumoscreen"


def test_the_note_of_a_system_that_was_killed_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    note = settings.register_home(tmp_path / "running")
    dead = note.rename(note.with_name(str(2**22 + 1)))  # above the highest process number
    assert settings.find_home() == Path.home() / ".pneumoscreen"
    assert not dead.exists()


def test_a_process_number_that_was_given_to_another_since_is_not_taken_for_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    note = settings.register_home(tmp_path / "running")
    note.write_text(f"1.0\n{tmp_path / 'running'}", encoding="utf-8")
    (note.parent / "stray").touch()
    assert settings.find_home() == Path.home() / ".pneumoscreen"


def test_two_running_systems_must_be_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    note = settings.register_home(tmp_path / "one")
    parent = psutil.Process(os.getppid())
    note.with_name(str(parent.pid)).write_text(f"{parent.create_time()}\n{tmp_path / 'two'}", encoding="utf-8")
    with pytest.raises(WrongSettings, match=r"Several systems run here .*one.*two|two.*one"):
        settings.find_home()


def example() -> dict[str, object]:
    """The example file with every commented setting uncommented."""
    text = re.sub(r"^# ?(?=[a-z_]+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tomllib.loads(text)


def test_every_setting_stands_in_the_example_and_no_other() -> None:
    assert set(example()) == set(Settings.model_fields) - {"home"}


def test_the_example_shows_the_defaults() -> None:
    shown = example()
    for name, field in Settings.model_fields.items():
        if name == "folders" or field.default in (None, PydanticUndefined):
            continue  # what has no fixed default is shown with a value such as people write
        assert shown[name] == field.default, name


def test_the_example_is_a_valid_file(tmp_path: Path) -> None:
    text = re.sub(r"^# ?(?=[a-z_]+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    write(tmp_path, text)
    assert settings.load(tmp_path).folders
