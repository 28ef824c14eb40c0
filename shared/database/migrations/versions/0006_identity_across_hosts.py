"""A revision that all hosts see, with hints beside it; checks; and what producers say of their sources"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0006"
down_revision = "0005"
rewrites = ("sightings", "jobs", "workers")
branch_labels = None
depends_on = None

WAITING = sa.text("state = 'waiting'")
# A revision was size:mtime_ns:inode, and is size:second, rounded down; whole numbers are divided towards zero.
# Times after the year 2262 had been wrapped into 64 bits, and are those before 1900: a file that old is rarer still.
SECOND = """CASE
    WHEN mtime_ns >= 0 THEN mtime_ns / 1000000000
    WHEN mtime_ns < -2208988800000000000 THEN 18446744073 + (mtime_ns + 709551616) / 1000000000
        - CASE WHEN (mtime_ns + 709551616) % 1000000000 < 0 THEN 1 ELSE 0 END
    ELSE (mtime_ns + 1) / 1000000000 - 1
END"""
REVISIONS = {
    "sqlite": f"""
        UPDATE sightings SET revision = (
            SELECT size || ':' || {SECOND} FROM (
                SELECT substr(revision, 1, instr(revision, ':') - 1) AS size, CAST(
                    substr(revision, instr(revision, ':') + 1) AS INTEGER
                ) AS mtime_ns
            )
        ) WHERE revision GLOB '[0-9]*:[-0-9]*:[-0-9]*' AND revision NOT GLOB '*[^-0-9:]*'
    """,  # noqa: S608 - our own text
    "postgresql": f"""
        UPDATE sightings SET revision = parts.size || ':' || {SECOND} FROM (
            SELECT id AS sighting, split_part(revision, ':', 1) AS size,
                split_part(revision, ':', 2)::bigint AS mtime_ns
            FROM sightings WHERE revision ~ '^[0-9]+:-?[0-9]{{1,19}}:-?[0-9]+$'
        ) parts WHERE parts.sighting = sightings.id
    """,  # noqa: S608 - our own text
}
"""On SQLite, a CAST reads a number as far as it goes: to the next colon."""
# Several states of one file may wait: where they are one now, the newest is read, and its job asks for it.
REPLACED = """state = 'waiting' AND EXISTS (
    SELECT 1 FROM sightings newer WHERE newer.state = 'waiting' AND newer.source = sightings.source
    AND newer.path = sightings.path AND newer.revision = sightings.revision AND newer.id > sightings.id
)"""
GIVE_WAY = (
    f"""
    UPDATE jobs SET state = 'finished', lease_until = NULL
    WHERE state <> 'finished' AND sighting_id IN (SELECT id FROM sightings WHERE {REPLACED})
    """,  # noqa: S608 - our own text
    f"UPDATE sightings SET state = 'superseded', finished_at = seen_at WHERE {REPLACED}",  # noqa: S608
)


def upgrade() -> None:
    for view in ("results", "results_history"):  # made anew from `views.py` at the end
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.add_column("sightings", sa.Column("hint_host", sa.Text(), nullable=True))
    op.add_column("sightings", sa.Column("hint", sa.Text(), nullable=True))
    op.add_column("sightings", sa.Column("checks", BigId, nullable=False, server_default=sa.text("0")))
    op.drop_index("uq_sightings_file", "sightings")
    op.execute(REVISIONS[op.get_bind().dialect.name])
    for statement in GIVE_WAY:
        op.execute(statement)
    op.create_index(
        "uq_sightings_file",
        "sightings",
        ["source", "path", "revision"],
        unique=True,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
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
        sa.Column("remark", sa.Text(), nullable=True),
        sa.Column("files", BigId, nullable=True),
        sa.Column("unreadable", BigId, nullable=False),
        sa.Column("unreadable_names", sa.Text(), nullable=False),
        sa.Column("links", BigId, nullable=False),
        sa.Column("links_names", sa.Text(), nullable=False),
        sa.Column("ignored", sa.Text(), nullable=False),
        sa.Column("hung", BigId, nullable=False),
        sa.Column("swept_at", Instant, nullable=True),
        sa.Column("began_at", Instant, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("source", "host", name=op.f("pk_source_states")),
    )
    op.create_table(
        "source_arrivals",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("last_image_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_source_arrivals")),
    )
    op.execute("INSERT INTO source_arrivals SELECT source, max(seen_at) FROM sightings GROUP BY source")
