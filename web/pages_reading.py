"""Pages: the picture, the word, and what the model says."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
