"""Signals: each test sends them to a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import pace

TOP = Path(__file__).parents[2]
SECONDS = pace.seconds(30)
TURNING = """
import time

from shared.base.stopping import on_signals

stop = on_signals()
print("ready", flush=True)
while not stop.wait(0.0001):
    pass
time.sleep(0.2)
print("ended in order", flush=True)
"""
"""As a producer: always on its way in or out of a lock of `threading`."""
UNDOING = """
import signal
import time
from shared.base.stopping import in_order

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if a shell started the tests in the background
with in_order():
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        time.sleep(0.5)
        print("undone", flush=True)
"""

LAST = """
import os
import time


class Last:
    def __del__(self):
        os.kill(os.getpid(), 15)
        time.sleep(0.01)
"""
REPEATING = """
from local import backup_schedule
from shared.base.stopping import in_order

backup_schedule._step = lambda _: Last() and 600
print("ready", flush=True)
with in_order():
    backup_schedule.repeat(None)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def run(code: str, *before: str) -> "subprocess.Popen[str]":
        command = [*before, sys.executable, "-c", code]
        environment = {**os.environ, "PYTHONPATH": str(TOP)}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_signals_in_quick_succession_never_hang_a_program(start: Start) -> None:
    """With `Event.set` in the handler, two in a hundred hung until SIGKILL."""
    for _ in range(20):
        process = start(TURNING)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) * 10:
            process.send_signal(number)
        assert process.communicate(timeout=SECONDS)[0] == "ended in order\n"
        assert process.returncode == 0


def test_a_signal_taken_amid_the_locks_of_the_event_does_not_wait_for_them(
    start: Start,
) -> None:
    """The moment that the test above seldom meets: the main thread holds the event's lock when the signal comes."""
    holding = TURNING.replace("while", "with stop._cond:\n    os.kill(os.getpid(), 15)\n    time.sleep(0.1)\nwhile")
    process = start("import os\n" + holding)
    assert process.communicate(timeout=SECONDS)[0] == "ended in order\n"


def test_a_signal_is_heard_while_the_main_thread_is_in_a_library(start: Start) -> None:
    """Which does not return for it, as a query of SQLite."""
    busy = """
import sqlite3
import threading
from shared.base.stopping import on_signals

stop = on_signals()
threading.Thread(target=lambda: (stop.wait(), print("heard", flush=True)), daemon=True).start()
print("ready", flush=True)
sqlite3.connect(":memory:").execute(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) SELECT max(i) FROM n"
).fetchall()
print("returned", flush=True)
"""
    process = start(busy)
    process.terminate()
    assert process.communicate(timeout=SECONDS)[0] == "heard\nreturned\n"


def test_a_hangup_ends_a_program_unless_it_was_ignored_at_the_start(
    start: Start,
) -> None:
    process = start(TURNING)
    process.send_signal(signal.SIGHUP)
    assert process.wait(SECONDS) == 0
    process = start(TURNING, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_leaves_something_behind_is_undone_however_many_signals_come(start: Start, number: int) -> None:
    process = start(UNDOING)
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.1)
    said = process.communicate(timeout=SECONDS)[0]
    assert said.startswith("undone\n")
    assert process.returncode == (-signal.SIGINT if number == signal.SIGINT else 128 + number)


def test_a_signal_that_comes_while_python_deletes_an_object_is_not_lost(start: Start) -> None:
    """An exception is ignored there, so the program went on as if nothing had been asked of it, and heard no more."""
    process = start(LAST + UNDOING.replace("        time.sleep(600)", "        Last()\n        time.sleep(600)"))
    assert process.communicate(timeout=SECONDS)[0] == "undone\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_backups_that_repeat_end_also_then(start: Start) -> None:
    """The system waited for their process until it killed it."""
    process = start(LAST + REPEATING)
    assert process.communicate(timeout=SECONDS)[0] == ""
    assert process.returncode == 0
