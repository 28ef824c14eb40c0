"""The statuses with which a node answers (PS3.4 B.2.3, J.3; PS3.7 C)."""

from enum import IntEnum


class Status(IntEnum):
    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    INVALID_INSTANCE = 0x0117
    CLASS_INSTANCE_CONFLICT = 0x0119
    NOT_AUTHORISED = 0x0124
    NO_SUCH_ACTION = 0x0123
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH = 0xA900


MEANINGS = {
    Status.SUCCESS: "the file is on the disk under its name, and its row is committed",
    Status.OUT_OF_RESOURCES: "nothing is wrong with the object: disk low, database or folder out of reach, or a fault "
    "of the node; send it again later",
    Status.DOES_NOT_MATCH: "the data set states another SOP class or instance than the request",
    Status.INVALID_INSTANCE: "the SOP Instance UID is no UID: never stored, since a file is named by it",
}
"""Of the answers to C-STORE, for the conformance statement."""
