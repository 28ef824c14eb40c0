"""Answers C-STORE: success only once the file is on the disk and its row is committed."""

import logging
from enum import StrEnum
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from node import header, lanes
from node.file_meta import FileMeta
from node.metrics import Metrics
from node.naming import is_uid
from node.registering import Registrar
from node.statuses import Status
from node.storing import Store
from shared.base.dicom_settings import DicomSettings
from shared.base.errors import DiskLow, OutOfReach, ServiceUnavailable
from shared.database import OUT_OF_REACH, refusals

log = logging.getLogger(__name__)
MAX_COMMENT = 64
"""Characters of an Error Comment (0000,0902)."""


class Outcome(StrEnum):
    """What became of an object that was sent."""

    STORED = "stored"
    AGAIN = "again"  # it was there already
    OTHER_CONTENT = "other_content"  # its UID was there with another content: both stay
    INVALID = "invalid"  # the object's fault
    REFUSED = "refused"  # the environment's fault: to be sent again


class Receiver:
    """Of one source; called by the threads of its associations."""

    def __init__(self, name: str, chosen: DicomSettings, store: Store, registrar: Registrar, metrics: Metrics) -> None:
        self._name, self._chosen = name, chosen
        self._store, self._registrar, self._metrics = store, registrar, metrics
        self._trouble: str | None = None
        self.has_leftovers = False
        """Whether a file may lie in the folder that has no row, because the database was away."""

    @property
    def trouble(self) -> str | None:
        """Why the last object was refused; None if it was taken."""
        return self._trouble

    def handle(self, event: Event) -> Dataset:
        """The answer to a C-STORE request. Never raises: pynetdicom would blame the object (0xC211)."""
        try:
            status, comment, outcome = self._take(event)
        except (*OUT_OF_REACH, ServiceUnavailable, OutOfReach, OSError, MemoryError) as error:
            status, comment, outcome = Status.OUT_OF_RESOURCES, _public(error), Outcome.REFUSED
            self._complain(_describe(error))
        except Exception:
            log.exception("a fault of the node: the object is refused for now")
            status, comment, outcome = Status.OUT_OF_RESOURCES, "a fault of the node, see its log", Outcome.REFUSED
            self._complain("a fault of the node: see its log")
        self._metrics.count_object(self._name, outcome)
        answer = Dataset()
        answer.Status = int(status)
        if comment:
            answer.ErrorComment = comment[:MAX_COMMENT]
        return answer

    def _take(self, event: Event) -> tuple[Status, str, Outcome]:
        request = cast(C_STORE, event.request)
        instance, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        if not is_uid(instance):
            return Status.INVALID_INSTANCE, "the SOP Instance UID is no UID", Outcome.INVALID
        if request.DataSet is None:
            return Status.DOES_NOT_MATCH, "there is no data set", Outcome.INVALID
        body, syntax = request.DataSet.getbuffer(), str(event.context.transfer_syntax)
        try:
            head = header.read(body, syntax)
            if (head.sop_class or sop_class, head.sop_instance or instance) != (sop_class, instance):
                return Status.DOES_NOT_MATCH, "the data set states another class or UID", Outcome.INVALID
            calling = event.assoc.requestor.ae_title.strip()
            lane = lanes.choose(self._chosen, calling, head)
            stored = self._store.store(FileMeta(sop_class, instance, syntax, calling), body)
            size = len(body)
        finally:
            body.release()
        try:
            self._registrar.register(self._name, lane, stored.found)
        except Exception:
            self.has_leftovers = True
            raise
        if self._trouble:
            log.info("source %s receives again", self._name)
            self._trouble = None
        if stored.is_new:
            self._metrics.count_bytes(self._name, size)
        if stored.is_other and stored.is_new:
            log.warning("source %s: another content came under a known SOP Instance UID: both are kept", self._name)
            return Status.SUCCESS, "", Outcome.OTHER_CONTENT
        return Status.SUCCESS, "", Outcome.STORED if stored.is_new else Outcome.AGAIN

    def _complain(self, trouble: str) -> None:
        """Once for each trouble, however often senders try."""
        if trouble != self._trouble:
            log.warning("source %s refuses what is sent, for now: %s", self._name, trouble)
        self._trouble = trouble


def _describe(error: BaseException) -> str:
    if isinstance(error, OUT_OF_REACH):
        refusal = refusals.find(error)
        return refusal.sentence if refusal else "the database broke off"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__  # not its file, whose name is a UID
    return str(error) or type(error).__name__


def _public(error: BaseException) -> str:
    """What the sender is told: nothing of our folders and servers."""
    if isinstance(error, DiskLow):
        return "disk low, send again later"
    if isinstance(error, OUT_OF_REACH):
        return "database out of reach, send again later"
    return "out of resources, send again later"
