import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from local import announcing
from queries import setting_names
from shared import database, sources
from shared.base import home as home_folder
from shared.base import renamed, settings
from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.base.source_settings import IGNORED_BY_DEFAULT, OWN, OWN_SOURCES
from shared.sources.links import check_links

TOP = Path(__file__).parents[2]
PARTS = ("shared", "queries", "actions", "producer", "worker", "trainer", "node", "courier", "local", "cli")
UNCOMMENTED = r"^# ?(?=[a-z_]+ = |\[|  \"|\])"
EXAMPLE = TOP / "pneumoscreen.toml.example"


def write(home: Path, text: str) -> None:
    (home / "pneumoscreen.toml").write_text(text, encoding="utf-8")


def announce(home: Path, text: str) -> None:
    home_folder.announcement(home).parent.mkdir(exist_ok=True)
    home_folder.announcement(home).write_text(text, encoding="utf-8")


def test_a_fresh_home_needs_no_settings_file(tmp_path: Path) -> None:
    found = settings.load(tmp_path)
    assert (found.settle, found.message_size, found.sources) == (2.0, 128, {})
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


def test_sources_come_from_the_file_with_their_lane(tmp_path: Path) -> None:
    write(tmp_path, '[sources.ward]\npath = "/srv/ward"\n[sources.er]\npath = "/srv/er"\nlane = "stat"\n')
    found = settings.load(tmp_path)
    assert {name: (str(f.path), f.lane, f.polling) for name, f in found.sources.items()} == {
        "ward": ("/srv/ward", "routine", None),
        "er": ("/srv/er", "stat", None),
    }
    assert set(sources.build(found)) == {"ward", "er", "submitted"}
    assert sources.build(found)["submitted"].place == str(tmp_path / "submitted")


def test_sources_may_come_from_the_environment_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_SOURCES", '{"ward": {"path": "/srv/ward"}}')
    assert settings.load(tmp_path).sources["ward"].path == Path("/srv/ward")


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """What was warned of since, in a process that has warned of nothing yet."""
    renamed._warn_once.cache_clear()
    return lambda: caplog.text


def test_the_older_name_of_sources_is_read_with_a_warning_that_says_what_to_write(
    tmp_path: Path, warned: Callable[[], str]
) -> None:
    write(tmp_path, '[folders.ward]\npath = "/srv/ward"\n[sources.er]\npath = "/srv/er"\n')
    for _ in range(2):
        assert set(settings.load(tmp_path).sources) == {"ward", "er"}
    assert warned().count("[folders.NAME] is now [sources.NAME]") == 1


def test_the_older_variable_is_read_with_a_warning_and_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: Callable[[], str]
) -> None:
    write(tmp_path, '[folders.ward]\npath = "/srv/ward"\nlane = "stat"\n')
    monkeypatch.setenv("PNEUMOSCREEN_FOLDERS", '{"ward": {"path": "/srv/other"}}')
    ward = settings.load(tmp_path).sources["ward"]
    assert (str(ward.path), ward.lane) == ("/srv/other", "stat")
    assert "PNEUMOSCREEN_FOLDERS is now PNEUMOSCREEN_SOURCES" in warned()


@pytest.mark.parametrize("variable", [None, "PNEUMOSCREEN_SOURCES", "PNEUMOSCREEN_FOLDERS"])
def test_one_source_under_both_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    text = {"folders": '[folders.ward]\npath = "/srv/ward"\n', "sources": '[sources.ward]\npath = "/srv/ward"\n'}
    if variable is None:
        write(tmp_path, "".join(text.values()))
    else:
        write(tmp_path, text["folders" if variable == "PNEUMOSCREEN_SOURCES" else "sources"])
        monkeypatch.setenv(variable, '{"ward": {"path": "/srv/ward"}}')
    with pytest.raises(WrongSettings, match=r"ward stands under both sources and folders: .*write \[sources\.ward\]"):
        settings.load(tmp_path)


