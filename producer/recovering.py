"""Recovers lost work: jobs whose lease ran out, messages that nobody claimed, and all of a broker that is empty."""

import logging
import secrets
from datetime import datetime

from redis import Redis

from producer.metrics import Metrics
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger import recover as ledger
from shared.queue import broker

log = logging.getLogger(__name__)


def recover(settings: Settings, database: Database, now: datetime, metrics: Metrics) -> None:
    """Take back the jobs of processes that died and of messages that were lost."""
    with database.write() as session:
        retried, quarantined = ledger.recover_claimed(session, now, settings.lease)
        unclaimed = ledger.recover_sent(session, now, settings.resend_after)
    metrics.count_recovered("lease", retried)
    metrics.count_recovered("lost_message", unclaimed)
    if retried or quarantined:
        log.warning("a worker process died: %d jobs are sent again one by one, %d quarantined", retried, quarantined)
    if unclaimed:
        log.warning("%d jobs were sent over %g s ago and never claimed: sent again", unclaimed, settings.resend_after)


def check_epoch(database: Database, redis: Redis, metrics: Metrics) -> None:
    """Take back every sent job if the broker has lost the epoch's value.

    Raises RedisError if it is out of reach, or refuses to store anything: nothing is sent to it then.
    """
    broker.check_writes(redis)
    with database.read() as session:
        value = ledger.epoch(session)
    if value is not None and redis.get(broker.EPOCH_KEY) == value:
        return
    new = secrets.token_hex(8)
    with database.write() as session:
        lost = ledger.recover_all_sent(session, value, new)
        current = ledger.epoch(session)
    redis.set(broker.EPOCH_KEY, current or new)
    metrics.count_recovered("empty_broker", lost)
    if lost:
        log.warning("the broker came back empty: %d jobs are sent again", lost)
