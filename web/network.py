"""Where a request comes from: what a trusted proxy says of it, and what anybody else may not."""

import ipaddress

from starlette.requests import Request

from shared.base.settings import Settings


def _settings(request: Request) -> Settings:
    chosen = request.app.state.settings
    assert isinstance(chosen, Settings)
    return chosen


def is_trusted(address: str, settings: Settings) -> bool:
    """Whether the address is one of `trusted_proxy`."""
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(host in ipaddress.ip_network(network) for network in settings.trusted_proxy)


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _is_by_proxy(request: Request) -> bool:
    return is_trusted(_peer(request), _settings(request))


def client_address(request: Request) -> str:
    """Of the browser: the last address in X-Forwarded-For that is no trusted proxy's, if a trusted proxy sent it."""
    if not _is_by_proxy(request):
        return _peer(request)
    told = [part.strip() for value in request.headers.getlist("X-Forwarded-For") for part in value.split(",")]
    for address in reversed(told):
        if not is_trusted(address, _settings(request)):
            try:
                return str(ipaddress.ip_address(address))
            except ValueError:
                break  # no address: nobody before it is believed either
    return _peer(request)


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or with the proxy."""
    if request.url.scheme == "https":
        return True
    return _is_by_proxy(request) and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"


def user_named_by_proxy(request: Request) -> str | None:
    """Whom the proxy has logged in; None where no such header is set, or somebody else sent it."""
    header = _settings(request).proxy_user_header
    if header is None or not _is_by_proxy(request):
        return None
    return request.headers.get(header, "").strip() or None
