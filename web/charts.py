"""Small charts as SVG, made here: nothing runs in the browser for them. Each stands beside its table."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 180, 40, 24, 8


@dataclass(frozen=True)
class Mark:
    """A point or a column, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: float


@dataclass(frozen=True)
class Chart:
    kind: str  # line or bars
    marks: Sequence[Mark]
    line: str  # the points of a polyline
    most: float
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


def draw(kind: str, labels: Sequence[str], values: Sequence[float]) -> Chart | None:
    """None where there is nothing to draw."""
    if not values:
        return None
    most = max(*values, 1)
    step = (WIDTH - LEFT) / len(values)
    room = HEIGHT - BOTTOM - TOP
    marks = []
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        height = room * value / most
        marks.append(
            Mark(LEFT + step * (place + 0.15), HEIGHT - BOTTOM - height, step * 0.7, height, label, float(value))
        )
    line = " ".join(f"{mark.x + mark.width / 2:.1f},{mark.y:.1f}" for mark in marks)
    return Chart(kind, marks, line, most, labels[0], labels[-1])
