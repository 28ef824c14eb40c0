"""A folder is polled in a process of its own, for a producer that never waits for the folder."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest

from shared.base.found import Found
from shared.sources.folder import helped_polling
from shared.sources.folder.helped_polling import HelpedPoller
from shared.sources.folder.source import FolderSource
from tests import pace
from tests.hanging_share import PretendedShare
from tests.unit.test_helpers import share, wait

__all__ = ["share"]


class Producer:
    """Does what the producer does with a poller, and remembers what it was given."""

    def __init__(self, source: FolderSource) -> None:
        self.wake = threading.Event()
        poller = source.poller(self.wake)
        assert isinstance(poller, HelpedPoller)
        self.poller = poller
        self.found: list[Found] = []
        self.fails = False

    def unknown(self, images: Sequence[Found]) -> list[Found]:
        if self.fails:
            raise ConnectionError
        return [image for image in images if image not in self.found]

    def step(self) -> None:
        self.wake.wait(0.02)
        self.wake.clear()
        self.poller.maintain(is_known=False)
        for image in self.poller.poll(time.monotonic(), self.unknown):
            if image not in self.found:  # as in the ledger: a sweep and an event may both find it
                self.found.append(image)

    def has(self, *names: str) -> bool:
        with suppress(ConnectionError):
            self.step()
        return [image.path for image in self.found] == list(names)


@pytest.fixture
def source(share: PretendedShare) -> FolderSource:
    return FolderSource("ward", share.mount, settle=0.1, sweep_every=0.2, timeout=pace.span(1.0))


@pytest.fixture
def producer(source: FolderSource) -> Iterator[Producer]:
    producer = Producer(source)
    yield producer
    producer.poller.stop()


def test_images_are_found_once_whatever_their_names_and_though_the_ledger_was_away(
    producer: Producer, share: PretendedShare
) -> None:
    producer.fails = True
    (share.mount / "caf\udce9.png").write_bytes(b"an image")
    for _ in range(50):
        assert producer.has()
    producer.fails = False
    wait(lambda: producer.has("caf\udce9.png"))
    wait(lambda: producer.has("caf\udce9.png") and producer.poller.report().watched_by == "events")
    (share.mount / "b.png").write_bytes(b"an image")
    wait(lambda: producer.has("caf\udce9.png", "b.png"))


def test_a_share_that_hangs_holds_up_no_step_of_the_producer_and_is_polled_again_when_it_answers(
    producer: Producer, share: PretendedShare, source: FolderSource
) -> None:
    """Each wait below takes one step after the other: a step that waits for the folder would be the last."""
    (share.mount / "a.png").write_bytes(b"an image")
    wait(lambda: producer.has("a.png"))
    assert producer.poller.report().problem is None
    share.hang()
    wait(lambda: producer.has("a.png") and source.reach is not None and source.reach.is_away)
    report = producer.poller.report()
    assert (report.watched_by, report.hung > 0) == ("nothing", True)
    assert "does not answer" in (report.problem or "")
    (share.mount / "b.png").write_bytes(b"an image")
    time.sleep(2 * source.settle)  # a sweep that is let go finds it finished, and so do the events afterwards
    share.answer()
    wait(lambda: producer.has("a.png", "b.png"))
    wait(lambda: producer.has("a.png", "b.png") and producer.poller.report().watched_by == "events")


def test_a_process_that_waits_for_what_never_comes_is_replaced(
    producer: Producer, share: PretendedShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a share that was mounted anew: others get an answer, and the old call hangs on."""
    wait(lambda: producer.has() and producer.poller.report().watched_by == "events")
    first = producer.poller._process
    assert first is not None
    first.process.send_signal(19)  # SIGSTOP: it gives no sign of life
    (share.mount / "a.png").write_bytes(b"an image")
    wait(lambda: producer.has("a.png"))
    assert producer.poller._process is not first
    wait(lambda: producer.has("a.png") and producer.poller.report().hung == 0)


def test_a_process_that_dies_is_started_again_and_loses_no_image(producer: Producer, share: PretendedShare) -> None:
    wait(lambda: producer.has() and producer.poller.report().watched_by == "events")
    assert producer.poller._process is not None
    producer.poller._process.process.kill()
    (share.mount / "a.png").write_bytes(b"an image")
    wait(lambda: producer.has("a.png"))
    assert producer.poller._pause < helped_polling.MAX_PAUSE
