"""Which host this is: its name for people, its identity for what only this host's own processes may compare."""

import hashlib
import socket
from functools import cache
from pathlib import Path

MACHINE = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def name() -> str:
    """By which people know it: in rows, sentences, node names and the audit log. Hosts that share work have different
    ones."""
    return socket.gethostname()


@cache
def identity() -> str:
    """A short text, the same for all processes of this host, and after each restart of it.

    From the machine's id, where there is one, and the host's name: cloned machines share the first, and containers
    often have neither the first nor a name that stays. Two hosts with one identity cost a few needless checks.
    """
    return hashlib.sha256(f"{_machine()}\n{name()}".encode()).hexdigest()[:16]


def _machine() -> str:
    for file in MACHINE:
        try:
            return file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
