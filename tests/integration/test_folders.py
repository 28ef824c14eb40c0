"""Several watched folders, each with a name and a lane, events or polling, set in the TOML file."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from shared.base.lanes import Lane
from shared.queue import broker
from tests.faults.trial import KINDS
from tests.plan import short
from tests.servers import Servers
from tests.system import QUICK, System, distinct, make_linear_home, running, specimens


@pytest.fixture(scope="module", params=short(["postgresql"], KINDS))
def system(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_servers: Callable[[str], Servers | None],
) -> Iterator[System]:
    folders = tmp_path_factory.mktemp("folders")
    servers = make_servers(request.param)
    make_linear_home(folders / "home", servers.database_url if servers else None)
    for name in ("archive", "emergency", "share"):
        (folders / name).mkdir()
    (folders / "home" / "pneumoscreen.toml").write_text(
        f"""
        [sources.archive]
        path = "{folders}/archive"
        [sources.emergency]
        path = "{folders}/emergency"
        lane = "stat"
        [sources.share]
        path = "{folders}/share"
        polling = true
        """
    )
    (folders / "share" / "before.jpeg").write_bytes(specimens()[0].read_bytes())
    with running(folders, inbox=False, settings=QUICK, servers=servers) as found:
        yield found


@pytest.fixture
def folders(system: System) -> Path:
    return system.home.parent


def test_an_image_that_lay_there_before_the_start_is_screened(system: System) -> None:
    assert system.row("before.jpeg")["root"] == "share"


def test_a_polled_folder_is_screened_without_events(system: System, folders: Path) -> None:
    distinct(specimens()[1], folders / "share" / "polled.jpeg", 1)
    row = system.row("polled.jpeg")
    assert (row["state"], row["root"]) == ("done", "share")


def test_with_no_trainer_wanted_there_is_none_and_screening_goes_on(system: System, folders: Path) -> None:
    assert not system.processes("trainer")
    distinct(specimens()[1], folders / "share" / "untrained.jpeg", 3)
    assert system.row("untrained.jpeg")["state"] == "done"


def test_an_urgent_image_does_not_wait_behind_a_routine_backlog(system: System, folders: Path) -> None:
    sources = [path for path in specimens() if path.suffix == ".jpeg"]
    backlog = folders / "backlog"
    backlog.mkdir()
    for number in range(600):
        distinct(sources[number % len(sources)], backlog / f"{number}.jpeg", 10_000 + number)
    registered = "SELECT count(*) FROM sightings WHERE source = ?"
    worker = system.processes("cli.main worker")
    system.halt(worker)  # else a fast machine has no backlog left when the urgent image comes
    backlog.rename(folders / "archive" / "backlog")
    system.wait(lambda: system.query(registered, "archive") == [(600,)], "a backlog")
    distinct(specimens()[2], folders / "emergency" / "urgent.jpeg", 2)
    with Redis.from_url(system.broker_url) as redis:
        system.wait(lambda: broker.lengths(redis)[Lane.STAT] == 1, "the urgent image in the broker")
    for process in worker:
        process.resume()
    assert system.row("urgent.jpeg")["root"] == "emergency"
    earlier = """
        SELECT count(*) FROM sightings WHERE source = 'archive' AND
        finished_at <= (SELECT finished_at FROM sightings WHERE path = 'urgent.jpeg')
    """
    assert system.query(earlier)[0][0] <= 100, "a few messages may be before it, the backlog may not"


def test_a_watched_folder_that_is_removed_and_made_again_is_watched_again(system: System, folders: Path) -> None:
    marker = folders / "emergency" / ".pneumoscreen-root"
    (folders / "emergency").rename(folders / "away")
    (folders / "emergency").mkdir()
    distinct(specimens()[3], folders / "emergency" / "anew.jpeg", 3)
    assert system.row("anew.jpeg")["state"] == "done"
    system.wait(marker.exists, "the new marker")


def test_sources_says_how_each_is_watched_and_what_of_it_is_not_seen(system: System, folders: Path) -> None:
    (folders / "share" / "linked").symlink_to("../archive")
    (folders / "share" / "report.pdf").touch()
    states = "SELECT watched_by, links, ignored FROM source_states WHERE source = 'share'"
    system.wait(lambda: system.query(states) == [("polling", 1, '{"*.pdf": 1}')], "the producer's word on the share")
    told = json.loads(system.command("sources", "--format", "json").stdout)
    found = {source["name"]: source for source in told["sources"]}
    watched = {name: [one["watched_by"] for one in source["watchers"]] for name, source in found.items()}
    assert watched == {"archive": ["events"], "emergency": ["events"], "share": ["polling"], "submitted": []}
    assert found["share"]["last_image"] is not None
    assert told["needs"] == []
    assert any("1 link is not followed (linked)" in hint for hint in told["hints"])
