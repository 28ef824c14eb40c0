"""Is a file finished? The one place that decides; it asks nobody for the time or for the file's facts."""

from shared.sources.folder.facts import Facts


class Settling:
    """Files of one folder that were seen and are not yet known to be finished.

    Whoever adds to it asks `is_full` first: beyond `most`, files are left for a later sweep.

    A file is finished when the system reports that it was closed after writing or moved in,
    else when its size and time stayed the same for `settle` seconds between two looks of ours.
    """

    def __init__(self, settle: float, most: int) -> None:
        self.settle = settle
        self.most = most
        self._seen: dict[str, tuple[Facts, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def is_full(self) -> bool:
        return len(self._seen) >= self.most

    def look(self, path: str, facts: Facts | None, now: float, *, closed: bool = False) -> bool:
        """Take note of a look at a file (no facts: it is gone); True if it is finished, which ends its settling."""
        if facts is None:
            self._seen.pop(path, None)
            return False
        before = self._seen.get(path)
        if closed or self.settle == 0 or (before and before[0] == facts and now - before[1] >= self.settle):
            self._seen.pop(path, None)
            return True
        if before is None or before[0] != facts:
            self._seen.pop(path, None)  # so that the order stays that of the times
            self._seen[path] = (facts, now)
        return False

    def due(self, now: float) -> list[str]:
        """Those that were quiet for long enough to deserve a second look."""
        due = []
        for path, (_, since) in self._seen.items():
            if now - since < self.settle:
                break
            due.append(path)
        return due
