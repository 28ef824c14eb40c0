"""Quarantined images whose file somebody has deleted need nobody: they are marked as removed."""

import threading
from collections.abc import Mapping, Sequence

from shared.base.found import MAX_ROWS
from shared.database import Database, Resolution
from shared.ledger import quarantine
from shared.sources import Source

RESOLVE_EVERY = 60.0
"""Seconds between two looks at MAX_ROWS files a source, which a share is asked for one by one."""


class Look(threading.Thread):
    """Asks a source for images, in a thread: a share may take its time, and all others are served meanwhile."""

    def __init__(self, source: Source, images: Sequence[quarantine.Quarantined]) -> None:
        super().__init__(name=f"look {source.name}", daemon=True)
        self._source, self._images = source, images
        self.gone: list[int] = []
        """Sightings whose image is not there; where this host cannot tell, nothing is said."""

    def run(self) -> None:
        self.gone = [image.sighting_id for image in self._images if self._source.exists(image.path) is False]


class Resolver:
    """Goes round the unresolved images of the sources, a part at a time."""

    def __init__(self, database: Database, sources: Mapping[str, Source]) -> None:
        self._database, self._sources = database, sources
        self._after = dict.fromkeys(sources, 0)
        self._next = 0.0
        self._looks: dict[str, Look] = {}

    def resolve(self, now: float) -> None:
        """Take what was found gone, and begin the next looks if it is time to; `now` is monotonic."""
        for name, look in list(self._looks.items()):
            if not look.is_alive():
                if look.gone:
                    with self._database.write() as session:
                        quarantine.resolve(session, look.gone, Resolution.REMOVED)
                del self._looks[name]
        if now < self._next:
            return
        self._next = now + RESOLVE_EVERY
        for name in self._sources.keys() - self._looks.keys():
            self._look(name)

    def _look(self, name: str) -> None:
        with self._database.read() as session:
            images = quarantine.unresolved(session, name, self._after[name])
        self._after[name] = images[-1].sighting_id if len(images) == MAX_ROWS else 0
        if images:
            self._looks[name] = Look(self._sources[name], images)
            self._looks[name].start()
