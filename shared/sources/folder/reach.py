"""Whether a folder answers: what hangs for too long is given up, and the folder counts as away until it answers again.

A hung call stays with its helper, as the first to know when the folder answers. Beside it the folder is asked again
every few seconds, since a share that was mounted anew leaves old calls hanging.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from shared.base.errors import OutOfReach
from shared.sources.folder import helpers, looking
from shared.sources.folder.helpers import Helper, HelperDied, value_of

log = logging.getLogger(__name__)
ASK_EVERY = 10.0
"""Seconds between two questions to a folder that is away."""
MAX_HUNG = 4
"""Helpers of this process that one folder holds, after which no further one is started to ask whether it answers."""
MAX_STARTS = 2
"""Helpers that may die of one question."""
Args = TypeVarTuple("Args")
T = TypeVar("T")


class Reach:
    """Asks one folder, for all threads of this process."""

    def __init__(self, name: str, root: Path, timeout: float) -> None:
        """`timeout`: seconds without a sign of progress after which a call is given up."""
        self.name, self.root, self.timeout = name, root, timeout
        self._lock = threading.Lock()
        self._answers = threading.Event()
        self._answers.set()
        self._heard = threading.Event()
        self._hung: list[Helper] = []

    @property
    def is_away(self) -> bool:
        """Whether a call hung, and nothing has been heard of the folder since."""
        return not self._answers.is_set()

    @property
    def hung(self) -> int:
        """Helpers that a call still holds: some kernels let go of a process only when its call returns."""
        with self._lock:
            return sum(not helper.has_ended() for helper in self._hung)

    @property
    def trouble(self) -> str:
        return f"the source {self.name} ({self.root}) does not answer: its share hangs"

    def ask(self, question: Callable[[Path, *Args], T], *args: *Args) -> T:
        """The answer of a helper to one of `helper.CALLS`, an iterable as a list.

        Raises OutOfReach while the folder is away, and OSError.
        """
        value: T = self._ask([question.__name__, str(self.root), *args])[0]
        return value

    def read(self, path: str, revision: str, max_bytes: int, marker: str) -> bytes:
        """As `reading.read`."""
        return self._ask(["read", str(self.root), path, revision, max_bytes, marker])[1]

    def give_up(self) -> None:
        """A call of somebody else hangs."""
        self._go_away(None)

    def welcome(self) -> None:
        """The folder has answered somebody else."""
        self._heard.set()

    def _ask(self, request: list[Any]) -> tuple[Any, bytes]:
        """The value, and the bytes of a file that was read."""
        starts = 0
        while not self.is_away:
            try:
                helper = helpers.idle.pop() if helpers.idle else None
            except IndexError:  # another thread was faster
                helper = None
            if helper is None:
                starts += 1
                if starts > MAX_STARTS:
                    raise OutOfReach(f"the source {self.name} could not be asked: a helper process died")
            try:
                return self._ask_by(helper or self._start(), request)
            except HelperDied:
                continue
        raise OutOfReach(self.trouble)

    def _start(self) -> Helper:
        try:
            return Helper()
        except OSError as error:
            reason = f"a helper process could not be started: {error.strerror}"
            raise OutOfReach(f"the source {self.name} could not be asked: {reason}") from error

    def _ask_by(self, helper: Helper, request: list[Any]) -> tuple[Any, bytes]:
        """Afterwards the helper is idle, ended, or hangs."""
        is_usable = False
        try:
            helper.write(request)
            answer = helper.hear(self.timeout)
            if answer is None:
                is_usable = True
                self._go_away(helper)
                raise OutOfReach(self.trouble)
            count = answer["value"] if request[0] == "read" and "value" in answer else 0
            data = helper.bytes_read(count)
            if count <= helpers.MAX_KEPT:
                is_usable = True
                helpers.idle.append(helper)
            return value_of(answer), data
        finally:
            if not is_usable:
                helper.end()

    def _go_away(self, helper: Helper | None) -> None:
        with self._lock:
            if helper is not None:
                self._kill(self._hung)
                self._hung.append(helper)
            if self.is_away:
                return
            self._answers.clear()
            self._heard.clear()
        log.warning("source %s does not answer: a call has hung for %g s. What needs it waits", self.name, self.timeout)
        threading.Thread(target=self._await, name=f"source {self.name}", daemon=True).start()

    def _await(self) -> None:
        """Until the folder answers."""
        while not self._hears_of_it(ASK_EVERY):
            if self.hung < MAX_HUNG and self._asks_again():
                break
        with self._lock:
            self._kill(self._hung)
        while self.hung >= MAX_HUNG:
            time.sleep(1.0)
        self._answers.set()
        log.info("source %s answers again", self.name)

    def _asks_again(self) -> bool:
        """Whether it answers. The helper that asks hangs with the others if not, and is the one to stay."""
        try:
            helper = Helper()
            helper.write([looking.is_in_reach.__name__, str(self.root), ""])
        except (OSError, HelperDied):
            return False
        with self._lock:
            self._hung.append(helper)
        if self._hears_of_it(self.timeout):
            return True
        with self._lock:
            self._kill(self._hung[:-1])
        return False

    def _hears_of_it(self, seconds: float) -> bool:
        """Whether a hung call returns, or somebody else hears of the folder, within so many seconds."""
        deadline = time.monotonic() + seconds
        while not self._heard.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._lock:
                self._forget_ended()
                outputs = {helper.output.fileno(): helper for helper in self._hung}
            returned = select.poll()
            for descriptor in outputs:
                returned.register(descriptor, select.POLLIN)
            for descriptor, _ in returned.poll(1000 * min(left, 1.0)):
                try:
                    outputs[descriptor].receive()
                except HelperDied:
                    continue
                return True
        return True

    def _forget_ended(self) -> None:
        for helper in [helper for helper in self._hung if helper.has_ended()]:
            self._hung.remove(helper)
            helper.close()

    @staticmethod
    def _kill(hung: Sequence[Helper]) -> None:
        for helper in hung:
            helper.kill()


_known: dict[tuple[str, Path, float], Reach] = {}
os.register_at_fork(after_in_child=_known.clear)


def reach_of(name: str, root: Path, timeout: float) -> Reach:
    """One for each folder in a process, so that each thread knows what another one found out."""
    return _known.setdefault((name, root, timeout), Reach(name, root, timeout))