def test_what_up_announced_does_not_contradict_the_older_name(tmp_path: Path) -> None:
    write(tmp_path, '[folders.ward]\npath = "/srv/ward"\n')
    announce(tmp_path, '[sources.ward]\npath = "/srv/ward"\n[sources.inbox]\npath = "/srv/inbox"\n')
    assert set(settings.load(tmp_path).sources) == {"ward", "inbox"}


def test_the_older_variable_that_is_not_json_gives_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_FOLDERS", "/srv/ward")
    with pytest.raises(WrongSettings, match="PNEUMOSCREEN_FOLDERS is not JSON"):
        settings.load(tmp_path)


def test_what_a_source_ignores_is_a_setting(tmp_path: Path) -> None:
    write(tmp_path, '[sources.ward]\npath = "/srv/ward"\n[sources.er]\npath = "/srv/er"\nignore = ["*.sr.dcm"]\n')
    ignored = {name: source.ignore for name, source in settings.load(tmp_path).sources.items()}
    assert ignored == {"ward": IGNORED_BY_DEFAULT, "er": ("*.sr.dcm",)}


@pytest.mark.parametrize("line", ['kind = "pacs"', 'ignore = "*.pdf"', 'ignore = [""]'])
def test_a_wrong_kind_or_pattern_gives_a_sentence(tmp_path: Path, line: str) -> None:
    write(tmp_path, f'[sources.ward]\npath = "/srv/ward"\n{line}\n')
    with pytest.raises(WrongSettings, match=rf"^Wrong setting: sources\.ward\.{line.split()[0]}"):
        settings.load(tmp_path)


def test_what_up_announces_of_a_source_is_read_back_as_it_was_set(tmp_path: Path) -> None:
    lines = (
        *("[sources.'ward \\ 7']", "path = '/srv/ward'", "lane = 'stat'", "polling = true", "marker = 'site/a b.txt'"),
        *("ignore = ['*.\\x', '\"']", "quiet_after = 90", "expected = ['Mon 07:00-18:00', '22:00-06:00']"),
    )
    write(tmp_path, "\n".join(lines))
    chosen = settings.load(tmp_path).sources
    (tmp_path / "pneumoscreen.toml").unlink()
    home_folder.announcement(tmp_path).parent.mkdir()
    announcing.announce(tmp_path, {}, chosen)
    assert settings.load(tmp_path).sources == chosen
    assert chosen["ward \\ 7"].quiet_after == 90.0


def test_a_tilde_in_a_path_is_the_users_home(tmp_path: Path) -> None:
    write(tmp_path, '[sources.ward]\npath = "~/ward"\n')
    assert settings.load(tmp_path).sources["ward"].path == Path.home() / "ward"


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
        ("settle = 'soon'", "settle"),
        ("[sources.ward]\nlane = 'stat'", "sources.ward.path"),
        ("[sources.ward]\npath = '/srv'\nlane = 'express'", "sources.ward.lane"),
        ("[sources.ward]\npath = '/srv'\nlane = 'suspect'", "sources.ward.lane"),
        ("[sources.ward]\npath = '/srv'\nmarker = '../a'", "sources.ward.marker"),
        ("[sources.ward]\npath = '/srv'\nmarker = '/srv/a'", "sources.ward.marker"),
        ("[sources.ward]\npath = '/srv'\nmarker = ' '", "sources.ward.marker"),
        ("[sources.ward]\npath = '/srv'\nquiet_after = 0", "sources.ward.quiet_after"),
        ("[sources.ward]\npath = '/srv'\nexpected = ['Mo 07:00-18:00']", "sources.ward.expected"),
        ("time_zone = 'Europe/Atlantis'", "time_zone"),
        ("[sources.submitted]\npath = '/srv'", "sources"),
    ],
)
def test_a_wrong_line_in_the_file_gives_one_sentence_that_names_the_setting(
    tmp_path: Path, text: str, named: str
) -> None:
    write(tmp_path, text)
    with pytest.raises(WrongSettings, match=rf"^Wrong setting: {re.escape(named)}: [^\n]+$"):
        settings.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [("setle = 3\nlinger = 'soon'", "setle"), ("[sources.ward]\npath = '/srv'\npoling = true", "sources.ward.poling")],
)
def test_a_misspelt_line_is_refused_in_the_words_of_a_misspelt_variable(tmp_path: Path, text: str, named: str) -> None:
    write(tmp_path, text)
    with pytest.raises(WrongSettings, match=rf"^There is no such setting: {named}: pneumoscreen\.toml\.example lists"):
        settings.load(tmp_path)


