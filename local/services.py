"""The long-running services as processes of their own: `producer`, `worker`, `trainer`, `flower`."""

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from local.node_names import take_node_name
from shared.base import logs, service_links, stopping
from shared.base.errors import ServiceUnavailable, WrongSettings
from shared.base.settings import Settings
from shared.database import opened
from shared.models import registry
from shared.queue import broker
from shared.sources.links import check_links

LOOPBACK = ("127.0.0.1", "::1", "localhost")
BROKER_SECONDS = 10
"""How long a starting service waits for a broker that may be starting too."""
FLOWER_USER = "pneumoscreen"


class Service(Protocol):
    def run(self, stop: threading.Event, /) -> None:
        """Until `stop` is set."""


Name = Literal["producer", "worker", "node", "courier", "web"]
S = TypeVar("S", bound=Service)


def producer(settings: Settings) -> None:
    from producer.metrics import serve
    from producer.service import Producer

    _check(settings, "producer")
    broker.wait_until_ready(broker.url(settings), BROKER_SECONDS)
    _run(settings, Producer, lambda service: serve(settings, service.metrics))


def node(settings: Settings) -> None:
    from node.metrics import serve
    from node.service import Node

    _check(settings, "node")
    _run(settings, Node, lambda service: serve(settings, service.metrics))


def courier(settings: Settings) -> None:
    from courier.metrics import serve
    from courier.service import Courier

    _check(settings, "courier")
    _run(settings, Courier, lambda service: serve(settings, service.metrics))


def _check(settings: Settings, name: Name) -> None:
    check_links(settings)
    check_metrics_port(settings, name)


def _run(settings: Settings, make: Callable[[Settings], S], serve_metrics: Callable[[S], None]) -> None:
    """In this process, until a signal ends it."""
    logs.configure(settings)
    stop = stopping.on_signals()
    service = make(settings)
    serve_metrics(service)
    service.run(stop)


def worker(settings: Settings) -> None:
    from worker.metrics_folder import FOLDER, make_folder

    broker.url(settings)
    with opened(settings) as database:  # fail now with a sentence, not later in a worker that can do nothing
        registry.check(database, settings.models, settings.signing_key)
    check_metrics_port(settings, "worker")
    check_semaphores()
    os.environ.pop(FOLDER, None)  # another program's
    if settings.worker_metrics_port:
        os.environ[FOLDER] = str(make_folder(settings.home))
    name = take_node_name(settings.home, "screening")
    _celery(settings, "worker", "--loglevel", settings.log_level, "--hostname", name, "--without-gossip")


def trainer(settings: Settings) -> None:
    broker.url(settings)
    with opened(settings):
        pass  # fail now with a sentence, not later in a trainer that can do nothing
    check_semaphores()
    beat = ("--beat", "--scheduler", "celery.beat:Scheduler")  # in memory: the default one keeps a pickle
    name = take_node_name(settings.home, "trainer")
    _celery(settings, "worker", "--loglevel", settings.log_level, "--hostname", name, *beat, app="trainer.app")


def check_semaphores() -> None:
    """Raises ServiceUnavailable if the processes of a worker could not work together on this machine."""
    import multiprocessing  # which imports much that most services do not need

    try:
        multiprocessing.Semaphore()
    except (OSError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServiceUnavailable(
            f"Celery's processes need semaphores, which this machine does not give: {reason}. On Linux they lie "
            "in /dev/shm: mount it, let this user write there, and give it room (a container: --shm-size=64m)."
        ) from error


def check_metrics_port(settings: Settings, service: Name) -> None:
    """Raises WrongSettings if the port for the service's metrics is taken; later only a log would say so."""
    name = f"{service}_metrics_port"
    port = int(getattr(settings, name))
    if not port:
        return
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.metrics_host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            listener.bind(address)
    except OSError as error:
        raise WrongSettings(
            f"Metrics cannot be served on {settings.metrics_host} (metrics_host), port {port} ({name}): "
            f"{error.strerror or error}. A second {service} on this host needs a port of its own, such as "
            f"PNEUMOSCREEN_{name.upper()}={min(port + 1, 65535)} pneumoscreen {service}; port 0 switches metrics off."
        ) from error


def flower(settings: Settings, port: int) -> None:
    """Raises WrongSettings if Flower would listen beyond this machine without a password, or cannot use this one."""
    if settings.flower_password is not None:
        password = settings.flower_password.get_secret_value()
        # Flower splits it at commas into several passwords, and cannot compare characters beyond ASCII.
        if "," in password or not password.isascii():
            raise WrongSettings(
                "Flower cannot use this password: set PNEUMOSCREEN_FLOWER_PASSWORD to one without commas and accents."
            )
        # In the environment, where Flower reads it too: others see command lines.
        os.environ["FLOWER_BASIC_AUTH"] = f"{FLOWER_USER}:{password}"
    elif settings.flower_host not in LOOPBACK:
        raise WrongSettings(
            f"Flower would listen on {settings.flower_host} without a password: set PNEUMOSCREEN_FLOWER_PASSWORD, "
            "or leave flower_host at 127.0.0.1."
        )
    for name in service_links.find(os.environ):  # of a service `flower`, whose address Flower would take for its port
        del os.environ[name]
    _celery(settings, "flower", f"--address={settings.flower_host}", f"--port={port}", "--max_tasks=10000")


def _celery(settings: Settings, *arguments: str, app: str = "worker.app") -> None:
    """Become Celery's own command: in this process, which has imported most of what that needs."""
    from celery import __main__ as celery

    broker.wait_until_ready(broker.url(settings), BROKER_SECONDS)  # fail now with a sentence, not later with Celery's
    os.environ["PNEUMOSCREEN_HOME"] = str(settings.home)
    sys.argv = [celery.__file__, "-A", app, *arguments]
    celery.main()
