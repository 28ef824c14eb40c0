"""Small charts as SVG, made here: nothing runs in the browser for them. Each stands beside its table."""

from collections.abc import Sequence
from dataclasses import dataclass

from queries.overview import Section

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 180, 40, 24, 8
FLOOR = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Mark:
    """A value, in units of the chart from its upper left; its interval is from `low` to `high`."""

    x: float
    y: float
    width: float
    low: float
    high: float
    label: str
    text: str


@dataclass(frozen=True)
class Chart:
    kind: str  # line, bars or intervals
    marks: Sequence[Mark]
    line: str  # the points of a polyline
    least: float
    most: float
    zero: float
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = FLOOR


def draw(section: Section) -> Chart | None:
    """None where there is nothing to draw; a row without a value has no mark."""
    drawing = section.drawing
    if drawing is None:
        return None
    rows = [row for row in section.rows if row[drawing.value] is not None]
    if not rows:
        return None
    labels = [", ".join(str(row[place]) for place in drawing.labels) for row in rows]
    values = [_number(row[drawing.value]) for row in rows]
    spans = [tuple(_number(row[end]) for end in drawing.interval or (drawing.value,) * 2) for row in rows]
    least, most = min(0.0, *(low for low, _ in spans)), max(1.0, *(high for _, high in spans))
    step = (WIDTH - LEFT) / len(rows)

    def at(value: float) -> float:
        return FLOOR - (FLOOR - TOP) * (value - least) / (most - least)

    marks = []
    for place, (label, value, (low, high)) in enumerate(zip(labels, values, spans, strict=True)):
        text = f"{value:g}" + (f" ({low:g} to {high:g})" if drawing.interval else "")
        marks.append(Mark(LEFT + step * (place + 0.15), at(value), step * 0.7, at(low), at(high), label, text))
    line = " ".join(f"{mark.x + mark.width / 2:.1f},{mark.y:.1f}" for mark in marks)
    return Chart(drawing.kind, marks, line, least, most, at(0.0), labels[0], labels[-1])


def _number(cell: object) -> float:
    return float(cell) if isinstance(cell, int | float) else 0.0
