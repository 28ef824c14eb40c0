"""The questions about a folder that take system calls. A share may hang in any of them, so a helper process asks.

Arguments and results are what JSON carries, in which a name that is not valid UTF-8 keeps its bytes as Python escapes
them.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from shared.base.filesystem import DEAD_SHARE
from shared.sources.folder.facts import Facts
from shared.sources.folder.marker import why_away
from shared.sources.folder.sweep import look, sweep
from shared.sources.ignored import IgnoreRule

Row = tuple[str, str, int, str | None]
"""The fields of Found."""


def is_in_reach(root: Path, marker: str) -> bool:
    return why_away(root, marker) is None


def find(root: Path, path: str) -> Row | None:
    stat = look(root / path)
    if stat is None:
        return None
    found = Facts.of(stat).found(path)
    return found.path, found.revision, found.size, found.hint


def exists(root: Path, path: str, marker: str) -> bool | None:
    """Two looks, each before one at the marker: a share that goes away takes its files and its marker along."""
    for _ in range(2):
        is_there = _is_there(root / path)
        if is_there is not False:
            return is_there
        if not is_in_reach(root, marker):
            return None
    return False


def _is_there(file: Path) -> bool | None:
    """Whether anything has this name; None if that cannot be told."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return True


def names_below(root: Path, path: str, ignore: Sequence[str]) -> Iterable[str] | None:
    """The files below the folder at `path`, by their names in it, less those ignored; None if it is no folder."""
    folder = root / path
    if not os.path.isdir(folder):  # noqa: PTH112 - an error means False
        return None
    return (found.path for found, _ in sweep(folder, IgnoreRule(ignore)))


def real_path(root: Path) -> str:
    """Where the folder lies when all links are followed."""
    return os.path.realpath(root)


def file_in_path(root: Path) -> str | None:
    """The part of the folder's path that is a file, so that there can be no such folder."""
    parts = (root, *root.parents)
    return next((str(part) for part in parts if os.path.isfile(part)), None)  # noqa: PTH113 - an error means False


def locate(root: Path, file: str) -> str | None:
    """The path in the folder of a file that lies in it when all links are followed."""
    real, real_root = Path(os.path.realpath(file)), Path(os.path.realpath(root))
    if not real.is_relative_to(real_root):
        return None
    plain = Path(file)
    return str(plain.relative_to(root) if plain.is_relative_to(root) else real.relative_to(real_root))


def make(root: Path) -> None:
    """Make the folder if there is none, unless it lies on a share that is dead. Raises OSError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in DEAD_SHARE:
            raise