@pytest.mark.parametrize(("name", "least"), [("patient_secret", 16), ("signing_key", 16), ("flower_password", 8)])
def test_a_secret_that_is_too_short_is_measured_in_characters(tmp_path: Path, name: str, least: int) -> None:
    with pytest.raises(WrongSettings, match=rf"{name}: .*at least {least} characters, not 5\.") as caught:
        settings.load(tmp_path, **{name: "12345"})
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://:geheim@broker.example/0",
        "redis://broker.example:6380",
        "redis://broker.example:6380//1",
        "redis://:geheim%2Fgeheim@[::1]:6379/15",
        "rediss://user:geheim@broker.example:6380/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_an_address_of_a_redis_is_taken_as_it_is(tmp_path: Path, url: str) -> None:
    found = settings.load(tmp_path, broker_url=url).broker_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker.example",
        "amqp://:geheim@broker.example",
        "sentinel://:geheim@broker.example",
        "unix:///run/redis.sock?password=geheim",
        "unix://geheim",  # Celery has none
        "redis://:geheim@127.0.0.1:notaport/0",
        "redis://:geheim@127.0.0.1:99999/0",
        "redis://:geheim/geheim@broker.example/0",  # its reader takes the password's beginning for a port
        "redis://:geheim@broker.example/geheim",
        "redis://:12#geheim@broker.example/0",
        "redis://:geheim@[::1/0",
        "redis://:geheim@broker.example/0?socket_timeout=soon",
    ],
)
def test_what_is_no_address_of_a_redis_is_refused_and_its_password_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", url)
    with pytest.raises(
        WrongSettings, match=r"^Wrong setting: broker_url: it is no address of a Redis, [^\n]+$"
    ) as caught:
        settings.load(tmp_path)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        ({"ward": "home"}, r"ward \(.*/home\) overlaps with the home folder's own broker \(.*/home/broker\)"),
        ({"ward": "."}, r"ward .* the home folder's own"),
        ({"ward": "elsewhere/../home"}, r"ward .* the home folder's own"),
        ({"ward": "home/submitted"}, r"ward .* the home folder's own submitted"),
        ({"ward": "home/models/ward"}, r"ward .* the home folder's own models"),
        ({"ward": "data", "clinic": "data"}, r"clinic \(.*/data\) overlaps with ward \(.*/data\)"),
        ({"ward": "data", "clinic": "data/clinic"}, r"clinic \(.*/data/clinic\) overlaps with ward"),
        ({"ward": "data/ward", "all": "data"}, r"all \(.*/data\) overlaps with ward"),
    ],
)
def test_folders_that_overlap_each_other_or_what_is_the_homes_own_are_refused(
    tmp_path: Path, folders: dict[str, str], named: str
) -> None:
    with pytest.raises(WrongSettings, match=f"^Wrong setting: sources: {named}"):
        settings.load(tmp_path / "home", sources={name: {"path": tmp_path / path} for name, path in folders.items()})


def test_folders_that_lie_apart_are_taken_and_so_is_the_inbox_in_the_home(tmp_path: Path) -> None:
    paths = {"inbox": "home/inbox", "ward": "data/ward", "ward-7": "data/ward-7", "clinic": "home-clinic"}
    found = settings.load(tmp_path / "home", sources={name: {"path": tmp_path / path} for name, path in paths.items()})
    check_links(found)
    assert set(sources.build(found)) == {*paths, "submitted"}


