"""The process that polls one folder for a producer, which goes on with other sources if this one hangs.

Started by `helped_polling`. The first line of its input is the folder; then each line is an order, as its answer to a
question. What it writes is `images`, `unknown` (a question), `report`, `log`, and each second `polled`, when a poll has
ended; an empty line says that it gets on.
After `images` and `unknown` it waits for an order, so that never more than a thousand are under way.
"""

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from shared.base.found import Found
from shared.sources.folder.helper import SIGN_SECONDS, Lines, check_version, end_with_parent
from shared.sources.folder.polling import FolderPoller
from shared.sources.folder.source import FolderSource

TICK, SECOND = 0.1, 1.0


class Records(logging.Handler):
    """Log records go to the other process, whose log is the one that people read."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.write({"log": [record.name, record.levelno, self.format(record)]})


class Polling:
    def __init__(self, source: FolderSource, lines: Lines) -> None:
        self._lines = lines
        self._wake = threading.Event()
        self._polled_at = 0.0
        self._maintenance: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._show_life, daemon=True).start()
        self._poller = FolderPoller(source, self._wake)

    def run(self) -> None:
        while True:
            if not self._poller.is_busy:
                self._wake.wait(TICK)
            self._wake.clear()  # before the events are taken, so that none comes unseen between the two
            self._maintain()
            if images := self._poller.poll(time.monotonic(), self._unknown):
                self._ask({"images": list(map(astuple, images))})
            self._show_poll()

    def _show_poll(self) -> None:
        if time.monotonic() - self._polled_at > SECOND:
            self._polled_at = time.monotonic()
            self._lines.write({"polled": None})

    def _maintain(self) -> None:
        is_known = None
        while not self._maintenance.empty():  # after a call that took its time there are many
            is_known = self._maintenance.get()
        if is_known is not None:
            self._poller.maintain(is_known=is_known)
            self._lines.write({"report": asdict(self._poller.report())})

    def _unknown(self, images: Sequence[Found]) -> list[Found]:
        return [images[number] for number in self._ask({"unknown": list(map(astuple, images))})]

    def _ask(self, question: dict[str, Any]) -> Any:
        self._lines.write(question)
        return self._answers.get()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            order = json.loads(line)
            if "maintain" in order:
                self._maintenance.put(order["maintain"])
                self._wake.set()
            else:
                self._answers.put(order["answer"])

    def _show_life(self) -> None:
        """While the main thread uses the processor: it wakes up often, and in a call that hangs it does not."""
        main = threading.main_thread().ident
        assert main is not None
        before = 0.0
        while hasattr(time, "pthread_getcpuclockid"):  # not on macOS, where each poll that ends is a sign of life
            if (used := time.clock_gettime(time.pthread_getcpuclockid(main))) > before:
                self._lines.show_progress()
            before = used
            time.sleep(SIGN_SECONDS)


def main() -> None:
    check_version()
    lines = Lines()
    source, level = json.loads(sys.stdin.buffer.readline())
    end_with_parent()
    lines.sign()
    logging.basicConfig(level=level, handlers=[Records(lines)])
    try:
        Polling(FolderSource.of_row(source), lines).run()
    except Exception:
        logging.getLogger(__name__).exception("the process that polls a folder ends")
        raise


if __name__ == "__main__":
    main()
