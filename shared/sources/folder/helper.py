"""A helper: the process that asks a folder in place of another process, which can give it up if the folder hangs.

Started by `helpers`. A line on its standard input is a request: the name of one of CALLS and its arguments. A line on
its standard output is the answer; an empty one says that it has started, or that a long answer makes progress. It must
start fast, and so imports little: neither settings nor a database, and no decoder.
"""

import _thread
import json
import mmap
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared import __version__
from shared.sources.folder import looking, reading

CALLS: dict[str, Callable[..., Any]] = {
    call.__name__: call
    for call in (
        looking.is_in_reach,
        looking.find,
        looking.exists,
        looking.names_below,
        looking.locate,
        looking.real_path,
        looking.file_in_path,
        looking.make,
    )
}
"""What may be asked, beside `read`; the first argument is a path on this host."""
OTHER_VERSION = 3
"""Exit code of a helper that another version's process has started."""
CHUNK = 2**18
"""Bytes after which a slow share has made progress."""
SIGN_SECONDS = 0.5


def check_version() -> None:
    """End if the other process is of another version: during an upgrade, it starts programs of the new one."""
    if sys.argv[1] != __version__:
        sys.exit(OTHER_VERSION)


def end_with_parent() -> None:
    """When the other process ends, however it ends, this one does: also while a call hangs, if the kernel lets it.

    Until then it serves: signals to a whole group of processes, as from a terminal, are for the other one.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever reads the errors of the other process, as a shell's `$(...)` does, would wait for one that hangs.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    _thread.start_new_thread(_wait_for_parent, ())


def _wait_for_parent() -> None:
    end_of_input = select.poll()
    end_of_input.register(sys.stdin.fileno(), 0)  # for a hang-up alone
    end_of_input.poll()
    os._exit(0)


class Lines:
    """What this process writes to the other one, by a descriptor, which is its standard output if none is given."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._wrote_at = time.monotonic()
        self._lock = _thread.allocate_lock()

    def write(self, content: dict[str, Any]) -> None:
        self._write(json.dumps(content).encode() + b"\n")

    def show_progress(self) -> None:
        """To be called often: an empty line twice a second is enough."""
        if time.monotonic() - self._wrote_at > SIGN_SECONDS:
            self.sign()

    def sign(self) -> None:
        self._write(b"\n")

    def _write(self, data: bytes) -> None:
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]
            self._wrote_at = time.monotonic()


class Memory:
    """A file in memory that both processes have open: a pipe would take far longer for the bytes of an image."""

    def __init__(self, descriptor: int, lines: Lines) -> None:
        self._descriptor, self._lines = descriptor, lines
        self._map: mmap.mmap | None = None

    def take(self, descriptor: int, size: int) -> memoryview:
        """Read a file up to its end, or to one byte more than it should have."""
        shared, read = memoryview(self._room(size + 1)), 0
        while read <= size:
            self._lines.show_progress()
            count = os.readv(descriptor, [shared[read : min(read + CHUNK, size + 1)]])
            if count == 0:
                break
            read += count
        return shared[:read]

    def _room(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            os.ftruncate(self._descriptor, max(size, 4 * CHUNK))
            self._map = mmap.mmap(self._descriptor, max(size, 4 * CHUNK))
        return self._map


def error_as_row(error: Exception) -> dict[str, Any]:
    fields = {"errno": error.errno, "strerror": error.strerror} if isinstance(error, OSError) else vars(error)
    return {"raises": "OSError" if isinstance(error, OSError) else type(error).__name__, "text": str(error), **fields}


def main() -> None:
    check_version()
    end_with_parent()
    lines = Lines()
    lines.sign()
    memory = Memory(int(sys.argv[2]), lines)
    for request in sys.stdin.buffer:
        lines.write(_answer(json.loads(request), memory, lines))


def _answer(request: list[Any], memory: Memory, lines: Lines) -> dict[str, Any]:
    name, place, *arguments = request
    try:
        if name == "read":
            path, revision, max_bytes, marker = arguments
            data = reading.read_by(memory.take, Path(place), path, revision, SimpleNamespace(bytes=max_bytes), marker)
            return {"value": len(data)}
        value = CALLS[name](Path(place), *arguments)
        return {"value": list(_in_progress(value, lines)) if isinstance(value, Iterator) else value}
    except Exception as error:  # noqa: BLE001 - it is raised in the other process
        return error_as_row(error)


def _in_progress(values: Iterator[Any], lines: Lines) -> Iterator[Any]:
    for value in values:
        lines.show_progress()
        yield value


if __name__ == "__main__":
    main()
