"""Charts of the page that shows how it goes."""

from pathlib import Path

import pytest

from queries import overview
from queries.overview import Drawing, Section
from queries.worklist_page import Viewer
from shared.base.settings import load
from shared.database import Database
from tests.unit.steps import NOW
from web import charts

CHARTED = {"images", "lanes", "positives", "quarantined", "accuracy", "drift", "agreement"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_all_that_is_a_figure_over_time_source_lane_or_readers_has_a_chart(database: Database, tmp_path: Path) -> None:
    """Versions, trainings, operating points and disagreements are lists."""
    with database.read() as session:
        found = overview.sections(session, load(tmp_path), Viewer("A"), NOW)
    assert {section.name for section in found if section.drawing} == CHARTED
    for section in found:
        if section.drawing:
            places = (section.drawing.value, *section.drawing.labels, *(section.drawing.interval or ()))
            assert max(places) < len(section.columns)


def test_a_recall_is_drawn_with_its_interval_and_what_is_not_known_is_left_out() -> None:
    rows = [("ward", "v1", 0.9, 0.8, 0.97), ("home", "v1", None, None, None)]
    chart = charts.draw(Section("accuracy", ("a",) * 5, rows, Drawing("intervals", 2, (0, 1), (3, 4))))
    assert chart is not None
    (mark,) = chart.marks
    assert (mark.label, mark.text) == ("ward, v1", "0.9 (0.8 to 0.97)")
    assert charts.TOP < mark.high < mark.y < mark.low < chart.zero == charts.FLOOR


def test_a_kappa_below_nought_hangs_from_the_line_of_nought() -> None:
    chart = charts.draw(Section("agreement", ("a", "b"), [("A, B", -0.5), ("A, C", 1.0)], Drawing("bars")))
    assert chart is not None
    worse, better = chart.marks
    assert better.y == charts.TOP < chart.zero < worse.y == charts.FLOOR
    assert (chart.least, chart.most) == (-0.5, 1.0)


def test_there_is_no_chart_of_nothing() -> None:
    assert charts.draw(Section("images", ("day", "images"), [], Drawing("line"))) is None
    assert charts.draw(Section("drift", ("source", "psi"), [("ward", None)], Drawing("bars"))) is None
    assert charts.draw(Section("versions", ("version",), [("v1",)])) is None
