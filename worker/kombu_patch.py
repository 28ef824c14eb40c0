"""Patches kombu, so that a failed acknowledgement does not stop a worker."""

from typing import Any

from kombu.transport import redis, virtual


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


def install() -> None:
    """For all connections that this process makes from now on."""
    redis.Channel.QoS = QoS
