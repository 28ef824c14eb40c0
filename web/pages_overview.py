"""Pages: how it goes. Each chart has its table, and each table its CSV."""

import csv
import io
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from queries import overview, versions
from web import charts, texts
from web.access import database_of, page, settings_of
from web.errors import none_is_404
from web.listing import viewer_of
from web.rendering import render

TITLES = {
    "images": texts.IMAGES_A_DAY,
    "lanes": texts.WAITS_BY_LANE,
    "positives": texts.POSITIVES,
    "quarantined": texts.QUARANTINED,
    "accuracy": texts.ACCURACY,
    "drift": texts.DRIFT,
    "agreement": texts.AGREEMENT,
    "disagreements": texts.DISAGREEMENT_LIST,
    "versions": texts.VERSIONS,
    "trainings": texts.TRAININGS,
    "points": texts.OPERATING_POINTS,
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets run: a cell that begins so gets an apostrophe."""


def show(request: Request) -> Response:
    with database_of(request).read() as session:
        found = overview.sections(session, settings_of(request), viewer_of(request), datetime.now(UTC))
    return render(request, "overview.html", sections=[(each, TITLES[each.name], charts.draw(each)) for each in found])


def send_csv(request: Request) -> Response:
    with database_of(request).read() as session:
        name = request.path_params["name"]
        found = overview.section(session, settings_of(request), viewer_of(request), datetime.now(UTC), name)
    if found is None:
        raise HTTPException(404)
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(found.columns)
    writer.writerows([_safe(cell) for cell in row] for row in found.rows)
    disposition = {"Content-Disposition": f'attachment; filename="{found.name}.csv"'}
    return Response(stream.getvalue(), media_type="text/csv", headers=disposition)


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def show_card(request: Request) -> Response:
    """A version's model card, as text."""
    settings = settings_of(request)
    with database_of(request).read() as session, none_is_404():
        versions.find(session, request.path_params["version"])
    file = settings.models / request.path_params["version"] / "card.md"
    if not file.is_file():
        raise HTTPException(404)
    return PlainTextResponse(file.read_text(encoding="utf-8"))


ROUTES: list[BaseRoute] = [
    page("/overview", show),
    page("/overview/{name}.csv", send_csv),
    page("/versions/{version}/card", show_card),
]
