"""Pages: the worklist."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from queries import search, worklist_page, worklist_rows
from queries.worklist import WHY
from queries.worklist_page import STATES, Part
from shared.base.lanes import SOURCE_LANES
from shared.ledger.source_states import last_images
from web import texts
from web.access import account_of, database_of, page, settings_of
from web.listing import filters_of, number_of, query_of, viewer_of
from web.rendering import render
from web.searches import Searches


def _searches(request: Request) -> Searches:
    state = request.app.state
    if not hasattr(state, "searches"):
        state.searches = Searches()
    kept = state.searches
    assert isinstance(kept, Searches)
    return kept


def show(request: Request) -> Response:
    return _show(request, only_rows=False)


def show_rows(request: Request) -> Response:
    """What the page asks for to refresh itself."""
    return _show(request, only_rows=True)


def _show(request: Request, *, only_rows: bool) -> Response:
    parameters, now = request.query_params, datetime.now(UTC)
    filters, viewer, settings = filters_of(parameters), viewer_of(request), settings_of(request)
    after, token = number_of(parameters, "after"), parameters.get("search")
    problem = None
    with database_of(request).read() as session:
        if token:
            found = _searches(request).get(account_of(request).name, token)
            problem = texts.SEARCH_OVER if found is None else None
            part = Part(found or (), has_more=False)
        else:
            part = worklist_page.page(session, settings, filters, viewer, now, after=after)
        rows = worklist_rows.rows(session, settings, part.sightings, viewer, now)
        context: dict[str, Any] = {
            "rows": rows,
            "list_query": query_of(parameters),
            "now": now,
            "summary": worklist_rows.summary(session, viewer, now),
        }
        if only_rows:
            return render(request, "worklist_rows.html", **context)
        sources = sorted({*settings.sources, *last_images(session)})
    next_query = query_of(parameters, after=part.sightings[-1]) if part.has_more else None
    return render(
        request,
        "worklist.html",
        **context,
        given={name: parameters.get(name) or "" for name in ("source", "lane", "version", "since", "until", "reader")}
        | {"state": filters.state, "why": filters.why or "", "label": filters.label or ""},
        sources=sources,
        states=STATES,
        lanes=list(SOURCE_LANES),
        reasons=WHY,
        next_query=next_query,
        is_first=after is None,
        problem=problem,
        is_search=bool(token),
    )


def look_up(request: Request) -> Response:
    text = str(request.state.form.get("text") or "")
    with database_of(request).read() as session:
        found = search.find(session, settings_of(request), text)
    token = _searches(request).keep(account_of(request).name, found)
    return RedirectResponse(f"/worklist?search={token}", 303)


ROUTES: list[BaseRoute] = [
    page("/worklist", show),
    page("/worklist/rows", show_rows, keeps_alive=False),
    page("/worklist/search", look_up, methods=("POST",)),
]
