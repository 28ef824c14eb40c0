"""Files and mounts: opening within a folder, writing durably, room on the disk, network shares."""

import errno
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path, PurePath

from shared.base.errors import DiskLow, ServiceUnavailable

NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "sshfs",
    "glusterfs",
    "ceph",
    "lustre",
    "davfs",
    "afs",
    "beegfs",
    "s3fs",
)
MADE_UP = (*NETWORK, "fuse", "vboxsf", "vmhgfs", "prl_fs")
"""File systems whose inode numbers and change times may be other ones at the next look."""
MOUNTS = Path("/proc/self/mountinfo")
DEAD_SHARE = (
    *(errno.ENOTCONN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV),
)
"""What a call on a share fails with that is mounted and out of order."""
NO_MARKER = "none"
"""In place of a marker's name: the source has none."""
MARKER = ".pneumoscreen-root"
"""An empty file in every folder that is a source: while it is not visible, the folder counts as out of reach."""


def open_within(root: Path, path: str, flags: int) -> int:
    """Open a file below `root`, folder by folder, so that no link that somebody puts there meanwhile leads outside.

    Raises OSError; for a link on the way below `root` with ENOTDIR or ELOOP.
    """
    *parents, name = PurePath(path).parts or (".",)
    if PurePath(path).is_absolute() or ".." in (*parents, name):
        raise OSError(errno.EXDEV, "not below its folder", path)
    passing = (
        getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
    )  # needs no permission to list, on Linux
    folder = os.open(root, passing)
    try:
        for parent in parents:
            within = os.open(parent, passing | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = within
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file atomically: readers see the old content or the new, never a part, also after a power cut."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    aside = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


def check_room(home: Path, least: int) -> None:
    """Raises DiskLow if fewer than `least` bytes are free on the home folder's disk, ServiceUnavailable without it."""
    try:
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise ServiceUnavailable(f"The home folder {home} is out of reach: {error.strerror or error}") from error
    if free < least:
        raise DiskLow(
            f"The home folder's disk has less than {least / 1e9:.2f} GB left (min_free_disk): "
            "nothing new is registered or sent until there is room."
        )


@lru_cache(maxsize=1024)
def has_own_numbers(device: int) -> bool:
    """Whether a file system (by `st_dev`) keeps a file's inode number and change time; True where nobody can tell.

    Asks no file system, so a share that hangs cannot hold it up.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = MOUNTS.read_text("utf-8", "backslashreplace").splitlines()
    except OSError:
        return True
    mounts = (line.split() for line in lines)
    kinds = {fields[fields.index("-") + 1].lower() for fields in mounts if fields[2] == number and "-" in fields}
    return not any(name in kind for kind in kinds for name in MADE_UP)


def network_filesystem(path: Path) -> str | None:
    """The type of the network share that holds `path`, None if it lies on a local disk.

    Only the path itself is looked at: the mounts are read from the kernel's table, so one elsewhere may hang.
    """
    import psutil  # here, as the processes that look into folders start without it

    path = path.absolute().resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    for parent in (path, *path.parents):
        if str(parent) in mounts:
            kind = mounts[str(parent)].lower()
            return kind if any(name in kind for name in NETWORK) else None
    return None
