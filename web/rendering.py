"""Pages from templates. Everything that is put into one is escaped."""

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from shared import __version__
from web import texts

FOLDER = Path(__file__).parent


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(t=texts, version=__version__)
    made.filters["moment"] = moment
    made.filters["wait"] = wait
    return made


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The page. Templates find `account` (None if nobody is logged in), `csrf`, `path`, and the texts as `t`."""
    state = request.state
    text = (
        environment()
        .get_template(template)
        .render(
            account=getattr(state, "account", None),
            csrf=getattr(state, "csrf", ""),
            path=request.url.path,
            **context,
        )
    )
    return HTMLResponse(text, status)


def wait(span: timedelta) -> str:
    """How long something waits, as people say it."""
    minutes = max(0, int(span.total_seconds())) // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def moment(at: datetime | None) -> str:
    """A time as people read it; the page says that times are UTC."""
    return at.strftime("%Y-%m-%d %H:%M") if at else "-"
