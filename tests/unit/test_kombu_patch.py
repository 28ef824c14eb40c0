"""What a worker's parent does with a message that it could not acknowledge, on a real Redis."""

import pytest
from kombu import Connection
from kombu.transport import redis

from worker import kombu_patch


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_whose_acknowledgement_failed_takes_the_next_message(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis.Channel, "QoS", redis.Channel.QoS)
    kombu_patch.install()
    with Connection(redis_url) as connection, connection.SimpleQueue("acknowledging") as queue:
        queue.put({"number": 1})
        message = queue.get(timeout=5)
        qos = message.channel.qos
        qos.prefetch_count = 1
        assert not qos.can_consume(), "one is under way"

        def reset(_: object) -> None:
            raise ConnectionResetError("reset by peer")

        monkeypatch.setattr(qos, "_remove_from_indices", reset)
        with pytest.raises(ConnectionResetError):
            message.ack()
        assert qos.can_consume()