@pytest.mark.parametrize("target", ["home", "data", "data/clinic"])
def test_folders_that_overlap_by_a_link_are_refused_where_they_are_watched(tmp_path: Path, target: str) -> None:
    for path in ("home", "data/clinic"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / target)
    folders = {"ward": {"path": tmp_path / "data"}, "linked": {"path": tmp_path / "link"}}
    found = settings.load(tmp_path / "home", sources=folders)
    with pytest.raises(WrongSettings, match=r"linked \(.*/link\) overlaps with"):
        check_links(found)


def test_every_folder_that_the_code_makes_in_a_home_counts_as_its_own() -> None:
    code = [file.read_text(encoding="utf-8") for part in PARTS for file in (TOP / part).rglob("*.py")]
    made = {name for text in code for name in re.findall(r'\bhome / "([a-z]+)"', text)}
    assert made - {"inbox"} == set(OWN) - set(OWN_SOURCES)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    write(tmp_path, "settle: 3\n")
    with pytest.raises(WrongSettings, match=re.escape(f"{tmp_path}/pneumoscreen.toml cannot be read")):
        settings.load(tmp_path)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "pneumoscreen.toml").write_bytes("# für die Station\n".encode("latin-1"))
    with pytest.raises(WrongSettings, match=re.escape(f"{tmp_path}/pneumoscreen.toml cannot be read")):
        settings.load(tmp_path)


def test_sources_in_the_environment_that_are_not_json_give_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_SOURCES", "/srv/ward")
    with pytest.raises(WrongSettings, match="sources"):
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
        ("[sources.ward]\npath = '~nobody-of-that-name/ward'", "sources.ward.path: .*no such user"),
        ("training_data = '~nobody-of-that-name'", "training_data: .*no such user"),
        ('[sources.ward]\npath = "/srv\\u0000"', "sources.ward.path: .*zero byte"),
        ("sources = " + "[" * 5000, "brackets within brackets"),
    ],
)
def test_what_can_be_no_path_or_no_value_gives_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    with pytest.raises(WrongSettings, match=f"^Wrong setting: {said}"):
        settings.load(tmp_path)


