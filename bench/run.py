"""`pneumoscreen bench`: makes the files, measures the rows in turn, round by round."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import environments, radiographs, report
from bench import files as bench_files
from bench.rows import ROWS, Row
from shared.base.errors import ServiceUnavailable, WorkFailed, WrongSettings

TOP = Path(__file__).parent.parent


def bench(
    images: Path | None,
    only: Sequence[str],
    count: int,
    rounds: int,
    server: Callable[[], str],
    out: Path | None = None,
    against: Path | None = None,
    *,
    as_json: bool,
) -> None:
    """Every figure is from this one run: ratios travel between machines, images per second do not.

    `server` returns the path of a redis-server, for the rows that need one; `against` is the Python of another
    checkout, which some rows measure, too. A row that cannot be measured here, in
    whichever round, is named, and the others go on. Raises WrongSettings for an unknown row, and at the end WorkFailed
    if one failed.
    """
    unknown = sorted(set(only) - set(ROWS))
    if unknown:
        raise WrongSettings(f"--only takes {', '.join(ROWS)}, not {', '.join(unknown)}.")
    err = Console(stderr=True)
    figures_by_row: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS if name in only}
    missing: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="pneumoscreen-bench-") as folder, Progress(*columns, console=err) as bar:
        work = Path(folder)
        sizes = _make_files(images, work, count, {ROWS[name].files for name in figures_by_row}, bar)
        total = sum(1 if ROWS[name].once else rounds for name in figures_by_row)
        running = bar.add_task("measuring", total=total)
        for number in range(rounds):
            for name, figures in figures_by_row.items():
                if name in missing or (ROWS[name].once and number > 0):
                    continue
                bar.update(running, description=f"measuring {name}, round {number + 1}")
                try:
                    figures.append(_measure(ROWS[name], work, server, against))
                except (WorkFailed, ServiceUnavailable) as error:
                    missing[name] = str(error)
                    err.print(f"{name} could not be measured: {error}", markup=False, soft_wrap=True)
                bar.advance(running)
    if set(missing) == set(figures_by_row):
        raise WorkFailed("Nothing could be measured: see the messages above.")
    measured = report.make(figures_by_row, missing, {"images": count, "bytes_each": sizes, "rounds": rounds})
    if out is not None:
        report.write(measured, out)
    if as_json:
        print(json.dumps(measured, indent=2))
    else:
        report.show(measured)
    if missing:
        raise WorkFailed(f"Not measured: {', '.join(missing)}. See the messages above.")


def _make_files(images: Path | None, work: Path, count: int, kinds: set[str], bar: Progress) -> dict[str, int]:
    """Returns the bytes of a file, by kind."""
    if radiographs.MIX in kinds:
        kinds = {*kinds, *radiographs.SYNTAXES}
    sizes = {}
    for kind in sorted(kinds - {*radiographs.KINDS, radiographs.MIX}):
        sources = bench_files.sources(images)
        task = bar.add_task(f"making {count} {kind} files of distinct bytes", total=count)
        chosen = sources if kind == "full" else [bench_files.scaled(data, bench_files.SMALL) for data in sources]
        sizes[kind] = bench_files.make(chosen, work / kind, count, lambda task=task: bar.advance(task)) // count  # type: ignore[misc]
    for kind in (each for each in (*radiographs.KINDS, radiographs.MIX) if each in kinds):
        number = radiographs.number_of_files(kind, count)
        task = bar.add_task(f"making {number} radiographs: {kind}", total=number)
        sizes[kind] = radiographs.make(kind, work, count, lambda task=task: bar.advance(task)) // number  # type: ignore[misc]
    return sizes


def _measure(row: Row, work: Path, server: Callable[[], str], against: Path | None = None) -> dict[str, float]:
    """In a process of its own, with a folder of its own that is removed afterwards.

    Raises WorkFailed, or what `server` raises: ServiceUnavailable.
    """
    arguments = {**row.arguments, **({"server": server()} if row.needs_server else {})}
    if row.is_compared and against is not None:
        arguments["against"] = str(against)
    python = sys.executable if row.environment is None else str(environments.python(row.environment))
    places = [str(work / row.files), str(work / "run")]
    command = [python, "-m", "bench.measure", row.module, *places, json.dumps(arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONSAFEPATH", None)  # the benchmark finds itself in the working folder, which is this checkout
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TOP)
    shutil.rmtree(work / "run", ignore_errors=True)
    if done.returncode != 0:
        raise WorkFailed(f"measuring failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
