"""The web service as one ASGI application. `build` opens nothing that a test could not give it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from shared import database
from shared.base.settings import Settings
from shared.database import Database, Role
from web import (
    api,
    api_reading,
    dicomweb,
    errors,
    middleware,
    pages_account,
    pages_batch,
    pages_login,
    pages_overview,
    pages_pictures,
    pages_reading,
    pages_worklist,
)
from web.access import page
from web.inlets import Inlets
from web.metrics import Metrics
from web.pictures import Pictures
from web.rendering import FOLDER

MODULES = (
    pages_login,
    pages_account,
    pages_worklist,
    pages_reading,
    pages_batch,
    pages_overview,
    pages_pictures,
    api,
    api_reading,
    dicomweb,
)
"""Each has a list ROUTES."""


def build(settings: Settings) -> Starlette:
    """The application; it connects to the database with the first request. Raises WrongSettings."""
    routes: list[BaseRoute] = [page("/", _home, role=Role.READER), page("/health", _check_health, role=None)]
    for module in MODULES:
        routes += module.ROUTES
    routes.append(Mount("/static", StaticFiles(directory=FOLDER / "static"), name="static"))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(middleware.SecurityHeaders),
            Middleware(middleware.RequestLog),
            Middleware(middleware.KnownHosts, hosts=middleware.known_hosts(settings)),
            Middleware(middleware.BodyLimit),
        ],
        exception_handlers=errors.HANDLERS,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.database = database.connect(settings.database)
    app.state.metrics = Metrics()
    app.state.admin_database = _admin_database(settings, app.state.database)
    app.state.inlets = Inlets(settings, _receiving_database(settings, app.state.database), app.state.metrics)
    app.state.pictures = Pictures(settings, on_failure=app.state.metrics.note_broken_process)
    return app


def _admin_database(settings: Settings, own: Database) -> Database | None:
    """For accounts, draws and operating points. A file has no roles: whoever may write to it may do all of it."""
    if settings.admin_database_url is not None:
        return database.connect(settings.admin_database_url.get_secret_value())
    return own if own.engine.dialect.name == "sqlite" else None


def _receiving_database(settings: Settings, own: Database) -> Database:
    """For the rows of what is sent by STOW-RS, which the role of the pages may not write."""
    url = settings.stow_database_url
    return own if url is None else database.connect(url.get_secret_value())


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    try:
        yield {}
    finally:
        app.state.pictures.close()
        app.state.inlets.close()
        for each in {app.state.database, app.state.admin_database, app.state.inlets.database} - {None}:
            each.close()


def _check_health(request: Request) -> Response:
    """For monitors: whether the pages can be used. A database out of reach is answered with 503."""
    with request.app.state.database.read() as session:
        session.execute(text("SELECT 1"))
    return PlainTextResponse("ok")


def _home(_request: Request) -> Response:
    return RedirectResponse("/worklist", 303)
