"""The web service as tests use it: a real server on a free port, accounts, and browsers made of httpx."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache

import httpx
import uvicorn
from argon2 import PasswordHasher

from actions import passwords, sessions
from queries.accounts import find_account
from shared.base.account_names import name_key
from shared.base.settings import Settings
from shared.database import AccountRow, Database, LoginMethod, Role
from web.server import configuration

PASSWORD = "four words of a test"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Takes no time: the real one takes a tenth of a second for each log-in."""


@cache
def _cheap_hash() -> str:
    return CHEAP.hash(PASSWORD)


def add_account(database: Database, name: str, role: Role = Role.READER) -> int:
    """An account with PASSWORD."""
    with database.write() as session:
        row = AccountRow(
            name=name,
            name_key=name_key(name),
            role=role,
            password_hash=_cheap_hash(),
            created_at=datetime.now(UTC),
            created_by="test",
        )
        session.add(row)
        session.flush()
        return row.id


class WebServer:
    """`url` is its address; `app` the application that it serves."""

    def __init__(self, settings: Settings, database: Database) -> None:
        passwords.HASHER = CHEAP
        self.settings, self.database = settings, database
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        scheme = "https" if settings.web_certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        config = configuration(settings, self.port)
        self.app = config.app
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._clients: list[httpx.Client] = []

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the web service did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()

    def client(self, **headers: str) -> httpx.Client:
        """A browser that nobody has logged in with; it says that what it sends comes from our own pages."""
        ours = {"Sec-Fetch-Site": "same-origin", **headers}
        # Nobody vouches for a test's certificate, and to read all authorities takes longer than most requests.
        client = httpx.Client(base_url=self.url, headers=ours, timeout=60, trust_env=False, verify=False)
        self._clients.append(client)
        return client

    def logged_in(self, name: str) -> httpx.Client:
        """A browser of an account of this name, which is made if there is none; the page's token is sent with it."""
        with self.database.read() as session:
            row = find_account(session, name)
        if row is None:
            add_account(self.database, name)
        with self.database.write() as session:
            row = find_account(session, name)
            assert row is not None
            opened = sessions.open_session(session, row, LoginMethod.PASSWORD, "127.0.0.1", datetime.now(UTC))
        client = self.client()
        client.cookies.set("pneumoscreen", opened.token)
        client.headers["X-CSRF-Token"] = csrf_of(self.database, opened.token)
        return client


def csrf_of(database: Database, token: str) -> str:
    from queries.accounts import find_session

    with database.read() as session:
        who = find_session(session, token, datetime.now(UTC))
    assert who is not None
    return who.csrf_token


@contextmanager
def serving(settings: Settings, database: Database) -> Iterator[WebServer]:
    server = WebServer(settings, database)
    server.start()
    try:
        yield server
    finally:
        server.stop()
