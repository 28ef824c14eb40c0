"""What programs may ask for: the worklist, an image, words."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
