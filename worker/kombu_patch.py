"""A failed acknowledgement does not stop a worker."""

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Forgets a message whose acknowledgement failed, as when the network is reset just then.

    kombu's own keeps it as one that is under way. As none is taken beside it, the worker would wait for ever, with a
    connection that looks well. Redis hands the message out once more in a day; the ledger drops an old delivery unread.
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
