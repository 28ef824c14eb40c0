"""Pages: my account, which is everybody's own; and the accounts, which are an admin's."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from actions import accounts, sessions
from actions.accounts import NewLink
from actions.sessions import NewToken
from queries.accounts import list_accounts, list_sessions, list_tokens
from queries.web_address import address_of
from shared.base.errors import InvalidRequest, PneumoscreenError
from shared.database import Database, Role
from web import texts
from web.access import account_of, database_of, page, settings_of
from web.rendering import render

COMMANDS = (
    "pneumoscreen users list",
    "pneumoscreen users add 'NAME' --role reader",
    "pneumoscreen users reset 'NAME'",
    "pneumoscreen users role 'NAME' senior",
    "pneumoscreen users disable 'NAME'",
)


def show_mine(request: Request) -> Response:
    return _mine(request)


def _mine(
    request: Request,
    *,
    status: int = 200,
    problem: str | None = None,
    done: str | None = None,
    token: NewToken | None = None,
) -> Response:
    who, now = account_of(request), datetime.now(UTC)
    with database_of(request).read() as session:
        mine, tokens = list_sessions(session, who.id, now), list_tokens(session, who.id)
    return render(
        request,
        "account.html",
        status=status,
        sessions=mine,
        this_session=request.state.who.session,
        tokens=tokens,
        problem=problem,
        done=done,
        token=token,
    )


def change_password(request: Request) -> Response:
    form, who = request.state.form, request.state.who
    new = str(form.get("password", ""))
    if new != form.get("again"):
        return _mine(request, status=400, problem=texts.PASSWORDS_DIFFER)
    try:
        sessions.change_password(database_of(request), who, str(form.get("old", "")), new, datetime.now(UTC))
    except InvalidRequest as error:
        return _mine(request, status=400, problem=str(error))
    return _mine(request, done=texts.PASSWORD_CHANGED)


def end_session(request: Request) -> Response:
    with database_of(request).write() as session:
        sessions.revoke_session(session, account_of(request), request.path_params["number"], datetime.now(UTC))
    return RedirectResponse("/account", 303)


def end_others(request: Request) -> Response:
    who = account_of(request)
    with database_of(request).write() as session:
        sessions.revoke_sessions(session, who, who.name, datetime.now(UTC), keep=request.state.who.session)
    return RedirectResponse("/account", 303)


def make_token(request: Request) -> Response:
    try:
        with database_of(request).write() as session:
            name = str(request.state.form.get("name", ""))
            made = sessions.make_token(session, account_of(request), name, datetime.now(UTC))
    except InvalidRequest as error:
        return _mine(request, status=400, problem=str(error))
    return _mine(request, token=made)


def revoke_token(request: Request) -> Response:
    with database_of(request).write() as session:
        sessions.revoke_token(session, account_of(request), request.path_params["number"], datetime.now(UTC))
    return RedirectResponse("/account", 303)


def show_accounts(request: Request) -> Response:
    return _accounts(request)


def _accounts(
    request: Request, *, status: int = 200, problem: str | None = None, link: NewLink | None = None
) -> Response:
    with database_of(request).read() as session:
        found = list_accounts(session, datetime.now(UTC))
    return render(
        request,
        "accounts.html",
        status=status,
        accounts=found,
        roles=list(Role),
        may_change=admin_database(request) is not None,
        commands=COMMANDS,
        problem=problem,
        link=link,
        link_address=f"{address_of(settings_of(request))}{link.path}" if link else "",
    )


def admin_database(request: Request) -> Database | None:
    """Where an admin's deeds are done; None where this service has no connection that may: then a command does it."""
    database = request.app.state.admin_database
    assert database is None or isinstance(database, Database)
    return database


@contextmanager
def by_admin(request: Request) -> Iterator[Session]:
    """A transaction for an admin's deed; raises InvalidRequest where this service may do none."""
    database = admin_database(request)
    if database is None:
        raise InvalidRequest(texts.ACCOUNTS_BY_COMMAND)
    with database.write() as session:
        yield session


def change_account(request: Request) -> Response:
    """Add, reset, disable, enable, or give another role."""
    form, actor, now = request.state.form, account_of(request).name, datetime.now(UTC)
    name, deed, link = str(form.get("name", "")), request.path_params["deed"], None
    try:
        with by_admin(request) as session:
            match deed:
                case "add":
                    role = accounts.parse_role(str(form.get("role", "")))
                    link = accounts.add(session, name, role, actor, now)
                case "reset":
                    link = accounts.reset(session, name, actor, now)
                case "role":
                    accounts.set_role(session, name, accounts.parse_role(str(form.get("role", ""))), actor, now)
                case "disable":
                    accounts.disable(session, name, actor, now)
                case "enable":
                    accounts.enable(session, name, actor, now)
                case _:
                    raise InvalidRequest(texts.NOT_FOUND)
    except PneumoscreenError as error:
        return _accounts(request, status=400, problem=str(error))
    return _accounts(request, link=link) if link else RedirectResponse("/accounts", 303)


ROUTES: list[BaseRoute] = [
    page("/account", show_mine),
    page("/account/password", change_password, methods=("POST",)),
    page("/account/sessions/end-others", end_others, methods=("POST",)),
    page("/account/sessions/{number:int}/end", end_session, methods=("POST",)),
    page("/account/tokens", make_token, methods=("POST",)),
    page("/account/tokens/{number:int}/revoke", revoke_token, methods=("POST",)),
    page("/accounts", show_accounts, role=Role.ADMIN),
    page("/accounts/{deed}", change_account, methods=("POST",), role=Role.ADMIN),
]
