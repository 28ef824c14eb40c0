"""What somebody searched for, by a token: what was typed may name a patient, and stands in no address and no log."""

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

MAX_KEPT = 1000


class Searches:
    """Found numbers by token, for the account that asked; a restart forgets them."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[str, tuple[int, ...]]] = OrderedDict()
        self._lock = Lock()

    def keep(self, name: str, sightings: Sequence[int]) -> str:
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._found[token] = (name, tuple(sightings))
            while len(self._found) > MAX_KEPT:
                self._found.popitem(last=False)
        return token

    def get(self, name: str, token: str) -> tuple[int, ...] | None:
        """None for a token that is unknown, or somebody else's."""
        with self._lock:
            owner, sightings = self._found.get(token, ("", ()))
        return sightings if owner == name else None
