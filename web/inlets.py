"""The sources that take images over the web: each by the node's own way of storing and registering."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shared.base.dicom_settings import DicomSettings
from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.database import Database
from shared.sources import build
from shared.sources.dicom import DicomSource
from web.metrics import Metrics

if TYPE_CHECKING:
    from node.peers import Gate
    from node.receiving import Receiver
    from node.registering import Registrar
    from node.storing import Store


@dataclass(frozen=True)
class Inlet:
    store: "Store"
    receiver: "Receiver"
    gate: "Gate"

    @contextmanager
    def entered(self, address: str) -> Iterator[str | None]:
        """A place for a request, as for an association; the reason if there is none: `address` or `places`."""
        reason = self.gate.enter(address)
        try:
            yield reason
        finally:
            if reason is None:
                self.gate.leave(address)


class Inlets:
    """Raises WrongSettings where a source has `stow_accounts`, and what reads DICOM is not installed."""

    def __init__(self, settings: Settings, database: Database, metrics: Metrics) -> None:
        self.database = database
        self._registrar: Registrar | None = None
        self._inlets: dict[str, Inlet] = {}
        chosen = {
            name: each
            for name, each in settings.sources.items()
            if isinstance(each, DicomSettings) and each.stow_accounts
        }
        if not chosen:
            return
        try:
            from node import registering
        except ImportError as error:
            raise WrongSettings("To take images over the web, install pneumoscreen[dicom].") from error
        self._registrar = registering.Registrar(database)
        for name, each in chosen.items():
            source = build(settings)[name]
            assert isinstance(source, DicomSource)
            with suppress(OSError):  # each request is told that the folder is out of reach
                source.prepare()
            self._inlets[name] = self._inlet(source, each, settings, metrics)

    def _inlet(self, source: DicomSource, chosen: DicomSettings, settings: Settings, metrics: Metrics) -> Inlet:
        from node.peers import Gate
        from node.receiving import Outcome, Receiver
        from node.storing import Store

        assert self._registrar is not None
        store = Store(source, settings.min_free_disk)
        metrics.expect_objects(source.name, Outcome)
        receiver = Receiver(source.name, chosen, store, self._registrar, partial(metrics.note_object, source.name))
        return Inlet(store, receiver, Gate(chosen.allowed_addresses, chosen.max_associations))

    def __getitem__(self, source: str) -> Inlet:
        return self._inlets[source]

    def close(self) -> None:
        if self._registrar is not None:
            self._registrar.stop()
