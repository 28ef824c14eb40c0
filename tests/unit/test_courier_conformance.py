"""The conformance statement says what the courier proposes and how it takes an answer."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from courier import conformance, scu
from shared.base.errors import Deferred, Rejected

PAGE = (Path(__file__).parents[2] / conformance.PART.page).read_text(encoding="utf-8")


def test_the_page_is_as_it_is_made_from_the_code() -> None:
    assert conformance.PART.embed(PAGE) == PAGE, "run `python -m courier.conformance`"


def test_every_class_that_is_proposed_stands_on_the_page() -> None:
    assert all(f"`{sop_class}`" in PAGE for sop_class in scu.CLASSES)


@pytest.mark.parametrize(
    ("status", "failure"),
    [(0x0000, None), (0x0111, None), (0xB006, None), (0xA900, Rejected), (0x0122, Rejected), (0xC000, Deferred)],
)
def test_each_answer_means_what_the_page_says(status: int, failure: type[Exception] | None) -> None:
    answer = Dataset()
    answer.Status = status
    if failure is None:
        scu.judge("PACS", answer)
    else:
        with pytest.raises(failure):
            scu.judge("PACS", answer)
