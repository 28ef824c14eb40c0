"""The model versions that a worker process holds: the live one, and at most one more.

That one is a version that jobs name, or the one in shadow, which gives way to either.
"""

import gc
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
RESTING_SECONDS = 120.0
"""A version that no job has named for so long makes room for the one in shadow."""
ROOM_SECONDS = 5.0
"""How long a version waits for the one in shadow to end its batch: one that hangs must hold up nothing."""


class PlaceTaken(Exception):
    """There is no room for a version in shadow: another one is held beside the live one."""


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
        self._named_at = 0.0
        self._shadow: tuple[Published, Loaded] | None = None
        self._shadow_lock = threading.Lock()  # held while the version in shadow is loaded or run
        self._evictions = 0
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
        return self._is_rolled_back(candidates) or not self._was_refused(candidates[0])

    def live(self, candidates: Sequence[Published]) -> Loaded:
        """The live version (the first candidate), loaded if it is not held yet.

        If it does not load, the one held stays in service, and on a cold start the one that was live before it; but
        what was rolled back serves nowhere. Raises BrokenModel if none loads.
        """
        if self._is_rolled_back(candidates):
            self._drop_live()
        for candidate in candidates:
            if (self._live and self._live[0] == candidate) or self._take(candidate) or self._live:
                break
        refusal = self._refusals.get(candidates[0]) if candidates else None
        if self._live is None or not candidates:
            self.error = refusal.reason if refusal else self.error
            raise BrokenModel(self.error or "no model version was ever published: `pneumoscreen models list`")
        self.error = None if self._live[0] == candidates[0] or refusal is None else refusal.reason
        return self._live[1]

    def _is_rolled_back(self, candidates: Sequence[Published]) -> bool:
        """Whether the one in service is none that may serve; by its name, as its manifest may have been signed anew."""
        names = {candidate.version for candidate in candidates}
        return self._live is not None and bool(names) and self._live[0].version not in names

    def _drop_live(self) -> None:
        log.warning("model version %s was rolled back, and is in service no more", self.version)
        self._live = None
        self._metrics.show_version(None)
        _release()

    def _take(self, candidate: Published) -> bool:
        """Bring a version into service; one that was refused just now is not retried while another serves."""
        if self._live and self._was_refused(candidate):
            return False
        try:
            shadow = self._evict_shadow()
            if self._named and self._named[0] == candidate:  # a rescreen needed it before it was promoted
                taken = self._named
            elif shadow and shadow[0] == candidate:
                taken = shadow
            else:
                shadow = None
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
        self._named_at = time.monotonic()
        named = self._named
        if named is None or named[0] != wanted:
            named, self._named = None, None
            shadow = self._evict_shadow()
            if shadow is not None and shadow[0] == wanted:
                named = shadow
            else:
                shadow = None
                _release()
                named = (wanted, self._load(wanted))
            self._named = named
        return named[1]

    @contextmanager
    def shadow(self, wanted: Published) -> Iterator[Loaded]:
        """The version in shadow, loaded if it is not held; from a thread of its own, while others take messages.

        Raises PlaceTaken while another version is held beside the live one, or is live itself; BrokenModel.
        """
        with self._shadow_lock:
            if self._live is None or self._live[0] == wanted:
                raise PlaceTaken
            if self._named is not None:
                if time.monotonic() - self._named_at < RESTING_SECONDS:
                    raise PlaceTaken
                self._named = None
            if self._shadow is None or self._shadow[0] != wanted:
                self._shadow = None
                _release()
                evictions = self._evictions
                loaded = registry.load(self._folder, wanted, self._key, self._engine)
                if evictions != self._evictions:  # another version came meanwhile, and did not wait for ever
                    raise PlaceTaken
                self._shadow = (wanted, loaded)
            yield self._shadow[1]

    def drop_shadow(self) -> None:
        """Free what the version in shadow takes, once there is none."""
        if self._shadow is not None:
            self._evict_shadow()
            _release()

    def _evict_shadow(self) -> tuple[Published, Loaded] | None:
        """Have the version in shadow give way; returns it if it is at rest."""
        self._evictions += 1
        is_at_rest = self._shadow_lock.acquire(timeout=ROOM_SECONDS)
        shadow, self._shadow = self._shadow, None
        if not is_at_rest:
            log.warning("the version in shadow did not end its batch within %.0f s", ROOM_SECONDS)
            return None
        self._shadow_lock.release()
        return shadow

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
