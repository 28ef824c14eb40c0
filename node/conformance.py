"""The DICOM conformance statement's tables for what the node receives, made from what it negotiates.

`python -m node.conformance` writes them into docs/dicom-conformance.md of a checkout; a test holds the file to them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import UID

from node import commitment, header, listening, transport
from node.implementation import CLASS_UID, VERSION_NAME
from node.peers import SPARE
from node.statuses import MEANINGS, ONLY_BY_WEB, STOW_STATUSES
from shared.base.dicom_settings import DicomSettings
from shared.base.generated_part import GeneratedPart


def statement() -> str:
    """The generated part of the page, in Markdown."""
    return "\n".join([*_implementation(), *_presentation_contexts(), *_statuses(), *_limits()])


def _implementation() -> Iterator[str]:
    version = re.sub(r"[\d.]+$", "VERSION", VERSION_NAME)
    yield from ("### Implementation", "", "| what | value |", "| --- | --- |")
    yield f"| implementation class UID | `{CLASS_UID}` |"
    yield f"| implementation version name | `{version}` |"
    yield f"| maximum PDU received | {transport.MAX_PDU:,} bytes |"
    yield "| asynchronous operations | none: one at a time over an association |"
    yield ""


def _presentation_contexts() -> Iterator[str]:
    offered = listening.entity(DicomSettings(kind="dicom", commitment=("PACS@localhost:104",)))
    yield from ("### Presentation contexts accepted", "", "| SOP class | UID | role | transfer syntaxes |")
    yield "| --- | --- | --- | --- |"
    names: list[str] = []
    for context in offered.supported_contexts:
        sop_class = UID(str(context.abstract_syntax))
        syntaxes = [UID(str(syntax)) for syntax in context.transfer_syntax]
        names += [f"| {syntax.name} | `{syntax}` |" for syntax in syntaxes]
        yield f"| {sop_class.name} | `{sop_class}` | SCP | {_count(len(syntaxes))} |"
    yield ""
    yield "Every other SOP class is refused at negotiation, structured reports and secondary captures among them."
    yield "Storage Commitment is offered only where `commitment` names who may ask."
    yield from ("", "### Transfer syntaxes", "", "| name | UID |", "| --- | --- |")
    yield from dict.fromkeys(names)
    yield ""


def _count(number: int) -> str:
    return "all of the list below" if number > 4 else "the uncompressed ones of the list below"


def _statuses() -> Iterator[str]:
    yield from ("### Answers to C-STORE", "", "| status | meaning |", "| --- | --- |")
    for status, meaning in MEANINGS.items():
        yield f"| `0x{status:04X}` | {meaning} |"
    yield from ("", "### Answers to STOW-RS", "", "| status | meaning |", "| --- | --- |")
    for code, meaning in STOW_STATUSES.items():
        yield f"| `{code}` | {meaning} |"
    yield from (
        "",
        "Failure Reasons are the statuses of C-STORE above, and:",
        "",
        "| reason | meaning |",
        "| --- | --- |",
    )
    for status, meaning in ONLY_BY_WEB.items():
        yield f"| `0x{status:04X}` | {meaning} |"
    yield ""


def _limits() -> Iterator[str]:
    yield from ("### Limits and times", "", "| what | value |", "| --- | --- |")
    yield "| bytes of an object | the setting `max_bytes`; a larger one ends its association |"
    yield f"| bytes of a message that holds no image | {transport.MAX_OTHER_MESSAGE:,} |"
    yield "| associations at a time | the setting `max_associations`; three quarters of them for one address |"
    yield f"| connections beyond those, to be told to try later | {SPARE}; three quarters of them for one address |"
    yield f"| association request, and TLS before it | {transport.FIRST_SECONDS:g} s each |"
    yield f"| a PDU, from its first byte | {transport.PDU_SECONDS:g} s |"
    yield f"| an association on which nothing comes | {listening.NETWORK_SECONDS:g} s |"
    hours = commitment.GIVE_UP_AFTER / 3600
    yield f"| a storage commitment that cannot be answered | {hours:g} h, then it is given up |"
    yield f"| objects of one storage commitment | {commitment.MAX_OBJECTS:,} |"
    yield f"| of the header read for the lane | {header.HEAD:,} bytes, {' and '.join(header.PRIORITIES)} |"


PART = GeneratedPart(Path("docs/dicom-conformance.md"), "received", statement)


if __name__ == "__main__":
    PART.write()
