"""Whether the pages may be served as the settings say: asked by `up` before it starts anything, and by the service."""

import ssl
from pathlib import Path

from local.services import LOOPBACK
from shared.base.errors import WrongSettings
from shared.base.settings import Settings


def check(settings: Settings) -> None:
    """Raises WrongSettings where passwords would cross a network in plain text, or half of a certificate is set."""
    if (settings.web_certificate is None) != (settings.web_key is None):
        raise WrongSettings("TLS needs both web_certificate and web_key.")
    if settings.web_certificate is not None and settings.web_key is not None:
        _check_certificate(settings.web_certificate, settings.web_key)
    elif settings.web_host not in LOOPBACK and not settings.trusted_proxy:
        raise WrongSettings(
            f"The web service would listen on {settings.web_host} (web_host) without TLS, where others could read "
            "passwords and X-rays: set web_certificate and web_key, or trusted_proxy to the address of a proxy that "
            "speaks TLS, or leave web_host at 127.0.0.1."
        )
    if settings.proxy_user_header is not None and not settings.trusted_proxy:
        raise WrongSettings(
            "proxy_user_header says who logs in, and anybody could send it: set trusted_proxy to the address of the "
            "proxy that alone may."
        )


def _check_certificate(certificate: Path, key: Path) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WrongSettings(
            f"The certificate {certificate} (web_certificate) cannot be used with {key} (web_key): {reason}."
        ) from error
