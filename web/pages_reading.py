"""Pages: the picture, the word, and what the model says."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from actions import leases
from actions import reading as action
from actions.reading import ChangedMeanwhile, Saved
from queries import evidence, reading, upcoming
from queries.reading import ReadingImage, logged_in_at
from queries.worklist_rows import count_today
from shared.base.errors import WorkFailed
from shared.database import ReviewLabel
from shared.models.evidence import rim_share
from web import texts
from web.access import database_of, page, settings_of
from web.errors import none_is_404
from web.listing import filters_of, query_of, viewer_of
from web.pages_pictures import location_of, pictures_of
from web.rendering import environment, render


def show(request: Request) -> Response:
    """The whole page; it takes the image's lease, or says who has it."""
    return render(request, "reading.html", **_open(request), words=list(ReviewLabel))


def show_panel(request: Request) -> Response:
    """The same for a page that is there already: what changes with the image."""
    context = _open(request)
    return JSONResponse({"panel": _panel(request, context), **_state(context)})


def find_next(request: Request) -> Response:
    """To the first image of the list that nobody else has open."""
    found = _next(request)
    if not found:
        return RedirectResponse(f"/worklist{query_of(request.query_params)}", 303)
    return RedirectResponse(f"/read/{found[0]}{query_of(request.query_params)}", 303)


def save(request: Request) -> Response:
    """Records a word; answers with what comes next, and, where the page stays, with what the reader may see now."""
    number, now = request.path_params["sighting"], datetime.now(UTC)
    word = action.parse_word(dict(request.state.form), number)
    viewer, settings = viewer_of(request), settings_of(request)
    try:
        with database_of(request).write() as session:
            saved = action.save(session, settings, word, viewer, now)
    except ChangedMeanwhile as error:
        newer = error.image.newer
        return JSONResponse(
            {"error": texts.ERRORS[409], "detail": str(error), "newer": newer, "changed": True}, status_code=409
        )
    told = _told(saved)
    if not told["stays"]:
        return JSONResponse({"next": _next(request, number), **told})
    with database_of(request).read() as session:
        context = _context(session, request, now)
        context["saved"] = saved
        return JSONResponse({"panel": _panel(request, context), **_state(context), **told})


def skip(request: Request) -> Response:
    """Gives the image back, and says what comes next."""
    number = request.path_params["sighting"]
    with database_of(request).write() as session:
        sha256 = reading.content(session, number)
        if sha256 is not None:
            leases.release(session, sha256, viewer_of(request).name)
    return JSONResponse({"next": _next(request, number)})


def keep_lease(request: Request) -> Response:
    """The page asks by itself while it is open."""
    viewer, now = viewer_of(request), datetime.now(UTC)
    with database_of(request).write() as session:
        image = reading.load(session, settings_of(request), request.path_params["sighting"], viewer, now)
        if image.sha256 is None:
            return JSONResponse({"reader": None, "newer": image.newer, "prediction": image.prediction})
        lease = leases.take(session, image.sighting, image.sha256, viewer.name, now)
    reader = None if lease.is_mine else lease.reader
    return JSONResponse({"reader": reader, "newer": image.newer, "prediction": image.prediction})


def undo(request: Request) -> Response:
    viewer, now = viewer_of(request), datetime.now(UTC)
    reason = str(request.state.form.get("reason") or "")
    with database_of(request).write() as session:
        began = logged_in_at(session, request.state.who.session)
        sighting = action.undo(session, request.path_params["review"], viewer, began, reason, now)
    return JSONResponse({"sighting": sighting})


def undo_last(request: Request) -> Response:
    viewer, now = viewer_of(request), datetime.now(UTC)
    with database_of(request).write() as session:
        review = action.newest_of(session, viewer)
        if review is None:
            raise WorkFailed("You have no word that could be taken back.")
        began = logged_in_at(session, request.state.who.session)
        sighting = action.undo(session, review, viewer, began, str(request.state.form.get("reason") or ""), now)
    return JSONResponse({"sighting": sighting})


def explain(request: Request) -> Response:
    with database_of(request).write() as session:
        why = str(request.state.form.get("why") or "")
        action.explain(session, request.path_params["review"], viewer_of(request), why, datetime.now(UTC))
    return JSONResponse({})


