"""Damaged images through the very decoding that the worker does, in processes that are watched: they may die.

Each case ends as pixels of the right shape and type, or as an ImageError with a sentence; in no other way, not after
more than SECONDS of a core, not with more than MEMORY, and it leaves no more than GROWTH of it in use. A case is its
seed, its decoder and its number, and nothing else: `python -m tests.fuzz.images --seed N --decoder NAME --case M` runs
one again, and tells what came of it.
"""

import argparse
import base64
import contextlib
import faulthandler
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
from pydantic import SecretStr

from shared.base.errors import ImageError
from shared.imaging import Limits, Preprocessing, is_dicom, prepare
from shared.imaging.identifiers import read_identifiers
from tests.fuzz.corpus import originals
from tests.fuzz.damage import damaged
from tests.pace import seconds

TOP = Path(__file__).parents[2]
SECONDS = seconds(10)
"""Of a core: a busy machine is no fault of the decoder's. A file that states as many pixels as are taken needs 4."""
HANG_SECONDS = seconds(60)
"""On the clock: then the process is killed."""
MEMORY = 2 * 1024**3
"""Bytes of addresses beyond what a process has before its first image (RLIMIT_AS)."""
GROWTH = 256 * 1024**2
"""Bytes by which a process may have grown since its case number SETTLED: what decoders keep, or leak."""
SETTLED = 200
SECRET = SecretStr("a key for the fuzzing of images")
WAYS = (
    Preprocessing(width=160, height=160, contrast="equalize"),
    Preprocessing(width=32, height=24),
    Preprocessing(width=224, height=224, channels=3),
)
COMMAND = (sys.executable, "-m", "tests.fuzz.images", "--serve")


@dataclass(frozen=True)
class Case:
    """A damaged file: one of a decoder's originals, and what is done to it."""

    decoder: str
    number: int
    seed: int = 0

    def __str__(self) -> str:
        return f'--seed {self.seed} --decoder "{self.decoder}" --case {self.number}'


@dataclass(frozen=True)
class Verdict:
    """What came of a file; `problem` is None if that is as it should be."""

    result: str
    reason: str
    problem: str | None
    seconds: float = 0.0
    rss: int = 0
    """Bytes of memory in use by the process, after the case."""


@dataclass
class Report:
    """By decoder: what its cases came to, and the longest time with its case; by how much a process grew at most."""

    results: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    slowest: dict[str, tuple[float, str]] = field(default_factory=lambda: defaultdict(lambda: (0.0, "")))
    growth: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{decoder}: {sum(results.values()):,} variants: "
            + ", ".join(f"{count:,} {result}" for result, count in results.most_common())
            + "; at most {:.2f} s of a core ({})".format(*self.slowest[decoder])
            for decoder, results in sorted(self.results.items())
        ]
        return "\n".join([*lines, f"a process grew by {self.growth / 1024**2:.0f} MiB at most"])


def cases_of(decoders: Iterable[str], variants: int, seed: int = 0) -> list[Case]:
    """So many of each decoder, in turns."""
    return [Case(decoder, number, seed) for number, decoder in product(range(variants), decoders)]


def damage(files: dict[str, dict[str, bytes]], case: Case) -> tuple[str, bytes, Preprocessing]:
    """The name of the original, the damaged file, and how its pixels are asked for."""
    random, mine = Random(str(case)), files[case.decoder]
    small = [name for name in mine if len(mine[name]) < 200_000]
    name = random.choice([*mine] if random.random() < 0.1 else small)
    return name, damaged(mine[name], random), random.choice(WAYS)


def look(data: bytes, way: Preprocessing) -> Verdict:
    """What the worker does with the bytes of a file (`worker.screening`), judged."""
    began = time.process_time()
    try:
        if is_dicom(data):
            _check_header(*read_identifiers(data, SECRET))
        pixels = prepare(data, way, Limits())
        shape = (way.height, way.width, way.channels)
        problem = None if pixels.shape == shape and pixels.dtype == np.uint8 else f"{pixels.shape} {pixels.dtype}"
        found = Verdict("pixels", "", problem)
    except ImageError as error:
        found = Verdict(type(error).__name__, str(error), _fault_of(str(error)))
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        found = Verdict(type(error).__name__, str(error), traceback.format_exc())
    seconds = time.process_time() - began
    problem = found.problem or (f"it took {seconds:.1f} s of a core" if seconds > SECONDS else None)
    return Verdict(found.result, found.reason, problem, seconds, psutil.Process().memory_info().rss)


def _fault_of(sentence: str) -> str | None:
    """A reason stands in a row and in a terminal."""
    if not sentence.strip():
        return "the reason is empty"
    if not sentence.isprintable() or len(sentence) > 500:
        return f"the reason is no sentence for a row: {sentence[:1000]!r}"
    return None


