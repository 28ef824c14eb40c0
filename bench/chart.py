"""A chart of a report: images per second of each row, with its lowest and highest round."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.rows import ROWS


def draw(measured: Mapping[str, Any], target: Path) -> None:
    """Write an SVG; its rows are those that may be held against the limit."""
    from matplotlib.figure import Figure

    names = [name for name in measured["spread"] if ROWS[name].is_beside_the_limit]
    middle = [measured["figures"][name]["images_per_second"] for name in names]
    ends = [
        [value - measured["spread"][name]["lowest"] for name, value in zip(names, middle, strict=True)],
        [measured["spread"][name]["highest"] - value for name, value in zip(names, middle, strict=True)],
    ]
    figure = Figure(figsize=(9, 0.4 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    colours = ["#1f6f8b" if ROWS[name].module == "system" else "#b8b8b8" for name in names]
    axes.barh([ROWS[name].what for name in names], middle, xerr=ends, color=colours, ecolor="#444444")
    axes.invert_yaxis()
    axes.set_xlabel("images per second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, format="svg", metadata={"Date": None})
