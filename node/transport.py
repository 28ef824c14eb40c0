"""pynetdicom's sockets with bounds: on who connects, on the size of a message, and on how long its parts may take."""

import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from node.peers import Gate
from node.rejections import Rejections
from shared.imaging.dicom import RADIOGRAPHS

log = logging.getLogger(__name__)
HEADER = struct.Struct(">BBL")
PDV = struct.Struct(">LBB")
P_DATA = 4
MAX_PDU = 131_072
"""Bytes of a P-DATA-TF PDU that senders are offered. pynetdicom's 16,382 cost half of the throughput."""
MAX_OTHER_PDU = 262_144
"""Of any other: an association request with all of its presentation contexts is far smaller."""
MAX_OTHER_MESSAGE = 4_000_000
"""Bytes of a data set that is no image: a request for storage commitment of ten thousand images."""
LOCAL_LIMIT = (2, 3, 2)
"""Rejected as transient, by the provider (presentation), since a local limit is exceeded (PS3.8 9.3.4)."""
MAX_WAITING = 2
"""Messages that a peer may send before the one before them is answered; none should."""
FIRST_SECONDS, PDU_SECONDS, SEND_SECONDS = 5.0, 60.0, 60.0
"""For TLS and the association request each; for each PDU from its first byte; and for each answer."""


class TooMuch(OSError):
    """A peer broke a bound: its association is ended. An OSError, which pynetdicom takes for a lost connection."""


@dataclass(frozen=True)
class Bounds:
    max_object: int
    on_break: Callable[[str], None]


class BoundedSocket(AssociationSocket):
    """Reads whole PDUs: header, then body. In large pieces, where pynetdicom's own reads 4,096 bytes at a time."""

    def bound(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._body: int | None = None  # the type of the PDU whose body is read next
        self._object = 0  # bytes so far of the data set that is being received
        self._deadline = time.monotonic() + FIRST_SECONDS

    def recv(self, nr_bytes: int) -> bytearray:
        """Raises OSError, in time, for what is too much or too slow."""
        try:
            if self._body is None:
                return self._read_header(nr_bytes)
            data = self._read(nr_bytes)
            if self._body == P_DATA:
                self._count(data)
            self._body = None
        except TooMuch as error:
            self._bounds.on_break(str(error))
            raise
        return data

    def send(self, bytestream: bytes) -> None:
        try:
            assert self.socket is not None
            self.socket.settimeout(SEND_SECONDS)
            self.socket.sendall(bytestream)
        except Exception:  # noqa: BLE001 - as pynetdicom's own: the connection is lost
            self.event_queue.put("Evt17")  # transport connection closed

    def _read_header(self, nr_bytes: int) -> bytearray:
        is_first = not self.assoc.is_established
        self._deadline = time.monotonic() + (FIRST_SECONDS if is_first else PDU_SECONDS)
        if self.assoc.dimse.msg_queue.qsize() > MAX_WAITING:
            raise TooMuch(f"more than {MAX_WAITING} messages without waiting for an answer")
        data = self._read(nr_bytes)
        if len(data) == HEADER.size:
            kind, _, length = HEADER.unpack(data)
            limit = MAX_PDU + PDV.size if kind == P_DATA else MAX_OTHER_PDU
            if length > limit:
                raise TooMuch(f"a PDU of {length:,} bytes, more than {limit:,}")
            self._body = kind
        return data

    def _read(self, size: int) -> bytearray:
        """As many bytes, or fewer at the end of the connection."""
        assert self.socket is not None
        data = bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TooMuch(f"a PDU took longer than {PDU_SECONDS:.0f} s")
            self.socket.settimeout(left)
            try:
                got = self.socket.recv_into(view[at:])
            except TimeoutError as error:
                raise TooMuch("a PDU did not come to its end in time") from error
            if not got:
                break
            at += got
        view.release()
        del data[at:]
        return data

    def _count(self, data: bytearray) -> None:
        """Add up the data set that the PDU's fragments are part of."""
        at = 0
        while at + PDV.size <= len(data):
            length, context, control = PDV.unpack_from(data, at)
            if not control & 1:  # no command
                self._object += length - 2
                limit = self._limit(context)
                if self._object > limit:
                    raise TooMuch(f"an object of more than {limit:,} bytes")
                if control & 2:  # its last fragment
                    self._object = 0
            at += 4 + max(length, 2)

    def _limit(self, context: int) -> int:
        accepted = self.assoc._accepted_cx.get(context)
        is_image = accepted is not None and accepted.abstract_syntax in RADIOGRAPHS
        return self._bounds.max_object if is_image else MAX_OTHER_MESSAGE


class Handler(RequestHandler):
    """One connection, in a thread of its own, to its end."""

    server: "Server"

    def handle(self) -> None:
        if self.server.tls is not None and not self._wrap(self.server.tls):
            return
        association = self._create_association()
        if self.server.is_only_told(self.client_address):
            association.bind(evt.EVT_REQUESTED, _tell_to_try_later)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()
        association.join()

    def _wrap(self, context: ssl.SSLContext) -> bool:
        """Here, since a silent peer would hold up all others in the server's own thread."""
        connection = cast(socket.socket, self.request)
        try:
            connection.settimeout(FIRST_SECONDS)
            self.request = context.wrap_socket(connection, server_side=True)
        except OSError as error:  # ssl.SSLError is one
            why = f"it showed no valid certificate: {getattr(error, 'reason', error)}"
            self.server.rejections.note(self.client_address[0], "tls", why)
            return False
        return True

    def _create_association(self) -> Association:
        association = super()._create_association()
        bounded = association.dul.socket
        assert bounded is not None
        # pynetdicom gives no way to have another class of socket: this one adds no state before `bound`.
        bounded.__class__ = BoundedSocket
        note = partial(self.server.rejections.note, self.client_address[0], "limits")
        cast(BoundedSocket, bounded).bound(Bounds(self.server.max_object, note))
        return association


class Server(ThreadedAssociationServer):
    """Listens for one source. `rejections` are told of each connection that is refused or ended."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        handlers: list[evt.EventHandlerType],
        *,
        gate: Gate,
        tls: ssl.SSLContext | None,
        max_object: int,
        rejections: Rejections,
    ) -> None:
        """Raises OSError if it cannot listen there."""
        self.gate, self.tls, self.max_object, self.rejections = gate, tls, max_object, rejections
        title, contexts = entity.ae_title, entity.supported_contexts
        self._only_told: set[Any] = set()  # the open connections in spare places, by address and port
        super().__init__(entity, address, title, contexts, evt_handlers=handlers, request_handler=Handler)

    def is_only_told(self, client_address: Any) -> bool:
        """Whether a connection has no place, and is let in to be told so."""
        return client_address in self._only_told

    def verify_request(self, request: Any, client_address: Any) -> bool:
        reason = self.gate.enter(client_address[0])
        if reason is None:
            return True
        self.rejections.note(client_address[0], reason)
        if reason != "places" or not self.gate.enter_spare(client_address[0]):
            return False
        self._only_told.add(client_address)
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except Exception:
            self._leave(client_address)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            log.exception("a connection was ended by a fault of the node")
        finally:
            self._leave(client_address)
            self.shutdown_request(request)

    def _leave(self, client_address: Any) -> None:
        if client_address in self._only_told:
            self._only_told.discard(client_address)
            self.gate.leave_spare(client_address[0])
        else:
            self.gate.leave(client_address[0])


def _tell_to_try_later(event: evt.Event) -> None:
    """Before anything is negotiated, as EVT_REQUESTED allows."""
    event.assoc.acse.send_reject(*LOCAL_LIMIT)
    event.assoc.kill()
