"""The web service as one ASGI application. `build` opens nothing that a test could not give it."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from shared import database
from shared.base.settings import Settings
from shared.database import Role
from web import (
    api_reading,
    errors,
    middleware,
    pages_batch,
    pages_login,
    pages_overview,
    pages_pictures,
    pages_reading,
    pages_worklist,
)
from web.access import page
from web.pictures import Pictures
from web.rendering import FOLDER

MODULES = (pages_login, pages_worklist, pages_reading, pages_batch, pages_overview, pages_pictures, api_reading)
"""Each has a list ROUTES."""


def build(settings: Settings) -> Starlette:
    """The application; it connects to the database with the first request. Raises WrongSettings."""
    routes: list[BaseRoute] = [page("/", _home, role=Role.READER)]
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
    app.state.pictures = Pictures(settings)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    threading.Thread(target=app.state.pictures.warm_up, name="warm up", daemon=True).start()
    try:
        yield {}
    finally:
        app.state.pictures.close()
        app.state.database.close()


def _home(_request: Request) -> Response:
    return RedirectResponse("/worklist", 303)
