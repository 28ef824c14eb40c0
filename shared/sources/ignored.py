"""Which names in a source are no images: temporary and hidden ones always, others by the source's `ignore` patterns."""

import re
from collections.abc import Iterable
from fnmatch import translate
from pathlib import PurePath

TEMPORARY = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")


def is_unfinished(path: str) -> bool:
    """True for temporary and hidden names, and for everything in hidden folders, until they are renamed."""
    parts = PurePath(path).parts
    return any(part.startswith(".") for part in parts) or path.lower().endswith(TEMPORARY)


class IgnoreRule:
    """Called with a path in a source, tells whether it is passed over.

    A pattern is a shell pattern that knows no case. It is compared with the name of the file and of each folder above
    it; one with a slash in it, with the whole path.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        lower = [pattern.lower() for pattern in patterns]
        self._names = _either(pattern for pattern in lower if "/" not in pattern)
        self._paths = _either(pattern.removeprefix("/") for pattern in lower if "/" in pattern)

    def __call__(self, path: str) -> bool:
        lower = path.lower()
        return (
            is_unfinished(path)
            or self._paths.match(lower) is not None
            or any(self._names.match(part) for part in PurePath(lower).parts)
        )


def _either(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")  # (?!) matches nothing
