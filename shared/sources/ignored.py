"""Which names in a watched folder are somebody's images, and which are temporary or the system's own."""

from pathlib import PurePath

TEMPORARY = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")
SYSTEM = ("thumbs.db", "desktop.ini")


def is_ignored(relative: str) -> bool:
    """True for temporary and hidden names, and for everything in hidden folders, until they are renamed."""
    parts = PurePath(relative).parts
    name = parts[-1].lower() if parts else ""
    return any(part.startswith(".") for part in parts) or name.endswith(TEMPORARY) or name in SYSTEM
