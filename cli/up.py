"""`up`: the system in the foreground, with one live line of counts."""

import signal
import threading
import time
from pathlib import Path

from rich.live import Live
from rich.text import Text

from cli import system
from cli.console import err, out
from cli.counts import Counts, count, workers
from shared import database
from shared.database import Database

START_SECONDS = 120
REFRESH_SECONDS = 0.5


def up(home: Path, inbox: Path | None, flower_port: str) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with system.run(home, inbox, system.port_for_flower(flower_port)) as running:
        for name, folder in running.settings.folders.items():
            out.print(f"Drop X-rays into [bold]{folder.path}[/] ({name}, {folder.lane} lane)")
        out.print(f"Results are in   [bold]{running.settings.database}[/] (view `results`)")
        if running.flower:
            out.print(f"Flower shows the work at [bold]{running.flower}[/]")
        out.print("Ctrl-C ends it, after the batches that are running.")
        with_database = database.connect(running.settings.database)
        _show(with_database, running, stop)
        with_database.close()
        err.print("Stopping: running batches finish first.")


def _show(with_database: Database, running: system.System, stop: threading.Event) -> None:
    """The live line on a terminal; a plain line every ten seconds, if anything changed, in a pipe."""
    rate, last, shown = Rate(), "", 0.0
    with Live(console=err, auto_refresh=False, transient=False) as live:
        while not stop.wait(REFRESH_SECONDS):
            running.check()
            with with_database.read() as session:
                counts, alive = count(session), workers(session)
            line = describe(counts, rate.update(counts.finished, time.monotonic()), any(w.model_version for w in alive))
            if err.is_terminal:
                live.update(Text(line), refresh=True)
            elif line != last and time.monotonic() - shown > 10:
                err.print(line)
                last, shown = line, time.monotonic()


def describe(counts: Counts, per_second: float, is_ready: bool) -> str:
    line = f"waiting {counts.waiting:,} · done {counts.done:,} · quarantined {counts.quarantined:,}"
    return f"{line} · {per_second:.1f} images/s" if is_ready else f"{line} · the worker is loading its model"


class Rate:
    """Images per second over the last few seconds."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._points: list[tuple[float, int]] = []

    def update(self, finished: int, now: float) -> float:
        self._points = [point for point in self._points if now - point[0] <= self._seconds] + [(now, finished)]
        (then, before) = self._points[0]
        return max(0.0, (finished - before) / (now - then)) if now > then else 0.0