def show_map(request: Request) -> Response:
    """The evidence by cell, row by row, in log-odds; or why there is none to be seen."""
    location = location_of(request)
    with database_of(request).read() as session:
        number = request.path_params["sighting"]
        image = reading.load(session, settings_of(request), number, viewer_of(request), datetime.now(UTC))
    refusal = evidence.refusal(settings_of(request), image, location.version)
    if refusal is not None:
        return JSONResponse({"refusal": refusal})
    found = pictures_of(request).evidence(location)
    if found is None:
        return JSONResponse({"refusal": "No map: this version's network cannot tell what moved its score."})
    rows, columns = found.values.shape
    return JSONResponse(
        {
            "rows": rows,
            "columns": columns,
            "values": [round(float(value), 5) for value in found.values.ravel()],
            "rim": rim_share(found.values),
        }
    )


def _open(request: Request) -> dict[str, Any]:
    now, viewer = datetime.now(UTC), viewer_of(request)
    number = request.path_params["sighting"]
    with database_of(request).write() as session:
        with none_is_404():
            sha256 = reading.content(session, number)
        if sha256 is not None:
            leases.take(session, number, sha256, viewer.name, now)
    with database_of(request).read() as session:  # nobody waits for a lease or for SQLite's one writer while we look
        return _context(session, request, now)


def _context(session: Session, request: Request, now: datetime) -> dict[str, Any]:
    number, viewer, settings = request.path_params["sighting"], viewer_of(request), settings_of(request)
    image = reading.load(session, settings, number, viewer, now)
    return {
        "image": image,
        "next": upcoming.find(session, settings, filters_of(request.query_params), viewer, now, after=number),
        "list_query": query_of(request.query_params),
        "by_filter": filters_of(request.query_params).tells_answer and not image.is_drawn,
        "mine_today": count_today(session, viewer.name, now),
        "viewer_link": _viewer_link(settings.viewer_url, image),
        "saved": None,
    }


def _next(request: Request, after: int | None = None) -> list[int]:
    """The next images; the first is this reader's from now on, so that no other is given it before it is opened."""
    filters, viewer, now = filters_of(request.query_params), viewer_of(request), datetime.now(UTC)
    with database_of(request).read() as session:
        found = upcoming.find(
            session, settings_of(request), filters, viewer, now, after=after, limit=upcoming.CANDIDATES
        )
    if filters.is_shared_out:
        with database_of(request).write() as session:
            first = leases.take_first(session, found, viewer.name, now)
        if first is not None:
            found = [first, *(number for number in found if number != first)]
    return found[: upcoming.AHEAD]


def _panel(request: Request, context: dict[str, Any]) -> str:
    template = environment().get_template("reading_panel.html")
    return template.render(csrf=request.state.csrf, words=list(ReviewLabel), **context)


def _state(context: dict[str, Any]) -> dict[str, Any]:
    image: ReadingImage = context["image"]
    return {
        "sighting": image.sighting,
        "prediction": image.prediction,
        "next": context["next"],
        "by_filter": context["by_filter"],
        "has_word": image.has_word,
        "earlier": [earlier.sighting for earlier in image.earlier],
        "mine_today": context["mine_today"],
    }


def _told(saved: Saved) -> dict[str, Any]:
    """Whether the page stays on the image: where reader and model differ, it asks why."""
    return {
        "review": saved.review,
        "label": saved.label,
        "stays": saved.disagrees or saved.taken_over_by is not None,
        "model": saved.answer.label if saved.answer else None,
    }


def _viewer_link(template: str | None, image: ReadingImage) -> str | None:
    if template is None or not image.accession_number:
        return None
    return template.replace("{accession_number}", quote(image.accession_number, safe=""))


ROUTES: list[BaseRoute] = [
    page("/read/next", find_next),
    page("/read/{sighting:int}", show),
    page("/read/{sighting:int}/panel", show_panel),
    page("/read/{sighting:int}/word", save, methods=("POST",)),
    page("/read/{sighting:int}/skip", skip, methods=("POST",)),
    page("/read/{sighting:int}/lease", keep_lease, methods=("POST",), keeps_alive=False),
    page("/read/{sighting:int}/map", show_map),
    page("/words/last/undo", undo_last, methods=("POST",)),
    page("/words/{review:int}/undo", undo, methods=("POST",)),
    page("/words/{review:int}/disagreement", explain, methods=("POST",)),
]
