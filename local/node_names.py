"""The names by which Celery and Flower know the services of a host: one each, however many run there."""

import fcntl
import os
from itertools import count
from pathlib import Path

from shared.base import host


def take_node_name(home: Path, service: str) -> str:
    """`service@host` for the first process of this kind on this host, `service-2@host` for a second, and so on.

    Small numbers, taken again after a restart: with a name of its own for each start, Flower would list every process
    that ever was. The lock belongs to the process and its children; it is never released.
    """
    node = host.name()
    for number in count(1):
        try:
            is_free = _lock(home / "run" / f"{service}-{number}@{node}.lock")
        except OSError:  # the home is read-only, or its share knows no locks
            return f"{service}-{os.getpid()}@{node}"
        if is_free:
            return f"{service}@{node}" if number == 1 else f"{service}-{number}@{node}"
    raise AssertionError("there are more numbers than processes")


def _lock(file: Path) -> bool:
    """Whether the lock was free; it is held then until this process and its children have ended."""
    file.parent.mkdir(exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True
