"""Sources: may this user list and read them, is the marker there, is it a share, and is it polled."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from queries.doctor.finding import Finding, ok, problem, reason, unknown, user
from shared.base.filesystem import DEAD_SHARE, MARKER, NO_MARKER, network_filesystem
from shared.base.source_settings import FolderSettings
from shared.sources.folder.marker import why_away

MAX_ENTRIES = 2_000
MAX_OPENED = 50


@dataclass
class _Look:
    """What a look into the first entries of a folder found."""

    files: int = 0
    opened: int = 0
    refused_files: list[Path] = field(default_factory=list)
    refused_folders: list[Path] = field(default_factory=list)


def examine(name: str, chosen: FolderSettings) -> list[Finding]:
    """Three findings, or one if the folder is not there at all."""
    rights = f"source {name}: rights"
    root = chosen.path
    try:
        look = _look(root)
    except FileNotFoundError:
        way_out = f"make it or mount its share, or mend `path` under [sources.{name}]"
        return [problem(rights, f"there is no folder {root}", way_out)]
    except NotADirectoryError:
        return [problem(rights, f"{root} is no folder", f"mend `path` under [sources.{name}]")]
    except PermissionError:
        return [problem(rights, f"{_closed(root)} may not be listed by {user()}", _grant(_closed(root)))]
    except OSError as error:
        if error.errno in DEAD_SHARE:
            return [
                problem(rights, f"{root} is a share that is dead: {reason(error)}", f"umount -l {root}; mount {root}")
            ]
        return [unknown(rights, f"{root} cannot be listed: {reason(error)}")]
    return [_rights(rights, root, look), _marker(name, chosen, look), _share(name, chosen)]


def _look(root: Path) -> _Look:
    """Raises OSError for the folder itself alone."""
    look, folders, left = _Look(), [root], MAX_ENTRIES
    while folders and left > 0:
        folder = folders.pop(0)
        try:
            for entry in _entries(folder, left):
                left -= 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.name != MARKER and entry.is_file():
                    _open(Path(entry.path), look)
        except PermissionError:
            if folder == root:
                raise
            look.refused_folders.append(folder)
        except OSError:
            if folder == root:
                raise
    return look


def _entries(folder: Path, most: int) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(most), strict=False):
            yield entry


def _open(file: Path, look: _Look) -> None:
    look.files += 1
    if look.files > MAX_OPENED:
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        look.refused_files.append(file)
    except OSError:  # gone meanwhile
        pass
    else:
        os.close(descriptor)
        look.opened += 1


def _rights(check: str, root: Path, look: _Look) -> Finding:
    if look.refused_folders:
        number = len(look.refused_folders)
        return problem(check, f"{user()} may not list {number} of its folders: {look.refused_folders[0]}", _grant(root))
    if look.refused_files:
        number, tried = len(look.refused_files), min(look.files, MAX_OPENED)
        return problem(check, f"{user()} may not read {number} of {tried} files: {look.refused_files[0]}", _grant(root))
    if not look.files:
        return ok(check, f"{user()} may list {root}; there is no file in it to try")
    return ok(check, f"{user()} lists {root} and opens files in it")


def _marker(name: str, chosen: FolderSettings, look: _Look) -> Finding:
    check, root, marker = f"source {name}: marker", chosen.path, chosen.marker
    why = why_away(root, marker)
    if why is None:
        return ok(check, "it has none, as its setting says" if marker == NO_MARKER else f"{marker} is there")
    if marker == NO_MARKER:
        return problem(check, f"{root} is empty, and counts as away: it has no marker", "mount its share")
    if marker != MARKER:
        way_out = f"mount its share, or mend `marker` under [sources.{name}]"
        return problem(check, f"{marker} is missing, by which it is known", way_out)
    if not os.access(root, os.W_OK):
        way_out = (
            f"touch {root / MARKER}, once, as somebody who may write there; or set `marker` under [sources.{name}]"
        )
        return problem(check, f"{MARKER} is missing, and {user()} may not write it", way_out)
    if not look.files:
        return ok(check, f"{MARKER} is missing; the producer writes it. The folder is empty: is its share mounted?")
    return ok(check, f"{MARKER} is missing; the producer writes it when it starts")


def _share(name: str, chosen: FolderSettings) -> Finding:
    check = f"source {name}: events"
    kind = network_filesystem(chosen.path)
    if kind is not None and chosen.polling is False:
        way_out = f"leave `polling` out under [sources.{name}], or set it to true"
        return problem(check, f"{chosen.path} is on a network share ({kind}), which reports no events", way_out)
    if kind is not None:
        return ok(check, f"{chosen.path} is on a network share ({kind}): it is polled")
    if chosen.polling:
        return ok(check, f"{chosen.path} is on a local disk, but polled, as its setting `polling` says")
    return ok(check, f"{chosen.path} is on a local disk: events tell of new files")


def _closed(path: Path) -> Path:
    """The first folder on the way that this user may not pass, else the folder itself."""
    for parent in reversed(path.parents):
        if not os.access(parent, os.X_OK):
            return parent
    return path


def _grant(path: Path) -> str:
    return f"setfacl --recursive --modify u:{user()}:rX {path}, or run it as a user who may read there"
