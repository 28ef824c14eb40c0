"""What leaves the house: the outbox, what was looked at for it, its destinations, and the identity of the ledger"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
rewrites = ()

IS_OPEN = sa.text("state IN ('waiting', 'sending')")


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", BigId, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("edition", BigId, nullable=False),
        sa.Column("event", sa.String(32), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("sighting_id", BigId, nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("replaces", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("is_urgent", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", BigId, server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", Instant, nullable=True),
        sa.Column("not_before", Instant, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("settled_at", Instant, nullable=True),
        sa.CheckConstraint("kind IN ('report', 'capture', 'event')", name=op.f("ck_outbox_kind")),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'failed', 'superseded')", name=op.f("ck_outbox_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint(
            *("destination", "kind", "subject", "edition"),
            name=op.f("uq_outbox_destination_kind_subject_edition"),
        ),
    )
    op.create_index(
        "ix_outbox_open",
        "outbox",
        ["destination", "id"],
        unique=False,
        sqlite_where=IS_OPEN,
        postgresql_where=IS_OPEN,
    )
    for column in ("sighting_id", "sha256", "settled_at"):
        op.create_index(f"ix_outbox_{column}", "outbox", [column], unique=False)
    op.create_table(
        "outbox_marks",
        sa.Column("sighting_id", BigId, autoincrement=False, nullable=False),
        sa.Column("prediction_id", BigId, nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_outbox_marks_sighting_id")),
        sa.PrimaryKeyConstraint("sighting_id", name=op.f("pk_outbox_marks")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "destination_states",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("failures", BigId, server_default=sa.text("0"), nullable=False),
        sa.Column("away_since", Instant, nullable=True),
        sa.Column("next_try", Instant, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("last_sent_at", Instant, nullable=True),
        sa.Column("seen_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destination_states")),
    )
    op.create_table(
        "installation",
        sa.Column("id", BigId, autoincrement=False, nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
