"""The model versions that a worker process holds: the live one, and at most one more for jobs that name a version."""

import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from shared.base.errors import BrokenModel
from shared.base.settings import EngineName
from shared.models import registry
from shared.models.registry import Loaded, Published
from worker.metrics import Metrics

log = logging.getLogger(__name__)
RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Refusal:
    """Why a version did not load, and when that was on the monotonic clock."""

    reason: str
    at: float


class Models:
    def __init__(
        self,
        folder: Path,
        metrics: Metrics | None = None,
        key: SecretStr | None = None,
        engine: EngineName = "tensorflow",
    ) -> None:
        self.error: str | None = None
        self._folder = folder
        self._metrics = metrics or Metrics()
        self._key = key
        self._engine = engine
        self._live: tuple[Published, Loaded] | None = None
        self._named: tuple[Published, Loaded] | None = None
        self._refusals: dict[Published, Refusal] = {}

    @property
    def version(self) -> str | None:
        return self._live[0].version if self._live else None

    @property
    def device(self) -> str:
        return self._live[1].network.device if self._live else "none"

    def is_behind(self, candidates: Sequence[Published]) -> bool:
        """Whether `live` has a version to load; a version that was refused just now does not count."""
        if not candidates:
            return False
        if self._live and self._live[0] == candidates[0]:
            return self.error is not None  # of a version that is not live any more
        return not self._was_refused(candidates[0])

    def live(self, candidates: Sequence[Published]) -> Loaded:
        """The live version (the first candidate), loaded if it is not held yet.

        If it does not load, the one held stays in service, and on a cold start the one that was live before it.
        Raises BrokenModel if none loads.
        """
        for candidate in candidates:
            if (self._live and self._live[0] == candidate) or self._take(candidate) or self._live:
                break
        refusal = self._refusals.get(candidates[0]) if candidates else None
        if self._live is None or not candidates:
            self.error = refusal.reason if refusal else self.error
            raise BrokenModel(self.error or "no model version was ever published: `pneumoscreen models list`")
        self.error = None if self._live[0] == candidates[0] or refusal is None else refusal.reason
        return self._live[1]

    def _take(self, candidate: Published) -> bool:
        """Bring a version into service; one that was refused just now is not retried while another serves."""
        if self._live and self._was_refused(candidate):
            return False
        try:
            if self._named and self._named[0] == candidate:  # a rescreen needed it before it was promoted
                taken = self._named
            else:
                self._named = None  # three would not fit into memory: the old one serves while the new one loads
                _release()
                taken = (candidate, self._load(candidate))
        except BrokenModel as error:
            reason = f"the model version {candidate.version} is refused: {error}"
            self._refusals[candidate] = Refusal(reason, time.monotonic())
            log.error("%s", reason)  # noqa: TRY400
            return False
        self._live, self._named = taken, None
        self._refusals.pop(candidate, None)
        _release()
        log.info("model version %s is in service", candidate.version)
        self._metrics.show_version(candidate.version)
        return True

    def _was_refused(self, candidate: Published) -> bool:
        refusal = self._refusals.get(candidate)
        return refusal is not None and time.monotonic() - refusal.at < RETRY_SECONDS

    def named(self, wanted: Published) -> Loaded:
        """A version that a job names; raises BrokenModel."""
        if self._live and self._live[0] == wanted:
            return self._live[1]
        if self._named and self._named[0] == wanted:
            return self._named[1]
        self._named = None
        _release()
        self._named = (wanted, self._load(wanted))
        return self._named[1]

    def _load(self, version: Published) -> Loaded:
        try:
            return registry.load(self._folder, version, self._key, self._engine)
        except BrokenModel:
            self._metrics.load_failures.inc()
            raise


def _release() -> None:
    """Free the memory of versions that were dropped.

    A traced Keras network refers to itself, so it stays until Python collects cycles, which happens seldom in a process
    that makes few objects: without this, 20 swaps kept 90 MB (measured with the bundled network), with it none.
    """
    gc.collect()
