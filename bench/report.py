"""From figures to a report: JSON, tables, a chart."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.rows import GOALS, ROWS, ratio

SPEED = "images_per_second"


def make(
    figures_by_row: Mapping[str, Sequence[Mapping[str, float]]], missing: Mapping[str, str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Medians, with the lowest and the highest of a speed; ratios; goals, met or missed.

    Only what each round of a row has gets a median. A row in `missing` gets nothing, whatever its earlier rounds gave.
    """
    medians = {
        name: {
            key: statistics.median(figure[key] for figure in figures)
            for key in figures[0]
            if all(key in figure for figure in figures)
        }
        for name, figures in figures_by_row.items()
        if name not in missing
    }
    speeds = {
        name: [figure[SPEED] for figure in figures_by_row[name]] for name, median in medians.items() if SPEED in median
    }
    ratios = {
        f"system_to_{other}": ratio("system", other)(medians)
        for other in speeds
        if "system" in speeds and other != "system"
    }
    goals = []
    for goal in GOALS:
        try:
            figure = goal.figure(medians)
        except KeyError:
            continue
        bound = {"least": goal.least} if goal.least is not None else {"most": goal.most}
        goals.append({"what": goal.what, "figure": figure, **bound, "met": goal.is_met(figure)})
    return {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        **about,
        "figures": medians,
        "spread": {name: {"lowest": min(rates), "highest": max(rates)} for name, rates in speeds.items()},
        "ratios": ratios,
        "goals": goals,
        "missing": dict(missing),
    }


def write(measured: Mapping[str, Any], folder: Path) -> None:
    """bench.json, bench.md and bench.svg into a folder."""
    from bench import chart

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    lines = [_title(measured), ""]
    for table in _tables(measured):
        header, *rows = table
        lines += [_markdown(header), _markdown(["---"] * len(header)), *map(_markdown, rows), ""]
    (folder / "bench.md").write_text("\n".join(lines), encoding="utf-8")
    chart.draw(measured, folder / "bench.svg")


def show(measured: Mapping[str, Any]) -> None:
    out = Console()
    out.print(_title(measured))
    for header, *rows in _tables(measured):
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        out.print(table)


def _title(measured: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{kind}: {size:,} bytes each" for kind, size in measured["bytes_each"].items())
    return (
        f"{measured['images']} files ({sizes}), {measured['machine']['cores']} cores, medians of "
        f"{measured['rounds']} rounds"
    )


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tables(measured: Mapping[str, Any]) -> list[list[list[str]]]:
    """Each a header and rows: speeds, other figures, goals."""
    figures, spread = measured["figures"], measured["spread"]
    limit = figures.get("limit", {}).get(SPEED)
    speeds = [["what", "images/s", "lowest", "highest", "of the limit"]]
    others = [["what", "figure", "value"]]
    for name, row in ROWS.items():
        if name in measured["missing"]:
            speeds.append([row.what, "not measured", "", "", ""])
        elif name in spread:
            ends = (f"{spread[name][end]:.1f}" for end in ("lowest", "highest"))
            share = f"{figures[name][SPEED] / limit:.2f}" if limit and row.is_beside_the_limit else ""
            speeds.append([row.what, f"{figures[name][SPEED]:.1f}", *ends, share])
        for key, value in figures.get(name, {}).items():
            if key != SPEED:
                others.append([row.what, key.replace("_", " "), f"{value:,.3g}" if value < 100 else f"{value:,.0f}"])
    goals = [["goal", "bound", "found", ""]]
    for goal in measured["goals"]:
        bound = f"at least {goal['least']:g}" if "least" in goal else f"at most {goal['most']:g}"
        goals.append([goal["what"], bound, f"{goal['figure']:.3g}", "met" if goal["met"] else "**missed**"])
    return [table for table in (speeds, others, goals) if len(table) > 1]
