"""The tables of what leaves the house: the outbox, what was looked at for it, and its destinations."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.database.tables import Base


class OutboxKind(StrEnum):
    REPORT = "report"  # a structured report
    CAPTURE = "capture"  # a picture with the score in it
    EVENT = "event"  # a message to a person or another system


class OutboxState(StrEnum):
    WAITING = "waiting"  # is sent at `not_before`
    SENDING = "sending"  # a courier holds it until `lease_until`
    SENT = "sent"  # the destination has said yes
    FAILED = "failed"  # is never sent as it is; `problem` says why
    SUPERSEDED = "superseded"  # was not sent yet when a later edition took its place


OPEN_OUTBOX = text("outbox.state IN ('waiting', 'sending')")
"""Add it to any condition on rows that are not settled: only this exact text lets databases use `ix_outbox_open`."""
_IS_OPEN = "state IN ('waiting', 'sending')"


class OutboxRow(Base):
    """One object for one destination. What it states is frozen in `facts` when the row is made."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("destination", "kind", "subject", "edition"),
        Index(
            "ix_outbox_open",
            "destination",
            "id",
            sqlite_where=text(_IS_OPEN),
            postgresql_where=text(_IS_OPEN),
        ),
        Index("ix_outbox_sighting_id", "sighting_id"),
        Index("ix_outbox_sha256", "sha256"),
        Index("ix_outbox_settled_at", "settled_at"),
        CheckConstraint(f"kind IN ({', '.join(repr(str(kind)) for kind in OutboxKind)})", name="kind"),
        CheckConstraint(f"state IN ({', '.join(repr(str(state)) for state in OutboxState)})", name="state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    destination: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str]  # what it is about: SOURCE:SHA256 of a result, else the event with its number
    edition: Mapped[int]  # from 1; a reader's word, its withdrawal or another result makes the next one
    event: Mapped[str | None] = mapped_column(String(32))  # of an event: which one
    source: Mapped[str | None]
    sighting_id: Mapped[int | None]  # deleted with its sighting
    sha256: Mapped[str | None] = mapped_column(String(64))
    uid: Mapped[str]  # derived from all of the above and the facts: whoever gets it twice sees that it is the same
    replaces: Mapped[str | None]  # the UID of the edition that the destination had when this one was first taken up
    facts: Mapped[str]  # JSON: see `shared.reports.facts`
    is_urgent: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    problem: Mapped[str | None]
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class OutboxMark(Base):
    """What rows were made of for a sighting; the sweep looks for those that differ by now."""

    __tablename__ = "outbox_marks"
    __table_args__ = ({"sqlite_with_rowid": False},)

    sighting_id: Mapped[int] = mapped_column(ForeignKey("sightings.id"), primary_key=True, autoincrement=False)
    prediction_id: Mapped[int | None]
    fingerprint: Mapped[str] = mapped_column(String(64))  # of the facts, a reader's word among them


class DestinationState(Base):
    """What the courier knows of a destination. Results from before `since` are not sent to it."""

    __tablename__ = "destination_states"

    name: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]  # when a courier first had it in its settings
    failures: Mapped[int] = mapped_column(server_default=text("0"))  # in a row
    away_since: Mapped[datetime | None]
    next_try: Mapped[datetime | None]
    problem: Mapped[str | None]
    last_sent_at: Mapped[datetime | None]
    seen_at: Mapped[datetime]  # when a courier last had it in its settings


class Installation(Base):
    """The identity of this ledger: one row, from which the UIDs of what it sends are derived."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    identity: Mapped[bytes] = mapped_column(LargeBinary)  # 16 random bytes
