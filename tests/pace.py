"""How fast this machine is: every limit of the tests is meant for the reference machine, and scaled by `factor()`.

A limit that is a plain number of seconds fails on a slow machine and says nothing about the product. What waits for
something therefore waits with `Patience`, which runs out when nothing moves any more.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache

REFERENCE = 0.26
"""Seconds that PROBE takes on the machine for which the limits were set: two cores, nothing else running."""
REFERENCE_CORES = 2
PROBE = "import sqlalchemy\nsum(number * number for number in range(2_000_000))"
MAX_FACTOR, MAX_SPAN = 20.0, 4.0
PROBES = 5
LONGEST = 3
"""A wait ends after so many times its limit, even where something still moves."""
VARIABLE = "TEST_PACE"
"""Tells the factor to the workers of pytest-xdist and to programs that tests start; set it to choose another."""


@cache
def factor() -> float:
    """How much longer things take here than on the reference machine, at least 1; measured once in a run."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = f"{_measure():.1f}"
    return max(1.0, float(os.environ[VARIABLE]))


def seconds(on_reference: float) -> float:
    """A limit for this machine."""
    return on_reference * factor()


def span(on_reference: float) -> float:
    """How long a lease is to be, or an outage that has to outlast it: bounded, as the tests wait for all of it."""
    return on_reference * min(factor(), MAX_SPAN)


def setting(on_reference: float) -> str:
    """The same for a variable of the environment."""
    return f"{span(on_reference):g}"


class Patience:
    """Runs out when `traces()` stays the same for a limit of seconds, and after LONGEST limits in any case."""

    def __init__(self, limit: float, traces: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` is in seconds of this machine. `traces` tells what changes while there is progress."""
        self.limit, self._traces, self._clock = limit, traces, clock
        self._seen = traces()
        self._until = clock() + limit
        self._end = clock() + LONGEST * limit

    def is_over(self) -> bool:
        now = self._clock()
        if now < self._until:
            return False
        seen = self._traces()
        if now > self._end or seen == self._seen:
            return True
        self._seen, self._until = seen, now + self.limit
        return False


def _measure() -> float:
    slowness = min(_probe() for _ in range(PROBES)) / REFERENCE
    missing = REFERENCE_CORES / _cores()
    return min(MAX_FACTOR, max(1.0, slowness) * max(1.0, missing))


def _probe() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", PROBE], check=True)
    return time.monotonic() - began


def _cores() -> int:
    """Those that this process may use, which `taskset` makes fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
