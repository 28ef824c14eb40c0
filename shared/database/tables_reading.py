"""The tables of the reading room: what is to be read, in its order, and who is reading it now."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.database.tables import Base


class WaitsFor(StrEnum):
    """Whose word an image needs next."""

    FIRST = "first"  # nobody has read it; of a drawn image, nobody blind
    SECOND = "second"  # it is read twice, by two people
    SENIOR = "senior"  # readers contradict each other, cannot tell, or saw something else


class Shown(StrEnum):
    """What a reader saw of the model's answer before the word."""

    BLIND = "blind"
    ASSISTED = "assisted"  # the source shows the answer from the start
    REVEALED = "revealed"  # it was shown to this reader after an earlier word, or by a filter


class Disagreement(StrEnum):
    """Why a reader says something else than the model."""

    FILM = "film"  # quality of the picture
    DEVICE = "device"  # tubes, wires, implants
    DISEASE = "disease"  # another one
    MODEL = "model"  # the model is wrong
    OTHER = "other"


OPEN = text("waits_for IS NOT NULL")
SENIOR = text("waits_for = 'senior'")


class ReadingItem(Base):
    """A screened image's place on the reading list; `shared/ledger/reading_list.py` writes it.

    It says where to look first, and no more: whether the image still is its path's newest one, the list asks anew.
    """

    __tablename__ = "reading_list"
    __table_args__ = (
        Index(
            "ix_reading_list_order", "lane", "need", "place", "sighting_id", sqlite_where=OPEN, postgresql_where=OPEN
        ),
        Index(
            "ix_reading_list_of_source",
            *("source", "lane", "need", "place", "sighting_id"),
            sqlite_where=OPEN,
            postgresql_where=OPEN,
        ),
        Index("ix_reading_list_seen_at", "lane", "seen_at", sqlite_where=OPEN, postgresql_where=OPEN),
        Index(
            "ix_reading_list_senior",
            *("lane", "need", "place", "sighting_id"),
            sqlite_where=SENIOR,
            postgresql_where=SENIOR,
        ),
        Index("ix_reading_list_sha256", "sha256"),
        CheckConstraint("waits_for IN ('first', 'second', 'senior')", name="waits_for"),
    )

    sighting_id: Mapped[int] = mapped_column(ForeignKey("sightings.id"), primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(String(64))
    source: Mapped[str]
    lane: Mapped[str] = mapped_column(String(16))  # of its arrival
    seen_at: Mapped[datetime]
    need: Mapped[int]  # the most pressing first; in a blind source coarse, or the order would tell the model's answer
    place: Mapped[float]  # among those of one need
    readers_wanted: Mapped[int]  # 1, or 2 for an image that is read twice
    waits_for: Mapped[str | None] = mapped_column(String(8))  # a WaitsFor; None: nobody has to look at it
    readers: Mapped[int]  # who have a word on it that stands


class ReadingLease(Base):
    """Who is reading a content now; a lease that ran out is taken over."""

    __tablename__ = "reading_leases"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    sighting_id: Mapped[int]
    reader: Mapped[str]
    until: Mapped[datetime]
