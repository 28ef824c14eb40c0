"""What the log tells of connections that were refused: enough to find them, and never so much that it does harm."""

import pytest

from node.metrics import REJECTIONS
from node.rejections import EXPLANATIONS, MAX_LENGTH, MAX_LINES, PAUSE_SECONDS, Rejections


class Told:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now, self.counted = 1000.0, list[str]()
        self._caplog = caplog
        self.rejections = Rejections("pacs", self.counted.append, lambda: self.now)

    def lines(self) -> list[str]:
        """Since the last time."""
        found = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return found


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def test_every_reason_that_is_counted_is_explained() -> None:
    assert set(EXPLANATIONS) == set(REJECTIONS)


def test_an_address_is_named_once_a_minute_for_each_reason_and_counted_each_time(told: Told) -> None:
    for _ in range(3):
        told.rejections.note("10.1.2.3", "address")
        told.rejections.note("::ffff:10.1.2.3", "places")
    assert [line.split(": ")[1] for line in told.lines()] == ["a connection from 10.1.2.3 was refused"] * 2
    told.now += PAUSE_SECONDS - 1
    told.rejections.note("10.1.2.3", "address")
    assert told.lines() == []
    told.now += 1
    told.rejections.note("10.1.2.3", "address")
    assert told.lines() == ["source pacs: a connection from 10.1.2.3 was refused: it is not in allowed_addresses"]
    assert (told.counted.count("address"), told.counted.count("places")) == (5, 3)


def test_many_addresses_fill_neither_the_memory_nor_the_log(told: Told) -> None:
    for number in range(MAX_LINES * 5):
        told.rejections.note(f"2001:db8::{number:x}", "address")
    lines = told.lines()
    assert len(told.counted) == MAX_LINES * 5
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "source pacs: connections from more addresses are refused than are listed here"
    assert len(told.rejections._told) == MAX_LINES
    told.now += PAUSE_SECONDS
    told.rejections.note("10.1.2.3", "address")
    assert len(told.lines()) == len(told.rejections._told) == 1


def test_nothing_that_a_peer_writes_makes_a_line_of_its_own(told: Told) -> None:
    told.rejections.note("10.1.2.3", "limits", "one\r\n2026-01-01 forged\x1b[2J\u2028" + "x" * 1000)
    (line,) = told.lines()
    beginning = "source pacs: a connection from 10.1.2.3 was ended: "
    assert line.startswith(f"{beginning}one??2026-01-01 forged?[2J?xxx")
    assert len(line) == len(beginning) + MAX_LENGTH
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        told.rejections.note("10.1.2.3\nforged", "address")
