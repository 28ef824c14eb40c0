"""DICOM headers, the audit log, training runs, and whether picture and patient are of the kind that a model knows"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0002"
down_revision = "0001"
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
    (SELECT r.label FROM reviews r WHERE r.sha256 = s.sha256 ORDER BY r.created_at DESC, r.id DESC
        LIMIT 1) AS reviewed_label,
    s.size AS size,
    s.seen_at AS seen_at,
    s.finished_at AS finished_at,
    p.created_at AS predicted_at,
    p.unfamiliar_score AS unfamiliar_score,
    p.outside_population AS outside_population,
    d.study_uid AS study_uid,
    d.sop_instance_uid AS sop_instance_uid,
    d.accession_number AS accession_number,
    d.patient_key AS patient_key"""

HISTORY = f"""
CREATE VIEW results_history AS
SELECT
    {COLUMNS},
    CASE WHEN p.id = s.prediction_id THEN 1 ELSE 0 END AS is_result
FROM sightings s
LEFT JOIN predictions p ON p.sha256 = s.sha256
LEFT JOIN dicom_headers d ON d.sha256 = s.sha256
"""  # noqa: S608 - our own text

RESULTS = f"""
CREATE VIEW results AS
SELECT
    {COLUMNS}
FROM sightings s
LEFT JOIN predictions p ON p.id = s.prediction_id
LEFT JOIN dicom_headers d ON d.sha256 = s.sha256
WHERE s.state <> 'superseded'
  AND NOT EXISTS (
    SELECT 1 FROM sightings newer
    WHERE newer.root = s.root AND newer.path = s.path AND newer.id > s.id AND newer.state <> 'superseded'
  )
"""  # noqa: S608 - our own text


def upgrade() -> None:
    op.execute("DROP VIEW IF EXISTS results")
    op.execute("DROP VIEW IF EXISTS results_history")
    op.create_table(
        "audit_log",
        sa.Column("id", BigId, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "dicom_headers",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("accession_number", sa.Text(), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_dicom_headers")),
    )
    op.create_index("ix_dicom_headers_study_uid", "dicom_headers", ["study_uid"], unique=False)
    op.create_index("ix_dicom_headers_accession_number", "dicom_headers", ["accession_number"], unique=False)
    op.create_index("ix_sightings_finished_at", "sightings", ["finished_at"], unique=False)
    op.add_column("predictions", sa.Column("outside_population", sa.Boolean(), nullable=True))
    op.create_table(
        "training_runs",
        sa.Column("id", BigId, nullable=False),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("fence", BigId, nullable=False),
        sa.Column("reviews", BigId, nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("version", sa.String(length=64), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'published', 'rejected', 'failed')", name=op.f("ck_training_runs_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_runs")),
    )
    op.create_index(
        "uq_training_runs_running",
        "training_runs",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.add_column("predictions", sa.Column("unfamiliar_score", sa.Double(), nullable=True))
    op.add_column("promotions", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("model_versions", sa.Column("verdict", sa.Text(), nullable=True))
    op.execute(  # in words of its own: Alembic would make the table anew on SQLite, which its references forbid
        "ALTER TABLE model_versions ADD COLUMN state VARCHAR(16) DEFAULT 'published' NOT NULL "
        "CONSTRAINT ck_model_versions_state CHECK (state IN ('published', 'rejected'))"
    )
    op.execute(HISTORY)
    op.execute(RESULTS)
