"""Quarantined images whose file somebody has deleted need nobody: they are marked as removed."""

from collections.abc import Mapping

from shared.database import Database, Resolution
from shared.ledger import quarantine
from shared.ledger.register import MAX_ROWS
from shared.sources import Source

RESOLVE_EVERY = 60.0
"""Seconds between two looks at MAX_ROWS files a source, which a share is asked for one by one."""


class Resolver:
    """Goes round the unresolved images of the sources, a part at a time."""

    def __init__(self, database: Database, sources: Mapping[str, Source]) -> None:
        self._database, self._sources = database, sources
        self._after = dict.fromkeys(sources, 0)
        self._next = 0.0

    def resolve(self, now: float) -> None:
        """Look at the next files if it is time to; `now` is monotonic."""
        if now < self._next:
            return
        self._next = now + RESOLVE_EVERY
        for name, source in self._sources.items():
            self._look(name, source)

    def _look(self, name: str, source: Source) -> None:
        with self._database.read() as session:
            images = quarantine.unresolved(session, name, self._after[name])
        # No transaction is open meanwhile: a share may take its time. Where this host cannot tell, nothing is said.
        gone = [image.sighting_id for image in images if source.exists(image.path) is False]
        if gone:
            with self._database.write() as session:
                quarantine.resolve(session, gone, Resolution.REMOVED)
        self._after[name] = images[-1].sighting_id if len(images) == MAX_ROWS else 0
