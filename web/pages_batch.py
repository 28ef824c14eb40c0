"""Pages: the grid of plain negatives."""

import secrets
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from actions import batch as action
from queries import batch
from shared.base.errors import InvalidRequest
from web import texts
from web.access import database_of, page, settings_of
from web.listing import viewer_of
from web.rendering import render


def show(request: Request) -> Response:
    with database_of(request).read() as session:
        tiles = batch.find(session, settings_of(request), viewer_of(request), datetime.now(UTC))
    return render(request, "batch.html", tiles=tiles, submission=secrets.token_hex(12))


def save(request: Request) -> Response:
    """Each field `seen` is NUMBER:MILLISECONDS, for how long the image was in sight."""
    form, now = request.state.form, datetime.now(UTC)
    submission = str(form.get("submission") or "")
    if not 8 <= len(submission) <= 40 or not submission.isalnum():
        raise InvalidRequest("`submission` is a random text of letters and digits, one for each batch.")
    try:
        visible = {int(number): int(ms) for number, ms in (str(pair).split(":") for pair in form.getlist("seen"))}
    except ValueError:
        raise InvalidRequest("`seen` is NUMBER:MILLISECONDS.") from None
    with database_of(request).write() as session:
        saved = action.save(session, settings_of(request), visible, viewer_of(request), submission, now)
    text = f"{len(saved.reviews)} {texts.BATCH_DONE}"
    return JSONResponse({"reviews": list(saved.reviews), "left_out": list(saved.left_out), "text": text})


ROUTES: list[BaseRoute] = [page("/batch", show), page("/batch", save, methods=("POST",))]
