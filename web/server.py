"""Runs the web service: uvicorn in this process, until it is asked to end."""

import logging
import signal
import threading

import uvicorn

from local.web_settings import check
from shared.base import logs
from shared.base.settings import Settings
from shared.database import opened
from web import metrics
from web.app import build

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
    # Once it has ended in good order, uvicorn raises the signal that ended it again: then it is heard by nobody.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(configured).run()


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
