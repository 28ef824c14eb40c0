"""The sign of life of a worker's parent, which its processes read.

A parent that is halted, or hangs, hands out nothing, while the heartbeats of its processes go on: all would look well.
"""

import mmap
import struct
import time

SILENT_SECONDS = 30.0
"""A parent gives a sign of life every two seconds while its loop runs and the broker is in reach."""


class Pulse:
    """Made by the parent before it forks: the memory is shared."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)
        self.beat()

    def beat(self) -> None:
        struct.pack_into("d", self._memory, 0, time.monotonic())

    def complaint(self, parent: int) -> str | None:
        """What is wrong with the parent, if it has been silent for too long; `parent` is its process id."""
        (last,) = struct.unpack_from("d", self._memory, 0)
        silent = time.monotonic() - last
        if silent < SILENT_SECONDS:
            return None
        return (
            f"its parent, process {parent}, has handed out no work for {silent:.0f} s: it is halted, hangs, or waits "
            "for the broker. Where the broker is in reach, end that process; its supervisor starts another"
        )
