"""The source that is a folder: what the system asks of its files. `polling` finds new ones for the producer."""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, TypeVarTuple

from shared.base.errors import OutOfReach, WorkFailed
from shared.base.filesystem import MARKER
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.sources.folder import looking, reading
from shared.sources.folder.facts import written_at
from shared.sources.folder.reach import Reach, reach_of
from shared.sources.ignored import IgnoreRule

if TYPE_CHECKING:  # a helper process has no use for settings, and starts without them
    from shared.base.settings import Settings
    from shared.base.source_settings import FolderSettings
    from shared.imaging import Limits
    from shared.sources.protocol import Poller

Args = TypeVarTuple("Args")
T = TypeVar("T")


def from_settings(name: str, chosen: "FolderSettings", settings: "Settings") -> "FolderSource":
    times = {"settle": settings.settle, "sweep_every": settings.sweep_every, "timeout": settings.source_timeout}
    return FolderSource(name, chosen.path, chosen.lane, chosen.ignore, chosen.polling, marker=chosen.marker, **times)


@dataclass(frozen=True)
class FolderSource:
    """The folder `root`; a path in it is relative to it. `polling` None: network shares are polled, others watched.

    `marker` is the path in it by which it is known to be in reach: see `shared.sources.folder.marker`.
    `timeout`: seconds after which a system call on it hangs and is given up; None if its calls are not watched.
    """

    name: str
    root: Path
    lane: Lane = Lane.ROUTINE
    ignore: tuple[str, ...] = ()
    polling: bool | None = None
    settle: float = 2.0
    sweep_every: float = 30.0
    marker: str = MARKER
    timeout: float | None = None

    kind: ClassVar[str] = "folder"
    is_owned: ClassVar[bool] = False
    is_watched: ClassVar[bool] = True

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        """The source that a `row` was made of, in another process; its calls are not watched there."""
        return cls(**{**row, "root": Path(row["root"]), "lane": Lane(row["lane"]), "ignore": tuple(row["ignore"])})

    @property
    def row(self) -> dict[str, Any]:
        """What JSON carries of it."""
        return {**asdict(self), "root": str(self.root), "timeout": None}

    @property
    def place(self) -> str:
        return str(self.root)

    @cached_property
    def is_ignored(self) -> IgnoreRule:
        return IgnoreRule(self.ignore)

    @cached_property
    def reach(self) -> Reach | None:
        return None if self.timeout is None else reach_of(self.name, self.root, self.timeout)

    @property
    def hung(self) -> int:
        return self.reach.hung if self.reach else 0

    def ask(self, question: Callable[[Path, *Args], T], *args: *Args) -> T:
        """Raises OutOfReach if it does not answer."""
        return self.reach.ask(question, *args) if self.reach else question(self.root, *args)

    def is_in_reach(self) -> bool:
        return self.ask(looking.is_in_reach, self.marker)

    def prepare(self) -> None:
        """Nothing: an empty folder in the place of a share that is away would pass for the share."""

    def poller(self, wake: threading.Event) -> "Poller | None":
        if self.reach:
            from shared.sources.folder.helped_polling import HelpedPoller

            return HelpedPoller(self, self.reach, wake)
        from shared.sources.folder.polling import FolderPoller  # brings watchdog, which only a producer needs

        return FolderPoller(self, wake)

    def find(self, path: str) -> Found | None:
        row = self.ask(looking.find, path)
        return Found(*row) if row else None

    def find_below(self, path: str) -> list[str] | None:
        names = self.ask(looking.names_below, path, self.ignore)
        return None if names is None else sorted(names)

    def locate(self, file: Path) -> str | None:
        """By where it lies when all links are followed: one that leads out of the folder is not read by workers."""
        try:
            return self.ask(looking.locate, str(file))
        except OutOfReach:
            if file.is_relative_to(self.root):
                raise
            return None

    def read(self, path: str, revision: str, limits: "Limits") -> bytes:
        if self.reach:
            return self.reach.read(path, revision, limits.bytes, self.marker)
        return reading.read(self.root, path, revision, limits, self.marker)

    def local_copy(self, path: str) -> Path:
        return self.root / path

    def exists(self, path: str) -> bool | None:
        try:
            return self.ask(looking.exists, path, self.marker)
        except OutOfReach:
            return None

    def delete(self, path: str) -> None:
        raise WorkFailed(f"{self.root / path} is not ours to delete: do so by hand.")

    def written_at(self, revision: str) -> datetime:
        return written_at(revision)
