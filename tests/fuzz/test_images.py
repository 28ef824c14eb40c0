"""No file, however damaged, does more than to be quarantined with a reason."""

import os
import sys
import time
from collections import Counter

import pytest

from shared.base.errors import Unreadable
from tests.fuzz import images
from tests.fuzz.corpus import originals
from tests.fuzz.images import WAYS, Child, cases_of, damage, look, run
from tests.fuzz.size import SEED, VARIANTS, VARIANTS_TIMEOUT


@pytest.mark.timeout(VARIANTS_TIMEOUT)
def test_damaged_files_of_each_decoder_end_as_pixels_or_with_a_reason() -> None:
    decoders = [*originals()]
    report = run(cases_of(decoders, VARIANTS, SEED), os.cpu_count() or 1)
    print(report)
    assert not report.problems, "\n\n".join(report.problems)
    for decoder in decoders:
        results = report.results[decoder]
        assert sum(results.values()) == VARIANTS, decoder
        assert VARIANTS / 50 < results["pixels"] < VARIANTS * 0.95, (decoder, results)  # the damage is neither too
        assert results["Unreadable"] + results["Unsuitable"] + results["Unfinished"] > 0  # great nor too slight
    everything = sum(report.results.values(), Counter())
    assert everything["Unreadable"] and everything["Unfinished"] and everything["Unsuitable"], everything


def test_a_case_is_the_same_in_every_process() -> None:
    one, other = originals(), originals()
    assert one == other
    cases = cases_of(one, 4, seed=7)
    assert [damage(one, case) for case in cases] == [damage(other, case) for case in cases]


def test_the_whole_files_are_what_they_are_meant_to_be() -> None:
    refused = {"animated.png", "pages.tiff", "animated.webp"}
    found = {name: look(data, WAYS[1]) for files in originals().values() for name, data in files.items()}
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
    report = run(cases_of(["PNG"], 3, seed=5), 1, lambda: Child(command))
    assert len(report.problems) == 3
    for number, problem in enumerate(report.problems):
        assert problem.startswith(seen)
        assert problem.endswith(f'\nagain: python -m tests.fuzz.images --seed 5 --decoder "PNG" --case {number}')


def test_a_process_that_grows_and_grows_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SETTLED", 2)
    answer = "print(json.dumps(dict(result='pixels', reason='', problem=None, rss=number * 200_000_000)), flush=True)"
    command = [sys.executable, "-c", f"import json, sys\nfor number, _ in enumerate(sys.stdin): {answer}"]
    report = run(cases_of(["PNG"], 6), 1, lambda: Child(command))
    (problem,) = report.problems
    assert problem.startswith("the process grew by 400,000,000 bytes")
    assert report.growth == 400_000_000


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
