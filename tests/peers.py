"""Small real peers for tests: a DICOM receiver, a web server and a mail server, each of which can refuse."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from local.private_broker import free_port
from tests import pace

RESULTS = (ComprehensiveSRStorage, SecondaryCaptureImageStorage)


@dataclass
class Receiver:
    """A DICOM receiver; `answer` is the status of the next objects, `comment` what it says with it.

    It breaks off over objects of the studies in `breaks_over`.
    """

    port: int
    answer: int = 0x0000
    comment: str = ""
    breaks_over: set[str] = field(default_factory=set)
    received: list[Dataset] = field(default_factory=list)
    associations: int = 0


@contextmanager
def receiver(
    port: int | None = None,
    classes: Sequence[str] = (ComprehensiveSRStorage, SecondaryCaptureImageStorage),
    **more: Any,
) -> Iterator[Receiver]:
    """`more` goes to pynetdicom's `start_server`."""
    peer = Receiver(port or free_port())

    def store(event: Any) -> int | Dataset:
        if str(event.dataset.StudyInstanceUID) in peer.breaks_over:
            event.assoc.abort()
            return 0xC000
        if peer.comment:
            refusal = Dataset()
            refusal.Status, refusal.ErrorComment = peer.answer, peer.comment
            return refusal
        if peer.answer in (0x0000, 0xB000):
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            peer.received.append(dataset)
        return peer.answer

    def count(_event: Any) -> None:
        peer.associations += 1

    entity = AE("PACS")
    entity.require_called_aet = True
    for each in classes:
        entity.add_supported_context(each)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_ACCEPTED, count)]
    server = entity.start_server(("127.0.0.1", peer.port), block=False, evt_handlers=handlers, **more)
    try:
        yield peer
    finally:
        server.shutdown()


@dataclass
class WebServer:
    """Keeps what was posted to it; `answer` is the status, and `body` what it says.

    To posts that hold one of `fails_over` it answers 500.
    """

    url: str
    fails_over: set[bytes] = field(default_factory=set)
    answer: int = 200
    body: bytes = b""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def web_server(context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """With a context, by TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            peer.requests.append((self.path, dict(self.headers), body))
            fails = any(part in body for part in peer.fails_over)
            self.send_response(500 if fails else peer.answer)
            self.send_header("Content-Length", str(len(peer.body)))
            self.end_headers()
            self.wfile.write(peer.body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust us breaks off
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    peer = WebServer(f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailServer:
    """Speaks enough of SMTP to take mails; `replies` may replace its reply to a command.

    It breaks off over mails that hold one of `breaks_over`.
    `plain` and `encrypted` are the commands that came before and after TLS.
    """

    port: int
    plain: list[str] = field(default_factory=list)
    encrypted: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    breaks_over: set[str] = field(default_factory=set)


@contextmanager
def mail_server(context: ssl.SSLContext | None = None, *, is_encrypted_at_once: bool = False) -> Iterator[MailServer]:
    """With a context it offers STARTTLS, or speaks TLS from the beginning."""
    listener = socket.create_server(("127.0.0.1", 0))
    peer = MailServer(listener.getsockname()[1])

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    if is_encrypted_at_once and context is not None:
                        with context.wrap_socket(connection, server_side=True) as encrypted:
                            _talk(encrypted, peer, peer.encrypted)
                    else:
                        _talk(connection, peer, peer.plain, context)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _talk(
    connection: socket.socket,
    peer: MailServer,
    heard: list[str],
    context: ssl.SSLContext | None = None,
    *,
    is_greeted: bool = False,
) -> None:
    connection.settimeout(10)
    lines = connection.makefile("rb")

    def say(text: str) -> None:
        connection.sendall(f"{text}\r\n".encode())

    if not is_greeted:
        say("220 tests")
    while line := lines.readline():
        command = line.decode().split(" ")[0].strip().upper()
        heard.append(command)
        if command in peer.replies:
            say(peer.replies[command])
        elif command == "STARTTLS" and context is not None:
            say("220 go on")
            with context.wrap_socket(connection, server_side=True) as encrypted:
                _talk(encrypted, peer, peer.encrypted, is_greeted=True)
            return
        elif command == "DATA":
            say("354 go on")
            body: list[bytes] = []
            while (part := lines.readline()) not in (b".\r\n", b""):
                body.append(part)
            mail = b"".join(body).decode()
            if any(part in mail for part in peer.breaks_over):
                return
            peer.mails.append(mail)
            say("250 taken")
        elif command == "QUIT":
            say("221 bye")
            return
        elif command == "EHLO":
            say("250-tests\r\n250-STARTTLS\r\n250 AUTH PLAIN" if context is not None else "250-tests\r\n250 AUTH PLAIN")
        elif command == "AUTH":
            say("235 welcome")
        else:
            say("250 ok")


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true answer; fails after so long."""
    deadline = monotonic() + pace.seconds(seconds)
    while not (found := condition()):
        assert monotonic() < deadline, "waited too long"
        sleep(0.02)
    return found
