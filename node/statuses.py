"""The statuses with which a node answers (PS3.4 B.2.3, J.3; PS3.7 C)."""

from enum import IntEnum


class Status(IntEnum):
    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    INVALID_INSTANCE = 0x0117
    CLASS_INSTANCE_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORISED = 0x0124
    NO_SUCH_ACTION = 0x0123
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    SYNTAX_NOT_SUPPORTED = 0xC122


MEANINGS = {
    Status.SUCCESS: "the file is on the disk under its name, and its row is committed",
    Status.OUT_OF_RESOURCES: "nothing is wrong with the object: disk low, database or folder out of reach, or a fault "
    "of the node; send it again later",
    Status.DOES_NOT_MATCH: "the data set states another SOP class or instance than the request",
    Status.INVALID_INSTANCE: "the SOP Instance UID is no UID: never stored, since a file is named by it",
}
"""Of the answers to C-STORE, for the conformance statement."""
ONLY_BY_WEB = {
    Status.CLASS_NOT_SUPPORTED: "the object is no CR and no DX image; by C-STORE it is refused at negotiation",
    Status.SYNTAX_NOT_SUPPORTED: "its transfer syntax is not read; by C-STORE it is refused at negotiation",
    Status.CANNOT_UNDERSTAND: "the part is no DICOM file",
}
"""Failure reasons that STOW-RS has beside them."""
STOW_STATUSES = {
    200: "every object is stored: Referenced SOP Sequence",
    202: "some are, the others stand in Failed SOP Sequence (or Other Failures Sequence, if they are no DICOM files)",
    400: "the body is not what its Content-Type says, is cut off, or has no parts",
    401: "no API token, or one that is revoked",
    403: "the account is in no `stow_accounts`, or its address not in `allowed_addresses`",
    408: "nothing came for a minute",
    409: "no object is stored, and none will be if it is sent again as it is",
    413: "an object is larger than `max_bytes`, or there are more than 1,000",
    415: "the body, or a part, is not `application/dicom`",
    503: "nothing is wrong with the objects: disk low, database or folder out of reach, or too many are sending; "
    "Retry-After says when to send them again",
}
"""Of the web service, which answers by the same receiver."""
