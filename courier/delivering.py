"""Delivers one destination's rows, one after the other, in a thread of its own: a slow one holds up no other."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from courier.metrics import Metrics
from courier.preparing import Preparer
from shared.base.destination_settings import (
    DestinationSettings,
    DicomDestination,
    EventDestination,
    MailDestination,
    StowDestination,
    WebhookDestination,
)
from shared.base.errors import Away, BrokeOff, Deferred, DeliveryError, ImageError, Rejected
from shared.database import OUT_OF_REACH, Database
from shared.ledger import outbox
from shared.ledger.outbox import Taken

log = logging.getLogger(__name__)
PAUSE = 1.0
IDLE_SECONDS = 10.0
"""After so long without a row, the association or connection is closed."""


class Client(Protocol):
    def send(self, what: Any, /) -> str | None:
        """Returns a remark; raises a DeliveryError."""

    def close(self) -> None:
        """Raises nothing."""


def make_client(settings: DestinationSettings) -> Client:
    """Imports what this kind of destination needs."""
    match settings:
        case DicomDestination():
            from courier.scu import StoreScu

            return StoreScu(settings)
        case StowDestination():
            from courier.stow import StowClient

            return StowClient(settings)
        case WebhookDestination():
            from courier.webhook import WebhookClient

            return WebhookClient(settings)
        case MailDestination():
            from courier.mail import MailClient

            return MailClient(settings)


class Delivery:
    def __init__(
        self, name: str, settings: DestinationSettings, database: Database, preparer: Preparer, metrics: Metrics
    ) -> None:
        self._name, self._settings = name, settings
        self._database, self._preparer, self._metrics = database, preparer, metrics
        self._client: Client | None = None
        self._lease = 60.0 + 3 * settings.timeout  # to connect, to send, and to hear the answer
        self._used_at = 0.0
        self._is_away = False

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                is_busy = self.deliver_next(datetime.now(UTC), stop)
            except OUT_OF_REACH as error:
                log.warning("%s: the database is out of reach, retrying: %s", self._name, type(error).__name__)
                is_busy = False
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread for good
                log.error("%s: %s", self._name, type(error).__name__)  # noqa: TRY400 - its text may be a patient's
                is_busy = False
            if not is_busy:
                if time.monotonic() - self._used_at > IDLE_SECONDS:
                    self._close()
                stop.wait(PAUSE)
        self._close()

    def deliver_next(self, now: datetime, stop: threading.Event) -> bool:
        """Deliver the next row that is due; False if there is none."""
        with self._database.read() as session:
            if not outbox.has_work(session, self._name, now):
                return False
        with self._database.write() as session:
            rows = outbox.take(session, self._name, 1, now, self._lease)
        for taken in rows:
            self._deliver(taken, stop)
        return bool(rows)

    def _deliver(self, taken: Taken, stop: threading.Event) -> None:
        try:
            remark = self._send(taken)
        except Away as error:
            problem, is_to_blame = str(error), isinstance(error, BrokeOff)
            self._settle(stop, lambda session, now: self._note_away(session, taken, now, problem, is_to_blame))
            self._close()
            if not self._is_away:
                log.warning("destination %s: %s; what is for it waits", self._name, problem)
            self._is_away = True
            return
        except (Deferred, ImageError) as error:
            problem = str(error)
            self._settle(stop, lambda session, now: outbox.put_back(session, taken, now, problem))
            log.info("outbox row %d waits: %s", taken.id, problem)
            return
        except Rejected as error:
            problem = str(error)
            if self._settle(stop, lambda session, now: outbox.settle_failed(session, taken, now, problem)):
                self._metrics.count(self._name, taken.kind, "failed")
            log.warning("outbox row %d failed for good: %s", taken.id, problem)
            return
        if self._is_away:
            log.info("destination %s is within reach again", self._name)
        self._is_away = False
        if self._settle(stop, lambda session, now: outbox.settle_sent(session, taken, now, remark)):
            self._metrics.count(self._name, taken.kind, "sent")

    def _send(self, taken: Taken) -> str | None:
        is_event = isinstance(self._settings, EventDestination)
        what = self._preparer.build_happening(taken) if is_event else self._preparer.build_object(taken)
        if self._client is None:
            self._client = make_client(self._settings)
        try:
            return self._client.send(what)
        except DeliveryError:
            raise
        except Exception as error:
            self._close()
            raise Deferred(f"sending it failed ({type(error).__name__})") from error
        finally:
            self._used_at = time.monotonic()

    def _note_away(self, session: Any, taken: Taken, now: datetime, problem: str, is_to_blame: bool) -> bool:
        """`is_to_blame`: the row itself may be."""
        outbox.note_away(session, self._name, now, problem)
        if is_to_blame:
            return outbox.put_behind(session, taken, now, problem)
        return outbox.put_back(session, taken, now, None)

    def _settle(self, stop: threading.Event, settle: Callable[[Any, datetime], bool]) -> bool:
        """Write down what became of a row, while its lease lasts; else it is sent again, under the same UID."""
        deadline = time.monotonic() + self._lease
        while True:
            try:
                with self._database.write() as session:
                    return settle(session, datetime.now(UTC))
            except OUT_OF_REACH:
                if stop.wait(PAUSE) or time.monotonic() > deadline:
                    raise

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
