"""A producer's sender: a real database and a real Redis, and an application that only notes what it was to send."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import event

from producer.metrics import Metrics
from producer.sending import Sender
from shared.base.lanes import LANES, Lane
from shared.base.settings import load
from shared.database import Database
from shared.queue.broker import QUEUE, SEPARATOR
from tests.unit.steps import NOW, after, drop, file

AHEAD = 2


class Application:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []

    def send_task(self, _name: str, *, args: list[dict[str, Any]], priority: int, **_: Any) -> None:
        self.sent.append((priority, len(args[0]["jobs"])))


@pytest.fixture
def redis(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        yield redis


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def sender(tmp_path: Path, database: Database, redis_url: str, redis: Any, app: Any) -> Sender:
    settings = load(tmp_path, broker_url=redis_url, messages_ahead=AHEAD, message_size=2, linger=0)
    return Sender(settings, database, app, redis, Metrics(settings))


def fill(redis: Any, lane: Lane) -> None:
    redis.rpush(f"{QUEUE}{SEPARATOR}{LANES[lane].priority}", *["a message"] * AHEAD)


def test_an_urgent_image_is_sent_while_the_routine_lane_is_full(
    sender: Sender, database: Database, redis: Any, app: Application
) -> None:
    fill(redis, Lane.ROUTINE)
    drop(database, *(f"{n}.png" for n in range(5)))
    drop(database, file("urgent.png"), lane="stat")
    assert sender.send(after(1)) == 1
    assert app.sent == [(LANES[Lane.STAT].priority, 1)]


def test_while_the_lanes_are_full_a_look_at_them_is_one_question_to_the_database(
    sender: Sender, database: Database, redis: Any
) -> None:
    fill(redis, Lane.ROUTINE)
    drop(database, *(f"{n}.png" for n in range(5)))
    sender.send(NOW)  # counts the worker's processes, which it does every few seconds
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    sender.send(NOW)
    assert len([statement for statement in statements if "SELECT" in statement]) == 1
