"""What one sweep of a folder saw and left out: counts, and the first names of what a person should know of."""

import os
from collections import Counter
from collections.abc import Callable

from shared.base.filesystem import MARKER
from shared.sources.ignored import UNFINISHED

MAX_NAMES = 20
ODD = "no regular file"
"""Stands for pipes, sockets and devices where patterns are counted."""


class Names:
    """Counts all names, keeps the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < MAX_NAMES:
            self.first.append(os.fsencode(name or ".").decode("utf-8", "backslashreplace"))

    def __eq__(self, other: object) -> bool:
        """In any order: a folder is not listed in the same one for ever."""
        return isinstance(other, Names) and self.count == other.count and set(self.first) == set(other.first)

    __hash__ = None  # type: ignore[assignment]


class Tally:
    """A sweep adds to it; `pattern` tells which pattern leaves an ignored path out."""

    def __init__(self, pattern: Callable[[str], str] = lambda _: UNFINISHED) -> None:
        self._pattern = pattern
        self.files = 0
        self.ignored: Counter[str] = Counter()
        self.unreadable = Names()
        self.links = Names()
        self.odd = Names()

    def ignore(self, path: str) -> None:
        if path != MARKER:
            self.ignored[self._pattern(path)] += 1

    def add_odd(self, path: str) -> None:
        self.ignored[ODD] += 1
        self.odd.add(path)