def test_variables_nested_without_end_give_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_SOURCES", "[" * 50_000)
    with pytest.raises(WrongSettings, match="brackets within brackets"):
        settings.load(tmp_path)


def test_a_home_of_a_user_who_does_not_exist_gives_a_sentence() -> None:
    with pytest.raises(WrongSettings, match="home folder cannot be found"):
        settings.load(Path("~nobody-of-that-name"))


def test_the_home_named_in_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_HOME", str(tmp_path / "mine"))
    assert home_folder.find_home() == tmp_path / "mine"
    assert settings.load().home == tmp_path / "mine"


def test_without_any_hint_the_home_is_below_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert home_folder.find_home() == Path.home() / ".pneumoscreen"


def test_a_running_system_is_found_from_a_second_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with home_folder.registered(tmp_path / "running"):
        assert home_folder.find_home() == tmp_path / "running"
        monkeypatch.setenv("PNEUMOSCREEN_HOME", str(tmp_path / "mine"))
        assert home_folder.find_home() == tmp_path / "mine"
        monkeypatch.delenv("PNEUMOSCREEN_HOME")
    assert home_folder.find_home() == Path.home() / ".pneumoscreen"


def test_the_note_of_a_system_that_was_killed_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with home_folder.registered(tmp_path / "running") as note:
        dead = note.rename(note.with_name(str(2**22 + 1)))  # above the highest process number
    assert home_folder.find_home() == Path.home() / ".pneumoscreen"
    assert not dead.exists()


def test_a_process_number_that_was_given_to_another_since_is_not_taken_for_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with home_folder.registered(tmp_path / "running") as note:
        note.write_text(f"1.0\n{tmp_path / 'running'}", encoding="utf-8")
        (note.parent / "stray").touch()
        assert home_folder.find_home() == Path.home() / ".pneumoscreen"


def test_two_running_systems_must_be_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    parent = psutil.Process(os.getppid())
    with home_folder.registered(tmp_path / "one") as note:
        note.with_name(str(parent.pid)).write_text(f"{parent.create_time()}\n{tmp_path / 'two'}", encoding="utf-8")
        with pytest.raises(WrongSettings, match=r"Several systems run here .*one.*two|two.*one"):
            home_folder.find_home()


def example() -> dict[str, object]:
    """The example file with every commented setting uncommented."""
    text = re.sub(UNCOMMENTED, "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tomllib.loads(text)


def test_every_setting_stands_in_the_example_and_no_other() -> None:
    assert set(example()) == set(Settings.model_fields) - {"home"}


def test_the_example_shows_the_defaults() -> None:
    shown = example()
    for name, field in Settings.model_fields.items():
        if name in ("sources", "destinations") or field.default in (None, PydanticUndefined):
            continue  # what has no fixed default is shown with a value such as people write
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        assert shown[name] == (default.model_dump() if isinstance(default, BaseModel) else default), name


def test_the_example_is_a_valid_file(tmp_path: Path) -> None:
    text = re.sub(UNCOMMENTED, "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    write(tmp_path, text)
    folder, received = settings.load(tmp_path).sources.values()
    assert (folder.kind, folder.ignore) == ("folder", IGNORED_BY_DEFAULT)
    assert (received.kind, received.path) == ("dicom", tmp_path / "received" / "radiology")
    kinds = [destination.kind for destination in settings.load(tmp_path).destinations.values()]
    assert kinds == ["dicom", "stow", "webhook", "mail"]


MAIL = {"kind": "mail", "host": "m", "sender": "a@b.example", "recipients": ["c@d.example"]}


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"kind": "dicom", "host": "pacs", "port": 104, "ae_title": "A_TITLE_THAT_IS_TOO_LONG"}, "ae_title"),
        ({"kind": "dicom", "host": "pacs", "port": 104, "ae_title": "PACS", "key": "/k.pem"}, "need tls"),
        ({"kind": "dicom", "host": "pacs", "port": 104, "ae_title": "PACS", "objects": []}, "report"),
        ({"kind": "stow", "url": "https://user:geheim@pacs.example"}, "no password"),
        ({"kind": "stow", "url": "ftp://pacs.example"}, "http"),
        ({"kind": "webhook", "url": "https://pager.example", "secret": "short"}, "at least 16 characters"),
        ({"kind": "webhook", "url": "https://pager.example"}, "secret"),
        (
            {"kind": "mail", "host": "m", "sender": "a@b.example", "recipients": ["c@d.example\nBcc: x@y.example"]},
            "no address",
        ),
        (
            {"kind": "mail", "host": "m", "sender": "a@b.example", "recipients": ["c@d.example"], "encryption": "none"}
            | {"user": "u", "password": "geheim"},
            "never sent without encryption",
        ),
        ({"kind": "pigeon"}, "kind"),
    ],
)
def test_a_destination_that_makes_no_sense_is_refused_in_a_sentence_without_its_secrets(
    tmp_path: Path, chosen: dict[str, object], says: str
) -> None:
    with pytest.raises(WrongSettings, match=says) as refusal:
        settings.load(tmp_path, destinations={"pacs": chosen})
    assert "geheim" not in str(refusal.value)


KUBERNETES = {
    "PORT": "tcp://10.0.0.1:5555",
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "5555",
    "SERVICE_PORT_HTTP_METRICS": "9101",
    "PORT_5555_TCP": "tcp://10.0.0.1:5555",
    "PORT_5555_TCP_PROTO": "tcp",
    "PORT_5555_TCP_PORT": "5555",
    "PORT_5555_TCP_ADDR": "10.0.0.1",
}
DOCKER = {"NAME": "/web/pneumoscreen", "PORT_5555_TCP": "tcp://172.17.0.5:5555", "ENV_PYTHON_VERSION": "3.12"}