def _check_header(identifiers: Any, age: float | None) -> None:
    """What is kept of a header must be text that every database takes, and an age."""
    for value in (identifiers.study_uid, identifiers.sop_instance_uid, identifiers.accession_number):
        if value is not None:
            value.encode()
            assert value, "an identifier is empty"
            assert "\0" not in value, "an identifier holds a zero byte"
    assert age is None or age >= 0, age


class Child:
    """A process that looks at files, one after the other, and may die of one."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=TOP, stdin=pipe, stdout=pipe, stderr=self._errors)

    def ask(self, question: dict[str, Any]) -> Verdict:
        """Raises nothing: a dead or hanging process is a verdict; ask no further then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], HANG_SECONDS)[0]:
            self._process.kill()
            return Verdict("hang", "", f"no answer after {HANG_SECONDS:.0f} s{self._said()}")
        answer = self._process.stdout.readline()
        if answer.endswith(b"\n"):
            return Verdict(**json.loads(answer))
        code = self._process.wait(HANG_SECONDS)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Verdict("death", "", f"the process died: {how}{self._said()}")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _said(self) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4000))
        return "\n" + self._errors.read().decode(errors="replace")


def run(cases: Iterable[Case], processes: int, start: Callable[[], Child] = Child) -> Report:
    """Look at each case; a process that died is replaced."""
    report, waiting = Report(), iter(cases)

    def work() -> None:
        child, sizes = start(), list[int]()
        try:
            for case in _shared(waiting):
                verdict = child.ask({"case": vars(case)})
                sizes.append(verdict.rss)
                grown = verdict.rss - sizes[SETTLED] if len(sizes) > SETTLED else 0
                report.results[case.decoder][verdict.result] += 1
                report.slowest[case.decoder] = max(report.slowest[case.decoder], (verdict.seconds, str(case)))
                report.growth = max(report.growth, grown)
                problem = verdict.problem or (f"the process grew by {grown:,} bytes" if grown > GROWTH else None)
                if problem:
                    report.problems.append(f"{problem}\nagain: python -m tests.fuzz.images {case}")
                if not child.is_alive or verdict.result in ("hang", "death") or grown > GROWTH:
                    child.close()
                    child, sizes = start(), []
        finally:
            child.close()

    with ThreadPoolExecutor(processes) as threads:
        for done in [threads.submit(work) for _ in range(processes)]:
            done.result()
    return report


def _shared(cases: Iterator[Case]) -> Iterator[Case]:
    while (case := next(cases, None)) is not None:  # of a list's iterator: one step, which no thread interrupts
        yield case


def serve() -> None:
    """Answer questions from standard input, a line each, under the limit on memory."""
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # decoders in C may print
    warnings.filterwarnings("ignore", module="PIL")  # as in a worker process
    files = originals()
    look(files["JPEG-LS"]["JPEG-LS.dcm"], WAYS[0])  # what is imported and allocated once
    _limit_memory()
    for line in sys.stdin:
        question = json.loads(line)
        if "case" in question:
            _, data, way = damage(files, Case(**question["case"]))
        else:
            data, way = base64.b64decode(question["data"]), WAYS[question["way"]]
        print(json.dumps(vars(look(data, way))), file=answers, flush=True)


def _limit_memory() -> None:
    if sys.platform == "linux":  # elsewhere the system does not hold it
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, resource.RLIM_INFINITY))


def main() -> int:
    """Read the command line; returns 1 if a case did not end as it should."""
    parser = argparse.ArgumentParser("python -m tests.fuzz.images", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--decoder", help="its files alone (all)")
    parser.add_argument("--case", type=int, help="only this one, and tell what came of it")
    parser.add_argument("--save", type=Path, help="with --case: where to write the damaged file")
    parser.add_argument("--variants", type=int, default=1000, help="so many of each decoder's files (1,000)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve()
        return 0
    files = originals()
    if chosen.decoder is not None and chosen.decoder not in files:
        parser.error(f"no such decoder: {chosen.decoder!r}; there are {', '.join(files)}")
    if chosen.case is not None:
        return tell(files, Case(chosen.decoder or next(iter(files)), chosen.case, chosen.seed), chosen.save)
    began = time.monotonic()
    decoders = [chosen.decoder] if chosen.decoder else [*files]
    report = run(cases_of(decoders, chosen.variants, chosen.seed), chosen.processes)
    print(*report.problems, sep="\n\n")
    print(report)
    print(f"{len(report.problems)} problems; {time.monotonic() - began:.0f} s")
    return 1 if report.problems else 0


def tell(files: dict[str, dict[str, bytes]], case: Case, save: Path | None) -> int:
    """What comes of one case, in a process of its own."""
    name, data, way = damage(files, case)
    print(f"{name}, {len(data)} bytes after the damage, {way}")
    if save:
        save.write_bytes(data)
    with closing(Child()) as child:
        verdict = child.ask({"case": vars(case)})
    print(f"{verdict.result}: {verdict.reason} ({verdict.seconds:.2f} s of a core)")
    print(verdict.problem or "as it should be")
    return 1 if verdict.problem else 0


if __name__ == "__main__":
    sys.exit(main())
