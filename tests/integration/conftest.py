"""One running system for all tests of this folder: real Celery, a network that loads in no time.

On SQLite with its private broker; in `make soak` on PostgreSQL and a Redis with a password too, where the systems of
other modules of this folder run.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.trial import KINDS
from tests.plan import short
from tests.servers import Servers
from tests.system import System, make_linear_home, running

ODD = """a #b ;c"d'\\%41%(x)s[br]?*$HOME{}é"""
"""What some program reads in another way: supervisord, Redis, SQLAlchemy, Alembic, a shell, rich."""


@pytest.fixture(scope="session", params=short(["sqlite"], KINDS))
def system(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_servers: Callable[[str], Servers | None],
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system") / ODD
    folder.mkdir()
    servers = make_servers(request.param)
    make_linear_home(folder / "home", servers.database_url if servers else None)
    (folder / "home" / "pneumoscreen.toml").write_text("backup_every = 86400.0\n")
    with running(folder, flower=True, web=True, trainer=True, servers=servers) as found:
        yield found
