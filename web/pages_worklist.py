"""Pages: the worklist."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
