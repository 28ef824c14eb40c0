"""Sets up pynetdicom 3.0 for a process, in the one way for whoever speaks DICOM.

Where the peer ended a connection first, or refused it, the socket was never closed: its descriptor stays until garbage
is collected, and a service that tries again for days runs out of them. And pynetdicom would log headers, and call each
refused peer an error.
"""

import logging
import socket
from contextlib import suppress
from typing import Any


def apply() -> None:
    """For this process; a second call changes nothing."""
    from pynetdicom import _config
    from pynetdicom.transport import AssociationSocket

    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    AssociationSocket._shutdown_socket = _shut  # type: ignore[assignment,method-assign]


def _shut(wrapped: Any) -> None:
    if wrapped.socket is not None:
        with suppress(OSError):
            wrapped.socket.shutdown(socket.SHUT_RDWR)
        wrapped.socket.close()
