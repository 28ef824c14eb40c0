"""Puts a random part of what was screened on the reading list, in the transaction that finishes it.

A keyed hash of source and content decides, so that a retry, a second message and another worker decide the same, and
two sightings of one content in a source are one sample.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from shared.database import AuditSample
from shared.ledger.register import insert_new

if TYPE_CHECKING:
    from shared.base.source_settings import AuditShare
    from shared.ledger.screenings import Known
    from shared.ledger.work import Screened

KEY = b"pneumoscreen audit_share"
"""No secret: it keeps this draw apart from others that rest on the same content."""
ShareOf = Callable[[str], "AuditShare"]
"""The shares of a source, by its name."""


def draw(
    session: Session, screened: Sequence["Screened"], results: Mapping[int, "Known"], share_of: ShareOf, now: datetime
) -> set[int]:
    """Draw from images that were screened for the first time: a rescreen changes no sample. Returns their sightings."""
    samples: list[dict[str, Any]] = []
    for outcome in screened:
        claimed = outcome.claimed
        result = results.get(claimed.sighting)
        if claimed.sha256 is not None or result is None:
            continue
        share = share_of(claimed.source).of(result.figures.label)
        if position(claimed.source, outcome.sha256) < share:
            samples.append(
                {
                    "sighting_id": claimed.sighting,
                    "source": claimed.source,
                    "sha256": outcome.sha256,
                    "prediction_id": result.number,
                    "label": result.figures.label,
                    "inclusion": share,
                    "drawn_at": now,
                }
            )
    if samples:
        session.connection().execute(insert_new(session, AuditSample.__table__), samples)
    return {int(sample["sighting_id"]) for sample in samples}


def position(source: str, sha256: str) -> float:
    """Where an image lies between 0 and 1, 1 excluded; of many, as if drawn at random."""
    text = f"{source}\0{sha256}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, key=KEY, digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53
