"""The reading list, leases of readers, and what a word on the page says beside its label"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
rewrites = ("sightings", "screenings")

OPEN = sa.text("waits_for IS NOT NULL")
SENIOR = sa.text("waits_for = 'senior'")
ORDER = ["lane", "need", "place", "sighting_id"]


def upgrade() -> None:
    for view in ("accuracy", "results", "results_history"):  # made anew from `views.py` at the end
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.add_column("reviews", sa.Column("withdrawn_because", sa.Text(), nullable=True))
    op.add_column("reviews", sa.Column("shown", sa.String(8), nullable=True))
    op.add_column("reviews", sa.Column("other_finding", sa.Boolean(), nullable=True))
    op.add_column("reviews", sa.Column("disagreement", sa.String(8), nullable=True))
    op.add_column("reviews", sa.Column("submission", sa.String(64), nullable=True))
    op.create_index("ix_reviews_reviewer", "reviews", ["reviewer", "id"])
    submitted = sa.text("submission IS NOT NULL")
    op.create_index(
        "uq_reviews_submission",
        "reviews",
        ["reviewer", "submission"],
        unique=True,
        sqlite_where=submitted,
        postgresql_where=submitted,
    )
    known = sa.text("patient_key IS NOT NULL")
    op.create_index(
        *("ix_dicom_headers_patient_key", "dicom_headers", ["patient_key"]),
        sqlite_where=known,
        postgresql_where=known,
    )
    op.create_table(
        "reading_leases",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("sighting_id", BigId, nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_reading_leases")),
    )
    op.create_table(
        "reading_list",
        sa.Column("sighting_id", BigId, autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("lane", sa.String(16), nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.Column("need", BigId, nullable=False),
        sa.Column("place", sa.Double(), nullable=False),
        sa.Column("readers_wanted", BigId, nullable=False),
        sa.Column("waits_for", sa.String(8), nullable=True),
        sa.Column("readers", BigId, nullable=False),
        sa.CheckConstraint("waits_for IN ('first', 'second', 'senior')", name=op.f("ck_reading_list_waits_for")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_reading_list_sighting_id")),
        sa.PrimaryKeyConstraint("sighting_id", name=op.f("pk_reading_list")),
    )
    _fill()
    op.create_index("ix_reading_list_order", "reading_list", ORDER, sqlite_where=OPEN, postgresql_where=OPEN)
    of_source = ["source", *ORDER]
    op.create_index("ix_reading_list_of_source", "reading_list", of_source, sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_index(
        "ix_reading_list_seen_at", "reading_list", ["lane", "seen_at"], sqlite_where=OPEN, postgresql_where=OPEN
    )
    op.create_index("ix_reading_list_senior", "reading_list", ORDER, sqlite_where=SENIOR, postgresql_where=SENIOR)
    op.create_index("ix_reading_list_sha256", "reading_list", ["sha256"])


def _fill() -> None:
    """What was screened before: as in a blind source, and read once. What has a word waits for nobody.

    Of audit samples, half stand among the more pressing ones, so that the order tells nothing about them.
    """
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    epoch = "CAST(strftime('%s', s.seen_at) AS REAL)" if is_sqlite else "extract(epoch FROM s.seen_at)"
    drawn = "EXISTS (SELECT 1 FROM audit_samples a WHERE a.source = s.source AND a.sha256 = s.sha256)"
    word = "SELECT 1 FROM reviews w WHERE w.sha256 = s.sha256 AND w.withdrawn_at IS NULL"
    single = "(w.method IS NULL OR w.method <> 'batch')"
    op.execute(
        f"""
INSERT INTO reading_list
    (sighting_id, sha256, source, lane, seen_at, need, place, readers_wanted, waits_for, readers)
SELECT s.id, s.sha256, s.source, coalesce(s.lane, 'routine'), s.seen_at,
    CASE
        WHEN {drawn} THEN CASE WHEN s.id % 2 = 0 THEN 2 ELSE 4 END
        WHEN r.unfamiliar OR abs(r.probability - r.threshold) <= 0.1 OR r.label = 'PNEUMONIA' THEN 2
        ELSE 4
    END,
    {epoch} / 10000000000,
    1,
    CASE
        WHEN {drawn} AND NOT EXISTS ({word} AND w.is_blind AND {single}) THEN 'first'
        WHEN NOT EXISTS ({word}) THEN 'first'
    END,
    (SELECT count(DISTINCT w.reviewer) FROM reviews w WHERE w.sha256 = s.sha256 AND w.withdrawn_at IS NULL)
FROM sightings s JOIN screenings r ON r.sighting_id = s.id AND r.prediction_id = s.prediction_id
WHERE s.state = 'done'"""  # noqa: S608 - our own text
    )