@pytest.mark.parametrize("links", [KUBERNETES, DOCKER], ids=["kubernetes", "docker"])
@pytest.mark.parametrize("service", ["PNEUMOSCREEN", "PNEUMOSCREEN_FLOWER", "PNEUMOSCREEN_PRODUCER_METRICS"])
def test_the_addresses_of_services_that_a_platform_gives_are_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, links: dict[str, str]
) -> None:
    for name, value in links.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    assert settings.load(tmp_path).producer_metrics_port == 0
    assert setting_names.sentences(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "5555"), ("METRICS_PORT", "9101"), ("SERVICE_PORT", "5555"), ("NAME", "ward"), ("PORT_5555_TCP", "x")],
)
def test_a_setting_that_does_not_exist_is_not_hidden_by_looking_like_a_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other, address in KUBERNETES.items():  # of another service
        monkeypatch.setenv(f"PNEUMOSCREEN_FLOWER_{other}", address)
    monkeypatch.setenv(f"PNEUMOSCREEN_{name}", value)
    with pytest.raises(WrongSettings, match=rf"^There is no such setting: PNEUMOSCREEN_{name}: "):
        settings.load(tmp_path)


def test_a_port_that_somebody_set_counts_beside_the_addresses_of_a_service_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(f"PNEUMOSCREEN_PRODUCER_METRICS_{name}", value)
    monkeypatch.setenv("PNEUMOSCREEN_PRODUCER_METRICS_PORT", "9101")
    assert settings.load(tmp_path).producer_metrics_port == 9101


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_settings_file_of_a_windows_editor_is_read(tmp_path: Path, mark: str, end: str) -> None:
    text = f"{mark}settle = 3{end}[sources.ward]{end}path = '/srv/ward'{end}"
    (tmp_path / "pneumoscreen.toml").write_bytes(text.encode())
    found = settings.load(tmp_path)
    assert (found.settle, found.sources["ward"].path) == (3, Path("/srv/ward"))


@pytest.mark.parametrize(
    ("name", "value"), [("SOURCES", '{"ward": {"path": "xrays"}}'), ("TRAINING_DATA", "xrays"), ("SOURCES", "file")]
)
def test_a_relative_path_is_refused_with_the_whole_path_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """It would name another folder in each working folder, and `db prune` take every file for gone."""
    monkeypatch.chdir(tmp_path)
    if value == "file":
        write(tmp_path, '[sources.ward]\npath = "xrays"\n')
    else:
        monkeypatch.setenv(f"PNEUMOSCREEN_{name}", value)
    with pytest.raises(WrongSettings, match=rf"xrays is no whole path: .*, as {tmp_path}/xrays"):
        settings.load(tmp_path)


@pytest.mark.parametrize("name", ["a?b", "a%41b", "a%(x)s", "a#b", 'a"b', "a\\b", "[br]", "a b;c", "é:x:"])
def test_the_database_lies_in_the_home_whatever_its_name(tmp_path: Path, name: str) -> None:
    found = database.connect(settings.load(tmp_path / name).database)
    assert found.engine.url.database == str(tmp_path / name / "pneumoscreen.db")
    found.close()


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\x7fb", os.fsdecode(b"a\xffb")])
def test_a_home_that_no_settings_file_can_hold_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongSettings, match=r"^The home folder [^\n\x1b\udcff]*$"):
        settings.load(tmp_path / name)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///relative.db",
        "sqlite://",
        "sqlite:////srv/a?b.db",
        "postgresql+psycopg://user:geh@eim@127.0.0.1/db",
        "postgresql+psycopg://user:geheim@[::1/db",
        "postgresql+psycopg://127.0.0.1:geheim/db",
    ],
)
def test_an_address_of_a_database_that_means_something_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(WrongSettings, match=r"^database_url is not usable: ") as caught:
        database.connect(url)
    assert "eim" not in str(caught.value)
