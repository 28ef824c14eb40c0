"""Real servers for tests, which can be killed, frozen and started again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from bench import servers
from bench.servers import Servers
from local import private_broker

__all__ = ["PostgreSQL", "RedisServer", "Servers", "postgresql", "redis"]


class PostgreSQL(servers.PostgreSQL):
    def __init__(self, max_connections: int = 60) -> None:
        """Its time zone is not UTC, as a hospital's is not."""
        super().__init__(
            fsync="off",
            full_page_writes="off",  # processes are killed here, and never the machine
            autovacuum="off",  # else it goes through a hundred small databases all the time
            max_connections=max_connections,
            timezone="America/New_York",
        )

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        found = self._halted()
        for process in found:
            process.kill()
        self.process.wait()
        while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found):
            time.sleep(0.01)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It hears nothing and says nothing, but its connections stand: as on a machine whose disk hangs."""
        found = self._halted()
        try:
            yield
        finally:
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def _halted(self) -> list[psutil.Process]:
        """Its processes, halted: the first of them first, so that it makes no more."""
        first = psutil.Process(self.process.pid)
        first.suspend()
        found = [first, *first.children(recursive=True)]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return found


class RedisServer(servers.RedisServer):
    def __init__(self) -> None:
        super().__init__(private_broker.server())


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of its own; yields the SQLAlchemy URL of its superuser, without a database's name."""
    server = PostgreSQL()
    try:
        yield server.url
    finally:
        server.close()


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of its own; yields its URL."""
    server = RedisServer()
    try:
        yield server.url
    finally:
        server.close()
