"""The files of a labelled folder, each with its class, and what in the folder is passed over."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self, get_args

from pydantic import SecretStr

from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.base.source_settings import IGNORED_BY_DEFAULT
from shared.imaging import Limits
from shared.models.manifest import Label
from shared.sources.ignored import IgnoreRule, is_unfinished
from trainer import description, labels_file
from trainer.patients import Owner, Pattern, identify

CLASSES: tuple[Label, ...] = get_args(Label)  # the position is the number that a network is fitted to
PARTS = ("train", "val", "test")
MAX_EXAMPLES = 3

HIDDEN = "hidden or temporary"
NO_IMAGE = "no images by their names"
LINKED_FOLDER = "links to folders, which are not followed"
BROKEN_LINK = "links to nothing"
UNKNOWN_FOLDER = f"outside the folders {' and '.join(CLASSES)}"
UNLISTED = f"not in {labels_file.NAME}"
WITHOUT_LABEL = f"labelled {' or '.join(labels_file.WITHOUT_LABEL)}"
NOT_LISTABLE = "folders that cannot be listed"
_DESCRIBING = (description.FILE, labels_file.NAME)
_is_no_image = IgnoreRule(IGNORED_BY_DEFAULT)


@dataclass(frozen=True)
class Site:
    """What the settings say of how files are read: their limits, and the key under which patients are hashed."""

    limits: Limits = field(default_factory=Limits)
    secret: SecretStr | None = None

    @classmethod
    def of(cls, settings: Settings, secret: SecretStr | None = None) -> Self:
        return cls(Limits.of(settings), secret or settings.patient_secret)


@dataclass(frozen=True)
class LabelledFile:
    """name: what patterns look at, the path within the folder of its class; owner: where `labels.csv` names one."""

    path: Path
    label: int
    name: str
    owner: Owner | None = None

    def owner_of(self, content: bytes, pattern: Pattern | None, site: Site) -> Owner:
        return self.owner or identify(self.name, content, pattern, site.secret)


@dataclass(frozen=True)
class Skipped:
    """How many files, or links and folders, are passed over for one reason, and the first of them."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def sentence(self, *, tells_names: bool = True) -> str:
        rest = ", …" if self.count > len(self.examples) else ""
        names = f": {', '.join(self.examples)}{rest}" if tells_names else ""
        return f"passed over: {self.count:,} {self.reason}{names}"


@dataclass(frozen=True)
class Listing:
    """Files by class, and within a class by path."""

    folder: Path
    files: tuple[LabelledFile, ...]
    skipped: tuple[Skipped, ...] = ()
    pattern: Pattern | None = None


class _Skips:
    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        self.names.setdefault(reason, []).append(name)

    def told(self) -> tuple[Skipped, ...]:
        return tuple(
            Skipped(reason, len(names), tuple(sorted(names)[:MAX_EXAMPLES])) for reason, names in self.names.items()
        )


def read(folder: Path, pattern: Pattern | None = None) -> Listing:
    """What a labelled folder holds: by its `labels.csv`, else by its folders `NORMAL` and `PNEUMONIA`.

    These lie in the folder itself, or in its parts `train`, `val` and `test`, which are pooled: who is held out is
    decided by patient. They are read with all folders in them. `pattern` stands in for that of `dataset.toml`.
    Raises WrongSettings where a class is missing, and for a `labels.csv` or a pattern that is wrong.
    """
    pattern = pattern or description.describe(folder).pattern
    skips = _Skips()
    is_listed = (folder / labels_file.NAME).exists()
    files = _listed(folder, skips) if is_listed else _in_folders(folder, skips)
    return Listing(folder, tuple(sorted(files, key=lambda file: (file.label, file.path))), skips.told(), pattern)


def _listed(folder: Path, skips: _Skips) -> list[LabelledFile]:
    found = labels_file.read(folder, CLASSES)
    for listed in found.unlabelled:
        skips.add(WITHOUT_LABEL, listed)
    known = {row.path for row in found.rows} | set(found.unlabelled)
    for path in _walk(folder, folder, skips):
        name = path.relative_to(folder).as_posix()
        if name not in known and name not in _DESCRIBING:
            skips.add(UNLISTED, name)
    return [
        LabelledFile(folder / row.path, CLASSES.index(row.label), row.name or _within(row.path), row.owner)
        for row in found.rows
    ]


def _within(path: str) -> str:
    """The path within its class folder, as the same file would have had it there."""
    parts = list(PurePosixPath(path).parts)
    while len(parts) > 1 and parts[0] in (*PARTS, *CLASSES):
        parts.pop(0)
    return "/".join(parts)


def _in_folders(folder: Path, skips: _Skips) -> Iterator[LabelledFile]:
    homes = [folder] if any((folder / name).is_dir() for name in CLASSES) else [folder / part for part in PARTS]
    folders = {name: [home / name for home in homes if (home / name).is_dir()] for name in CLASSES}
    for name in CLASSES:
        if not folders[name]:
            raise WrongSettings(
                f"{folder} has no folder {name}: labelled images are read from {' and '.join(CLASSES)} in it, "
                f"or in its folders {', '.join(PARTS)}, or from the files that its {labels_file.NAME} names"
            )
    theirs = {each for name in CLASSES for each in folders[name]}
    for path in _walk(folder, folder, _Skips(), theirs):
        if path.name not in _DESCRIBING:
            skips.add(UNKNOWN_FOLDER, path.relative_to(folder).as_posix())
    for number, name in enumerate(CLASSES):
        for each in folders[name]:
            for path in _walk(each, folder, skips):
                within = path.relative_to(each).as_posix()
                if other := set(CLASSES) & set(within.split("/")[:-1]):
                    raise WrongSettings(
                        f"{each} holds a folder {other.pop()}: whose label its images have is not clear. Move it out."
                    )
                if _is_no_image(within):
                    skips.add(NO_IMAGE, path.relative_to(folder).as_posix())
                else:
                    yield LabelledFile(path, number, within)


def _walk(top: Path, folder: Path, skips: _Skips, without: Iterable[Path] = ()) -> Iterator[Path]:
    """Every file under `top`, hidden ones and links to folders apart; not those in the folders `without`."""
    leave_out = set(without)

    def refused(error: OSError) -> None:
        skips.add(NOT_LISTABLE, os.path.relpath(error.filename, folder))

    for place, folders, names in os.walk(top, onerror=refused):
        here = Path(place)
        for name in sorted(folders):
            if here / name in leave_out:
                folders.remove(name)
            elif is_unfinished(name) or (here / name).is_symlink():
                folders.remove(name)
                skips.add(
                    HIDDEN if is_unfinished(name) else LINKED_FOLDER, (here / name).relative_to(folder).as_posix()
                )
        folders.sort()
        for name in sorted(names):
            path = here / name
            if is_unfinished(name):
                skips.add(HIDDEN, path.relative_to(folder).as_posix())
            elif path.is_file():
                yield path
            else:
                skips.add(BROKEN_LINK, path.relative_to(folder).as_posix())
