"""Helper processes of this process: each asks a folder one thing at a time, and can be given up if the folder hangs.

A thread that hangs in a system call can be neither stopped nor left behind when the process ends; a process can.
"""

import atexit
import errno
import json
import os
import select
import subprocess
import tempfile
from collections import deque
from contextlib import suppress
from io import FileIO
from typing import Any

from shared import __version__
from shared.base import errors
from shared.base.surroundings import python
from shared.sources.folder.helper import OTHER_VERSION

PROGRAM = "shared.sources.folder.helper"
MAX_KEPT = 2**25
"""A helper that read a file of more bytes does not stay, since it keeps its memory."""

END_SECONDS = 1.0
START_SECONDS = 60.0
"""How long a program may take to start on a busy host: that says nothing of the folder."""


class HelperDied(Exception):
    """Somebody or something ended it, which says nothing of the folder."""


class Process:
    """A program of ours that answers in lines of JSON. It ends with this process, which is the end of its input.

    Raises OSError where it cannot be started.
    """

    def __init__(self, program: str, *arguments: str, shared: FileIO | None = None) -> None:
        self.process = subprocess.Popen(
            python(program, __version__, *([str(shared.fileno())] if shared else []), *arguments),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(shared.fileno(),) if shared else (),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self._shared = shared
        self._received = bytearray()
        self._poll = select.poll()
        self._poll.register(self.output.fileno(), select.POLLIN)
        _started.add(self)

    def await_start(self) -> None:
        """Until its first sign of life, for a program that gives one. Raises HelperDied, OSError; it is ended then."""
        if not self.has_output(START_SECONDS):
            self.end()
            raise HelperDied
        try:
            self.receive()
        except BaseException:
            self.end()
            raise

    def has_output(self, seconds: float) -> bool:
        """Whether there is something to `receive`, after a wait of at most so many seconds."""
        return bool(self._poll.poll(1000 * seconds))

    def write(self, content: Any) -> None:
        """Raises HelperDied."""
        try:
            self.input.write(json.dumps(content).encode() + b"\n")
        except OSError as error:
            raise HelperDied from error

    def receive(self) -> list[Any]:
        """What it has written meanwhile, after a wait for it: without its signs of life, which are empty lines.

        Raises HelperDied; OSError if its program was replaced by another version's.
        """
        data = os.read(self.output.fileno(), 2**16)
        if not data:
            with suppress(subprocess.TimeoutExpired):
                if self.process.wait(END_SECONDS) == OTHER_VERSION:
                    raise OSError(errno.ESTALE, "the program was upgraded while it ran: start this service anew")
            raise HelperDied
        self._received += data
        if b"\n" not in data:
            return []
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        return [json.loads(line) for line in lines if line]

    def kill(self) -> None:
        """SIGKILL; if the kernel is to end a hung call first, the process ends when that returns."""
        self.process.kill()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, patience: float = END_SECONDS) -> None:
        self.kill()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:  # a call hangs, and the kernel does not let go of it
            self.leave()
        self.close()

    def close(self) -> None:
        _started.discard(self)
        for file in (self.input, self.output, self._shared):
            if file is not None:
                file.close()

    def leave(self) -> None:
        """It is another process's from now on: nobody here waits for its end."""
        self.process.returncode = 0


class Helper(Process):
    """A running `helper`, for one thread at a time. Raises OSError and HelperDied where it cannot be started."""

    def __init__(self) -> None:
        self._memory = _memory()
        try:
            super().__init__(PROGRAM, shared=self._memory)
        except BaseException:
            self._memory.close()
            raise
        self.await_start()

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """The answer; None if for so many seconds there was no sign of it. Raises HelperDied."""
        while self.has_output(seconds):
            if answers := self.receive():
                answer: dict[str, Any] = answers[0]
                return answer
        return None

    def bytes_read(self, count: int) -> bytes:
        return os.pread(self._memory.fileno(), count, 0)


def value_of(answer: dict[str, Any]) -> Any:
    """Raises what was raised where the folder was asked: an ImageError, OSError, MemoryError, else RuntimeError."""
    if "value" in answer:
        return answer["value"]
    name, text = answer.pop("raises"), answer.pop("text")
    if name == "OSError":
        raise OSError(answer["errno"], answer["strerror"])
    if name == "MemoryError":
        raise MemoryError(text)
    kind = getattr(errors, name, None)
    if kind is None:
        raise RuntimeError(f"{name}: {text}")
    error: errors.ImageError = kind.__new__(kind, text)  # its constructor takes what it likes
    vars(error).update(answer)
    raise error


def _memory() -> FileIO:
    """An open file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):  # Linux
        return FileIO(os.memfd_create("image"), "r+")
    return tempfile.TemporaryFile(buffering=0)


_started: set[Process] = set()
idle: deque[Helper] = deque()
"""Those that wait for a question."""


def _end_all() -> None:
    """At the end of this process, in which other threads may still wait for an answer."""
    while idle:
        idle.pop().end()
    for process in list(_started):
        process.kill()
        process.leave()


def _leave_all() -> None:
    """In a fork of this process: its copy of an input would keep a helper that the other one left."""
    idle.clear()
    for process in list(_started):
        process.leave()
        process.close()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_leave_all)
