"""Who may ask for what. Each route is made by `page` or `api`, which ask for a log-in and a role before anything else.

A browser is known by a cookie that no script can read. A request that changes something must come from our own pages:
the browser says so itself (Sec-Fetch-Site, or Origin), and the session's own token comes with it.
"""

import json
import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from actions import sessions
from queries.accounts import Account, LoggedIn, find_session, find_token
from shared.base.account_names import name_key
from shared.base.dicom_settings import DicomSettings
from shared.base.errors import InvalidRequest, PneumoscreenError
from shared.base.settings import Settings
from shared.database import Database, LoginMethod, Role
from web import network

log = logging.getLogger(__name__)
Handler = Callable[[Request], Response]
"""Runs in a thread, so it may wait for the database."""
AsyncHandler = Callable[[Request], Awaitable[Response]]
SENDER = "This account sends images (stow_accounts): its tokens do nothing else."
NO_SENDER = "No source takes images from this account: stow_accounts names those that may send."
SAFE = ("GET", "HEAD", "OPTIONS")
MAX_FIELDS = 1000
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf"


class LoginNeeded(Exception):
    """Nobody is logged in: the answer leads to the log-in, and from there back."""


@dataclass(frozen=True)
class Guard:
    """What a route asks for before its handler is called."""

    handler: Handler | AsyncHandler
    role: Role | None
    keeps_alive: bool
    is_api: bool
    is_upload: bool = False


def page(
    path: str,
    handler: Handler,
    *,
    methods: Sequence[str] = ("GET",),
    role: Role | None = Role.READER,
    name: str | None = None,
    keeps_alive: bool = True,
) -> Route:
    """A route for browsers. `role` is who may see it, None for everybody, logged in or not.

    `keeps_alive` is False for what a page asks for by itself: then somebody who has gone is logged out in time.
    The handler finds `request.state.account` (an Account, or None), `request.state.form` and `request.state.csrf`.
    """
    guard = Guard(handler, role, keeps_alive, is_api=False)
    return Route(path, _endpoint(guard), methods=list(methods), name=name)


def api(
    path: str,
    handler: Handler,
    *,
    methods: Sequence[str] = ("GET",),
    role: Role | None = Role.READER,
    name: str | None = None,
) -> Route:
    """A route for programs, which show an API token. The handler finds the JSON of the body in `request.state.body`."""
    guard = Guard(handler, role, keeps_alive=False, is_api=True)
    return Route(path, _endpoint(guard), methods=list(methods), name=name)


def upload(path: str, handler: AsyncHandler, *, name: str | None = None) -> Route:
    """A route for programs that send more than may be held: the handler reads the request's body itself."""
    guard = Guard(handler, Role.READER, keeps_alive=False, is_api=True, is_upload=True)

    async def endpoint(request: Request) -> Response:
        _begin(request)
        with _faults_hidden():
            await run_in_threadpool(_admit, request, guard)
            return await handler(request)

    endpoint.guard = guard  # type: ignore[attr-defined]
    return Route(path, endpoint, methods=["POST"], name=name)


def _begin(request: Request) -> None:
    state = request.state
    state.account, state.who, state.csrf, state.new_cookie = None, None, "", None
    state.form, state.body = FormData(), None


@contextmanager
def _faults_hidden() -> Iterator[None]:
    """An error of an unknown kind is logged without its message, which may hold names."""
    try:
        yield
    except (LoginNeeded, HTTPException, PneumoscreenError, SQLAlchemyError):
        raise  # `web.errors` answers these
    except Exception as error:
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("a request failed in an unknown way: %s\n%s", type(error).__name__, where)  # noqa: TRY400
        log.debug("its message, which may hold names", exc_info=error)
        raise HTTPException(500) from None


def _endpoint(guard: Guard) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        _begin(request)
        if request.method not in SAFE:
            if guard.is_api:
                request.state.body = _parse(await request.body())
            else:
                request.state.form = await request.form(max_files=0, max_fields=MAX_FIELDS)
        with _faults_hidden():
            return await run_in_threadpool(_answer, request, guard)

    endpoint.guard = guard  # type: ignore[attr-defined]  # for the test that looks at every route
    return endpoint


