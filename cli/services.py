"""The long-running services as processes of their own: `producer`, `worker`, `flower`."""

import logging
import os
import signal
import sys
import threading

from cli.opened import opened
from shared import broker
from shared.errors import WrongSettings
from shared.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
FLOWER_USER = "pneumoscreen"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def producer(settings: Settings) -> None:
    from producer.service import Producer

    logging.basicConfig(level=settings.log_level, format=FORMAT)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Producer(settings).run(stop)


def worker(settings: Settings) -> None:
    with opened(settings):
        pass  # a sentence now, if it is out of reach, is better than a worker that can do nothing
    _celery(settings, "worker", "--loglevel", settings.log_level, "--hostname", "screening@%h", "--without-gossip")


def flower(settings: Settings, port: int) -> None:
    """Raises WrongSettings if it would listen beyond this machine without a password."""
    if settings.flower_password is not None:  # in the environment, for Flower reads it there: others see command lines
        os.environ["FLOWER_BASIC_AUTH"] = f"{FLOWER_USER}:{settings.flower_password.get_secret_value()}"
    elif settings.flower_host not in LOOPBACK:
        raise WrongSettings(
            f"Flower would listen on {settings.flower_host} without a password: set PNEUMOSCREEN_FLOWER_PASSWORD, "
            "or leave flower_host at 127.0.0.1."
        )
    _celery(settings, "flower", f"--address={settings.flower_host}", f"--port={port}", "--max_tasks=10000")


def _celery(settings: Settings, *arguments: str) -> None:
    """Become Celery's own command, so that signals reach it directly."""
    broker.url(settings)  # a sentence now is better than Celery's traceback later
    os.environ["PNEUMOSCREEN_HOME"] = str(settings.home)
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "worker.app", *arguments])
