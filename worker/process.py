"""What one worker process keeps from message to message: its database, its models, its threads and its heartbeat."""

import logging
import os
import secrets
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from shared import database, sources
from shared.base import host
from shared.base.settings import Settings
from shared.database import Worker
from shared.ledger import work
from shared.models import registry
from shared.queue.messages import Message
from worker.failures import describe_transient
from worker.metrics import Metrics
from worker.models import Models
from worker.pulse import Pulse
from worker.shadow import Shadow

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 5.0
HANG_SECONDS = 60.0
"""A decoder that takes longer hangs: the process ends itself, and the ledger finds out by which image."""


class WorkerProcess:
    def __init__(self, settings: Settings, pulse: Pulse | None = None) -> None:
        """`pulse` is that of its parent."""
        self.settings = settings
        self._pulse = pulse
        self._me = {"host": host.name(), "pid": os.getpid(), "token": secrets.token_hex(4)}
        self.sources = sources.build(settings)
        self.database = database.connect(settings.database)
        self.metrics = Metrics()
        self.models = Models(settings.models, self.metrics, settings.signing_key, settings.engine)
        self.threads = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self.message: Message | None = None
        self.decoding: dict[int, float] = {}
        self.outdated: str | None = None
        self.refusal: str | None = None
        """What the database refused last, until it does its work again."""
        # Held while a network is loaded or run: by the task for a whole message, between messages by `_keep_up`.
        self.network_lock = threading.Lock()
        self._started_at = datetime.now(UTC)
        warnings.filterwarnings("ignore", module="PIL")  # odd metadata, once for each image
        self._stopping = threading.Event()
        self._period = min(HEARTBEAT_SECONDS, settings.lease / 3)
        self.take_live_version()
        self.shadow = Shadow(self.settings, self.database, self.sources, self.models, self.metrics)
        self.shadow.refresh()
        self._beat = threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True)
        self._follow = threading.Thread(target=self._keep_up, name="versions", daemon=True)
        self._beat.start()
        self._follow.start()
        self.shadow.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in (self._beat, self._follow):
            thread.join(timeout=HEARTBEAT_SECONDS)
        self.shadow.stop(HEARTBEAT_SECONDS)
        # In a thread too: a database that does not answer must not hold up the end.
        leave = threading.Thread(target=self._take_leave, name="leave", daemon=True)
        leave.start()
        leave.join(timeout=HEARTBEAT_SECONDS)

    def _take_leave(self) -> None:
        try:
            with self.database.write() as session:
                session.execute(delete(Worker).filter_by(**self._me))
        except SQLAlchemyError as error:
            log.warning("the worker's row could not be removed: %s", error)

    def take_live_version(self) -> None:
        """Take the live version into service, unless a message is being screened: the next message does it then.

        Asks SQL while it holds the lock: an earlier answer could be older than what a message loaded meanwhile.
        """
        if not self.network_lock.acquire(blocking=False):
            return
        try:
            with self.database.read() as session:
                candidates = registry.live(session)
            if self.models.is_behind(candidates):
                self.models.live(candidates)
        except Exception as error:  # noqa: BLE001 - retried: nothing may end the thread that asks
            log.error("no model could be loaded: %s", describe_transient(error) or repr(error))  # noqa: TRY400
        finally:
            self.network_lock.release()

    def _keep_up(self) -> None:
        """Follow promotions while no message comes; in a thread of its own, so that no load delays the heartbeat."""
        while not self._stopping.wait(self._period):
            self.take_live_version()
            self.shadow.refresh()

    def _keep_alive(self) -> None:
        """Report and renew the lease every few seconds; end the process if a decoder hangs."""
        while True:
            try:
                self.metrics.show_sources(self.sources)
                self._report(datetime.now(UTC))
            except Exception as error:  # noqa: BLE001 - without this thread the process would look dead
                log.warning("the heartbeat could not be written: %s", describe_transient(error) or repr(error))
            if any(time.monotonic() - since > HANG_SECONDS for since in list(self.decoding.values())):
                log.error("a decoder hangs for over %d s: this process ends itself", HANG_SECONDS)
                self.shadow.absolve()
                os.kill(os.getpid(), signal.SIGKILL)
            if self._stopping.wait(self._period):
                return

    def _report(self, now: datetime) -> None:
        with self.database.write() as session:
            session.execute(delete(Worker).where(Worker.heartbeat_at < now - timedelta(hours=1)))
            session.merge(
                Worker(
                    **self._me,
                    device=self.models.device,
                    model_version=self.models.version,
                    error=self.outdated or self.refusal or self._parents_silence() or self._of_a_version(),
                    started_at=self._started_at,
                    heartbeat_at=now,
                )
            )
            message = self.message
            if message is not None:
                work.renew(session, message, now, self.settings.lease)

    def _of_a_version(self) -> str | None:
        return self.models.error or self.shadow.error

    def _parents_silence(self) -> str | None:
        return self._pulse.complaint(os.getppid()) if self._pulse is not None else None
