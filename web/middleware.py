"""What holds for every request: the headers that browsers heed, the log without names, limits."""

import logging
import time
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.base.settings import Settings

log = logging.getLogger(__name__)
MAX_BODY = 256_000
"""Bytes; no form of ours comes near."""
UPLOADS = "/dicomweb"
"""Below it, images are sent: their handler has limits of its own, and reads nothing before it knows who sends."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
}
NO_STORE = "no-store"
"""Nothing of a patient stays on the disk of a workstation."""


class SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-cache" if is_static else NO_STORE
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLog:
    """One line a request: the route as it is written in the program, numbers of sightings, and nothing else of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = route_of(scope)
            seconds = time.monotonic() - began
            scope["app"].state.metrics.note_request(route, status, seconds)
            number = scope.get("path_params", {}).get("sighting")
            which = f" (sighting {number})" if isinstance(number, int) else ""
            log.info("%s %s%s: %d in %d ms", scope["method"], route, which, status, 1000 * seconds)


def route_of(scope: Scope) -> str:
    """As it is written in the program: an address may hold what somebody has typed."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", None) or "no route")


class KnownHosts:
    """On loopback, refuses requests to other names of this machine: a page elsewhere could have chosen one."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None) -> None:
        self._app, self._hosts = app, hosts and frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._hosts is not None:
            host = Headers(scope=scope).get("host", "")
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
            if name.strip("[]").lower() not in self._hosts:
                await PlainTextResponse("This service is not known by that name.", 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def known_hosts(settings: Settings) -> tuple[str, ...] | None:
    """None: any name, since a proxy or the site's own DNS decides."""
    return LOOPBACK if settings.web_host in LOOPBACK and not settings.trusted_proxy else None


class BodyLimit:
    """Stops reading a request that is longer than anything we ask for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(f"{UPLOADS}/"):
            await self._app(scope, receive, send)
            return
        size = 0

        async def receive_some() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_some, send)
