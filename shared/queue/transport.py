"""kombu's Redis transport, mended: it closes what it opens, and waits while the broker refuses to store anything.

A broker refuses when it became a replica (READONLY), cannot write its disk (MISCONF), is full (OOM), or lets this user
do less than it should (NOPERM). It still answers, so kombu takes it for a good one: it would connect anew several times
a second, and lose the old connections (celery/celery#7946, #8091, #10096).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from redis.exceptions import ConnectionError as OutOfReach
from redis.exceptions import ReadOnlyError, ResponseError

from shared.queue.broker import check_writes

log = logging.getLogger(__name__)
ERRORS = (*redis.Transport.connection_errors, *redis.Transport.channel_errors)


class QoS(redis.QoS):
    """Forgets a message whose acknowledgement failed, as when the network is reset just then.

    kombu keeps such a message as one under way. As the worker takes none beside it, it would wait for ever, on a
    connection that looks healthy. Redis delivers the message again after a day; the ledger drops an old attempt.
    """

    def ack(self, delivery_tag: Any) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


class Channel(redis.Channel):
    QoS = QoS

    def close(self) -> None:
        """Close its connections whatever the server answers; kombu breaks off at an error, and keeps them for ever."""
        try:
            self._close()
        finally:
            if self.connection is not None:
                self.connection.close_channel(self)
            self._disconnect_pools()  # type: ignore[no-untyped-call] # the last steps may have opened one again

    def _close(self) -> None:
        for _ in range(2):
            try:
                super().close()  # type: ignore[no-untyped-call]
            except ERRORS as error:
                log.debug("a channel could not be closed in order: %s", error)
                self.auto_delete_queues.clear()  # they cannot be deleted, so the second time it comes further
            else:
                return

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """A client; what it finds to be a replica is connected to anew, since its name may mean another server now.

        A channel that is closed has none: kombu's AttributeError would end a worker that acknowledges too late.
        """
        if client is None and self.connection is None:
            raise OutOfReach("the connection to the broker was closed meanwhile")
        try:
            with super().conn_or_acquire(client) as found:
                yield found
        except ReadOnlyError:
            self.pool.disconnect()
            raise


class Transport(redis.Transport):
    Channel = Channel

    def establish_connection(self) -> Any:
        """Raises redis's ConnectionError too if the broker refuses to store anything: callers wait and try again."""
        connection = super().establish_connection()  # type: ignore[no-untyped-call]
        try:
            check_writes(self._avail_channels[-1].client)
        except ResponseError as error:
            self.close_connection(connection)  # type: ignore[no-untyped-call]
            raise OutOfReach(f"the broker refuses to store anything: {error}") from error
        except Exception:
            self.close_connection(connection)  # type: ignore[no-untyped-call]
            raise
        return connection

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        try:
            super().register_with_event_loop(connection, loop)  # type: ignore[no-untyped-call]
        except Exception:  # Celery knows nothing of this connection yet, and would never close it
            self.close_connection(connection)  # type: ignore[no-untyped-call]
            raise


def install() -> None:
    """For all connections that this process makes from now on."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{Transport.__module__}:{Transport.__name__}"
