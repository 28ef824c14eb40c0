"""What every program may ask for first: who it is, and a description of all there is to ask for."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from shared import __version__
from web.access import account_of, api, page

ROOT = "/api/v1"
TITLE = "Pneumoscreen"
ABOUT = (
    "A screening aid, never a diagnosis. Programs show an API token of an account (`Authorization: Bearer pns_…`), "
    "made on the page of the account, and may do what that account may. Errors are JSON with `error` and `detail`."
)
STATUSES = {
    "400": "the request makes no sense",
    "401": "no token, or one that is revoked",
    "403": "the account may not do this",
    "404": "there is no such image",
    "409": "it cannot be done now: the detail says why",
    "503": "the database is out of reach: try again",
}


def whoami(request: Request) -> Response:
    """Who the token belongs to."""
    account = account_of(request)
    return JSONResponse({"name": account.name, "role": account.role})


def describe(request: Request) -> Response:
    """This description (OpenAPI 3.1)."""
    return JSONResponse(description(request.app.routes))


def description(routes: "list[BaseRoute]") -> dict[str, Any]:
    """OpenAPI 3.1 of the routes below ROOT: what each does is the first line of its handler's docstring."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not isinstance(route, Route) or not route.path.startswith(ROOT):
            continue
        guard = route.endpoint.guard  # type: ignore[attr-defined]
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(route.path.replace(":int}", "}"), {})[method.lower()] = _operation(route, guard, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": __version__, "description": ABOUT},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route, guard: Any, method: str) -> dict[str, Any]:
    handler = guard.handler
    summary, _, rest = (handler.__doc__ or handler.__name__).strip().partition("\n")
    operation: dict[str, Any] = {
        "operationId": handler.__name__,
        "summary": summary,
        "description": " ".join(rest.split()),
        "security": [{"token": []}] if guard.role is not None else [],
        "responses": {"200": {"description": "done"}}
        | {status: {"description": text} for status, text in STATUSES.items()},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer"}} for name in route.param_convertors
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in getattr(handler, "parameters", {}).items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if method in ("POST", "PUT", "PATCH"):
        body = getattr(handler, "body", {"type": "object"})
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


ROUTES: list[BaseRoute] = [
    api(f"{ROOT}/me", whoami),
    page(f"{ROOT}/openapi.json", describe, role=None),
]
