"""kombu on a real Redis that refuses to work, or breaks off: nothing is left open, and nobody waits for ever."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from shared.queue.broker import check_writes, describe
from shared.queue.transport import Channel, Transport
from tests.servers import RedisServer

TRANSPORT = f"{Transport.__module__}:{Transport.__name__}"
OPTIONS = {"max_retries": 0}
Refuse = Callable[[Redis], object]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis of its own, since it refuses everybody."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """Works again at the end."""
    with Redis.from_url(server.url, decode_responses=True, single_connection_client=True) as redis:
        yield redis
        redis.execute_command("REPLICAOF", "NO", "ONE")
        redis.execute_command("ACL", "SETUSER", "default", "+@all")
        for name, value in (("maxmemory", "0"), ("min-replicas-to-write", "0"), ("maxclients", "1000")):
            redis.config_set(name, value)
        redis.flushall()


def be_a_replica(redis: Redis) -> None:
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")


def be_full(redis: Redis) -> None:
    redis.config_set("maxmemory", "1")


def lack_replicas(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", "1")


def permit_no_writing(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "-@write")


def permit_no_fetching(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "-brpop")


REFUSALS = [be_a_replica, be_full, lack_replicas, permit_no_writing]


def connect(server: RedisServer) -> Connection:
    return Connection(server.url, transport=TRANSPORT, transport_options=OPTIONS)


def clients(redis: Redis) -> int:
    return int(redis.info("clients")["connected_clients"])


@pytest.mark.parametrize("refuse", REFUSALS)
def test_a_broker_that_refuses_to_store_anything_counts_as_out_of_reach_and_no_connection_to_it_stays(
    server: RedisServer, redis: Redis, refuse: Refuse
) -> None:
    before = clients(redis)
    refuse(redis)
    for _ in range(20):
        with connect(server) as connection, pytest.raises(OperationalError, match="refuses to store anything"):
            connection.ensure_connection(max_retries=0)
    assert clients(redis) <= before + 1


@pytest.mark.parametrize("refuse", [*REFUSALS, permit_no_fetching])
def test_a_consumer_that_is_refused_leaves_no_connection_open(
    server: RedisServer, redis: Redis, refuse: Refuse
) -> None:
    before = clients(redis)
    for _ in range(2):
        with connect(server) as connection, connection.SimpleQueue("letters") as queue:
            queue.put({"number": 1})
            assert queue.get(timeout=5).payload == {"number": 1}  # not acknowledged: closing puts it back
            with suppress(queue.Empty):
                queue.get(timeout=0.01)
            refuse(redis)
        redis.execute_command("REPLICAOF", "NO", "ONE")
        redis.execute_command("ACL", "SETUSER", "default", "+@all")
        redis.config_set("maxmemory", "0")
        redis.config_set("min-replicas-to-write", "0")
    assert clients(redis) <= before + 1


def test_an_event_loop_that_could_not_be_joined_leaves_no_connection_open(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that becomes a replica between two commands: Celery never closes what it did not yet get."""
    before = clients(redis)
    monkeypatch.setattr("shared.queue.transport.check_writes", lambda _: None)
    be_a_replica(redis)
    for _ in range(5):
        connection = connect(server)
        with pytest.raises(RedisError):
            connection.transport.register_with_event_loop(connection.connection, Loop())
    assert clients(redis) <= before + 1


class Loop:
    """Nobody polls."""

    poller = None


def test_whoever_publishes_to_what_became_a_replica_connects_anew(server: RedisServer, redis: Redis) -> None:
    with connect(server) as connection, connection.SimpleQueue("letters") as queue:
        queue.put({"number": 1})
        old = ids(redis)
        be_a_replica(redis)
        for _ in range(3):
            with pytest.raises((OperationalError, RedisError)):
                queue.put({"number": 2})
        redis.execute_command("REPLICAOF", "NO", "ONE")
        queue.put({"number": 3})
        assert len(ids(redis)) <= len(old)
        assert ids(redis) != old


def ids(redis: Redis) -> set[str]:
    return {client["id"] for client in redis.client_list()}


def test_a_worker_whose_acknowledgement_failed_takes_the_next_message(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(server) as connection, connection.SimpleQueue("acknowledging") as queue:
        queue.put({"number": 1})
        message = queue.get(timeout=5)
        assert isinstance(message.channel, Channel)
        qos = message.channel.qos
        qos.prefetch_count = 1
        assert not qos.can_consume(), "one is under way"

        def reset(_: object) -> None:
            raise ConnectionResetError("reset by peer")

        with monkeypatch.context() as patch:
            patch.setattr(qos, "_remove_from_indices", reset)
            with pytest.raises(ConnectionResetError):
                message.ack()
        assert qos.can_consume()


def test_a_worker_that_acknowledges_on_a_connection_closed_meanwhile_is_told_that_the_broker_is_out_of_reach(
    server: RedisServer,
) -> None:
    """Celery takes this for what it is, and connects anew; kombu's own error of another kind ended the worker."""
    with connect(server) as connection:
        queue = connection.SimpleQueue("closing")
        queue.put({"number": 1})
        message = queue.get(timeout=5)
        message.channel.close()
        with pytest.raises(connection.connection_errors, match="closed meanwhile"):
            message.ack()


@pytest.mark.parametrize(
    ("refuse", "sentence"),
    [
        (be_a_replica, "a read-only replica, as in a failover; broker_url must lead to the primary"),
        (be_full, "it is full; raise its maxmemory"),
        (lack_replicas, "NOREPLICAS"),
        (permit_no_writing, "its user lacks a right"),
    ],
)
def test_a_sentence_says_what_the_broker_refuses_and_the_way_out(redis: Redis, refuse: Refuse, sentence: str) -> None:
    refuse(redis)
    with pytest.raises(RedisError) as refused:
        check_writes(redis)
    assert describe(refused.value).startswith("the broker refuses to work: ")
    assert sentence in describe(refused.value)
