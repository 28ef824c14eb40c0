"""Replaces the database by a backup, while nobody works with it."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from actions import logits
from actions.logits import Filled
from local import restore_postgresql, restore_sqlite
from local.archive import Advance, connected, sqlite_file
from queries.workers import live_workers
from shared.base.errors import InvalidRequest, ServiceUnavailable
from shared.base.settings import Settings
from shared.database import Database, ModelVersion

HEADERS = {b"SQLite format 3\0": "sqlite", b"PGDMP": "postgresql"}
KINDS = {"sqlite": "an SQLite", "postgresql": "a PostgreSQL"}


@dataclass(frozen=True)
class Restored:
    name: str
    replaced: Path | None
    """What was there before, if it is kept."""
    missing_versions: Sequence[str]
    """Model versions that have a row, but no folder."""
    logits: Filled
    """What became of predictions of an older schema, which have none."""


@dataclass(frozen=True)
class Restoration:
    """A restore that was checked; nobody can start the system in this home meanwhile."""

    settings: Settings
    database: Database
    file: Path

    @property
    def is_replaced_kept(self) -> bool:
        return sqlite_file(self.database) is not None

    def run(self, actor: str, advance: Advance = lambda _copied, _total: None) -> Restored:
        """Raises WorkFailed, InvalidRequest or ServiceUnavailable; then nothing was changed."""
        target, replaced = sqlite_file(self.database), None
        if target is not None:
            replaced = restore_sqlite.restore(self.database, target, self.file, actor, advance)
        else:
            restore_postgresql.restore(self.database, self.settings.home, self.file, actor)
        filled = logits.fill(self.database, self.settings.models, self.settings.signing_key)
        with self.database.read() as session:
            versions = session.scalars(select(ModelVersion.version)).all()
        missing = [version for version in versions if not (self.settings.models / version).is_dir()]
        return Restored(str(target or self.database.name), replaced, missing, filled)


@contextmanager
def prepare(settings: Settings, file: Path) -> Iterator[Restoration]:
    """Raises ServiceUnavailable if somebody works with the database, InvalidRequest for a file that is no backup."""
    with connected(settings) as database, _alone(settings, database):
        check_kind(file, "postgresql" if sqlite_file(database) is None else "sqlite")
        yield Restoration(settings, database, file)


@contextmanager
def _alone(settings: Settings, database: Database) -> Iterator[None]:
    """Keep `up` from starting in this home. Raises ServiceUnavailable if one runs, or a worker is alive."""
    target = sqlite_file(database)
    (settings.home / "run").mkdir(parents=True, exist_ok=True)
    with (settings.home / "run" / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ServiceUnavailable(
                f"A system runs in {settings.home}: stop `pneumoscreen up` there, then restore."
            ) from error
        alive = []
        if target is None or target.exists():
            # A damaged or empty database lists no workers, and may be why a backup is restored.
            with suppress(DatabaseError), database.read() as session:
                alive = live_workers(session, datetime.now(UTC))
            database.close()
        if alive:
            names = ", ".join(f"{worker.host} (process {worker.pid})" for worker in alive)
            raise ServiceUnavailable(
                f"Workers gave a sign of life in the last half minute: {names}. "
                "Stop every worker and producer, wait half a minute if one was killed, then restore."
            )
        if target is None:
            restore_postgresql.check_nobody_is_connected(database)
        else:
            restore_sqlite.check_nobody_is_connected(target)
        yield


def check_kind(file: Path, wanted: str) -> None:
    """Raises InvalidRequest if the file is no backup, or one of another kind of database than `wanted`."""
    with file.open("rb") as opened:
        start = opened.read(16)
    kind = next((kind for header, kind in HEADERS.items() if start.startswith(header)), None)
    if kind is None:
        raise InvalidRequest(f"{file} is no backup: `pneumoscreen db backup` writes files that can be restored.")
    if kind != wanted:
        raise InvalidRequest(
            f"{file} is the backup of {KINDS[kind]} database, but the settings name {KINDS[wanted]} one: "
            "set PNEUMOSCREEN_DATABASE_URL to a database of the backup's kind, or leave it unset for SQLite."
        )
