"""What the pages of the list share: filters from an address, and who looks."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request

from queries.worklist import WHY
from queries.worklist_page import STATES, Filters, Viewer
from shared.base.errors import InvalidRequest
from shared.base.lanes import SOURCE_LANES
from web.access import account_of

NAMES = ("state", "source", "lane", "version", "since", "until", "reader", "why", "label")


def viewer_of(request: Request) -> Viewer:
    account = account_of(request)
    return Viewer(account.name, account.role)


def filters_of(parameters: QueryParams) -> Filters:
    """Raises InvalidRequest for a value that makes no sense."""
    given = {name: parameters.get(name) or None for name in NAMES}
    state = given["state"] or STATES[0]
    _one_of("state", state, STATES)
    _one_of("lane", given["lane"], tuple(SOURCE_LANES))
    _one_of("why", given["why"], WHY)
    _one_of("label", given["label"], ("NORMAL", "PNEUMONIA"))
    return Filters(
        state=state,
        source=given["source"],
        lane=given["lane"],
        version=given["version"],
        since=_day("since", given["since"]),
        until=_day("until", given["until"], days=1),
        reader=given["reader"],
        why=given["why"],
        label=given["label"],
    )


def query_of(parameters: QueryParams, **more: object) -> str:
    """The filters as a query, with its question mark; empty where there is none."""
    pairs = {name: parameters[name] for name in NAMES if parameters.get(name)}
    pairs |= {name: str(value) for name, value in more.items() if value is not None}
    return f"?{urlencode(pairs)}" if pairs else ""


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise InvalidRequest(f"{name} is one of {', '.join(allowed)}.")


def _day(name: str, text: str | None, days: int = 0) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} is a day, as 2026-11-27.") from None


def number_of(parameters: QueryParams, name: str) -> int | None:
    text = parameters.get(name)
    if not text:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise InvalidRequest(f"{name} is the number of an image.")
    return int(text)
