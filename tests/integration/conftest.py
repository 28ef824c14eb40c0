"""One running system for all tests of this folder: real broker, Celery, SQLite; a network that loads in no time."""

from collections.abc import Iterator

import pytest

from tests.system import System, make_linear_home, running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    make_linear_home(folder / "home")
    with running(folder, flower="auto") as found:
        yield found
