"""The node: listens for every source of the kind `dicom`, and looks after their folders."""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from actions.received import release
from node.commitment import Commitments
from node.holdings import Holdings
from node.leftovers import register_leftovers
from node.listening import Listener, tls_of_client
from node.metrics import Metrics
from node.receiving import Receiver
from node.registering import Registrar
from node.storing import Store
from queries.sources import has_sightings
from shared import database
from shared.base import host, pynetdicom_patch
from shared.base.dicom_settings import DicomSettings
from shared.base.errors import OutOfReach, ServiceUnavailable, WrongSettings
from shared.base.settings import Settings
from shared.base.source_report import SourceReport, WatchedBy
from shared.database import OUT_OF_REACH, refusals
from shared.ledger.source_states import write_states
from shared.sources import build
from shared.sources.dicom import DicomSource

log = logging.getLogger(__name__)
STEP_SECONDS, REPORT_SECONDS, LEFTOVER_SECONDS, RELEASE_SECONDS = 2.0, 60.0, 60.0, 3600.0
"""Between looks at folders and disks; between signs of life in SQL; between looks for files without a row, where there
may be some; and between deletions of what is old."""
STOP_SECONDS = 20.0
"""For the objects that are under way when the node is ended."""
ACTOR = "node"


@dataclass
class _Inlet:
    """One source, as this node serves it."""

    source: DicomSource
    chosen: DicomSettings
    store: Store
    receiver: Receiver
    listener: Listener
    commitments: Commitments | None
    is_swept: bool = False
    trouble: str | None = None


class Node:
    """Raises WrongSettings when it is made if there is nothing to listen for, or a port cannot be had."""

    def __init__(self, settings: Settings) -> None:
        chosen = {name: each for name, each in settings.sources.items() if isinstance(each, DicomSettings)}
        if not chosen:
            raise WrongSettings(
                "There is no source to receive for: name one in pneumoscreen.toml with [sources.NAME] "
                'kind = "dicom" (docs/dicom.md).'
            )
        pynetdicom_patch.apply()
        self.settings = settings
        self.database = database.connect_checked(settings.database)
        self.metrics = Metrics(chosen)
        self._registrar = Registrar(self.database)
        self._inlets = {name: self._inlet(name, each) for name, each in chosen.items()}
        self._next_report = self._next_release = self._next_leftovers = 0.0
        self._reported: dict[str, SourceReport] = {}

    def _inlet(self, name: str, chosen: DicomSettings) -> _Inlet:
        source = build(self.settings)[name]
        assert isinstance(source, DicomSource)
        store = Store(source, self.settings.min_free_disk)
        receiver = Receiver(name, chosen, store, self._registrar, partial(self.metrics.count_object, name))
        commitments = None
        if chosen.commitment:
            holdings = Holdings(source, self.database)
            commitments = Commitments(name, chosen, holdings.failure, self.metrics, tls_of_client(chosen))
        listener = Listener(name, chosen, receiver, commitments, self.metrics, self.settings.max_bytes)
        return _Inlet(source, chosen, store, receiver, listener, commitments)

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop` is set. Raises ServiceUnavailable if a listener ends by itself."""
        try:
            for inlet in self._inlets.values():
                inlet.source.prepare()
                inlet.listener.start()
                log.info(
                    "listening for source %s as %s on %s, port %d%s",
                    inlet.source.name,
                    inlet.chosen.ae_title,
                    inlet.chosen.host,
                    inlet.chosen.port,
                    " (TLS)" if inlet.chosen.has_tls else "",
                )
            while not stop.is_set():
                self._step(stop)
                stop.wait(STEP_SECONDS)
        finally:
            for inlet in self._inlets.values():
                inlet.listener.stop(STOP_SECONDS)
                if inlet.commitments is not None:
                    inlet.commitments.stop()
            self._registrar.stop()
            self.database.close()

    def _step(self, stop: threading.Event) -> None:
        now = time.monotonic()
        for inlet in self._inlets.values():
            if not inlet.listener.is_alive:
                raise ServiceUnavailable(f"The listener of the source {inlet.source.name} ended: start the node again.")
            self._look_after(inlet)
        try:
            self._register_leftovers(now)
            self._report(now)
            self._release(now, stop)
        except OUT_OF_REACH as error:
            refusal = refusals.find(error)
            log.debug("put off: %s", refusal.sentence if refusal else error)
        self.metrics.show_step()

    def _look_after(self, inlet: _Inlet) -> None:
        """Is there a folder with room? Senders are refused one by one; this tells people."""
        trouble = inlet.receiver.trouble
        try:
            inlet.store.check()
        except (OutOfReach, ServiceUnavailable) as error:
            trouble = str(error)
        if trouble and trouble != inlet.trouble:
            log.warning("source %s: %s", inlet.source.name, trouble)
        inlet.trouble = trouble
        self.metrics.show_ready(inlet.source.name, is_ready=trouble is None)
        self.metrics.show_connections(inlet.source.name, inlet.listener.gate.open)

    def _register_leftovers(self, now: float) -> None:
        """At the start, and later where the database was away while files came."""
        if now < self._next_leftovers:
            return
        for inlet in self._inlets.values():
            if inlet.is_swept and not inlet.receiver.has_leftovers:
                continue
            inlet.receiver.has_leftovers = False
            try:
                self._sweep(inlet)
            except OutOfReach:
                continue
            except Exception:
                inlet.receiver.has_leftovers = True
                raise
        self._next_leftovers = now + LEFTOVER_SECONDS

    def _sweep(self, inlet: _Inlet) -> None:
        name = inlet.source.name
        with self.database.read() as session:
            is_known = has_sightings(session, name)
        try:
            inlet.store.mark(is_known=is_known)
        except OSError as error:
            raise OutOfReach(f"its marker cannot be written: {error.strerror}") from error
        if not inlet.source.is_in_reach():
            raise OutOfReach("its marker cannot be seen")
        inlet.store.remove_leftovers()
        if number := register_leftovers(inlet.source, inlet.chosen, self.database):
            log.info("source %s: %d files without a row were registered", name, number)
        inlet.is_swept = True

    def _report(self, now: float) -> None:
        """For `status` and `sources`: who listens, and what is in the way."""
        reports = {
            name: SourceReport(
                WatchedBy.NETWORK if inlet.trouble is None else WatchedBy.NOTHING,
                problem=inlet.trouble and f"takes nothing of what is sent: {inlet.trouble}",
            )
            for name, inlet in self._inlets.items()
        }
        if reports == self._reported and now < self._next_report:
            return
        with self.database.write() as session:
            write_states(session, host.name(), datetime.now(UTC), reports)
        self._reported, self._next_report = reports, now + REPORT_SECONDS

    def _release(self, now: float, stop: threading.Event) -> None:
        if now < self._next_release:
            return
        for name, inlet in self._inlets.items():
            if inlet.chosen.stow_accounts:  # the web service may have been killed between a file and its row
                inlet.receiver.has_leftovers = True
            days = inlet.chosen.keep_days
            if days is None or not inlet.is_swept or not inlet.source.is_in_reach():
                continue
            keep, audit = timedelta(days=days), timedelta(days=self.settings.audit_days)
            destinations, at = self.settings.destinations, datetime.now(UTC)
            number = release(self.database, inlet.source, destinations, keep, audit, ACTOR, at, stop.is_set)
            if number:
                log.info("source %s: %d received files were deleted: they are reported and old", name, number)
        self._next_release = now + RELEASE_SECONDS
