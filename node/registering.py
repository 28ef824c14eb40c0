"""Registers what was stored: one thread, which takes all that waits into one transaction."""

import queue
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.base.errors import ServiceUnavailable
from shared.base.found import MAX_ROWS, Found
from shared.base.lanes import Lane
from shared.database import Database
from shared.ledger.register import register

ANSWER_SECONDS = 25.0
"""How long a sender waits for the database: most give up after 30 s, and then send the object again."""


@dataclass(frozen=True)
class _Order:
    source: str
    lane: Lane
    found: Found
    done: "Future[None]" = field(default_factory=Future)


class Registrar:
    """One transaction for many images costs hardly more than one for each of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)
        self._thread.start()

    def register(self, source: str, lane: Lane, found: Found) -> None:
        """Returns once the image's rows are committed, or were there already.

        Raises ServiceUnavailable if that takes too long, and what the database raises.
        """
        order = _Order(source, lane, found)
        self._orders.put(order)
        try:
            order.done.result(ANSWER_SECONDS)
        except Late as error:
            raise ServiceUnavailable(f"the database did not answer within {ANSWER_SECONDS:.0f} s") from error

    def stop(self) -> None:
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            orders = [order]
            is_last = False
            while len(orders) < MAX_ROWS and not self._orders.empty():
                following = self._orders.get()
                if following is None:
                    is_last = True
                    break
                orders.append(following)
            self._commit(orders)
            if is_last:
                return

    def _commit(self, orders: Sequence[_Order]) -> None:
        groups: dict[tuple[str, Lane], dict[str, Found]] = defaultdict(dict)
        for order in orders:
            groups[order.source, order.lane][order.found.path] = order.found
        try:
            with self._database.write() as session:
                for (source, lane), images in groups.items():
                    register(session, source, lane, list(images.values()), datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - each sender is told, and tries again
            for order in orders:
                order.done.set_exception(error)
        else:
            for order in orders:
                order.done.set_result(None)
