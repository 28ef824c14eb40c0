"""Which names in a source are no images: temporary and hidden ones always, others by the source's `ignore` patterns."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

TEMPORARY = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")
UNFINISHED = "temporary or hidden"
"""Stands for these names where patterns are counted."""
EXTENSION = re.compile(r"\*(\.[^*?\[./]+)")
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
        self._as_written = {pattern.lower(): pattern for pattern in patterns}
        lower = set(self._as_written)
        names = {pattern for pattern in lower if "/" not in pattern}
        # Most patterns are no more than a name or an ending, which take a tenth of the time in a sweep.
        self._plain = frozenset(pattern for pattern in names if PLAIN.fullmatch(pattern))
        self._extensions = frozenset(pattern[1:] for pattern in names if EXTENSION.fullmatch(pattern))
        suffixes = {pattern[1:] for pattern in names if SUFFIX.fullmatch(pattern)} - self._extensions
        self._suffixes = tuple(sorted(suffixes))
        others = names - self._plain - {f"*{suffix}" for suffix in (*self._extensions, *self._suffixes)}
        paths = {pattern.removeprefix("/"): pattern for pattern in lower - names}
        self._names, self._paths = _either(others), _either(paths)
        self._each_name = {pattern: re.compile(translate(pattern)) for pattern in sorted(others)}
        self._each_path = {whole: re.compile(translate(pattern)) for pattern, whole in sorted(paths.items())}
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

    def pattern(self, path: str) -> str:
        """The first pattern that an ignored path matches, as it was written; UNFINISHED for such a name.

        For ignored paths alone, since it takes longer than the question whether there is one.
        """
        if is_unfinished(path):
            return UNFINISHED
        lower = path.lower()
        folder, _, name = lower.rpartition("/")
        matching = self._name_pattern(name) or _first(self._each_path, lower)
        if matching is None:
            matching = next(found for part in folder.split("/") if (found := self._name_pattern(part)))
        return self._as_written[matching]

    def _matches_a_folder(self, folder: str) -> bool:
        return any(map(self._matches, folder.split("/")))

    def _matches(self, name: str) -> bool:
        return (
            name in self._plain
            or name[name.rfind(".") :] in self._extensions
            or name.endswith(self._suffixes)
            or (self._names is not None and self._names.match(name) is not None)
        )

    def _name_pattern(self, name: str) -> str | None:
        if name in self._plain:
            return name
        if (extension := name[name.rfind(".") :]) in self._extensions:
            return f"*{extension}"
        if name.endswith(self._suffixes):
            return next(f"*{suffix}" for suffix in self._suffixes if name.endswith(suffix))
        return _first(self._each_name, name)


def _first(patterns: dict[str, re.Pattern[str]], text: str) -> str | None:
    return next((pattern for pattern, expression in patterns.items() if expression.match(text)), None)


def _either(patterns: Iterable[str]) -> re.Pattern[str] | None:
    expressions = [translate(pattern) for pattern in patterns]
    return re.compile("|".join(expressions)) if expressions else None
