"""Sends jobs: fills each lane with as many messages as it may hold, while the rest of the backlog waits in SQL."""

import logging
import math
from datetime import datetime, timedelta

from celery import Celery
from redis import Redis

from producer.metrics import Metrics
from queries.workers import count_live
from shared.base.lanes import LANES, Lane
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger import send
from shared.queue import broker
from shared.queue.messages import TASK, Message

log = logging.getLogger(__name__)


class Sender:
    def __init__(self, settings: Settings, database: Database, app: Celery, redis: Redis, metrics: Metrics) -> None:
        self._settings, self._database, self._app, self._redis = settings, database, app, redis
        self._metrics = metrics
        self._processes = 1
        self._counted_at: datetime | None = None
        self.lingers = math.inf
        """Seconds, from the last call of `send`, until a message that is not full has waited long enough."""

    def send(self, now: datetime) -> int:
        """Fill the lanes; returns how many jobs were sent. Raises RedisError if the broker is out of reach."""
        self.lingers = math.inf
        with self._database.read() as session:
            due = send.due_lanes(session, now)
        if not due:
            return 0
        self._count_processes(now)
        most = self._settings.messages_ahead * self._processes
        sent = 0
        for lane, length in broker.lengths(self._redis).items():
            while lane in due and length < most and (message := self._take(lane, length, now)) is not None:
                self._publish(lane, message)
                self._metrics.count_sent(lane, len(message.jobs))
                sent += len(message.jobs)
                length += 1
        return sent

    def _take(self, lane: Lane, length: int, now: datetime) -> Message | None:
        """A full message; or one that is not full, if the lane is short and its oldest job has waited for `linger`.

        Another producer may take jobs after the look at the backlog: then the message holds fewer, or there is none.
        """
        size = 1 if lane is Lane.SUSPECT else self._settings.message_size
        with self._database.read() as session:
            backlog = send.backlog(session, lane, size, now)
        if backlog is None:
            return None
        if backlog.jobs < size:
            if length >= self._processes:
                return None
            lingers = self._settings.linger - (now - backlog.since).total_seconds()
            if lingers > 0:
                self.lingers = min(self.lingers, lingers)
                return None
        with self._database.write() as session:
            return send.take(session, lane, size, now)

    def _publish(self, lane: Lane, message: Message) -> None:
        try:
            self._app.send_task(
                TASK,
                args=[message.encode()],
                priority=LANES[lane].priority,
                argsrepr=f"({len(message.jobs)} images, {lane} lane, attempt {message.attempt})",
                kwargsrepr="{}",
            )
        except Exception:  # whatever the reason, the jobs are not in Redis
            with self._database.write() as session:
                send.take_back(session, message)
            raise

    def _count_processes(self, now: datetime) -> None:
        if self._counted_at is None or abs(now - self._counted_at) > timedelta(seconds=5):
            with self._database.read() as session:
                self._processes = max(1, count_live(session, now))
            self._counted_at = now
