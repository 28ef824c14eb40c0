"""Which host this is: for what one host's file system says, which another one may say otherwise."""

import hashlib
import socket
from functools import cache
from pathlib import Path

MACHINE = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@cache
def identity() -> str:
    """A short text, the same for all processes of this host, and after each restart of it.

    From the machine's id, where there is one, and the host's name: cloned machines share the first, and containers
    often have neither the first nor a name that stays. Two hosts with one identity cost a few needless checks.
    """
    return hashlib.sha256(f"{_machine()}\n{socket.gethostname()}".encode()).hexdigest()[:16]


def _machine() -> str:
    for file in MACHINE:
        try:
            return file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
