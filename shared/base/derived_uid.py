"""DICOM UIDs that are derived: the same parts give the same UID, on every host and at every time."""

import hashlib
import uuid


def derive(identity: bytes, *parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) from an installation's identity and any parts, each taken as text."""
    digest = hashlib.sha256(identity)
    for part in parts:
        text = str(part).encode("utf-8", "surrogateescape")
        digest.update(len(text).to_bytes(8, "big") + text)  # so that no two lists of parts are the same bytes
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"
