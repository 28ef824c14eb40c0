"""The fault suite's fixtures."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.database import Database, connect
from tests.faults.trial import DATABASES, IS_LONG, Trial
from tests.servers import Servers
from tests.system import System


@pytest.fixture(scope="module", params=DATABASES)
def servers(request: pytest.FixtureRequest, make_servers: Callable[[str], Servers | None]) -> Servers | None:
    """What the one system of a module uses; None for SQLite and a broker of its own."""
    return make_servers(request.param)


@pytest.fixture
def database(tmp_path: Path, servers: Servers | None) -> Iterator[Database]:
    """That of the servers, or a file in a test's folder, which is then the home."""
    url = servers.database_url if servers else None
    database = connect(url or f"sqlite:///{tmp_path / 'pneumoscreen.db'}")
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def trial(record_property: Callable[[str, object], None]) -> Iterator[Callable[[System, str], Trial]]:
    """Begins the trial of a fault in a running system; what fails before its end is accounted for too."""
    begun: list[Trial] = []

    def begin(system: System, fault: str) -> Trial:
        begun.append(Trial(system, fault, record_property))
        return begun[-1]

    yield begin
    for found in begun:
        found.break_off()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Recovering takes its time: these tests may take longer than others."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600 if IS_LONG else 600))
