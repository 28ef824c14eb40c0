"""Mends pynetdicom 3.0: where the peer ended a connection first, or refused it, the socket was never closed.

Its descriptor stays until garbage is collected, and a service that tries again for days runs out of them.
"""

import socket
from contextlib import suppress
from typing import Any


def apply() -> None:
    """For this process; a second call changes nothing."""
    from pynetdicom.transport import AssociationSocket

    AssociationSocket._shutdown_socket = _shut  # type: ignore[assignment,method-assign]


def _shut(wrapped: Any) -> None:
    if wrapped.socket is not None:
        with suppress(OSError):
            wrapped.socket.shutdown(socket.SHUT_RDWR)
        wrapped.socket.close()
