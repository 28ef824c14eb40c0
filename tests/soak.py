"""`make soak`: the fault suite in its long form, again and again with other seeds, and twenty thousand fuzzed inputs:
of texts and structures, and of the files of each decoder.

The first round runs every other test that is marked `soak` as well. A nightly run is to call it beside `make test`.

Prints what `docs/reliability.md` shows: the accounts of all rounds as one table; after Ctrl-C, of what was done.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.accounts import COLUMNS

CANNOT_RUN, NOTHING_CHOSEN = 4, 5
"""Pytest's exit codes where it cannot run, as without its plugins, and where no test matches."""
LONG = {"FAULT_STRIKES": "6", "FUZZ_CASES": "20000", "FUZZ_VARIANTS": "20000"}
ALWAYS = ["tests/faults"]
ONCE = ["tests/fuzz", "tests/migration", "tests/integration/test_privacy.py", "tests/integration/test_swaps.py"]
"""In the first round alone: what has no seed, or too many cases to be made again."""
PYTEST = [sys.executable, "-m", "pytest", "-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]


def selections(is_first: bool) -> list[list[str]]:
    """What pytest is to run in a round, one call after the other; an empty `-m` takes what is marked `soak` too."""
    if not is_first:
        return [["-m", "", *ALWAYS]]
    rest = [f"--ignore={path}" for path in (*ALWAYS, *ONCE)]
    return [["-m", "", *ALWAYS, *ONCE], ["-m", "soak", *rest, "tests"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m tests.soak --minutes 60 --seed 7")
    parser.add_argument("--minutes", type=float, default=60, help="begin no further round after so long (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next ones count on (default 1)")
    parser.add_argument("--only", default="", help="pytest's -k: only tests whose names match")
    arguments = parser.parse_args()
    began, seed, codes = time.monotonic(), arguments.seed, []
    with TemporaryDirectory(prefix="soak-") as folder:
        accounts = Path(folder) / "accounts.jsonl"
        is_over = False
        while not is_over:
            print(f"--- seed {seed}, {(time.monotonic() - began) / 60:.0f} minutes", flush=True)
            variables = {**LONG, "FAULT_SEED": str(seed), "FUZZ_SEED": str(seed), "FAULT_ACCOUNTS": str(accounts)}
            code = 0
            for selection in selections(is_first=not codes):
                command = [*PYTEST, *selection, *(["-k", arguments.only] if arguments.only else [])]
                pytest = subprocess.Popen(command, env={**os.environ, **variables})
                try:
                    pytest.wait()
                except KeyboardInterrupt:  # which pytest heard too: it ends its servers, and counts what is there
                    is_over = True
                ended = pytest.wait()
                code = code or (0 if ended == NOTHING_CHOSEN and arguments.only else ended)
                is_over = is_over or ended == CANNOT_RUN
                if is_over:
                    break
            codes.append(code)
            seed += 1
            is_over = is_over or time.monotonic() - began > 60 * arguments.minutes
        lines = accounts.read_text(encoding="utf-8").splitlines() if accounts.exists() else []
        print(table([json.loads(line) for line in lines]))
    minutes, failed = (time.monotonic() - began) / 60, sum(map(bool, codes))
    print(f"{len(codes)} rounds in {minutes:.0f} minutes, {failed} of them failed")
    return int(any(codes))


def table(accounts: list[dict[str, int | float | str]]) -> str:
    """The accounts as Markdown, a row for each fault: sums over all rounds, and the longest pause of all."""
    merged: dict[str, dict[str, float]] = {}
    for account in accounts:
        row = merged.setdefault(str(account["fault"]), {})
        for column in list(COLUMNS)[1:]:
            value = float(account[column])
            row[column] = max(row.get(column, 0.0), value) if column == "longest" else row.get(column, 0.0) + value
    lines = [" | ".join(COLUMNS.values()), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join([fault, *(f"{value:g}" for value in row.values())]) for fault, row in sorted(merged.items())]
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
