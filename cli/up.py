"""`up`: the system in the foreground, with one live line of counts."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from cli.console import err, out, shown
from local import supervisor
from queries.counts import Counts, count
from queries.sources import away
from queries.workers import live_workers
from shared import database, sources
from shared.base import stopping, surroundings
from shared.base.dicom_settings import DicomSettings
from shared.base.home import resolve
from shared.database import Database

REFRESH_SECONDS = 0.5
SILENT_SECONDS = 10.0
PAUSE_FACTOR = 20
"""Pause between counts, as a multiple of the last one's duration: counting millions of rows takes a while."""
MAX_PAUSE_SECONDS = 30.0


def up(home: Path, inbox: Path | None, flower_port: str, web_port: str, *, trainer: bool) -> None:
    home, inbox = resolve(home), inbox and inbox.expanduser().absolute()
    surroundings.settle(home)
    stop = stopping.on_signals()
    with supervisor.run(home, inbox, supervisor.port_for_flower(flower_port), web_port, trainer=trainer) as running:
        for source in sources.build(running.settings).values():
            if source.is_watched:
                _tell("Drop X-rays into ", shown(source.place), f" ({source.name}, {source.lane} lane)")
        for name, chosen in running.settings.sources.items():
            if isinstance(chosen, DicomSettings):
                _tell("Send X-rays by DICOM to ", f"{chosen.ae_title}@{chosen.host}:{chosen.port}", f" ({name})")
        with_database = database.connect(running.settings.database)
        _tell("Results are in   ", with_database.name, " (view `results`)")
        if running.web:
            _tell("The pages are at ", running.web)
        if running.first_link:
            _tell("Log in for the first time, as admin, and choose a password (once): ", running.first_link)
        if running.flower:
            _tell("Flower shows the work at ", running.flower)
        if running.candidate:
            _tell(
                "Model version ",
                running.candidate,
                " comes with this program and is not live: try it with "
                "`pneumoscreen models evaluate`, take it with `pneumoscreen models promote`",
            )
        out.print("Ctrl-C ends it, after the batches that are running.")
        _show(with_database, running, stop)
        with_database.close()
        err.print("Stopping: running batches finish first.")


def _tell(before: str, what: str, after: str = "") -> None:
    out.print(Text.assemble(before, (what, "bold"), after))


def _show(with_database: Database, running: supervisor.System, stop: threading.Event) -> None:
    """The live line on a terminal; a plain line every ten seconds, if anything changed, in a pipe."""
    watch = Watch(with_database)
    threading.Thread(target=watch.run, args=(stop,), name="counts", daemon=True).start()
    last, shown = "", 0.0
    with Live(console=err, auto_refresh=False, transient=False) as live:
        while not stop.wait(REFRESH_SECONDS):
            running.check()
            line = watch.line(time.monotonic())
            with suppress(OSError):  # a full disk under our own output is no reason to end
                if err.is_terminal:
                    live.update(Text(line), refresh=True)
                elif line != last and time.monotonic() - shown > 10:
                    err.print(line)
                    last, shown = line, time.monotonic()


class Watch:
    """Counts in a thread of its own, since a database that does not answer must not delay the end."""

    def __init__(self, with_database: Database) -> None:
        self._database = with_database
        self._rate = Rate()
        self._line = ""
        self._fresh_until = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        pause = REFRESH_SECONDS
        while not stop.wait(pause):
            began = time.monotonic()
            answered = self.look(began)
            longest = min(PAUSE_FACTOR * (time.monotonic() - began), MAX_PAUSE_SECONDS)
            pause = max(REFRESH_SECONDS, longest) if answered else REFRESH_SECONDS
            self._fresh_until += pause

    def look(self, now: float) -> bool:
        """Returns whether the database answered."""
        try:
            with self._database.read() as session:
                at = datetime.now(UTC)
                counts, alive, gone = count(session), live_workers(session, at), away(session, at)
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            self._line = f"the database is out of reach, everything else goes on: {reason}"
            return False
        else:
            is_ready = any(worker.model_version for worker in alive)
            self._line = describe(counts, self._rate.update(counts.finished, now), is_ready, gone)
            return True
        finally:
            self._fresh_until = now

    def line(self, now: float) -> str:
        silent = now - self._fresh_until
        return self._line if silent < SILENT_SECONDS else f"the database has not answered for {silent:.0f} s"


def describe(counts: Counts, per_second: float, is_ready: bool, gone: Sequence[str] = ()) -> str:
    """What lies in a source that is away is not among those that wait."""
    line = f"waiting {counts.waiting:,} · done {counts.done:,} · quarantined {counts.quarantined:,}"
    line += f" · {per_second:.1f} images/s" if is_ready else " · the worker is loading its model"
    return f"{line} · away: {', '.join(gone)}" if gone else line


class Rate:
    """Images per second over the last few seconds."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._points: list[tuple[float, int]] = []

    def update(self, finished: int, now: float) -> float:
        recent = [point for point in self._points if now - point[0] <= self._seconds] or self._points[-1:]
        self._points = [*recent, (now, finished)]
        (then, before) = self._points[0]
        return max(0.0, (finished - before) / (now - then)) if now > then else 0.0
