"""Tells of connections that were refused or ended: the metrics of each one, the log of each address and reason."""

import logging
import threading
import time
from collections.abc import Callable

from node.peers import plain

log = logging.getLogger(__name__)
PAUSE_SECONDS = 60.0
"""Between two lines about the same address and reason, however often it comes."""
MAX_LINES = 200
"""Addresses and reasons that are remembered for so long: of those beyond them, one line tells."""
MAX_LENGTH = 200
"""Characters of an explanation."""
EXPLANATIONS = {
    "address": "it is not in allowed_addresses",
    "places": "max_associations are open, or three quarters of them from there",
    "negotiation": "its association was rejected",
    "tls": "it showed no valid certificate",
    "limits": "it sent too much, or too slowly",
}
"""Of the reasons in `node.metrics.REJECTIONS`."""


class Rejections:
    """Of one source; called by the threads of its connections. `count` is given the reason of each."""

    def __init__(self, source: str, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._count, self._clock = source, count, clock
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], float] = {}  # when, in seconds of the clock
        self._others_told = float("-inf")

    def note(self, address: str, reason: str, why: str | None = None) -> None:
        """`why` explains more than the reason does; what is not printable in it is not written."""
        self._count(reason)
        peer = str(plain(address))
        if self._is_due(peer, reason):
            verb = "ended" if reason == "limits" else "refused"
            text = "".join(each if each.isprintable() else "?" for each in why or EXPLANATIONS[reason])
            log.warning("source %s: a connection from %s was %s: %s", self._source, peer, verb, text[:MAX_LENGTH])

    def _is_due(self, peer: str, reason: str) -> bool:
        now = self._clock()
        with self._lock:
            if now < self._told.get((peer, reason), float("-inf")) + PAUSE_SECONDS:
                return False
            self._told.pop((peer, reason), None)
            if len(self._told) >= MAX_LINES:
                self._told = {key: at for key, at in self._told.items() if now < at + PAUSE_SECONDS}
            if len(self._told) < MAX_LINES:
                self._told[peer, reason] = now
                return True
            if now < self._others_told + PAUSE_SECONDS:
                return False
            self._others_told = now
        log.warning("source %s: connections from more addresses are refused than are listed here", self._source)
        return False
