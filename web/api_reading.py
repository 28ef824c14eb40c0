"""What programs may ask for: the worklist, an image, words. The same queries and actions as the pages'."""

from dataclasses import asdict
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from actions import leases
from actions import reading as action
from queries import reading, worklist_page, worklist_rows
from queries.reading import Answer
from shared.base.errors import InvalidRequest, WorkFailed
from web.access import api, database_of, settings_of
from web.errors import none_is_404
from web.listing import NAMES, filters_of, number_of, viewer_of


def list_images(request: Request) -> Response:
    """The worklist, in its order; `after` is the last image of the part before."""
    filters, viewer, settings, now = _asked(request)
    with database_of(request).read() as session:
        after = number_of(request.query_params, "after")
        part = worklist_page.page(session, settings, filters, viewer, now, after=after)
        rows = worklist_rows.rows(session, settings, part.sightings, viewer, now)
    return JSONResponse({"images": [_plain(asdict(row)) for row in rows], "has_more": part.has_more})


def show_image(request: Request) -> Response:
    """One image, as this account may see it at this moment: before its word without the model's answer."""
    return JSONResponse(_image(request))


def lease_image(request: Request) -> Response:
    """Take the image for ten minutes, so that nobody else is given it; or hear who has it."""
    now, viewer = datetime.now(UTC), viewer_of(request)
    number = request.path_params["sighting"]
    with database_of(request).write() as session:
        with none_is_404():
            sha256 = reading.content(session, number)
        if sha256 is None:
            raise WorkFailed("This image was not read yet: there is nothing to take.")
        lease = leases.take(session, number, sha256, viewer.name, now)
    return JSONResponse({"reader": lease.reader, "until": lease.until.isoformat(), "is_mine": lease.is_mine})


def say_word(request: Request) -> Response:
    """Say a word on an image; the same `submission` twice is one word."""
    now, viewer, settings = datetime.now(UTC), viewer_of(request), settings_of(request)
    number = request.path_params["sighting"]
    word = action.parse_word(_body(request), number)
    with database_of(request).write() as session:
        _load(request, session, number, now)
        saved = action.save(session, settings, word, viewer, now)
    return JSONResponse({**_plain(asdict(saved)), "answer": _answer(saved.answer)}, 201)


def undo_word(request: Request) -> Response:
    """Take one's own word back; a program gives a `reason`. It stays on record, and counts no more."""
    reason = str(_body(request).get("reason") or "")
    with database_of(request).write() as session:
        number = request.path_params["review"]
        sighting = action.undo(session, number, viewer_of(request), None, reason, datetime.now(UTC))
    return JSONResponse({"sighting": sighting})


def explain_word(request: Request) -> Response:
    """Say why one's word is another than the model's."""
    why = str(_body(request).get("why") or "")
    with database_of(request).write() as session:
        action.explain(session, request.path_params["review"], viewer_of(request), why, datetime.now(UTC))
    return JSONResponse({})


def _asked(request: Request) -> tuple[Any, Any, Any, datetime]:
    return filters_of(request.query_params), viewer_of(request), settings_of(request), datetime.now(UTC)


def _image(request: Request) -> dict[str, Any]:
    with database_of(request).read() as session:
        image = _load(request, session, request.path_params["sighting"], datetime.now(UTC))
    found = _plain(asdict(image))
    found |= {"answer": _answer(image.answer), "previous": _answer(image.previous)}
    return {name: value for name, value in found.items() if name not in ("sha256", "mine", "is_drawn", "draw")}


def _answer(answer: Answer | None) -> dict[str, Any] | None:
    """As on the page: without the source's own operating point, nobody has checked the probability there."""
    if answer is None:
        return None
    unchecked = {} if answer.is_calibrated else {"probability": None, "threshold": None}
    return {**_plain(asdict(answer)), **unchecked}


def _load(request: Request, session: Any, number: int, now: datetime) -> reading.ReadingImage:
    with none_is_404():
        return reading.load(session, settings_of(request), number, viewer_of(request), now)


def _body(request: Request) -> dict[str, object]:
    body = request.state.body
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise InvalidRequest("The body is a JSON object.")
    return body


def _plain(value: Any) -> Any:
    """Times as ISO 8601, spans in seconds."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return value.total_seconds() if hasattr(value, "total_seconds") else value


_TEXT = {"type": "string"}
list_images.parameters = {**dict.fromkeys(NAMES, _TEXT), "after": {"type": "integer"}}  # type: ignore[attr-defined]
say_word.body = {  # type: ignore[attr-defined]
    "type": "object",
    "required": ["label", "submission", "prediction"],
    "properties": {
        "label": {"enum": ["NORMAL", "PNEUMONIA", "UNCLEAR", "NOT_READABLE"]},
        "submission": {"type": "string", "minLength": 8, "maxLength": 64},
        "prediction": {"type": ["integer", "null"]},
        "note": _TEXT,
        "other_finding": {"type": "boolean"},
        "by_filter": {"type": "boolean"},
    },
}
undo_word.body = {"type": "object", "properties": {"reason": _TEXT}}  # type: ignore[attr-defined]
explain_word.body = {"type": "object", "properties": {"why": _TEXT}}  # type: ignore[attr-defined]

ROUTES: list[BaseRoute] = [
    api("/api/v1/images", list_images),
    api("/api/v1/images/{sighting:int}", show_image),
    api("/api/v1/images/{sighting:int}/lease", lease_image, methods=("POST",)),
    api("/api/v1/images/{sighting:int}/word", say_word, methods=("POST",)),
    api("/api/v1/words/{review:int}/undo", undo_word, methods=("POST",)),
    api("/api/v1/words/{review:int}/disagreement", explain_word, methods=("POST",)),
]
