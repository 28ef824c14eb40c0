"""The DICOM conformance statement's tables for what the courier sends, made from what it proposes.

`python -m courier.conformance` writes them into docs/dicom-conformance.md of a checkout; a test holds the file to them.
"""

from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import UID

from courier import scu
from shared.base.generated_part import GeneratedPart
from shared.reports.structured_report import PRIVATE_CODES, SCHEME


def statement() -> str:
    """The generated part of the page, in Markdown."""
    return "\n".join([*_presentation_contexts(), *_statuses(), *_codes()])


def _presentation_contexts() -> Iterator[str]:
    yield from ("### Presentation contexts proposed", "", "| SOP class | UID | role | transfer syntaxes |")
    yield "| --- | --- | --- | --- |"
    syntaxes = ", ".join(f"{UID(str(syntax)).name} `{syntax}`" for syntax in scu.SYNTAXES)
    for sop_class in scu.CLASSES:
        yield f"| {sop_class.name} | `{sop_class}` | SCU | {syntaxes} |"
    yield ""


def _statuses() -> Iterator[str]:
    yield from ("### What each answer to C-STORE means", "", "| status | then |", "| --- | --- |")
    yield "| `0x0000` | the object is sent |"
    yield f"| `0x{scu.DUPLICATE:04X}` | the same: an earlier answer was lost |"
    yield f"| `0x{scu.WARNINGS.start:04X}` to `0x{scu.WARNINGS.stop - 1:04X}` | the same, with a remark |"
    last = scu.DOES_NOT_MATCH.stop - 1
    for status in (f"`0x{scu.DOES_NOT_MATCH.start:04X}` to `0x{last:04X}`", *(f"`0x{s:04X}`" for s in scu.NEVER)):
        yield f"| {status} | it fails for good |"
    yield "| any other, such as `0xA700` or `0xC000` | it is tried again for days |"
    yield "| none in time, an association that is rejected or ends | everything waits until the other side is back |"
    yield ""


def _codes() -> Iterator[str]:
    yield from (f"### Codes of the scheme `{SCHEME}`", "", "| code | meaning |", "| --- | --- |")
    for code in PRIVATE_CODES:
        yield f"| `{code.value}` | {code.meaning} |"


PART = GeneratedPart(Path("docs/dicom-conformance.md"), "sent", statement)


if __name__ == "__main__":
    PART.write()
