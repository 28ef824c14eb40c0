"""What the file system says of one state of one file, and the revision that stands for it in the ledger."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from shared.base.found import Found


@dataclass(frozen=True, slots=True)
class Facts:
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        return cls(stat.st_size, _signed(stat.st_mtime_ns), _signed(stat.st_ino))

    @classmethod
    def parse(cls, revision: str) -> Self:
        return cls(*map(int, revision.split(":")))

    @property
    def revision(self) -> str:
        return f"{self.size}:{self.mtime_ns}:{self.inode}"

    @property
    def written_at(self) -> datetime:
        return datetime.fromtimestamp(self.mtime_ns / 1e9, UTC)

    def found(self, path: str) -> Found:
        """What the ledger registers for a file with these facts."""
        return Found(path, self.revision, self.size)


def _signed(number: int) -> int:
    """The number in 64 bits, signed, as rows of older schemas hold it."""
    return (number + 2**63) % 2**64 - 2**63
