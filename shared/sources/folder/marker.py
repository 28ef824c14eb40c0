"""Whether a folder is in reach: the one that is meant, and not the mount point of a share that is away.

Each host decides this for itself and writes nothing for it, so that all that see the folder come to the same answer.
"""

import os
from pathlib import Path

from shared.base.filesystem import MARKER, NO_MARKER


def why_away(root: Path, marker: str) -> str | None:
    """Why the folder counts as out of reach; None if it is in reach, so that a file that is missing in it is gone.

    `marker` is a path in the folder that is there while the folder is. With NO_MARKER, the folder is in reach while
    anything lies in it.
    """
    try:
        if marker == NO_MARKER:
            with os.scandir(root) as entries:
                return None if next(entries, None) else "it is empty, and it has no marker"
        os.stat(root / marker)  # noqa: PTH116 - as for the folder below
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(root):  # noqa: PTH112 - unlike Path.is_dir, it takes any error for a no
            return "there is no such folder"
        return f"its marker {marker} cannot be seen"
    except OSError as error:
        return f"it cannot be looked into ({error.strerror})"
    return None


def write(root: Path, *, is_known: bool) -> str | None:
    """Write the producer's own marker into a folder if it is missing; the reason if it cannot be.

    Not into a folder that is known and empty: that may be a mount point whose share is missing.
    """
    marker = root / MARKER
    try:
        marker.stat()
    except FileNotFoundError:
        pass
    except OSError:
        return None  # nothing can be said of this folder: it is away
    else:
        return None
    try:
        if not is_known or any(root.iterdir()):
            marker.touch()
    except FileNotFoundError:
        return None  # there is no folder to write it into
    except OSError as error:
        return error.strerror or str(error)
    return None
