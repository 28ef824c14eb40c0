"""Files from public reports that were once read wrongly, beside the checkout, and the row that each is to get."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.base.errors import ImageError, Unfinished, Unsuitable

FOLDER = (
    Path(os.environ.get("XRAY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")).parent / "cases" / "images"
)
TOLERANCE = 0.02
"""How far a probability may be from that of the file's reference, as the same network gives it."""
REFUSALS: dict[str, tuple[type[ImageError], str]] = {
    "quarantined: not the chest": (Unsuitable, "not the chest"),
    "quarantined: not frontal": (Unsuitable, "only frontal views"),
    "waiting, then quarantined as cut off": (Unfinished, "cut off"),
}
UNDECIDED = ("k9a-jpeg-without-end-marker.jpg",)
"""A JPEG without its end marker may be cut off: libjpeg fills what is missing with grey and does not say so."""

REPAIRED = (
    *("k1c", "k1g", "k2", "k4b", "k4c", "k6c", "k8a", "k8b", "k8d", "k8f"),
    *("k9b", "k9c", "k9d", "k10"),
)
"""Of which the row says what was assumed: a header that makes no sense, is wrong or leaves something open."""


@dataclass(frozen=True)
class Case:
    """A file gets the probability of one of its references, or is refused with an error that holds a text."""

    name: str
    references: tuple[str, ...] = ()
    refusal: tuple[type[ImageError], str] | None = None

    @property
    def is_repaired(self) -> bool:
        return self.name.startswith(REPAIRED)

    @property
    def file(self) -> Path:
        return FOLDER / self.name


def _cases() -> list[Case]:
    index = FOLDER / "index.json"
    listed = json.loads(index.read_text()) if index.exists() else []
    return [_case(name, right) for name, right, *_ in listed if right is not None]


def _case(name: str, right: str) -> Case:
    if name in UNDECIDED:
        return Case(name, refusal=(Unfinished, "cut off"))
    if right in REFUSALS:
        return Case(name, refusal=REFUSALS[right])
    if "black-border" in right:  # a picture whose border is cut off is as right
        return Case(name, (right, "00-reference-12bit.dcm"))
    return Case(name, (right,))


CASES = _cases()
REFERENCES = sorted({reference for case in CASES for reference in case.references})
needs_cases = pytest.mark.skipif(
    not CASES, reason=f"the files from public reports are not beside this checkout ({FOLDER})"
)
