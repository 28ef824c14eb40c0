"""The conformance statement says what the node negotiates."""

import re
from pathlib import Path

import pytest

from node import conformance
from shared.imaging.dicom import RADIOGRAPHS
from shared.imaging.dicom_file import SYNTAXES

PAGE = (Path(__file__).parents[2] / conformance.PART.page).read_text(encoding="utf-8")


def test_the_generated_part_of_the_page_is_what_the_code_says_now() -> None:
    assert conformance.PART.embed(PAGE) == PAGE, "run `python -m node.conformance`"


def test_it_names_every_class_and_every_syntax_by_its_uid() -> None:
    named = set(re.findall(r"`([\d.]+)`", conformance.statement()))
    assert named >= {*RADIOGRAPHS, *SYNTAXES, "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"}


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        conformance.PART.embed("# Conformance")
