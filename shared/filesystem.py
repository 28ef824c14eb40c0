"""What is known about a mount: producer, worker and commands must agree on it."""

import shutil
from pathlib import Path

import psutil

from shared.errors import DiskLow

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
MARKER = ".pneumoscreen-root"
"""An empty file in every root: while it cannot be seen, the root is out of reach and no image in it is judged."""


def check_room(home: Path, least: int) -> None:
    """Raises DiskLow if fewer than `least` bytes are free on the home folder's disk."""
    if shutil.disk_usage(home).free < least:
        raise DiskLow(
            f"The home folder's disk has less than {least / 1e9:.2f} GB left (min_free_disk): "
            "nothing new is registered or sent until there is room."
        )


def network_filesystem(path: Path) -> str | None:
    """The type of the network share that holds `path`, None if it lies on a local disk."""
    path = path.absolute().resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    for parent in (path, *path.parents):
        if str(parent) in mounts:
            kind = mounts[str(parent)].lower()
            return kind if any(name in kind for name in NETWORK) else None
    return None
