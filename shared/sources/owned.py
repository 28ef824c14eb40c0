"""A folder of Pneumoscreen's own copies: whoever brings a file registers it, and `delete` may remove it."""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shared.base.errors import WorkFailed
from shared.sources.folder.source import FolderSource


@dataclass(frozen=True)
class OwnedFolder(FolderSource):
    is_owned: ClassVar[bool] = True
    is_watched: ClassVar[bool] = False

    def prepare(self) -> None:
        self.root.mkdir(exist_ok=True)

    def poller(self, wake: threading.Event) -> None:
        return None

    def delete(self, path: str) -> None:
        """Delete a copy, and the folders that were made for it."""
        copy = self.root / path
        if not Path(os.path.realpath(copy.parent)).is_relative_to(os.path.realpath(self.root)):
            raise WorkFailed(f"{copy} lies outside {self.root} by a link, so it is not ours to delete: do so by hand.")
        copy.unlink(missing_ok=True)
        for folder in list(Path(path).parents)[:-1]:
            with suppress(OSError):  # others lie in it
                (self.root / folder).rmdir()
