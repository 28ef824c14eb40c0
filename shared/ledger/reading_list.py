"""The reading list: in which order people look at screened images, and whose word each needs next.

A worker puts an image on it in the transaction that finishes the image; who records or withdraws a word calls
`refresh` in that transaction. `queries/worklist.py` asks it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.base.source_settings import ReadingRule
from shared.database import (
    CLASS_LABELS,
    AuditSample,
    DrawMember,
    ReadingItem,
    Review,
    ReviewLabel,
    ReviewMethod,
    Sighting,
    WaitsFor,
)
from shared.ledger.register import insert_new, parts

if TYPE_CHECKING:
    from shared.ledger.screenings import Figures, Known
    from shared.ledger.work import Screened

NEAR = 0.1
"""Within this distance of the threshold, as a calibrated probability, a label is hardly more than a guess."""
UNFAMILIAR, NEAR_THRESHOLD, POSITIVE, NEGATIVE = 1, 2, 3, 4
"""Why a reader should see a result, the most pressing first. 0 is for an audit sample of a source that is not blind."""
AUDIT = 0
PRESSING, PLAIN = NEAR_THRESHOLD, NEGATIVE
"""The coarse bands of a blind source: what is unfamiliar, near or positive, and the rest. Within a band the oldest is
first, and drawn images are in either, so that a place tells little about the model's answer."""
SECONDS = 1e10
"""Of a time since 1970, to have a place below 1."""
KEY = b"pneumoscreen second reading"
ITEMS = cast(Table, ReadingItem.__table__)

RuleOf = Callable[[str], ReadingRule]
"""How a source's images are read, by its name."""


class Place(NamedTuple):
    need: int
    place: float


def place(figures: "Figures", *, outside: bool, is_drawn: bool, is_blind: bool, seconds: float, chance: float) -> Place:
    """Where an image stands; `seconds` is when it came, and `chance`, from 0 to 1, is drawn for it alone."""
    distance = abs(figures.probability - figures.threshold)
    is_pressing = bool(figures.unfamiliar) or distance <= NEAR or figures.label == "PNEUMONIA"
    if is_blind:
        band = chance < 0.5 if is_drawn else is_pressing
        return Place(PRESSING if band else PLAIN, seconds / SECONDS)
    if is_drawn:
        return Place(AUDIT, seconds / SECONDS)
    first = 0.0 if outside else 10.0  # trusted less
    if figures.unfamiliar:
        return Place(UNFAMILIAR, first + 1 - figures.probability)
    if distance <= NEAR:
        return Place(NEAR_THRESHOLD, first + distance)
    if figures.label == "PNEUMONIA":
        return Place(POSITIVE, first + 1 - figures.probability)
    return Place(NEGATIVE, first + distance)


def chance(*words: str) -> float:
    """A number from 0 to 1, 1 excluded, as if drawn at random, and the same whoever asks."""
    text = "\0".join(words).encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(text, key=KEY, digest_size=8).digest()) >> 11) / 2**53


def add(
    session: Session,
    screened: Sequence["Screened"],
    results: Mapping[int, "Known"],
    drawn: Collection[int],
    rule_of: RuleOf,
) -> None:
    """Put what was screened on the list, or to its new place; whose word it needs stays, where it is on it already."""
    outcomes = {outcome.claimed.sighting: outcome for outcome in screened if outcome.claimed.sighting in results}
    if not outcomes:
        return
    lanes = _lanes(session, outcomes)
    rows: list[dict[str, Any]] = []
    for number, outcome in outcomes.items():
        claimed, figures = outcome.claimed, results[number].figures
        rule = rule_of(claimed.source)
        position = place(
            figures,
            outside=bool(outcome.outside_population),
            is_drawn=number in drawn,
            is_blind=rule.is_blind,
            seconds=claimed.seen_at.timestamp(),
            chance=chance("band", claimed.source, outcome.sha256),
        )
        is_twice = bool(figures.unfamiliar) or chance(claimed.source, outcome.sha256) < rule.second_share
        rows.append(
            {
                "sighting_id": number,
                "sha256": outcome.sha256,
                "source": claimed.source,
                "lane": lanes.get(number) or Lane.ROUTINE,
                "seen_at": claimed.seen_at,
                "need": position.need,
                "place": position.place,
                "readers_wanted": 2 if is_twice else 1,
                "waits_for": WaitsFor.FIRST,
                "readers": 0,
            }
        )
    connection = session.connection()
    connection.execute(insert_new(session, ITEMS), rows)
    again = [row for row in rows if outcomes[row["sighting_id"]].claimed.sha256 is not None]
    if again:
        moved: dict[str, Any] = {
            "need": bindparam("new_need"),
            "place": bindparam("new_place"),
            "sha256": bindparam("content"),
        }
        connection.execute(
            update(ITEMS).where(ITEMS.c.sighting_id == bindparam("number")).values(**moved),
            [
                {"number": r["sighting_id"], "new_need": r["need"], "new_place": r["place"], "content": r["sha256"]}
                for r in again
            ],
        )
    read = _with_words(session, {outcome.sha256 for outcome in outcomes.values()})
    if read:  # a copy of an image that people have read already
        refresh(session, read)


