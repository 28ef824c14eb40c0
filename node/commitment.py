"""Storage commitment (PS3.4 J): says of objects whether we have them, on an association of our own."""

import heapq
import itertools
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.events import Event
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # type: ignore[attr-defined]

from node.implementation import CLASS_UID, VERSION_NAME
from node.metrics import Metrics
from node.naming import is_uid
from node.statuses import Status
from shared.base.dicom_settings import DicomSettings, Peer

log = logging.getLogger(__name__)
REQUEST, ALL_SAFE, SOME_FAILED = 1, 1, 2
"""The action's type, and those of the events."""
THREADS = 2
MAX_OPEN = 200
"""Answers that wait to be given."""
MAX_OBJECTS = 10_000
FIRST_PAUSE, LONGEST_PAUSE, GIVE_UP_AFTER = 2.0, 600.0, 24 * 3600.0
"""Seconds between attempts to reach whoever asked."""
SECONDS = 30.0


@dataclass(frozen=True)
class Reference:
    sop_class: str
    sop_instance: str


Failure = Callable[[Reference], Status | None]
"""Why an object is not safe with us; None if it is."""


@dataclass(order=True)
class _Task:
    due: float
    number: int
    peer: Peer = field(compare=False)
    transaction: str = field(compare=False)
    objects: tuple[Reference, ...] = field(compare=False)
    began: float = field(compare=False)
    attempts: int = field(compare=False, default=0)


class Commitments:
    """Takes the requests of one source, and answers each from a thread of its own, until the asker has it.

    What waits is in memory: an asker without an answer asks again, as after any that got lost.
    """

    def __init__(
        self, name: str, chosen: DicomSettings, failure: Failure, metrics: Metrics, tls: ssl.SSLContext | None
    ) -> None:
        self._name, self._chosen, self._failure, self._metrics, self._tls = name, chosen, failure, metrics, tls
        self._tasks: list[_Task] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._run, name=f"commitment-{n}", daemon=True) for n in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(SECONDS)

    def handle(self, event: Event) -> tuple[int, Dataset | None]:
        """The answer to an N-ACTION request."""
        try:
            return int(self._take(event)), None
        except Exception:
            log.exception("source %s: a request for storage commitment could not be read", self._name)
            return int(Status.PROCESSING_FAILURE), None

    def _take(self, event: Event) -> Status:
        peer = self._chosen.commitment_peers.get(event.assoc.requestor.ae_title.strip())
        if peer is None:
            return Status.NOT_AUTHORISED
        if event.action_type != REQUEST:
            return Status.NO_SUCH_ACTION
        asked = event.action_information
        transaction = str(asked.TransactionUID)
        items = asked.get("ReferencedSOPSequence") or []
        objects = tuple(Reference(str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in items)
        if not is_uid(transaction) or not all(is_uid(each.sop_instance) for each in objects):
            return Status.INVALID_INSTANCE
        if len(objects) > MAX_OBJECTS:
            return Status.RESOURCE_LIMITATION
        now = time.monotonic()
        with self._changed:
            if len(self._tasks) >= MAX_OPEN:
                return Status.RESOURCE_LIMITATION
            heapq.heappush(self._tasks, _Task(now, next(self._numbers), peer, transaction, objects, now))
            self._changed.notify()
        self._metrics.count_commitment(self._name, "asked")
        return Status.SUCCESS

    def _run(self) -> None:
        while (task := self._next()) is not None:
            try:
                is_done = self._answer(task)
            except Exception:
                log.exception("source %s: a storage commitment could not be answered", self._name)
                is_done = False
            if is_done:
                self._metrics.count_commitment(self._name, "answered")
            else:
                self._put_off(task)

    def _next(self) -> _Task | None:
        with self._changed:
            while not self._is_over:
                pause = self._tasks[0].due - time.monotonic() if self._tasks else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._tasks)
                self._changed.wait(pause)
        return None

    def _put_off(self, task: _Task) -> None:
        now = time.monotonic()
        if now - task.began > GIVE_UP_AFTER:
            log.warning("source %s: %s cannot be told of its storage commitment", self._name, task.peer.title)
            self._metrics.count_commitment(self._name, "failed")
            return
        task.due = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2**task.attempts)
        task.attempts += 1
        with self._changed:
            heapq.heappush(self._tasks, task)
            self._changed.notify()

    def _answer(self, task: _Task) -> bool:
        """Whether the asker took the answer. What is safe is looked at anew for each attempt."""
        report, kind = answer(task.transaction, task.objects, self._failure)
        entity = AE(ae_title=self._chosen.ae_title)
        entity.implementation_class_uid = UID(CLASS_UID)
        entity.implementation_version_name = VERSION_NAME
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
        entity.connection_timeout = SECONDS
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate(
            task.peer.host,
            task.peer.port,
            ae_title=task.peer.title,
            ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
            tls_args=(self._tls, task.peer.host) if self._tls is not None else None,
        )
        if not association.is_established:
            return False
        try:
            status, _ = association.send_n_event_report(
                report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except ValueError:  # it was not negotiated
            return False
        else:
            return "Status" in status and status.Status == Status.SUCCESS  # it has none where time ran out
        finally:
            association.release()


def answer(transaction: str, objects: Iterable[Reference], failure: Failure) -> tuple[Dataset, int]:
    """The event's information and its type (PS3.4 J.3.3)."""
    safe: list[Dataset] = []
    failed: list[Dataset] = []
    for each in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = each.sop_class, each.sop_instance
        reason = failure(each)
        if reason is None:
            safe.append(item)
        else:
            item.FailureReason = int(reason)
            failed.append(item)
    report = Dataset()
    report.TransactionUID = transaction
    if safe:
        report.ReferencedSOPSequence = Sequence(safe)
    if failed:
        report.FailedSOPSequence = Sequence(failed)
    return report, SOME_FAILED if failed else ALL_SAFE
