"""What the settings of a source that receives may be, and what the rest of the system says of it."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local.announcing import announce
from queries import nodes, setting_names
from queries.doctor import receiving
from queries.doctor.finding import State
from queries.sources import overview
from shared import sources
from shared.base import settings
from shared.base.dicom_settings import DicomSettings, Peer
from shared.base.errors import WrongSettings
from shared.base.filesystem import MARKER
from shared.database import connect
from tests.node import NAME, configured, running, wait_until


def load(home: Path, **chosen: Any) -> settings.Settings:
    return settings.load(home, sources={NAME: {"kind": "dicom", **chosen}})


def test_what_is_received_lies_in_the_home_unless_another_folder_is_named(tmp_path: Path) -> None:
    assert load(tmp_path).sources[NAME].path == tmp_path / "received" / NAME
    assert load(tmp_path, path="/srv/dicom").sources[NAME].path == Path("/srv/dicom")
    for name in ("a/b", "..", ".hidden"):
        with pytest.raises(WrongSettings, match="names a folder"):
            settings.load(tmp_path, sources={name: {"kind": "dicom"}})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"ae_title": "a\\b"}, "no AE title"),
        ({"ae_title": " "}, "no AE title"),
        ({"allowed_titles": ["SEVENTEEN_LETTERS"]}, "no AE title"),
        ({"allowed_addresses": ["10.1.2"]}, "no address such as"),
        ({"commitment": ["PACS:104"]}, "TITLE@HOST:PORT"),
        ({"commitment": ["PACS@host:0"]}, "TITLE@HOST:PORT"),
        ({"lane": "suspect"}, "the lane must be one of"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"keep_days": 0}, "greater than 0"),
        ({"polling": True}, "There is no such setting: sources.pacs.polling"),
    ],
)
def test_a_wrong_setting_is_told_in_a_sentence(tmp_path: Path, wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(WrongSettings, match=reason):
        load(tmp_path, **wrong)


def test_two_sources_need_two_ports(tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="a and b both listen on port 11112"):
        settings.load(tmp_path, sources={"a": {"kind": "dicom"}, "b": {"kind": "dicom"}})


def test_a_peer_is_named_with_its_address() -> None:
    assert Peer.parse("PACS@10.1.2.3:104") == Peer("PACS", "10.1.2.3", 104)
    assert Peer.parse("MY PACS@[2001:db8::1]:11112") == Peer("MY PACS", "2001:db8::1", 11112)


def test_what_up_announces_of_such_a_source_is_read_back_as_it_was_set(tmp_path: Path) -> None:
    chosen = load(tmp_path, stat_titles=["ER"], commitment=["PACS@10.1.2.3:104"], keep_days=7).sources
    (tmp_path / "run").mkdir()
    announce(tmp_path, {}, chosen)
    assert settings.load(tmp_path).sources == chosen


def test_a_name_that_a_source_of_this_kind_does_not_have_is_told_by_doctor(tmp_path: Path) -> None:
    (tmp_path / "pneumoscreen.toml").write_text('[sources.pacs]\nkind = "dicom"\nport = 104\nmarker = "none"\n')
    assert [text for text in setting_names.sentences(tmp_path) if "marker" in text]
    assert not [text for text in setting_names.sentences(tmp_path) if "port" in text]


def test_doctor_looks_at_the_folder_and_at_the_certificates(tmp_path: Path) -> None:
    def states(at_home: bool = True, **chosen: Any) -> list[tuple[State, str]]:
        known = DicomSettings(kind="dicom", path=tmp_path / "folder", **chosen)
        return [(found.state, found.text) for found in receiving.examine(NAME, known, is_at_home=at_home)]

    ((state, text),) = states()
    assert (state, text) == (State.OK, f"the node makes {tmp_path / 'folder'} when it starts")
    assert states(at_home=False)[0] == (State.PROBLEM, f"there is no folder {tmp_path / 'folder'}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / MARKER).touch()
    assert states()[0] == (State.OK, f"{tmp_path / 'folder'} can be written")
    files = dict.fromkeys(("tls_certificate", "tls_key", "tls_clients"), tmp_path / "missing.pem")
    assert states(**files)[1][0] == State.PROBLEM


def test_status_says_where_nobody_listens_and_sources_who_does(migrated_file: Path, tmp_path: Path) -> None:
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    chosen = configured(tmp_path)
    with_database = connect(chosen.database)

    def needs() -> list[str]:
        with with_database.read() as session:
            now = datetime.now(UTC)
            return list(nodes.needs(chosen, overview(session, chosen, now), now))

    (sentence,) = needs()
    assert sentence.startswith("no node receives for the source pacs: senders cannot connect")
    with running(tmp_path, port=chosen.sources[NAME].port):
        wait_until(lambda: needs() == [])
        with with_database.read() as session:
            (mine,) = [each for each in overview(session, chosen, datetime.now(UTC)) if each.name == NAME]
    assert (mine.kind, mine.is_watched, [one.report.watched_by for one in mine.statements]) == (
        "dicom",
        False,
        ["network"],
    )
    with_database.close()


def test_a_source_that_receives_is_one_of_the_sources(tmp_path: Path) -> None:
    source = sources.build(load(tmp_path, lane="stat"))[NAME]
    assert (source.kind, source.lane, source.place) == ("dicom", "stat", str(tmp_path / "received" / NAME))
    source.prepare()
    assert source.is_in_reach()
