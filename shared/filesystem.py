"""What is known about a mount: producer and database must agree on what counts as a network share."""

from pathlib import Path

import psutil

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


def network_filesystem(path: Path) -> str | None:
    """The type of the network share that holds `path`, None if it lies on a local disk."""
    path = path.absolute().resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    for parent in (path, *path.parents):
        if str(parent) in mounts:
            kind = mounts[str(parent)].lower()
            return kind if any(name in kind for name in NETWORK) else None
    return None
