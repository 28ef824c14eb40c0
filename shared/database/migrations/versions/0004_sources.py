"""Sources and revisions in place of roots and inodes; lanes and resolutions of sightings; words on a sighting"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
rewrites = ("sightings", "reviews")

WAITING = sa.text("state = 'waiting'")
ORIGIN = sa.text("origin IS NOT NULL")


def upgrade() -> None:
    for view in ("results", "results_history"):  # made anew from `views.py` at the end
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.drop_index("uq_sightings_file", "sightings")
    op.drop_index("ix_sightings_path", "sightings")
    # In words of their own: on SQLite, Alembic would make the tables anew, which the references to them forbid.
    op.execute("ALTER TABLE sightings RENAME COLUMN root TO source")
    op.execute("ALTER TABLE sightings ADD COLUMN revision TEXT DEFAULT '' NOT NULL")
    op.execute(
        "UPDATE sightings SET revision = "
        "CAST(size AS TEXT) || ':' || CAST(mtime_ns AS TEXT) || ':' || CAST(inode AS TEXT)"
    )
    op.execute("ALTER TABLE sightings DROP COLUMN mtime_ns")
    op.execute("ALTER TABLE sightings DROP COLUMN inode")
    op.execute("ALTER TABLE sightings ADD COLUMN lane VARCHAR(16)")
    op.execute(
        "UPDATE sightings SET lane = (SELECT j.lane FROM jobs j WHERE j.sighting_id = sightings.id "
        "AND j.lane IN ('stat', 'routine', 'background') ORDER BY j.id LIMIT 1)"
    )
    op.execute("ALTER TABLE sightings ADD COLUMN resolution VARCHAR(16)")
    op.execute(
        "UPDATE sightings SET resolution = 'removed' "
        "WHERE state = 'quarantined' AND reason = 'the file was removed before it was read'"
    )
    op.create_index("ix_sightings_path", "sightings", ["source", "path", "id"], unique=False)
    op.create_index(
        "uq_sightings_file",
        "sightings",
        ["source", "path", "revision"],
        unique=True,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index(
        "ix_sightings_origin",
        "sightings",
        ["origin"],
        unique=False,
        sqlite_where=ORIGIN,
        postgresql_where=ORIGIN,
    )
    op.execute("ALTER TABLE jobs RENAME COLUMN delivery TO attempt")
    with op.batch_alter_table("reviews") as reviews:
        reviews.alter_column("sha256", existing_type=sa.String(64), nullable=True)
        reviews.add_column(sa.Column("sighting_id", BigId, nullable=True))
    op.create_index("ix_reviews_sighting_id", "reviews", ["sighting_id"], unique=False)
    op.execute("UPDATE reviews SET sighting_id = (SELECT max(s.id) FROM sightings s WHERE s.sha256 = reviews.sha256)")
