"""What the file system says of one state of one file: the revision that every host sees, and a hint for this one."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from shared.base.filesystem import has_own_numbers
from shared.base.found import Found

SECOND = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Facts:
    """`inode` and `ctime_ns` are 0 where the file system may make them up as it goes: they would never settle."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        own = (stat.st_ino, stat.st_ctime_ns) if has_own_numbers(stat.st_dev) else (0, 0)
        return cls(stat.st_size, stat.st_mtime_ns, *own)

    @property
    def revision(self) -> str:
        """Size and whole second, rounded down: what hosts that share a folder agree on."""
        return f"{self.size}:{self.mtime_ns // SECOND}"

    @property
    def hint(self) -> str:
        """What hosts may see differently: the fraction of the second, the inode's number, and its change time.

        The change time tells of each write, also where a program sets the modification time back after it.
        """
        return f"{self.mtime_ns % SECOND}:{self.inode}:{self.ctime_ns}"

    def found(self, path: str) -> Found:
        """What the ledger registers for a file with these facts."""
        return Found(path, self.revision, self.size, self.hint)


def written_at(revision: str) -> datetime:
    """The second of a revision; of times that no calendar has, the nearest that it has."""
    seconds = int(revision.partition(":")[2])
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if seconds > 0 else datetime.min.replace(tzinfo=UTC)
