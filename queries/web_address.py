"""Where people find the pages."""

from shared.base.settings import Settings


def address_of(settings: Settings) -> str:
    """The address that browsers open: the one that is set or that a running `up` has announced, else this host's."""
    if settings.web_url is not None:
        return settings.web_url
    scheme = "https" if settings.web_certificate is not None else "http"
    host = f"[{settings.web_host}]" if ":" in settings.web_host else settings.web_host
    return f"{scheme}://{host}:{settings.web_port}"
