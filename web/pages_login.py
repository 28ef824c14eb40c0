"""Pages: logging in and out, and choosing a password by a one-time link."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from actions import leases, sessions
from queries.accounts import find_link
from shared.base.errors import InvalidRequest
from web import network, texts
from web.access import account_of, database_of, delete_cookie, page, set_cookie
from web.rendering import render

WRONG = 401


def show_login(request: Request) -> Response:
    if request.state.account is not None:
        return RedirectResponse(_within(request.query_params.get("next")), 303)
    return render(request, "login.html", next=_within(request.query_params.get("next")), is_wrong=False)


def log_in(request: Request) -> Response:
    form, now = request.state.form, datetime.now(UTC)
    back = _within(form.get("next"))
    opened = sessions.log_in(
        database_of(request),
        str(form.get("name", "")),
        str(form.get("password", "")),
        network.client_address(request),
        now,
    )
    request.app.state.metrics.note_login(is_admitted=opened is not None)
    if opened is None:
        return render(request, "login.html", status=WRONG, next=back, is_wrong=True)
    response = RedirectResponse(back, 303)
    set_cookie(request, response, opened.token)
    return response


def log_out(request: Request) -> Response:
    reader = account_of(request)
    with database_of(request).write() as session:
        leases.release_all(session, reader.name)
        sessions.log_out(session, request.state.who, datetime.now(UTC))
    response = RedirectResponse("/login", 303)
    delete_cookie(request, response)
    return response


def show_link(request: Request) -> Response:
    """Showing it uses nothing up: programs that look into messages open links, too."""
    with database_of(request).read() as session:
        target = find_link(session, request.path_params["token"], datetime.now(UTC))
    if target is None:
        return render(
            request, "error.html", status=410, heading=texts.LINK_IS_OVER_TITLE, explanation=texts.LINK_IS_OVER
        )
    return render(request, "link.html", name=target.account.name, problem=None)


def use_link(request: Request) -> Response:
    form, token, now = request.state.form, request.path_params["token"], datetime.now(UTC)
    password = str(form.get("password", ""))
    try:
        _check_same(password, form.get("again"))
        opened = sessions.use_link(database_of(request), token, password, network.client_address(request), now)
    except InvalidRequest as error:
        with database_of(request).read() as session:
            target = find_link(session, token, now)
        if target is None:
            raise
        return render(request, "link.html", status=400, name=target.account.name, problem=str(error))
    if request.state.who is not None and request.state.who.session is not None:  # whoever used this browser before
        with database_of(request).write() as session:
            sessions.log_out(session, request.state.who, now)
    response = RedirectResponse("/worklist", 303)
    set_cookie(request, response, opened.token)
    return response


def _check_same(password: str, again: object) -> None:
    if password != again:
        raise InvalidRequest(texts.PASSWORDS_DIFFER)


def _within(address: object) -> str:
    """Where the log-in leads: to a page of ours, whatever the request says."""
    text = str(address or "/")
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if is_ours and not text.startswith("/log") else "/"


ROUTES: list[BaseRoute] = [
    page("/login", show_login, role=None),
    page("/login", log_in, methods=("POST",), role=None),
    page("/logout", log_out, methods=("POST",)),
    page("/link/{token}", show_link, role=None),
    page("/link/{token}", use_link, methods=("POST",), role=None),
]
