"""What the rest of the system may ask of a source, whatever its kind."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.base.found import Found
from shared.base.lanes import Lane
from shared.base.source_report import SourceReport

if TYPE_CHECKING:  # decoders come with it, and most commands only ask where images lie
    from shared.imaging import Limits

Unknown = Callable[[Sequence[Found]], list[Found]]
"""Of at most MAX_ROWS images, those that the ledger does not know as they are now."""


class Poller(Protocol):
    """Finds new images for the producer, which holds one for each source that is watched."""

    @property
    def is_busy(self) -> bool:
        """Whether the next call finds more at once; else the producer waits for the wake-up event, or for a moment."""

    def maintain(self, *, is_known: bool) -> None:
        """Called every few seconds: keep watches and markers alive. `is_known`: the ledger has rows of this source."""

    def poll(self, now: float, unknown: Unknown) -> list[Found]:
        """The next images that are complete and not known yet; `now` is monotonic. Does not block.

        What `unknown` raises passes through, and costs no image: it is found again.
        """

    def report(self) -> SourceReport:
        """How the source is watched, and what cannot be seen of it. Takes what is known: it asks the source nothing."""

    def stop(self) -> None:
        """Release threads and handles."""


class Source(Protocol):
    """Where images come from. An image is identified by (source, path, revision).

    `path` is the source's name for it, as Python names files. `revision` is text that only the source can read: it
    tells one state of the image from another.
    """

    @property
    def name(self) -> str:
        """Stands in every result."""

    @property
    def kind(self) -> str:
        """A key of `shared.sources.KINDS`."""

    @property
    def lane(self) -> Lane:
        """Of the images that arrive in it."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    @property
    def is_owned(self) -> bool:
        """Whether its images are Pneumoscreen's own copies, which `delete` may remove."""

    @property
    def is_watched(self) -> bool:
        """Whether a producer looks for images in it; else whoever brings an image registers it."""

    @property
    def hung(self) -> int:
        """Helper processes of this process that a call on the source holds."""

    def is_in_reach(self) -> bool:
        """Whether this host sees the source, so that an image that is not found in it is gone.

        Raises OutOfReach if it does not answer.
        """

    def prepare(self) -> None:
        """Make what the system itself provides of it, before the services start."""

    def poller(self, wake: threading.Event) -> Poller | None:
        """What finds its images, None if it is not watched. `wake` is set when there may be something to poll."""

    def find(self, path: str) -> Found | None:
        """The image as it is now; None if there is none that can be read. Raises OutOfReach if it does not answer."""

    def find_below(self, path: str) -> list[str] | None:
        """What a folder in it holds, by the names below that folder, sorted and without what is ignored.

        None if it is no folder. Raises OutOfReach if it does not answer.
        """

    def locate(self, file: Path) -> str | None:
        """The path by which this source knows a file of this host; None if the file does not lie in it.

        Raises OutOfReach if it should, and the source does not answer.
        """

    def is_ignored(self, path: str) -> bool:
        """Whether the name alone says that this is no image, or none yet."""

    def read(self, path: str, revision: str, limits: "Limits") -> bytes:
        """The bytes of the image, if it is still at this revision.

        Raises Changed if it is not, Unreadable for a permanent failure (the file's), OutOfReach for a transient one
        (the environment's).
        """

    def local_copy(self, path: str) -> Path:
        """A file on this host that holds the image: to be read, neither changed nor deleted. It need not exist."""

    def exists(self, path: str) -> bool | None:
        """Whether the image is there; None if this host cannot tell."""

    def delete(self, path: str) -> None:
        """Delete an image. Raises WorkFailed if it is not ours to delete: `is_owned` is False, or a link leads away."""

    def written_at(self, revision: str) -> datetime:
        """When the image came to be at this revision, by the clock of whoever wrote it."""
