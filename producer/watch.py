"""watchdog's events, one observer a root, kept alive; what they miss, the sweep finds."""

import logging
import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)
EVENTS = [FileClosedEvent, FileMovedEvent, FileCreatedEvent, DirCreatedEvent, DirMovedEvent]


@dataclass(frozen=True, slots=True)
class Sign:
    """The system reported something about a path in a root."""

    root: str
    path: str
    is_folder: bool
    is_closed: bool


class _Handler(FileSystemEventHandler):
    def __init__(self, root: str, folder: Path, signs: "queue.Queue[Sign]", missed: threading.Event) -> None:
        self._root, self._folder, self._signs, self._missed = root, folder, signs, missed

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Must not raise, which would end watchdog's thread, and must not wait."""
        moved = isinstance(event, FileMovedEvent | DirMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        try:
            relative = os.path.relpath(path, self._folder)
            is_closed = isinstance(event, FileClosedEvent | FileMovedEvent)
            if not relative.startswith(".."):
                self._signs.put_nowait(Sign(self._root, relative, event.is_directory, is_closed))
        except (queue.Full, ValueError):
            self._missed.set()


class Watch:
    """Watches one root by events. `missed` is set when events may have been lost, so that the root must be swept."""

    def __init__(self, root: str, folder: Path, signs: "queue.Queue[Sign]") -> None:
        self.missed = threading.Event()
        self._root, self._folder, self._signs = root, folder, signs
        self._observer: BaseObserver | None = None
        self._inode: int | None = None

    def keep_alive(self) -> bool:
        """Start watching, again if the root was removed and made anew or a thread died; False if it cannot be."""
        try:
            inode = self._folder.stat().st_ino
        except OSError:
            self.stop()
            return False
        observer = self._observer
        if observer and observer.is_alive() and inode == self._inode and all(e.is_alive() for e in observer.emitters):
            return True
        self.stop()
        observer = Observer()
        try:
            observer.schedule(
                _Handler(self._root, self._folder, self._signs, self.missed),
                str(self._folder),
                recursive=True,
                event_filter=EVENTS,
            )
            observer.start()
        except OSError as error:  # the kernel's limit on watches, most of the time
            log.warning("root %s cannot be watched by events (%s): it is polled instead", self._root, error.strerror)
            return False
        self._observer, self._inode = observer, inode
        self.missed.set()  # start watching first, then scan
        return True

    def stop(self) -> None:
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5)
        self._observer = None
