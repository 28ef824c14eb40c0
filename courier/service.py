"""The courier: one thread makes outbox rows, and one for each destination sends them."""

import logging
import threading
from datetime import UTC, datetime
from importlib.util import find_spec

from courier.delivering import Delivery
from courier.making import Maker
from courier.metrics import Metrics
from courier.preparing import Preparer
from shared import database
from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.database import OUT_OF_REACH

log = logging.getLogger(__name__)
TICK = 1.0
NEEDED = {"dicom": ("pynetdicom", "highdicom"), "stow": ("httpx", "highdicom"), "webhook": ("httpx",), "mail": ()}
"""By kind of destination, the libraries that the extra `courier` brings."""
JOIN_SECONDS = 30.0


def check_installed(settings: Settings) -> None:
    for name, chosen in settings.destinations.items():
        if missing := [library for library in NEEDED[chosen.kind] if find_spec(library) is None]:
            raise WrongSettings(
                f"The destination {name} needs {' and '.join(missing)}, which this installation lacks: "
                "install pneumoscreen[courier]."
            )


class Courier:
    def __init__(self, settings: Settings) -> None:
        """Raises WrongSettings where what a destination needs is not installed, ServiceUnavailable as the others."""
        check_installed(settings)
        self.settings = settings
        self.database = database.connect_checked(settings.database)
        self.metrics = Metrics(settings)
        self.maker = Maker(settings, self.database)
        preparer = Preparer(self.database, settings)
        self.deliveries = {
            name: Delivery(name, chosen, self.database, preparer, self.metrics)
            for name, chosen in settings.destinations.items()
        }

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set. What is out of reach is retried; nothing is lost, since SQL knows it all."""
        for name, chosen in self.settings.destinations.items():
            log.info("destination %s: %s", name, chosen.kind)
        if not self.deliveries:
            log.warning("no destination is configured: nothing leaves the house")
        threads = [
            threading.Thread(target=delivery.run, args=(stop,), name=f"to {name}", daemon=True)
            for name, delivery in self.deliveries.items()
        ]
        self._make()  # so that each destination is known before its thread looks for rows
        for thread in threads:
            thread.start()
        while not stop.wait(TICK):
            self._make()
        for thread in threads:
            thread.join(JOIN_SECONDS)
        self.database.close()

    def _make(self) -> None:
        try:
            self.maker.make(datetime.now(UTC))
        except OUT_OF_REACH as error:
            log.warning("the database is out of reach, retrying every second: %s", type(error).__name__)
            self.metrics.show_step(is_ready=False)
        else:
            self.metrics.show_step(is_ready=True)
