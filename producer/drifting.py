"""Has the sources' drift looked at, once a minute: no trainer need be there, and each look is cheap."""

import logging
from datetime import UTC, datetime
from pathlib import Path

from actions.drift import look_at_sources
from shared.database import OUT_OF_REACH, Database, refusals

log = logging.getLogger(__name__)
LOOK_EVERY = 60.0
"""Seconds; what is due is known by the number of images, and by the week."""


class DriftWatch:
    def __init__(self, database: Database, models: Path) -> None:
        self._database, self._models = database, models
        self._next = 0.0

    def look(self, now: float) -> None:
        """Look at what is due; `now` is monotonic. Called every few seconds."""
        if now < self._next:
            return
        try:
            look_at_sources(self._database, self._models, datetime.now(UTC))
        except OUT_OF_REACH as error:
            refusal = refusals.find(error)
            if refusal is None or refusal.tries != 0:
                raise
            log.warning("the sources' drift is not looked at: %s", refusal.sentence)  # images matter more
        self._next = now + LOOK_EVERY
