"""Hints beside an image's revision, checks, and what producers say of their sources"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for view in ("results", "results_history"):  # made anew from `views.py` at the end
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.add_column("sightings", sa.Column("hint_host", sa.Text(), nullable=True))
    op.add_column("sightings", sa.Column("hint", sa.Text(), nullable=True))
    op.add_column("sightings", sa.Column("checks", BigId, nullable=False, server_default=sa.text("0")))
    op.execute("ALTER TABLE jobs ADD COLUMN is_check BOOLEAN DEFAULT false NOT NULL")
    op.add_column("jobs", sa.Column("tries", BigId, nullable=False, server_default=sa.text("0")))
    op.add_column("jobs", sa.Column("strikes", BigId, nullable=False, server_default=sa.text("0")))
    with op.batch_alter_table("workers") as batch:
        batch.add_column(sa.Column("token", sa.String(16), nullable=False, server_default=sa.text("''")))
        batch.drop_constraint("pk_workers", type_="primary")
        batch.create_primary_key("pk_workers", ["host", "pid", "token"])
    op.create_table(
        "source_states",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("watched_by", sa.String(16), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("files", BigId, nullable=True),
        sa.Column("unreadable", BigId, nullable=False),
        sa.Column("unreadable_names", sa.Text(), nullable=False),
        sa.Column("links", BigId, nullable=False),
        sa.Column("links_names", sa.Text(), nullable=False),
        sa.Column("ignored", sa.Text(), nullable=False),
        sa.Column("hung", BigId, nullable=False),
        sa.Column("swept_at", Instant, nullable=True),
        sa.Column("seen_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("source", "host", name=op.f("pk_source_states")),
    )
