"""`pneumoscreen bench`: makes the files, runs the contenders in turn, reports medians and ratios."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import files as bench_files
from shared import registry
from shared.errors import WorkFailed, WrongSettings

CONTENDERS = ("limit", "system", "script", "names")
WHAT = {
    "limit": "one process: decode in threads, one call per batch of 32",
    "system": "the whole system, drop to rows, steady state",
    "script": "image by image with model.predict",
    "names": "the producer registers 100,000 new files",
}


def bench(images: Path, only: list[str], count: int, rounds: int, as_json: bool) -> None:
    """Every figure is from this one run: ratios travel between machines, images per second do not."""
    unknown = set(only) - set(CONTENDERS)
    if unknown:
        raise WrongSettings(f"--only takes {', '.join(CONTENDERS)}, not {', '.join(sorted(unknown))}.")
    err = Console(stderr=True)
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS if name in only}
    with tempfile.TemporaryDirectory(prefix="pneumoscreen-bench-") as folder, Progress(console=err) as bar:
        work = Path(folder)
        making = bar.add_task(f"making {count} files of distinct bytes", total=count)
        size = bench_files.make(images, work / "files", count, lambda: bar.advance(making))
        running = bar.add_task("measuring", total=rounds * len(figures))
        for number in range(rounds):
            for name, found in figures.items():
                bar.update(running, description=f"measuring {name}, round {number + 1}")
                found.append(_run(name, work, number))
                bar.advance(running)
    report = _report(figures, images=count, bytes_each=size // count, rounds=rounds)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print(report)


def _run(name: str, work: Path, number: int) -> dict[str, Any]:
    last = work / f"{name}-{number}" if name in ("system", "names") else registry.bundled()
    command = [sys.executable, "-m", f"bench.{name}", str(work / "files"), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode != 0:
        raise WorkFailed(f"Measuring {name} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _report(figures: dict[str, list[dict[str, Any]]], **about: Any) -> dict[str, Any]:
    report: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        **about,
        "images_per_second": {},
        "ratios": {},
    }
    median = {}
    for name, found in figures.items():
        speeds = [figure["images_per_second"] for figure in found]
        median[name] = statistics.median(speeds)
        extra = {
            key: statistics.median(figure[key] for figure in found) for key in found[0] if key != "images_per_second"
        }
        spread = {"lowest": min(speeds), "highest": max(speeds)}
        report["images_per_second"][name] = {"median": median[name], **spread, **extra}
    for other in ("limit", "script"):
        if "system" in median and other in median:
            report["ratios"][f"system_to_{other}"] = median["system"] / median[other]
    return report


def _print(report: dict[str, Any]) -> None:
    table = Table(
        title=f"{report['images']} images of {report['bytes_each']:,} bytes, {report['machine']['cores']} cores"
    )
    for column in ("what", "images/s", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, figure in report["images_per_second"].items():
        table.add_row(WHAT[name], *(f"{figure[key]:.1f}" for key in ("median", "lowest", "highest")))
    out = Console()
    out.print(table)
    for name, ratio in report["ratios"].items():
        out.print(f"{name.replace('_', ' ')}: {ratio:.2f}")
