"""Redis: Celery's settings, which producer and worker share, and the lanes."""

import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from shared.base.errors import ServiceUnavailable
from shared.base.lanes import LANES, Lane

if TYPE_CHECKING:  # commands that only look at the lanes start without Celery and pydantic
    from celery import Celery

    from shared.base.settings import Settings

QUEUE = "pneumoscreen"
EPOCH_KEY = "pneumoscreen.epoch"
SEPARATOR = "\x06\x16"
"""kombu's default separator between a queue's name and a priority; it occurs in no queue's or host's name."""
PROBE_KEY = "pneumoscreen.probe"
DAY = 24 * 3600


WAYS_OUT: dict[type[RedisError], str] = {
    ReadOnlyError: "it is a read-only replica, as in a failover; broker_url must lead to the primary",
    OutOfMemoryError: "it is full; raise its maxmemory",
    NoPermissionError: "its user lacks a right; see `ACL LIST`",
    AuthenticationError: "it refuses the user or the password of broker_url",
    BusyLoadingError: "it still reads its data",
}
"""What a broker that answers may have against us. All of it is transient: nothing that waits is lost meanwhile."""


def url(settings: "Settings") -> str:
    """The broker's address; raises ServiceUnavailable if none is set and no `up` runs in this home."""
    if settings.broker_url is None:
        raise ServiceUnavailable(
            f"No broker is known for {settings.home}: start `pneumoscreen up`, or set PNEUMOSCREEN_BROKER_URL."
        )
    return settings.broker_url.get_secret_value()


def configuration(settings: "Settings") -> dict[str, Any]:
    """Celery's settings. `docs/why.md` says why prefetch, retries and the visibility timeout are as they are."""
    from shared.queue import transport

    transport.install()  # here, since each application of ours asks for its settings before it connects
    return {
        "broker_url": url(settings),
        "broker_use_ssl": _tls(url(settings)),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,  # a full Redis refuses commands, which must not end a worker
        "broker_transport_options": {
            "visibility_timeout": DAY,  # recovery rests on leases alone
            "max_retries": 0,  # who publishes has its own loop; a worker's is Celery's, which does not ask for this
            "queue_order_strategy": "priority",
            "sep": SEPARATOR,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_default_queue": QUEUE,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_track_started": True,
        "task_send_sent_event": True,
        "task_publish_retry": False,
        "worker_send_task_events": True,
        "worker_concurrency": settings.processes,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_proc_alive_timeout": 120,  # importing TensorFlow takes longer than the default of 4 s
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "imports": ["worker.tasks"],
    }


def _tls(url: str) -> dict[str, Any] | None:
    """TLS options from the broker's URL: Flower does not read them there, and kombu's default verifies nothing."""
    if not url.startswith("rediss://"):
        return None
    from kombu.utils.url import parse_url

    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **parse_url(url).get("ssl", {})}


def application(settings: "Settings") -> "Celery":
    """A Celery application for sending; the worker's own is `worker.app`."""
    from celery import Celery

    app = Celery("pneumoscreen", set_as_current=False)
    app.conf.update(configuration(settings))
    return app


def client(settings: "Settings") -> Redis:
    """Connects anew, once, if it meets a replica: after a failover the name in the URL may mean another server."""
    return Redis.from_url(
        url(settings),
        socket_timeout=5,
        socket_connect_timeout=5,
        decode_responses=True,
        retry_on_error=[ReadOnlyError],
    )


def wait_until_ready(url: str, seconds: float) -> None:
    """Raises ServiceUnavailable if the broker does not answer in time, or at once if it refuses the password."""
    place = urlsplit(url)
    name = f"{place.hostname or 'localhost'}:{place.port or 6379}"
    deadline = time.monotonic() + seconds
    with Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as redis:
        while True:
            try:
                redis.ping()
            except AuthenticationError as error:
                raise ServiceUnavailable(f"The broker at {name} refuses the password of broker_url: {error}") from error
            except RedisError as error:
                if time.monotonic() > deadline:
                    raise ServiceUnavailable(
                        f"The broker at {name} is out of reach: {error} Is it running, and is broker_url right?"
                    ) from error
                time.sleep(0.05)
            else:
                return


def check_writes(redis: Redis) -> None:
    """Raises RedisError if the broker is out of reach, or refuses to store anything as a replica or a full one does."""
    redis.set(PROBE_KEY, "", px=1000)


def describe(error: Exception) -> str:
    """A sentence on a broker that is out of reach or refuses something, and on the way out."""
    if isinstance(error.__cause__, RedisError):  # kombu wraps what Redis says
        error = error.__cause__
    reason = " ".join(str(error).split()).rstrip(".")
    is_answer = isinstance(error, ResponseError | AuthenticationError | BusyLoadingError)
    what = "the broker refuses to work" if is_answer else "the broker is out of reach"
    ways = [way for kind, way in WAYS_OUT.items() if isinstance(error, kind)]
    return f"{what}: {reason} ({ways[0]})" if ways else f"{what}: {reason}"


def lengths(redis: Redis) -> dict[Lane, int]:
    """How many messages wait in each lane."""
    pipeline = redis.pipeline(transaction=False)
    for record in LANES.values():
        pipeline.llen(f"{QUEUE}{SEPARATOR}{record.priority}" if record.priority else QUEUE)
    return dict(zip(LANES, pipeline.execute(), strict=True))
