"""What people and programs are told when something goes wrong. Every error of ours has its status here."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from shared.base.errors import ImageError, InvalidRequest, PneumoscreenError, ServiceUnavailable, WorkFailed
from shared.database import OUT_OF_REACH
from web import texts
from web.access import LoginNeeded, login_address
from web.middleware import UPLOADS
from web.rendering import render

log = logging.getLogger(__name__)
STATUSES: tuple[tuple[type[PneumoscreenError], int], ...] = (
    (InvalidRequest, 400),
    (WorkFailed, 409),
    (ImageError, 422),
    (ServiceUnavailable, 503),
)
EXPLANATIONS = {404: texts.NOT_FOUND, 503: texts.DATABASE_AWAY, 500: texts.UNKNOWN_ERROR}


def respond(request: Request, status: int, explanation: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page, or JSON where a program or a script asks."""
    heading = texts.ERRORS.get(status, texts.ERRORS[500])
    if wants_json(request):
        response: Response = JSONResponse({"error": heading, "detail": explanation}, status)
    else:
        response = render(request, "error.html", status=status, heading=heading, explanation=explanation)
    response.headers.update(headers or {})
    return response


@contextmanager
def none_is_404() -> Iterator[None]:
    """Around the look-up of what an address names: where there is none, 404, and not the refusal of a deed."""
    try:
        yield
    except WorkFailed:
        raise HTTPException(404) from None


def is_program(request: Request) -> bool:
    return request.url.path.startswith(("/api/", f"{UPLOADS}/"))


def wants_json(request: Request) -> bool:
    return is_program(request) or "application/json" in request.headers.get("Accept", "")


async def _of_ours(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    if status == 500:
        log.error("%s", type(error).__name__)
    return respond(request, status, str(error) if status != 500 else texts.UNKNOWN_ERROR)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = EXPLANATIONS.get(error.status_code) or error.detail
    return respond(request, error.status_code, detail, error.headers)


async def _of_database(request: Request, error: Exception) -> Response:
    if isinstance(error, OUT_OF_REACH):
        log.warning("the database is out of reach: %s", type(error).__name__)
        return respond(request, 503, texts.DATABASE_AWAY, {"Retry-After": "5"})
    return await _of_anything(request, error)


async def _of_anything(request: Request, error: Exception) -> Response:
    log.error("a request failed in an unknown way: %s", type(error).__name__)
    log.debug("its message, which may hold names", exc_info=error)
    return respond(request, 500, texts.UNKNOWN_ERROR)


async def _log_in_first(request: Request, _error: Exception) -> Response:
    if wants_json(request):
        bearer = {"WWW-Authenticate": "Bearer"} if is_program(request) else {}
        return respond(request, 401, texts.ERRORS[401], bearer)
    if "HX-Request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    return RedirectResponse(login_address(request), 303)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Any]] = {
    LoginNeeded: _log_in_first,
    PneumoscreenError: _of_ours,
    HTTPException: _of_http,
    SQLAlchemyError: _of_database,
    Exception: _of_anything,
}
