"""The first schema"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
rewrites = ()


COLUMNS = """s.id AS sighting_id,
    s.root AS root,
    s.path AS path,
    s.origin AS origin,
    s.state AS state,
    p.label AS label,
    p.probability AS probability,
    p.threshold AS threshold,
    p.model_version AS model_version,
    p.unfamiliar AS unfamiliar,
    s.reason AS reason,
    s.sha256 AS sha256,
    (SELECT r.label FROM reviews r WHERE r.sha256 = s.sha256 ORDER BY r.id DESC LIMIT 1) AS reviewed_label,
    s.size AS size,
    s.seen_at AS seen_at,
    s.finished_at AS finished_at,
    p.created_at AS predicted_at"""

HISTORY = f"""
CREATE VIEW results_history AS
SELECT
    {COLUMNS},
    CASE WHEN p.id = s.prediction_id THEN 1 ELSE 0 END AS is_result
FROM sightings s
LEFT JOIN predictions p ON p.sha256 = s.sha256
"""  # noqa: S608 - our own text

RESULTS = f"""
CREATE VIEW results AS
SELECT
    {COLUMNS}
FROM sightings s
LEFT JOIN predictions p ON p.id = s.prediction_id
WHERE s.state <> 'superseded'
  AND NOT EXISTS (
    SELECT 1 FROM sightings newer
    WHERE newer.root = s.root AND newer.path = s.path AND newer.id > s.id AND newer.state <> 'superseded'
  )
"""  # noqa: S608 - our own text


def upgrade() -> None:
    op.create_table(
        "broker_epoch",
        sa.Column("id", BigId, autoincrement=False, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broker_epoch")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", BigId, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_table(
        "model_versions",
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_model_versions")),
    )
    op.create_table(
        "predictions",
        sa.Column("id", BigId, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        sa.Column("unfamiliar", sa.Boolean(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
        sa.UniqueConstraint("sha256", "model_version", name=op.f("uq_predictions_sha256_model_version")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", BigId, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_sha256", "reviews", ["sha256"], unique=False)

    op.create_table(
        "workers",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", BigId, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("host", "pid", name=op.f("pk_workers")),
    )
    op.create_table(
        "promotions",
        sa.Column("id", BigId, nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("promoted_by", sa.Text(), nullable=False),
        sa.Column("promoted_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["model_versions.version"], name=op.f("fk_promotions_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_table(
        "sightings",
        sa.Column("id", BigId, nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("path_bytes", sa.LargeBinary(), nullable=True),
        sa.Column("size", BigId, nullable=False),
        sa.Column("mtime_ns", BigId, nullable=False),
        sa.Column("inode", BigId, nullable=False),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("prediction_id", BigId, nullable=True),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'quarantined', 'superseded')", name=op.f("ck_sightings_state")
        ),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_sightings_prediction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sightings")),
    )
    op.create_index("ix_sightings_path", "sightings", ["root", "path", "id"], unique=False)
    op.create_index("ix_sightings_sha256", "sightings", ["sha256"], unique=False)
    op.create_index("ix_sightings_state", "sightings", ["state"], unique=False)
    op.create_index(
        "uq_sightings_file",
        "sightings",
        ["root", "path", "size", "mtime_ns", "inode"],
        unique=True,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )

    op.create_table(
        "jobs",
        sa.Column("id", BigId, nullable=False),
        sa.Column("sighting_id", BigId, nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("delivery", BigId, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("not_before", Instant(), nullable=True),
        sa.Column("deaths", BigId, nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint("lane IN ('stat', 'suspect', 'routine', 'background')", name=op.f("ck_jobs_lane")),
        sa.CheckConstraint("state IN ('unsent', 'sent', 'claimed', 'finished')", name=op.f("ck_jobs_state")),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_jobs_sighting_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["state", "lane", "id"],
        unique=False,
        sqlite_where=sa.text("state <> 'finished'"),
        postgresql_where=sa.text("state <> 'finished'"),
    )
    op.create_index("ix_jobs_sighting_id", "jobs", ["sighting_id"], unique=False)
    op.execute(HISTORY)
    op.execute(RESULTS)
