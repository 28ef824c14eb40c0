"""One state of one image in a source: what a source finds and the ledger registers."""

from dataclasses import dataclass

MAX_ROWS = 1000
"""Images that are looked up and registered at a time, so that a transaction stays short, and the parameters of a
statement within SQLite's limit."""


@dataclass(frozen=True, slots=True)
class Found:
    """One state of one image in a source: its path there, as Python names files, and its revision.

    `revision` is the source's own text, the same on every host; only that source can read it. `hint` is text that
    stands beside it and means something on this host alone: a changed hint says that the image may be another one.
    """

    path: str
    revision: str
    size: int
    hint: str | None = None
