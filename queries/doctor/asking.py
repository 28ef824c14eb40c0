"""Asks checks of a helper process, each with a deadline: a call on a hung share cannot be ended from within.

How a process is started, given up and left behind is said in `shared.sources.folder.helpers`.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from shared.sources.folder.helpers import HelperDied, Process

PROGRAM = "queries.doctor.helper"


@dataclass(frozen=True)
class Question:
    """A name of `helper.CHECKS` and its arguments; `seconds` count from when all are asked."""

    check: str
    arguments: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Late:
    """There was no answer in time."""

    seconds: float


@dataclass(frozen=True)
class Broken:
    """The check raised an error, or its process died."""

    reason: str


Answer = Any
"""What JSON carried of the check's result, a Late or a Broken."""


class Asking:
    """A process that runs checks; where it dies, another one takes its place."""

    def __init__(self) -> None:
        self._process: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Asks all at once; returns the answers in their order.

        If the process dies, what it has not answered is asked again, each question alone: what it died of dies alone.
        """
        answers: dict[int, Answer] = {}
        try:
            self._ask(questions, answers)
        except (HelperDied, OSError) as error:
            self._end()
            reason = "its process died" if isinstance(error, HelperDied) else str(error)
            for number, question in enumerate(questions):
                if number not in answers:
                    answers[number] = Broken(reason) if len(questions) == 1 else self.ask([question])[0]
        return [answers[number] for number in range(len(questions))]

    def _ask(self, questions: Sequence[Question], answers: dict[int, Answer]) -> None:
        if self._process is None:
            self._process = Process(PROGRAM)
            self._process.await_start()
        process, began = self._process, time.monotonic()
        for number, question in enumerate(questions):
            process.write([number, question.check, *question.arguments])
        while left := [number for number in range(len(questions)) if number not in answers]:
            first = min(left, key=lambda number: questions[number].seconds)
            if process.has_output(max(0.0, began + questions[first].seconds - time.monotonic())):
                for answer in process.receive():
                    answers.setdefault(answer["number"], answer.get("value", Broken(answer.get("raises", ""))))
            else:
                answers[first] = Late(questions[first].seconds)
        if any(isinstance(answer, Late) for answer in answers.values()):
            self._end()  # so that what it still says is not taken for an answer to another question

    def _end(self) -> None:
        if self._process is not None:
            with suppress(OSError):
                self._process.end()
            self._process = None
