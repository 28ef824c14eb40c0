"""Builds what an outbox row asks for. The patient's identity comes from the file, at this moment."""

import json
import logging
from hashlib import sha256

from pydicom.dataset import Dataset

from queries import evidence
from shared import sources
from shared.base.destination_settings import Event
from shared.base.errors import Deferred, DeliveryError, ImageError, OutOfReach, Rejected
from shared.base.host_failures import describe_host_failure
from shared.base.settings import Settings
from shared.database import Database, OutboxKind
from shared.imaging import Limits
from shared.ledger.outbox import Taken, places_of
from shared.ledger.result_facts import ResultFacts
from shared.models.evidence import Map
from shared.reports.message import Happening

log = logging.getLogger(__name__)
GONE = "the file with the patient's identity is gone, or is another one by now"


class Preparer:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._sources, self._limits = sources.build(settings), Limits.of(settings)

    def build_happening(self, taken: Taken) -> Happening:
        facts = json.loads(taken.facts)
        return Happening(taken.uid, Event(str(taken.event)), taken.created_at, taken.sighting, facts)

    def build_object(self, taken: Taken) -> Dataset:
        """Raises Deferred while the source is out of reach, Rejected where the file is gone or of no use."""
        data = self._read(taken)
        try:
            return self._build(taken, data)
        except (DeliveryError, OutOfReach, MemoryError):
            raise
        except Exception as error:
            if host_failure := describe_host_failure(error):
                raise Deferred(host_failure) from error
            # Its text may repeat the header, which is about the patient.
            log.warning("outbox row %d cannot be built: %s", taken.id, type(error).__name__)
            raise Rejected(f"no {taken.kind} can be built of this file ({type(error).__name__})") from error

    def _build(self, taken: Taken, data: bytes) -> Dataset:
        from shared.reports.identity import read_original  # takes a second, and no courier of messages needs it
        from shared.reports.structured_report import build_report

        facts = ResultFacts.parse(taken.facts)
        original = read_original(data, facts.sop_instance_uid)
        made_at = taken.created_at.astimezone(self._settings.zone)  # dates in a study are local
        if taken.kind is OutboxKind.REPORT:
            return build_report(facts, original, taken.uid, taken.replaces, made_at)
        from shared.reports.capture import build_capture

        shown = self._evidence(taken, facts)
        return build_capture(facts, original, data, self._limits, taken.uid, taken.replaces, made_at, shown)

    def _evidence(self, taken: Taken, facts: ResultFacts) -> Map | str:
        is_unfamiliar = bool(facts.unfamiliar)
        with self._database.read() as session:
            return evidence.of_result(
                session, self._settings, str(taken.sha256), facts.model_version, is_unfamiliar=is_unfamiliar
            )

    def _read(self, taken: Taken) -> bytes:
        """The bytes of the content, from wherever in its source it still lies."""
        source = self._sources.get(str(taken.source))
        if source is None:
            raise Deferred(f"the source {taken.source} is not in this courier's settings")
        with self._database.read() as session:
            places = places_of(session, str(taken.source), str(taken.sha256))
        unseen: ImageError | None = None
        for path, revision in places:
            try:
                data = source.read(path, revision, self._limits)
            except OutOfReach as error:
                unseen = error
            except ImageError:  # gone, or another one by now
                continue
            else:
                if sha256(data).hexdigest() == taken.sha256:
                    return data
        if unseen is not None:
            raise Deferred(f"the source {taken.source} cannot be read: {unseen}")
        raise Rejected(GONE)