def _parse(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not JSON.") from error


def _answer(request: Request, guard: Guard) -> Response:
    _admit(request, guard)
    response = guard.handler(request)
    assert isinstance(response, Response)
    if request.state.new_cookie is not None:
        set_cookie(request, response, request.state.new_cookie)
    return response


def _admit(request: Request, guard: Guard) -> None:
    """Raises LoginNeeded or HTTPException unless whoever asks may ask for this."""
    is_change = request.method not in SAFE
    if guard.is_api:
        _identify_program(request)
    else:
        if is_change:
            _check_site(request)
        _identify_browser(request, guard)
    if guard.role is not None:
        if request.state.account is None:
            raise LoginNeeded
        if not request.state.account.may(guard.role):
            raise HTTPException(403, f"This is for the role {guard.role}.")
        if guard.is_api and guard.is_upload != (sends_to(request) is not None):
            raise HTTPException(403, NO_SENDER if guard.is_upload else SENDER)
    if is_change and request.state.who is not None:
        _check_token(request)


def _identify_browser(request: Request, guard: Guard) -> None:
    token, now = request.cookies.get(cookie_name(request)), datetime.now(UTC)
    database: Database = request.app.state.database
    who: LoggedIn | None = None
    if token:
        with database.read() as session:
            who = find_session(session, token, now)
    named = network.user_named_by_proxy(request)
    if (
        who is not None
        and who.method == LoginMethod.PROXY
        and (named is None or name_key(named) != name_key(who.account.name))
    ):
        who = None  # the proxy says that it is somebody else now
    if who is None and named is not None:
        opened = sessions.admit_by_proxy(database, named, network.client_address(request), now)
        if opened is None:
            raise HTTPException(403, "The proxy has named somebody who has no account here: ask an admin.")
        with database.read() as session:
            who = find_session(session, opened.token, now)
        request.state.new_cookie = opened.token
    if who is None:
        return
    if guard.keeps_alive:
        sessions.touch(database, who, now)
    request.state.who, request.state.account, request.state.csrf = who, who.account, who.csrf_token


def _identify_program(request: Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return
    database: Database = request.app.state.database
    with database.read() as session:
        found = find_token(session, token.strip())
    if found is not None:
        sessions.touch_token(database, found[0], datetime.now(UTC))
        request.state.account = found[1]


def _check_site(request: Request) -> None:
    """Raises HTTPException unless one of our own pages sends the request, by what the browser says of it."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    else:
        origin = request.headers.get("Origin")
        is_ours = origin is not None and urlsplit(origin).netloc == request.headers.get("Host")
    if not is_ours:
        raise HTTPException(403, "Another site sent this request: nothing was done.")


def _check_token(request: Request) -> None:
    shown = request.headers.get(CSRF_HEADER) or request.state.form.get(CSRF_FIELD) or ""
    if not secrets.compare_digest(str(shown).encode("utf-8", "replace"), request.state.csrf.encode()):
        raise HTTPException(403, "This page is of an earlier log-in: load it anew. Nothing was done.")


def cookie_name(request: Request) -> str:
    """Browsers take a cookie of this first name over TLS alone, and from this host alone."""
    return "__Host-pneumoscreen" if network.is_secure(request) else "pneumoscreen"


def set_cookie(request: Request, response: Response, token: str) -> None:
    response.set_cookie(
        cookie_name(request), token, httponly=True, samesite="strict", secure=network.is_secure(request), path="/"
    )


def delete_cookie(request: Request, response: Response) -> None:
    response.delete_cookie(
        cookie_name(request), httponly=True, samesite="strict", secure=network.is_secure(request), path="/"
    )


def login_address(request: Request) -> str:
    """The log-in that leads back here; a page's address holds numbers and filters alone."""
    is_page = request.method == "GET" and "HX-Request" not in request.headers
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/login?next={quote(here, safe='/')}" if is_page and here != "/" else "/login"


def sends_to(request: Request) -> str | None:
    """The source to which the account that asks sends images; None if it is no sender."""
    own = name_key(account_of(request).name)
    for name, source in settings_of(request).sources.items():
        if isinstance(source, DicomSettings) and own in map(name_key, source.stow_accounts):
            return name
    return None


def account_of(request: Request) -> Account:
    """Who asks, on a route that asks for a role."""
    account = request.state.account
    assert isinstance(account, Account)
    return account


def settings_of(request: Request) -> Settings:
    chosen = request.app.state.settings
    assert isinstance(chosen, Settings)
    return chosen


def database_of(request: Request) -> Database:
    database = request.app.state.database
    assert isinstance(database, Database)
    return database
