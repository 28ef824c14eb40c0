"""Submits files: each is registered where it lies if a source holds it, else as a copy; then they are awaited."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from queries.submission import sighting_of, waiting
from queries.workers import count_live
from shared.base.errors import InvalidRequest, ServiceUnavailable
from shared.base.filesystem import check_room
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger.register import as_text, register
from shared.sources import Source, submitted
from shared.sources.folder.looking import names_below
from shared.sources.ignored import is_unfinished

POLL_SECONDS = 0.1
QUIET_SECONDS = 120
"""With no sign of life from any worker for so long, waiting makes no sense."""


def check(settings: Settings, database: Database) -> None:
    """Raises ServiceUnavailable if nobody would screen what is submitted, or too little room is left for copies."""
    with database.read() as session:
        if not count_live(session, datetime.now(UTC)):
            raise ServiceUnavailable("No worker is running: start `pneumoscreen up` in another shell, then try again.")
    check_room(settings.home, settings.min_free_disk)


def find_files(sources: Mapping[str, Source], paths: Sequence[Path]) -> list[Path]:
    """The files that people mean by these paths: the files themselves, and what folders hold and is not ignored.

    `ignore` patterns do not keep back a file that is named itself; temporary and hidden names always do.
    Raises InvalidRequest if there is no file, OutOfReach if the source that holds one does not answer.
    """
    plain = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - `Path.absolute` leaves `..` in it
    files = [file for path in plain for file in _files(sources, path)]
    if not files:
        raise InvalidRequest(
            "There are no files there to screen: hidden and temporary names are ignored, and in folders names such as "
            "*.pdf and DICOMDIR too (the setting `ignore`)."
        )
    return files


def _files(sources: Mapping[str, Source], path: Path) -> Iterator[Path]:
    holder = _holder(sources, path)
    if holder is None:
        names = names_below(path, "", submitted.of(sources).ignore)
    else:
        names = holder.find_below(holder.locate(path) or "")
    if names is not None:
        yield from sorted(path / name for name in names)
    elif not is_unfinished(path.name):
        yield path


def submit(database: Database, sources: Mapping[str, Source], file: Path, now: datetime) -> int:
    """Register a file, if it is not known as it is; returns its sighting.

    Raises InvalidRequest if it is none, OutOfReach if the source that holds it does not answer.
    """
    source, origin = _holder(sources, file), None
    path = source.locate(file) if source else None
    if source is None or path is None:
        taker = submitted.of(sources)
        source, path, origin = taker, taker.take(file), as_text(str(file))[0]
    found = source.find(path)
    if found is None:
        raise InvalidRequest(f"{file} is not a readable file.")
    with database.write() as session:
        new = register(session, source.name, source.lane, [found], now, origin=origin)
        return new[0] if new else sighting_of(session, source.name, found)


def _holder(sources: Mapping[str, Source], file: Path) -> Source | None:
    return next((source for source in sources.values() if source.locate(file) is not None), None)


def wait(database: Database, sightings: Sequence[int]) -> Iterator[int]:
    """Yields how many are final, again and again until all are. Raises ServiceUnavailable if no worker lives on."""
    still, last_life = set(sightings), time.monotonic()
    while still:
        time.sleep(POLL_SECONDS)
        with database.read() as session:
            is_alive = count_live(session, datetime.now(UTC)) > 0
            still = waiting(session, sorted(still))
        last_life = time.monotonic() if is_alive else last_life
        if time.monotonic() - last_life > QUIET_SECONDS:
            raise ServiceUnavailable(f"No worker has been alive for {QUIET_SECONDS} s: {len(still)} images still wait.")
        yield len(sightings) - len(still)
