"""How readers agree, and where they differ from the model."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from sqlalchemy import case, exists, or_, select
from sqlalchemy.orm import Session, aliased

from shared.database import (
    CLASS_LABELS,
    AuditSample,
    DrawMember,
    ReadingItem,
    Review,
    ReviewLabel,
    ReviewMethod,
    Screening,
    Sighting,
)
from shared.ledger.latest import IS_RESULT

MAX_LISTED = 200


@dataclass(frozen=True)
class PairAgreement:
    """Of two readers, on the images that both have read blind. `kappa` (Cohen) is None where chance explains all."""

    first: str
    second: str
    images: int
    agreed: int
    kappa: float | None


@dataclass(frozen=True)
class DisagreementRow:
    """A reader and the model say something else of an image."""

    sighting: int
    source: str
    word: str
    label: str
    reason: str | None
    at: datetime


def pairs(session: Session) -> list[PairAgreement]:
    """Each pair of readers with an image in common, the most images first; of each reader the first blind word."""
    said: dict[str, dict[str, str]] = defaultdict(dict)
    counts = Review.withdrawn_at.is_(None) & Review.is_blind & (Review.method != ReviewMethod.BATCH)
    rows = session.execute(
        select(Review.sha256, Review.reviewer, Review.label)
        .where(counts, Review.sha256.is_not(None), Review.label.in_(CLASS_LABELS))
        .order_by(Review.id)
    )
    for content, reader, label in rows:
        said[str(content)].setdefault(reader, label)
    shared: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for words in said.values():
        for first, second in combinations(sorted(words), 2):
            shared[first, second].append((words[first], words[second]))
    found = [_pair(first, second, labels) for (first, second), labels in shared.items()]
    return sorted(found, key=lambda pair: (-pair.images, pair.first, pair.second))


def _pair(first: str, second: str, labels: Sequence[tuple[str, str]]) -> PairAgreement:
    agreed = sum(one == other for one, other in labels)
    return PairAgreement(first, second, len(labels), agreed, kappa(labels))


def kappa(labels: Iterable[tuple[str, str]]) -> float | None:
    """Cohen's kappa (Cohen, 1960) of two readers of two classes; between -1 and 1, None if both always say the same."""
    pairs = list(labels)
    if not pairs:
        return None
    number = len(pairs)
    observed = sum(one == other for one, other in pairs) / number
    ill = [sum(pair[reader] == "PNEUMONIA" for pair in pairs) / number for reader in (0, 1)]
    expected = ill[0] * ill[1] + (1 - ill[0]) * (1 - ill[1])
    return None if expected == 1 else (observed - expected) / (1 - expected)


def disagreements(session: Session, viewer: str, limit: int = MAX_LISTED) -> list[DisagreementRow]:
    """The newest words that differ from the result, missed pneumonias first.

    Without images of a random draw, and those that this viewer may still be asked about: the list tells the answer.
    """
    mine = aliased(Review)
    is_mine = (mine.sha256 == Review.sha256) & (mine.reviewer == viewer) & mine.withdrawn_at.is_(None)
    is_closed = exists().where(ReadingItem.sighting_id == Sighting.id, ReadingItem.waits_for.is_(None))
    is_drawn = or_(
        exists().where(AuditSample.sha256 == Sighting.sha256), exists().where(DrawMember.sha256 == Sighting.sha256)
    )
    rows = session.execute(
        select(Sighting.id, Sighting.source, Review.label, Screening.label, Review.disagreement, Review.created_at)
        .select_from(Review)
        .join(Sighting, Sighting.id == Review.sighting_id)
        .join(Screening, IS_RESULT)
        .where(Review.withdrawn_at.is_(None), Review.label.in_(CLASS_LABELS), Review.label != Screening.label)
        .where(or_(is_closed, exists().where(is_mine)), ~is_drawn)
        .order_by(case((Review.label == ReviewLabel.PNEUMONIA, 0), else_=1), Review.id.desc())  # before the limit cuts
        .limit(limit)
    )
    return [DisagreementRow(*row) for row in rows]
