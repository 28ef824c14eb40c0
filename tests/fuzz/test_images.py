"""No file, however damaged, does more than to be quarantined with a reason."""

import os
import sys
import time

import pytest

from shared.base.errors import Unreadable
from tests.fuzz import images
from tests.fuzz.corpus import originals
from tests.fuzz.images import WAYS, Child, damage, look, run
from tests.fuzz.size import CASES, SEED, TIMEOUT


@pytest.mark.timeout(TIMEOUT)
def test_damaged_files_end_as_pixels_or_with_a_reason() -> None:
    report = run(SEED, range(CASES), os.cpu_count() or 1)
    assert not report.problems, "\n\n".join(report.problems)
    assert sum(report.results.values()) == CASES
    for result in ("pixels", "Unreadable", "Unfinished"):  # else the damage is too slight, or too great
        assert report.results[result] > CASES / 20, report.results


def test_a_case_is_the_same_in_every_process() -> None:
    one, other = originals(), originals()
    assert one == other
    assert [damage(one, 7, case) for case in range(50)] == [damage(other, 7, case) for case in range(50)]


def test_the_whole_files_are_what_they_are_meant_to_be() -> None:
    refused = {"animated.png", "pages.tiff", "deflated.dcm"}
    found = {name: look(data, WAYS[1]) for name, data in originals().items()}
    assert {name for name, verdict in found.items() if verdict.result != "pixels"} == refused
    assert all(verdict.problem is None for verdict in found.values())


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process died: SIGSEGV"),
        ("sys.stderr.write('assertion failed\\n'); sys.exit(3)", "the process died: exit code 3\nassertion failed"),
        ("time.sleep(60)", "no answer after 1 s"),
    ],
)
def test_a_process_that_dies_or_hangs_is_seen_with_its_case_and_replaced(
    monkeypatch: pytest.MonkeyPatch, code: str, seen: str
) -> None:
    monkeypatch.setattr(images, "HANG_SECONDS", 1.0)
    command = [sys.executable, "-c", f"import os, signal, sys, time; sys.stdin.readline(); {code}"]
    report = run(5, range(3), 1, lambda: Child(command))
    assert len(report.problems) == 3
    for case, problem in enumerate(report.problems):
        assert problem.startswith(seen)
        assert problem.endswith(f"\nagain: python -m tests.fuzz.images --seed 5 --case {case}")


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (TypeError("no number"), "TypeError: no number"),
        (MemoryError(), "MemoryError"),
        (SystemExit(1), "SystemExit"),
        (Unreadable(""), "the reason is empty"),
        (Unreadable("damaged at \0"), "no sentence for a row"),
    ],
)
def test_what_should_not_come_of_a_file_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, seen: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(images, "prepare", fail)
    assert seen in str(look(b"a file", WAYS[0]).problem)


def test_a_file_that_takes_too_long_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(*_: object) -> None:
        began = time.process_time()
        while time.process_time() - began < 0.02:
            pass
        raise Unreadable("at last")

    monkeypatch.setattr(images, "prepare", idle)
    monkeypatch.setattr(images, "SECONDS", 0.01)
    assert "s of a core" in str(look(b"a file", WAYS[0]).problem)
