"""Settings of one source, and the rule that sources and the home folder's own folders lie apart."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.base.filesystem import MARKER, NO_MARKER
from shared.base.lanes import SOURCE_LANES, Lane
from shared.base.weekly_hours import WeeklyHours

Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600)]

OWN_SOURCES = ("submitted",)
"""Sources that `shared.sources` adds to the configured ones; each keeps its files in the home's folder of that name."""
OWN = ("broker", "backups", "candidates", "logs", "models", "received", "run", "training", "weights", *OWN_SOURCES)
"""The home's own folders. Another folder in it may be a source, as HOME/inbox is, but none of these."""
IGNORED_BY_DEFAULT = (
    # Beside exported images: what describes, opens or checks them.
    *("DICOMDIR", "LOCKFILE", "VERSION", "*.txt", "*.pdf", "*.xml", "*.zip", "*.htm", "*.html", "*.csv", "*.json"),
    *("*.md5", "*.sha1", "*.sha256", "*.sha512", "*.crc", "*.sfv", "*.log", "*.lock", "*.lck", "*.ini", "*.inf"),
    *("*.cfg", "*.plist", "*.lnk", "*.url", "*.exe", "*.dll", "*.jar", "*.bat", "*.webloc"),
    # Windows
    *("Thumbs.db", "ehthumbs.db", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "~$*", "*Zone.Identifier"),
    # macOS
    *(".DS_Store", "._*", "Icon\r", "__MACOSX", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder"),
    # NAS systems and Linux: thumbnails, recycle bins, snapshots, and what their services keep
    *("@eaDir", "*@SynoEAStream", "*@SynoResource", "@tmp", "@sharebin", "@Recycle", "@Recently-Snapshot", "#recycle"),
    *("#snapshot", "~snapshot", "@GMT-*", "lost+found"),
    # What is still being copied, by programs that say so with an ending of their own
    *("*.download", "*.aria2", "*.!sync"),
)
"""Names that cannot be an X-ray's. Hidden names (.snapshot, .stversions, .~tmp~, .TemporaryItems) never are one."""


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


class AuditShare(BaseModel):
    """Which share of a source's images is drawn to be read blind, by what the system says of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    negatives: float = Field(default=0.02, ge=0, le=1)
    rest: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _of_all(cls, value: Any) -> Any:
        """One number is the share of all images."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"negatives": value, "rest": value} if is_number else value

    def of(self, label: str) -> float:
        return self.negatives if label == "NORMAL" else self.rest


class Reading(StrEnum):
    """What a reader sees before the first word on an image."""

    BLIND = "blind"  # neither the model's answer nor why the image is on the list
    ASSISTED = "assisted"  # both, but for images of a random draw


class ReadingRule(NamedTuple):
    """How a source's images are read, and which share of them, from 0 to 1, by two people."""

    mode: Reading = Reading.BLIND
    second_share: float = 0.05

    @property
    def is_blind(self) -> bool:
        return self.mode is Reading.BLIND


class SourceSettings(BaseModel):
    """What a source of any kind may be told; its name stands in every result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    path: Path
    lane: Lane = Lane.ROUTINE
    quiet_after: Seconds | None = None
    audit_share: AuditShare | None = None
    reading: Reading | None = None
    second_reading_share: float | None = Field(default=None, ge=0, le=1)
    expected: tuple[str, ...] = ()

    @field_validator("path")
    @classmethod
    def _whole(cls, path: Path) -> Path:
        return whole(path)

    @field_validator("expected")
    @classmethod
    def _are_hours(cls, expected: tuple[str, ...]) -> tuple[str, ...]:
        WeeklyHours.parse(expected)
        return expected

    @field_validator("lane")
    @classmethod
    def _is_for_sources(cls, lane: Lane) -> Lane:
        if lane not in SOURCE_LANES:
            raise ValueError(f"the lane must be one of {', '.join(SOURCE_LANES)}")
        return lane


class FolderSettings(SourceSettings):
    """A source of the kind `folder`: a folder of this host that is watched."""

    kind: Literal["folder"] = "folder"
    polling: bool | None = None
    ignore: tuple[Annotated[str, Field(min_length=1)], ...] = IGNORED_BY_DEFAULT
    marker: str = MARKER

    @field_validator("marker")
    @classmethod
    def _within(cls, marker: str) -> str:
        if not marker.strip("/. ") or "\0" in marker or marker.startswith("/") or ".." in Path(marker).parts:
            raise ValueError(f"the marker must be the name of a file in the folder, or '{NO_MARKER}', not {marker!r}")
        return marker


def received(home: Path, name: str) -> Path:
    """Where a source of the kind `dicom` keeps its files unless its settings name another folder."""
    return home / "received" / name


def overlap(home: Path, sources: Mapping[str, SourceSettings], plain: Callable[[Path], str]) -> str | None:
    """Names a source that is, holds or lies in another or a folder of the home's own; None if there is none.

    What a node receives has its place in the home: HOME/received/NAME.

    `plain` is os.path.normpath for the paths as they are spelled, os.path.realpath for where their links lead.
    """
    taken = {f"the home folder's own {name}": home / name for name in OWN}
    for name, source in sources.items():
        path = Path(plain(source.path))
        is_at_home = source.path == received(home, name)
        for other, place in taken.items():
            if is_at_home and place == source.path.parent:
                continue
            there = Path(plain(place))
            if path.is_relative_to(there) or there.is_relative_to(path):
                return f"{name} ({source.path}) overlaps with {other} ({place}): choose folders that lie apart"
        taken[name] = source.path
    return None
