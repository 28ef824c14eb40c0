"""The tests that the documents name as their evidence exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGES = sorted((TESTS.parent / "docs").glob("*.md"))
EVIDENCE = re.compile(r"`((?:\w+/)?test_\w+\.py)(?:: (\w+))?`")
"""A file, with its folder where two have the name, and a test in it."""
NAMED = {evidence for page in PAGES for evidence in EVIDENCE.findall(page.read_text("utf-8"))}


def test_the_page_on_security_names_its_evidence() -> None:
    assert len(NAMED) > 10


@pytest.mark.parametrize(("file", "test"), sorted(NAMED))
def test_every_test_that_a_page_names_exists(file: str, test: str) -> None:
    (module,) = TESTS.rglob(file)
    assert f"def {test}(" in module.read_text("utf-8") or not test
