"""Ports: free, or held, and by whom."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from queries.doctor.finding import Finding, ok, problem, reason
from shared.base.settings import Settings

CHECK = "ports"
FLOWER = 5555
"""Where `pneumoscreen flower` listens unless told otherwise; `up` takes the next free one."""


def examine(settings: Settings) -> list[Finding]:
    wanted = [("Flower", settings.flower_host, FLOWER, True)]
    for service in ("producer", "worker", "node"):
        if port := int(getattr(settings, f"{service}_metrics_port")):
            wanted.append((f"{service}_metrics_port", settings.metrics_host, port, False))
    return [_look(settings, *each) for each in wanted]


def _look(settings: Settings, name: str, host: str, port: int, has_choice: bool) -> Finding:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except PermissionError:
        way_out = "choose a port above 1023"
        return problem(CHECK, f"this user may not listen on {host}:{port} ({name})", way_out)
    except socket.gaierror as error:
        return problem(CHECK, f"{host} is no address of this machine ({name}): {reason(error)}", "mend metrics_host")
    except OSError as error:
        return _held(settings, name, f"{host}:{port}", port, has_choice, reason(error))
    return ok(CHECK, f"{host}:{port} is free ({name})")


def _held(settings: Settings, name: str, place: str, port: int, has_choice: bool, why: str) -> Finding:
    holders = list(_holders(settings.home, port))
    if any(is_ours for _, is_ours in holders):
        return ok(CHECK, f"{place} is held by a running Pneumoscreen of this home ({name})")
    by = f"held by {holders[0][0]}" if holders else f"taken ({why}); who holds it only root can see"
    if has_choice:
        return ok(CHECK, f"{place} is {by} ({name}): `up` takes the next free port, `flower` needs --port")
    return problem(CHECK, f"{place} is {by}", f"end that program, or set {name} to another port (0: no metrics)")


def _holders(home: Path, port: int) -> Iterator[tuple[str, bool]]:
    """Who listens on it, as far as this user may see, and whether that is a program of this home."""
    try:
        found = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return
    for connection in found:
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and connection.pid and address and address.port == port:
            with suppress(psutil.Error, OSError):
                process = psutil.Process(connection.pid)
                yield f"{process.name()} (process {process.pid})", _is_of(process, home)


def _is_of(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("PNEUMOSCREEN_HOME") == str(home)
    except (psutil.Error, OSError):
        return False
