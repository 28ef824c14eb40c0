"""Settings of one source, and the rule that sources and the home folder's own folders lie apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.base.lanes import SOURCE_LANES, Lane

OWN_SOURCES = ("submitted",)
"""Sources that `shared.sources` adds to the configured ones; each keeps its files in the home's folder of that name."""
OWN = ("broker", "candidates", "logs", "models", "run", "training", "weights", *OWN_SOURCES)
"""The home's own folders. Another folder in it may be a source, as HOME/inbox is, but none of these."""
IGNORED_BY_DEFAULT = (
    *("DICOMDIR", "*.txt", "*.pdf", "*.xml", "*.zip", "*.htm", "*.html", "*.csv", "*.json"),  # beside exported images
    *("*.md5", "*.sha1", "*.sha256", "*.log", "*.ini", "*.inf", "*.lnk", "*.url", "*.exe", "*.webloc"),
    *("Thumbs.db", "ehthumbs.db", "$RECYCLE.BIN", "System Volume Information"),  # Windows
    *(".DS_Store", "._*", "Icon\r", "__MACOSX"),  # macOS
    *("@eaDir", "@tmp", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "lost+found"),  # NAS systems, Linux
)


def absolute(path: Path) -> Path:
    """With ~ and ~user put in; raises ValueError for what can be no path."""
    if "\0" in str(path):
        raise ValueError("a path holds no zero byte")
    if not _is_utf8(path):
        raise ValueError(f"no settings file can hold bytes that are no UTF-8: {ascii(str(path))[1:-1]}")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"there is no such user's folder: {path}") from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def whole(path: Path) -> Path:
    """As `absolute`; raises ValueError for a relative path: it would name another folder in each working folder."""
    if not path.is_absolute() and not str(path).startswith("~"):
        raise ValueError(f"{path} is no whole path: write where the folder is from / on, as {Path.cwd() / path}")
    return absolute(path)


class FolderSettings(BaseModel):
    """A source of the kind `folder`; its name stands in every result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["folder"] = "folder"
    path: Path
    lane: Lane = Lane.ROUTINE
    polling: bool | None = None
    ignore: tuple[Annotated[str, Field(min_length=1)], ...] = IGNORED_BY_DEFAULT

    @field_validator("path")
    @classmethod
    def _whole(cls, path: Path) -> Path:
        return whole(path)

    @field_validator("lane")
    @classmethod
    def _is_for_sources(cls, lane: Lane) -> Lane:
        if lane not in SOURCE_LANES:
            raise ValueError(f"the lane must be one of {', '.join(SOURCE_LANES)}")
        return lane


def overlap(home: Path, sources: dict[str, FolderSettings], plain: Callable[[Path], str]) -> str | None:
    """Names a source that is, holds or lies in another or a folder of the home's own; None if there is none.

    `plain` is os.path.normpath for the paths as they are spelled, os.path.realpath for where their links lead.
    """
    taken = {f"the home folder's own {name}": home / name for name in OWN}
    for name, source in sources.items():
        path = Path(plain(source.path))
        for other, place in taken.items():
            there = Path(plain(place))
            if path.is_relative_to(there) or there.is_relative_to(path):
                return f"{name} ({source.path}) overlaps with {other} ({place}): choose folders that lie apart"
        taken[name] = source.path
    return None
