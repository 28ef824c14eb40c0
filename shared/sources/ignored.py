"""Which names in a source are no images: temporary and hidden ones always, others by the source's `ignore` patterns."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

TEMPORARY = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")
SUFFIX = re.compile(r"\*[^*?\[]+")
PLAIN = re.compile(r"[^*?\[]+")


def is_unfinished(path: str) -> bool:
    """True for temporary and hidden names, and for everything in hidden folders, until they are renamed."""
    return path.startswith(".") or "/." in path or path.lower().endswith(TEMPORARY)


class IgnoreRule:
    """Called with a path in a source, tells whether it is passed over.

    A pattern is a shell pattern that knows no case. It is compared with the name of the file and of each folder above
    it; one with a slash in it, with the whole path.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        lower = {pattern.lower() for pattern in patterns}
        names = {pattern for pattern in lower if "/" not in pattern}
        # Most patterns are no more than a name or an ending, which take a tenth of the time in a sweep.
        self._plain = frozenset(pattern for pattern in names if PLAIN.fullmatch(pattern))
        self._suffixes = tuple(pattern[1:] for pattern in names if SUFFIX.fullmatch(pattern))
        self._names = _either(names - self._plain - {f"*{suffix}" for suffix in self._suffixes})
        self._paths = _either(pattern.removeprefix("/") for pattern in lower - names)
        self._is_in_ignored_folder = lru_cache(maxsize=1024)(self._matches_a_folder)

    def __call__(self, path: str) -> bool:
        lower = path.lower()
        folder, _, name = lower.rpartition("/")
        return (
            is_unfinished(path)
            or self._matches(name)
            or (self._paths is not None and self._paths.match(lower) is not None)
            or (folder != "" and self._is_in_ignored_folder(folder))
        )

    def _matches_a_folder(self, folder: str) -> bool:
        return any(map(self._matches, folder.split("/")))

    def _matches(self, name: str) -> bool:
        return (
            name in self._plain
            or name.endswith(self._suffixes)
            or (self._names is not None and self._names.match(name) is not None)
        )


def _either(patterns: Iterable[str]) -> re.Pattern[str] | None:
    expressions = [translate(pattern) for pattern in patterns]
    return re.compile("|".join(expressions)) if expressions else None
