"""The source that is a folder: what the system asks of its files. `polling` finds new ones for the producer."""

import threading
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shared.base.errors import WorkFailed
from shared.base.filesystem import MARKER
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.base.source_settings import FolderSettings
from shared.sources.folder import reading
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import why_away
from shared.sources.folder.sweep import look
from shared.sources.ignored import IgnoreRule

if TYPE_CHECKING:
    from shared.imaging import Limits
    from shared.sources.protocol import Poller


def from_settings(name: str, chosen: FolderSettings, settings: Settings) -> "FolderSource":
    return FolderSource(
        name,
        chosen.path,
        chosen.lane,
        chosen.ignore,
        chosen.polling,
        settings.settle,
        settings.sweep_every,
        chosen.marker,
    )


@dataclass(frozen=True)
class FolderSource:
    """The folder `root`; a path in it is relative to it. `polling` None: network shares are polled, others watched.

    `marker` is the path in it by which it is known to be in reach: see `shared.sources.folder.marker`.
    """

    name: str
    root: Path
    lane: Lane = Lane.ROUTINE
    ignore: tuple[str, ...] = ()
    polling: bool | None = None
    settle: float = 2.0
    sweep_every: float = 30.0
    marker: str = MARKER

    kind: ClassVar[str] = "folder"
    is_owned: ClassVar[bool] = False
    is_watched: ClassVar[bool] = True

    @property
    def place(self) -> str:
        return str(self.root)

    @cached_property
    def is_ignored(self) -> IgnoreRule:
        return IgnoreRule(self.ignore)

    def is_in_reach(self) -> bool:
        return why_away(self.root, self.marker) is None

    def prepare(self) -> None:
        """Nothing: an empty folder in the place of a share that is away would pass for the share."""

    def poller(self, wake: threading.Event) -> "Poller | None":
        from shared.sources.folder.polling import FolderPoller  # brings watchdog, which only a producer needs

        return FolderPoller(self, wake)

    def find(self, path: str) -> Found | None:
        stat = look(self.root / path)
        return Facts.of(stat).found(path) if stat else None

    def locate(self, file: Path) -> str | None:
        return str(file.relative_to(self.root)) if file.is_relative_to(self.root) else None

    def read(self, path: str, revision: str, limits: "Limits") -> bytes:
        return reading.read(self.root, path, revision, limits, self.marker)

    def local_copy(self, path: str) -> Path:
        return self.root / path

    def exists(self, path: str) -> bool | None:
        """Two looks, each before one at the marker: a share that goes away takes its files and its marker along."""
        for _ in range(2):
            is_there = _is_there(self.root / path)
            if is_there is not False:
                return is_there
            if not self.is_in_reach():
                return None
        return False

    def delete(self, path: str) -> None:
        raise WorkFailed(f"{self.root / path} is not ours to delete: do so by hand.")

    def written_at(self, revision: str) -> datetime:
        return Facts.parse(revision).written_at


def _is_there(file: Path) -> bool | None:
    """Whether anything has this name; None if that cannot be told."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return True
