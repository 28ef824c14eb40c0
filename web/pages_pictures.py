"""Pictures of sightings, for the pages' own scripts: raw 16-bit grey, thumbnails, and what the model was shown."""

import json
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from queries.pictures import Location, locate
from shared.base.errors import InvalidRequest
from shared.database import audit
from web.access import account_of, database_of, page
from web.pictures import Pictures

SIDE = 2048
"""Pixels of the longer side of what is sent first; the full size follows where a reader zooms in."""


def location_of(request: Request) -> Location:
    """Raises HTTPException where the number is no sighting's."""
    with database_of(request).read() as session:
        found = locate(session, request.path_params["sighting"])
    if found is None:
        raise HTTPException(404)
    return found


def pictures_of(request: Request) -> Pictures:
    pictures = request.app.state.pictures
    assert isinstance(pictures, Pictures)
    return pictures


def send_pixels(request: Request) -> Response:
    """Little-endian uint16, row by row, black being 0. The headers say how to show them."""
    size = request.query_params.get("size", str(SIDE))
    if size not in (str(SIDE), "full"):
        raise InvalidRequest(f"size is {SIDE} or full.")
    location = location_of(request)
    pixels = pictures_of(request).pixels(location, None if size == "full" else SIDE)
    is_ahead = request.query_params.get("ahead") == "1"
    _note(request, location, f"{size}, ahead" if is_ahead else size)
    return Response(pixels.data, media_type="application/octet-stream", headers=_headers(pixels.about))


def _note(request: Request, location: Location, what: str) -> None:
    """Whoever was sent a picture has opened it: also one that the page asked for ahead of its turn."""
    with database_of(request).write() as session:
        detail = f"sighting {location.sighting}: {what}"
        audit.record(session, account_of(request).name, "open picture", detail, at=datetime.now(UTC))


def _headers(about: dict[str, Any]) -> dict[str, str]:
    headers = {
        "X-Width": str(about["width"]),
        "X-Height": str(about["height"]),
        "X-Full-Width": str(about["full_width"]),
        "X-Full-Height": str(about["full_height"]),
        "X-Bits": str(about["bits"]),
        "X-Windows": json.dumps(about["windows"]),
        "X-About": json.dumps({name: about[name] for name in ("age_years", "view", "notes", "is_at_detector")}),
    }
    if about["spacing"] is not None:
        headers["X-Pixel-Spacing"] = f"{about['spacing']:.6g}"
    return headers


def send_thumbnail(request: Request) -> Response:
    return Response(pictures_of(request).thumbnail(location_of(request)), media_type="image/png")


def send_model_view(request: Request) -> Response:
    location = location_of(request)
    picture = pictures_of(request).model_view(location)
    _note(request, location, "as the model sees it")
    return Response(picture, media_type="image/png")


ROUTES: list[BaseRoute] = [
    page("/images/{sighting:int}/pixels", send_pixels, name="pixels"),
    page("/images/{sighting:int}/thumbnail", send_thumbnail, name="thumbnail", keeps_alive=False),
    page("/images/{sighting:int}/model-view", send_model_view, name="model-view"),
]