def hold(session: Session, contents: Iterable[str]) -> None:
    """Keep others from refreshing these contents until the transaction ends: call it before a word is written."""
    for part in parts(sorted(contents)):
        table = ReadingItem
        query = select(table.sighting_id).where(table.sha256.in_(part)).order_by(table.sighting_id).with_for_update()
        session.execute(query)


def refresh(session: Session, contents: Collection[str]) -> None:
    """Say anew whose word each of these contents needs, by the words that stand on it."""
    for part in parts(sorted(contents)):
        session.flush()
        words = _words(session, part)
        drawn = _drawn(session, part)
        items = session.execute(
            select(ReadingItem.sighting_id, ReadingItem.sha256, ReadingItem.readers_wanted).where(
                ReadingItem.sha256.in_(part)
            )
        ).all()
        changes = [
            {
                "number": item.sighting_id,
                "next": waits_for(
                    [word for word in words[item.sha256] if word.is_about(item.sighting_id)],
                    item.readers_wanted,
                    is_drawn=item.sha256 in drawn,
                ),
                "count": len({word.reader for word in words[item.sha256] if word.is_about(item.sighting_id)}),
            }
            for item in items
        ]
        if changes:
            session.connection().execute(
                update(ITEMS)
                .where(ITEMS.c.sighting_id == bindparam("number"))
                .values(waits_for=bindparam("next"), readers=bindparam("count")),
                changes,
            )


@dataclass(frozen=True)
class StandingWord:
    """A word that was not withdrawn. NOT_READABLE is on one sighting, the others are on a content."""

    reader: str
    label: str
    sighting: int | None
    is_blind: bool
    is_batch: bool
    is_senior: bool
    other_finding: bool

    def is_about(self, sighting: int) -> bool:
        return self.label != ReviewLabel.NOT_READABLE or self.sighting == sighting

    @property
    def names_a_class(self) -> bool:
        return self.label in CLASS_LABELS and not self.other_finding


def waits_for(words: Sequence[StandingWord], wanted: int, *, is_drawn: bool) -> WaitsFor | None:
    """Whose word an image needs next; its words come in the order in which they were said."""
    single = [word for word in words if not word.is_batch]
    if is_drawn and not any(word.is_blind for word in single):
        return WaitsFor.FIRST
    if not words:
        return WaitsFor.FIRST
    last = {word.reader: word for word in single}
    if not last or any(word.is_senior for word in last.values()):
        return None  # given to many at once, or decided
    if any(word.other_finding for word in last.values()):
        return WaitsFor.SENIOR
    labels = [word.label for word in last.values()]
    ill, well = labels.count(ReviewLabel.PNEUMONIA), labels.count(ReviewLabel.NORMAL)
    if ill != well and max(ill, well) > 1:
        return None
    if ReviewLabel.UNCLEAR in labels or min(ill, well) > 0:
        return WaitsFor.SENIOR
    return WaitsFor.SECOND if ill + well == 1 and wanted > 1 else None


def _words(session: Session, contents: Sequence[str]) -> dict[str, list[StandingWord]]:
    rows = session.execute(
        select(Review)
        .where(Review.sha256.in_(contents), Review.withdrawn_at.is_(None))
        .order_by(Review.created_at, Review.id)
    ).scalars()
    words: dict[str, list[StandingWord]] = defaultdict(list)
    for row in rows:
        words[str(row.sha256)].append(
            StandingWord(
                reader=row.reviewer,
                label=row.label,
                sighting=row.sighting_id,
                is_blind=bool(row.is_blind),
                is_batch=row.method == ReviewMethod.BATCH,
                is_senior=bool(row.is_senior),
                other_finding=bool(row.other_finding),
            )
        )
    return words


def _drawn(session: Session, contents: Sequence[str]) -> set[str]:
    """Those that a random draw asks people to read blind."""
    samples = select(AuditSample.sha256).where(AuditSample.sha256.in_(contents))
    members = select(DrawMember.sha256).where(DrawMember.sha256.in_(contents))
    return set(session.scalars(samples.union(members)))


def _with_words(session: Session, contents: Collection[str]) -> set[str]:
    read: set[str] = set()
    for part in parts(sorted(contents)):
        read |= {str(content) for content in session.scalars(select(Review.sha256).where(Review.sha256.in_(part)))}
    return read


def _lanes(session: Session, sightings: Collection[int]) -> dict[int, str | None]:
    """Of their arrival: a job may have changed its lane since."""
    rows = session.execute(select(Sighting.id, Sighting.lane).where(Sighting.id.in_(sightings)))
    return {row.id: row.lane for row in rows}
