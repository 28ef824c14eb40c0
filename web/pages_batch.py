"""Pages: a grid of plain negatives."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
