"""Takes objects, however they came: success only once the file is on the disk and its row is committed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from node import header, lanes
from node.file_meta import FileMeta
from node.naming import is_uid
from node.registering import Registrar
from node.statuses import Status
from node.storing import Store
from shared.base.dicom_settings import DicomSettings
from shared.base.errors import DiskLow, OutOfReach, ServiceUnavailable
from shared.database import OUT_OF_REACH, refusals

log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of an object that was sent."""

    STORED = "stored"
    AGAIN = "again"  # it was there already
    OTHER_CONTENT = "other_content"  # its UID was there with another content: both stay
    INVALID = "invalid"  # the object's fault
    REFUSED = "refused"  # the environment's fault: to be sent again


@dataclass(frozen=True)
class Answer:
    """What the sender is told of an object; the comment is empty with success."""

    status: Status
    comment: str
    outcome: Outcome


Note = Callable[[Outcome, int], None]
"""Is told of each object: what became of it, and how many bytes were stored."""


class Receiver:
    """Of one source; called by the threads in which objects come."""

    def __init__(self, name: str, chosen: DicomSettings, store: Store, registrar: Registrar, note: Note) -> None:
        self._name, self._chosen = name, chosen
        self._store, self._registrar, self._note = store, registrar, note
        self._trouble: str | None = None
        self.has_leftovers = False
        """Whether a file may lie in the folder that has no row, because the database was away."""

    @property
    def trouble(self) -> str | None:
        """Why the last object was refused; None if it was taken."""
        return self._trouble

    def take(self, meta: FileMeta, body: memoryview | None, study: str | None = None) -> Answer:
        """Store and register a data set, of a study if one is given. Never raises, and releases the body."""
        stored_bytes = 0
        try:
            answer, stored_bytes = self._take(meta, body, study)
        except (*OUT_OF_REACH, ServiceUnavailable, OutOfReach, OSError, MemoryError) as error:
            answer = Answer(Status.OUT_OF_RESOURCES, _public(error), Outcome.REFUSED)
            self._complain(_describe(error))
        except Exception:
            log.exception("a fault of the node: the object is refused for now")
            answer = Answer(Status.OUT_OF_RESOURCES, "a fault of the node, see its log", Outcome.REFUSED)
            self._complain("a fault of the node: see its log")
        self._note(answer.outcome, stored_bytes)
        return answer

    def _take(self, meta: FileMeta, body: memoryview | None, study: str | None) -> tuple[Answer, int]:
        if not is_uid(meta.sop_instance):
            return Answer(Status.INVALID_INSTANCE, "the SOP Instance UID is no UID", Outcome.INVALID), 0
        if body is None:
            return Answer(Status.DOES_NOT_MATCH, "there is no data set", Outcome.INVALID), 0
        try:
            head = header.read(body, meta.syntax)
            stated = (head.sop_class or meta.sop_class, head.sop_instance or meta.sop_instance)
            if stated != (meta.sop_class, meta.sop_instance):
                return Answer(Status.DOES_NOT_MATCH, "the data set states another class or UID", Outcome.INVALID), 0
            if study is not None and head.study != study:
                return Answer(Status.DOES_NOT_MATCH, "the data set states another study", Outcome.INVALID), 0
            lane = lanes.choose(self._chosen, meta.calling_title, head)
            stored = self._store.store(meta, body)
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
        if stored.is_other and stored.is_new:
            log.warning("source %s: another content came under a known SOP Instance UID: both are kept", self._name)
            return Answer(Status.SUCCESS, "", Outcome.OTHER_CONTENT), size
        return Answer(Status.SUCCESS, "", Outcome.STORED if stored.is_new else Outcome.AGAIN), size * stored.is_new

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
