"""Runs the web service: uvicorn in this process, until it is asked to end."""

import logging
import ssl
import threading
from pathlib import Path

import uvicorn

from shared.base import logs
from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.database import opened
from web import metrics
from web.app import build
from web.middleware import LOOPBACK

ENDING_SECONDS = 5
"""How long requests under way may take once the service is asked to end."""
BACKLOG = 256


def serve(settings: Settings, port: int) -> None:
    """Raises WrongSettings if others could listen, or the port or the certificate cannot be used."""
    check(settings)
    with opened(settings):
        pass  # fail now with a sentence, not later with an error on each page
    logs.configure(settings)
    configured = configuration(settings, port)
    state = configured.app.state  # type: ignore[union-attr]
    metrics.serve(settings, state.metrics)
    threading.Thread(target=state.pictures.warm_up, name="warm up", daemon=True).start()
    uvicorn.Server(configured).run()


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


def configuration(settings: Settings, port: int) -> uvicorn.Config:
    # It would log addresses with whatever was typed into them, tokens of links among it; ours has none of that.
    logging.getLogger("uvicorn.access").disabled = True
    return uvicorn.Config(
        build(settings),
        host=settings.web_host,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `web.network` decides whom to believe
        server_header=False,
        date_header=True,
        lifespan="on",
        backlog=BACKLOG,
        ssl_certfile=str(settings.web_certificate) if settings.web_certificate else None,
        ssl_keyfile=str(settings.web_key) if settings.web_key else None,
        timeout_graceful_shutdown=ENDING_SECONDS,
        ws="none",
    )
