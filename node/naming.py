"""What a received object is called in its source: by its SOP Instance UID, once that is known to be one."""

import hashlib
import re

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""Devices write components with leading zeros, which DICOM forbids: such an image is no reason to lose it."""
MAX_LENGTH = 64
ENDING = ".dcm"


def is_uid(text: str) -> bool:
    """Whether a text is digits and dots as a UID is, so that it can be (part of) a file's name."""
    return len(text) <= MAX_LENGTH and UID.fullmatch(text) is not None


def path_of(uid: str) -> str:
    """The path of the first content with this UID: in one of 256 folders, so that none gets too large.

    Raises ValueError for what `is_uid` refuses.
    """
    if not is_uid(uid):
        raise ValueError("no UID")
    return f"{_folder(uid)}/{uid}{ENDING}"


def path_of_other(uid: str, body: memoryview) -> str:
    """The path of another content with the same UID: it stands beside the first, and is the same at each sending."""
    if not is_uid(uid):
        raise ValueError("no UID")
    return f"{_folder(uid)}/{uid}+{hashlib.sha256(body).hexdigest()[:16]}{ENDING}"


def _folder(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:2]
