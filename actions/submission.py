"""Submits files: each is registered where it lies if a source holds it, else as a copy; then they are awaited."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from queries.submission import sighting_of, waiting
from queries.workers import count_live
from shared.base.errors import InvalidRequest, OutOfReach, ServiceUnavailable
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


@dataclass
class Chosen:
    """The files that people mean by the paths which they gave, and why others are not screened."""

    files: list[Path] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)


def find_files(sources: Mapping[str, Source], paths: Sequence[Path]) -> Chosen:
    """The files themselves, and what folders hold and is not ignored.

    `ignore` patterns do not keep back a file that is named itself; temporary and hidden names always do.
    """
    chosen = Chosen()
    for path in paths:
        plain = Path(os.path.abspath(path))  # noqa: PTH100 - `Path.absolute` leaves `..` in it
        try:
            names = _names_below(sources, plain)
        except OutOfReach as error:
            chosen.refused[plain] = str(error)
            continue
        if names is None and is_unfinished(plain.name):
            chosen.refused[plain] = "hidden and temporary names are never screened: rename it"
        elif names is None:
            chosen.files.append(plain)
        elif names:
            chosen.files += sorted(plain / name for name in names)
        else:
            chosen.refused[plain] = (
                "there are no files there to screen: hidden and temporary names are ignored, and in folders names "
                "such as *.pdf and DICOMDIR too (the setting `ignore`)"
            )
    return chosen


def _names_below(sources: Mapping[str, Source], path: Path) -> list[str] | None:
    """What a folder holds; None if it is none."""
    if holder := _holder(sources, path):
        return holder.find_below(holder.locate(path) or "")
    names = names_below(path, "", submitted.of(sources).ignore)
    return None if names is None else list(names)


def submit_all(
    database: Database, sources: Mapping[str, Source], chosen: Chosen, advance: Callable[[int], None] = lambda _: None
) -> list[int]:
    """Submit the chosen files, each for itself; returns their sightings. A file that cannot be is refused in `chosen`.

    Raises InvalidRequest if there is none that can be.
    """
    sightings = []
    for file in chosen.files:
        try:
            sightings.append(submit(database, sources, file, datetime.now(UTC)))
        except (InvalidRequest, OutOfReach, OSError) as error:
            chosen.refused[file] = (error.strerror if isinstance(error, OSError) else None) or str(error)
        advance(1)
    if not sightings:
        raise InvalidRequest("\n".join(refusals(chosen)) or "Nothing was named that could be screened.")
    return sightings


def refusals(chosen: Chosen) -> list[str]:
    return [f"{as_text(str(file))[0]}: {reason}" for file, reason in chosen.refused.items()]


def submit(database: Database, sources: Mapping[str, Source], file: Path, now: datetime) -> int:
    """Register a file, if it is not known as it is; returns its sighting.

    Raises InvalidRequest if it is no file, OSError if it cannot be copied, OutOfReach if the source that holds it does
    not answer.
    """
    source, origin = _holder(sources, file), None
    path = source.locate(file) if source else None
    if source is None or path is None:
        taker = submitted.of(sources)
        source, path, origin = taker, taker.take(file), as_text(str(file))[0]
    found = source.find(path)
    if found is None:
        raise InvalidRequest("this is not a readable file")
    with database.write() as session:
        new = register(session, source.name, source.lane, [found], now, origin=origin, is_asked_for=True)
        return new[0] if new else sighting_of(session, source.name, found)


def _holder(sources: Mapping[str, Source], file: Path) -> Source | None:
    return next((source for source in sources.values() if source.locate(file) is not None), None)


def wait(database: Database, sightings: Sequence[int]) -> Iterator[int]:
    """Yields how many are final or need a person, again and again until all are.

    Raises ServiceUnavailable if no worker lives on.
    """
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
