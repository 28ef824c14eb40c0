"""The model versions that a worker process holds: the live one, and at most one more for jobs that name a version."""

import gc
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from shared import registry
from shared.errors import BrokenModel
from shared.registry import Loaded, Published
from worker.metrics import Metrics

log = logging.getLogger(__name__)
RETRY_SECONDS = 60.0


class Models:
    def __init__(self, folder: Path, metrics: Metrics | None = None) -> None:
        self.error: str | None = None
        self._folder = folder
        self._metrics = metrics or Metrics()
        self._live: tuple[Published, Loaded] | None = None
        self._named: tuple[Published, Loaded] | None = None
        self._refused_at: dict[Published, float] = {}

    @property
    def version(self) -> str | None:
        return self._live[0].version if self._live else None

    @property
    def device(self) -> str:
        return self._live[1].network.device if self._live else "none"

    def live(self, candidates: Sequence[Published]) -> Loaded:
        """The live version (the first candidate), loaded if it is not held yet.

        If it does not load, the one held stays in service, and on a cold start the one that was live before it.
        Raises BrokenModel if none loads.
        """
        for candidate in candidates:
            if (self._live and self._live[0] == candidate) or self._take(candidate):
                assert self._live is not None
                if candidate == candidates[0]:
                    self.error = None
                return self._live[1]
            if self._live:
                return self._live[1]
        raise BrokenModel(self.error or "no model version was ever published: `pneumoscreen models list`")

    def _take(self, candidate: Published) -> bool:
        """Bring a version into service; one that was refused just now is not tried again while another serves."""
        refused_at = self._refused_at.get(candidate)
        if self._live and refused_at is not None and time.monotonic() - refused_at < RETRY_SECONDS:
            return False
        try:
            if self._named and self._named[0] == candidate:  # a rescreen needed it before it was promoted
                taken = self._named
            else:
                self._named = None  # three would not fit into memory: the old one serves while the new one loads
                _release()
                taken = (candidate, self._load(candidate))
        except BrokenModel as error:
            self._refused_at[candidate] = time.monotonic()
            self.error = str(error)
            log.error("model version %s is refused: %s", candidate.version, error)  # noqa: TRY400
            return False
        self._live, self._named = taken, None
        self._refused_at.pop(candidate, None)
        _release()
        log.info("model version %s is in service", candidate.version)
        self._metrics.show_version(candidate.version)
        return True

    def named(self, wanted: Published) -> Loaded:
        """A version that a job names; raises BrokenModel."""
        for held in (self._live, self._named):
            if held and held[0] == wanted:
                return held[1]
        self._named = None
        _release()
        self._named = (wanted, self._load(wanted))
        return self._named[1]

    def _load(self, version: Published) -> Loaded:
        try:
            return registry.load(self._folder, version)
        except BrokenModel:
            self._metrics.load_failures.inc()
            raise


def _release() -> None:
    """Give back the memory of versions that were dropped.

    A traced Keras network refers to itself, so it stays until Python looks for such cycles, which is seldom in a
    process that makes few objects: 20 swaps then hold 90 MB more (measured with the bundled network), else none.
    """
    gc.collect()
