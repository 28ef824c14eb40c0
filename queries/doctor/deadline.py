"""Runs functions in processes of their own, each with a deadline: a call on a hung share cannot be ended from within.

A process that does not end even when it is killed is left behind; nobody waits for it.
"""

import os
import pickle
import select
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """`seconds` count from the start of all calls; the result must be one that can be pickled."""

    function: Callable[[], T]
    seconds: float


@dataclass(frozen=True)
class Late:
    """There was no answer in time."""

    seconds: float


@dataclass(frozen=True)
class Broken:
    """The function raised an error, or its process died."""

    reason: str


def run(calls: Sequence[Call[T]]) -> list[T | Late | Broken]:
    """Runs all calls at once; returns what each gave, in their order."""
    began = time.monotonic()
    started = [_start(call.function) for call in calls]
    return [
        _collect(pid, pipe, call.seconds, began + call.seconds)
        for (pid, pipe), call in zip(started, calls, strict=True)
    ]


def _start(function: Callable[[], object]) -> tuple[int, int]:
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of threads at a fork; the command that runs this has none that matter.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _answer(function, writing)
    os.close(writing)
    return pid, reading


def _answer(function: Callable[[], object], writing: int) -> NoReturn:
    """In the child: never returns, and ends without what Python does at its end, which is the parent's to do."""
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # libraries chatter
            os.dup2(nowhere, descriptor)
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - told to the parent
            result = Broken(f"{type(error).__name__}: {error}")
        with open(writing, "wb") as pipe:
            pickle.dump(result, pipe)
    finally:
        os._exit(0)


def _collect(pid: int, pipe: int, seconds: float, deadline: float) -> Any:
    parts: list[bytes] = []
    try:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (part := os.read(pipe, 65536)):
                break
            parts.append(part)
        else:
            return Late(seconds)
    finally:
        os.close(pipe)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _bury(pid)
    if not parts:
        return Broken("its process died")
    return pickle.loads(b"".join(parts))  # noqa: S301 - from our own child


def _bury(pid: int) -> None:
    """One that hangs in the kernel stays; it is init's when this program ends."""
    for _ in range(20):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
