"""Pages: how it goes."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
