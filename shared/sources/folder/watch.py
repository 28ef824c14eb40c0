"""watchdog's events, one observer a folder, kept alive; what they miss, the sweep finds."""

import ctypes
import errno
import logging
import os
import queue
import sys
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
IN_DELETE_SELF = 0x400
LIMITS = {
    errno.EMFILE: "no inotify instance is left, see fs.inotify.max_user_instances",
    errno.ENOSPC: "no inotify watch is left, see fs.inotify.max_user_watches",
}


@dataclass(frozen=True, slots=True)
class FileEvent:
    """The system reported something about a path in a watched folder."""

    path: str
    is_folder: bool
    is_closed: bool


class _Handler(FileSystemEventHandler):
    """`root` is the folder without links: so watchdog names what lies in it."""

    def __init__(
        self, root: str, events: "queue.Queue[FileEvent]", missed: threading.Event, wake: threading.Event
    ) -> None:
        self._root, self._events, self._missed, self._wake = root, events, missed, wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Must not raise, which would end watchdog's thread, and must not wait."""
        moved = isinstance(event, FileMovedEvent | DirMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        try:
            relative = os.path.relpath(path, self._root)
            is_closed = isinstance(event, FileClosedEvent | FileMovedEvent)
            if not relative.startswith(".."):
                self._events.put_nowait(FileEvent(relative, event.is_directory, is_closed))
        except (queue.Full, ValueError):
            self._missed.set()
        self._wake.set()


class Watch:
    """Watches one folder by events; `wake` is set at each. The folder may be a link, and may be made to lead elsewhere.

    `missed` is set when events may have been lost, so that the folder must be swept.
    """

    def __init__(self, name: str, root: Path, events: "queue.Queue[FileEvent]", wake: threading.Event) -> None:
        self.missed = threading.Event()
        self._name, self._root, self._events, self._wake = name, root, events, wake
        self._observer: BaseObserver | None = None
        self._place: tuple[int, int] | None = None
        self.trouble: str | None = None
        """Why it cannot be watched by events, while it is there."""

    def keep_alive(self) -> bool:
        """Start watching, again if the folder was removed and made anew or a thread died; False if it cannot be.

        False too while the kernel has no watch left: new folders within it would go unwatched without a word.
        """
        try:
            folder = self._root.stat()
        except OSError:
            self.stop()
            return False
        place = folder.st_dev, folder.st_ino
        try:
            _check_room(self._root)
            if self.trouble or not self._is_watching(place):  # with trouble, folders within it may be unwatched
                self.stop()
                self._observer, self._place = self._observe(), place
                self.missed.set()  # start watching first, then scan
                _check_room(self._root)
        except OSError as error:  # the kernel's limits, most of the time
            if not self._is_watching(place):
                self.stop()
            self._report(LIMITS.get(error.errno or 0, str(error.strerror)))
            return False
        self._report(None)
        return True

    def _observe(self) -> BaseObserver:
        """By its real path: of a link, the kernel would report only what becomes of the link itself."""
        real = os.path.realpath(self._root)
        return _observe(real, _Handler(real, self._events, self.missed, self._wake))

    def _is_watching(self, place: tuple[int, int]) -> bool:
        return self._observer is not None and self._place == place and _is_alive(self._observer)

    def _report(self, trouble: str | None) -> None:
        """Once for each change, not at each look."""
        if trouble and not self.trouble:
            log.warning("source %s cannot be watched by events (%s): it is polled instead", self._name, trouble)
        if self.trouble and not trouble:
            log.info("source %s is watched by events again", self._name)
        self.trouble = trouble

    def stop(self) -> None:
        if self._observer is not None:
            _end(self._observer)
        self._observer = None


def _check_room(folder: Path) -> None:
    """Raises OSError if Linux has no watch left for another folder: watchdog says so of the outermost folder alone."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        if libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_DELETE_SELF) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def _observe(folder: str, handler: FileSystemEventHandler) -> BaseObserver:
    """A started observer; raises OSError, and leaves nothing behind then: its own thread would hold an instance."""
    observer = Observer()
    try:
        observer.schedule(handler, folder, recursive=True, event_filter=EVENTS)
        observer.start()
    except BaseException:
        _end(observer)
        raise
    return observer


def _is_alive(observer: BaseObserver) -> bool:
    reader = getattr(observer, "_inotify_fd", observer)  # on Linux a thread of its own reads what the kernel reports
    return all(thread.is_alive() for thread in (observer, reader, *observer.emitters))


def _end(observer: BaseObserver) -> None:
    observer.stop()
    if observer.is_alive():
        observer.join(timeout=5)
