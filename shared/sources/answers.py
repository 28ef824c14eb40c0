"""Asks all sources at once, for a caller who has little time: a source that hangs costs the answers of no other."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.base.errors import OutOfReach

SOON = 0.3
"""Seconds in which one thread gets an answer, unless a source is slow: then more threads ask for the others."""
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class _Answer(Generic[T]):
    name: str
    values: list[T]
    error: Exception | None = None


def ask_all(sources: Mapping[str, S], question: Callable[[S], T], within: float) -> dict[str, T]:
    """The answers, by source; those that did not come within so many seconds, or are OutOfReach, are left out.

    What else a question raises is raised.
    """
    asked: queue.SimpleQueue[tuple[str, S]] = queue.SimpleQueue()
    for item in sources.items():
        asked.put(item)
    answered: queue.SimpleQueue[_Answer[T]] = queue.SimpleQueue()

    def ask() -> None:
        while True:
            try:
                name, source = asked.get_nowait()
            except queue.Empty:
                return
            answered.put(_ask(name, source, question))

    answers: dict[str, T] = {}
    deadline, threads, left, is_late = time.monotonic() + within, 0, len(sources), True
    while left and (patience := deadline - time.monotonic()) > 0:
        # One more, then twice as many; daemons, since one that waits for a source that hangs must not hold up the end.
        for _ in range(min(max(1, threads), asked.qsize()) if is_late else 0):
            threading.Thread(target=ask, name="ask", daemon=True).start()
            threads += 1
        try:
            answer = answered.get(timeout=patience if asked.empty() else min(patience, SOON))
        except queue.Empty:
            is_late = True
            continue
        is_late = False
        if answer.error is not None:
            raise answer.error
        if answer.values:
            answers[answer.name] = answer.values[0]
        left -= 1
    return answers


def _ask(name: str, source: S, question: Callable[[S], T]) -> _Answer[T]:
    try:
        return _Answer(name, [question(source)])
    except OutOfReach:
        return _Answer(name, [])
    except Exception as error:  # noqa: BLE001 - it is raised where the question was put
        return _Answer(name, [], error)
