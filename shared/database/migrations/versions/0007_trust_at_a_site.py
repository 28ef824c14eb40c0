"""Words that count, draws, operating points, audit samples, shadow scores, drift; what was rolled back or overridden"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
rewrites = ("reviews",)

APPLIED = sa.text("applied_at IS NOT NULL AND retired_at IS NULL")
VERSION = sa.String(64)


def upgrade() -> None:
    for view in ("results", "results_history"):  # made anew from `views.py` at the end
        op.execute(f"DROP VIEW IF EXISTS {view}")
    _make_tables()
    op.create_index(
        "ix_sightings_finished",
        "sightings",
        ["source", "id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.add_column("sightings", sa.Column("override", sa.Text(), nullable=True))
    op.add_column("screenings", sa.Column("operating_point_id", BigId, nullable=True))
    op.add_column("screenings", sa.Column("override", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("override", sa.Text(), nullable=True))
    op.add_column("promotions", sa.Column("undone_at", Instant, nullable=True))
    op.add_column("promotions", sa.Column("undone_because", sa.Text(), nullable=True))
    op.add_column("model_versions", sa.Column("tags", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    for name in ("is_blind", "after_model", "is_senior"):
        op.add_column("reviews", sa.Column(name, sa.Boolean(), nullable=True))
    op.add_column("reviews", sa.Column("method", sa.String(8), nullable=True))
    op.add_column("reviews", sa.Column("withdrawn_at", Instant, nullable=True))
    op.add_column("reviews", sa.Column("withdrawn_by", sa.Text(), nullable=True))
    with op.batch_alter_table("reviews") as reviews:
        reviews.add_column(sa.Column("draw_id", BigId, nullable=True))
        reviews.create_foreign_key("fk_reviews_draw_id", "draws", ["draw_id"], ["id"])
    _mark_what_was_rolled_back()


def _mark_what_was_rolled_back() -> None:
    """The audit log tells which promotions were rollbacks, of the same moment: what was live before counts no more.

    Promotions that came later stay as they are.
    """
    bind = op.get_bind()
    rollbacks = bind.execute(
        sa.text(
            "SELECT p.id, p.version FROM promotions p JOIN audit_log a ON a.at = p.promoted_at "
            "WHERE a.action = 'rollback' AND a.detail LIKE p.version || ':%' ORDER BY p.id"
        )
    ).all()
    for id, back in rollbacks:
        before = sa.text("SELECT version FROM promotions WHERE id < :id ORDER BY id DESC LIMIT 1")
        undone = bind.execute(before, {"id": id}).scalar()
        if undone is None or undone == back:
            continue
        bind.execute(
            sa.text(
                "UPDATE promotions SET undone_at = (SELECT p.promoted_at FROM promotions p WHERE p.id = :id), "
                "undone_because = (SELECT p.reason FROM promotions p WHERE p.id = :id) "
                "WHERE version = :undone AND id < :id AND undone_at IS NULL"
            ),
            {"id": id, "undone": undone},
        )


def _make_tables() -> None:
    op.create_table(
        "draws",
        sa.Column("id", BigId, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model_version", VERSION, nullable=False),
        sa.Column("seed", BigId, nullable=False),
        sa.Column("since", Instant, nullable=True),
        sa.Column("until", Instant, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draws")),
    )
    op.create_table(
        "draw_members",
        sa.Column("draw_id", BigId, nullable=False),
        sa.Column("number", BigId, autoincrement=False, nullable=False),
        sa.Column("sighting_id", BigId, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("prediction_id", BigId, nullable=False),
        sa.Column("stratum", BigId, nullable=False),
        sa.Column("inclusion", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["draw_id"], ["draws.id"], name=op.f("fk_draw_members_draw_id")),
        sa.PrimaryKeyConstraint("draw_id", "number", name=op.f("pk_draw_members")),
        sa.UniqueConstraint("draw_id", "sha256", name=op.f("uq_draw_members_draw_id_sha256")),
    )
    op.create_index("ix_draw_members_sha256", "draw_members", ["sha256"], unique=False)
    op.create_table(
        "audit_samples",
        sa.Column("sighting_id", BigId, autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("prediction_id", BigId, nullable=False),
        sa.Column("label", sa.String(16), nullable=False),
        sa.Column("inclusion", sa.Double(), nullable=False),
        sa.Column("drawn_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_audit_samples_sighting_id")),
        sa.PrimaryKeyConstraint("sighting_id", name=op.f("pk_audit_samples")),
        sa.UniqueConstraint("sha256", "source", name=op.f("uq_audit_samples_sha256_source")),
    )
    op.create_index("ix_audit_samples_source", "audit_samples", ["source", "drawn_at"], unique=False)
    op.create_table(
        "operating_points",
        sa.Column("id", BigId, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model_version", VERSION, nullable=False),
        sa.Column("slope", sa.Double(), nullable=False),
        sa.Column("intercept", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("recall_goal", sa.Double(), nullable=False),
        sa.Column("recall_low", sa.Double(), nullable=False),
        sa.Column("words", BigId, nullable=False),
        sa.Column("positives", BigId, nullable=False),
        sa.Column("draw_id", BigId, nullable=True),
        sa.Column("data_fingerprint", sa.String(64), nullable=True),
        sa.Column("is_provisional", sa.Boolean(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=True),
        sa.Column("applied_at", Instant, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retired_by", sa.Text(), nullable=True),
        sa.Column("retired_at", Instant, nullable=True),
        sa.Column("retired_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["draw_id"], ["draws.id"], name=op.f("fk_operating_points_draw_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operating_points")),
    )
    op.create_index(
        "uq_operating_points_applied",
        "operating_points",
        ["source", "model_version"],
        unique=True,
        sqlite_where=APPLIED,
        postgresql_where=APPLIED,
    )
    op.create_table(
        "shadow_runs",
        sa.Column("id", BigId, nullable=False),
        sa.Column("model_version", VERSION, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_at", Instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["model_version"], ["model_versions.version"], name=op.f("fk_shadow_runs_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_runs")),
    )
    op.create_table(
        "shadow_scores",
        sa.Column("id", BigId, nullable=False),
        sa.Column("shadow_run_id", BigId, nullable=False),
        sa.Column("sighting_id", BigId, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("prediction_id", BigId, nullable=False),
        sa.Column("logit", sa.Double(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("label", sa.String(16), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["shadow_run_id"], ["shadow_runs.id"], name=op.f("fk_shadow_scores_shadow_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_scores")),
        sa.UniqueConstraint("shadow_run_id", "sha256", name=op.f("uq_shadow_scores_shadow_run_id_sha256")),
    )
    op.create_index("ix_shadow_scores_sighting_id", "shadow_scores", ["sighting_id"], unique=False)
    op.create_index("ix_shadow_scores_shadow_run_id", "shadow_scores", ["shadow_run_id", "id"], unique=False)
    op.create_index("ix_shadow_scores_sha256", "shadow_scores", ["sha256"], unique=False)
    op.create_table(
        "drift_references",
        sa.Column("id", BigId, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model_version", VERSION, nullable=False),
        sa.Column("first_sighting_id", BigId, nullable=False),
        sa.Column("images", BigId, nullable=True),
        sa.Column("since", Instant, nullable=True),
        sa.Column("until", Instant, nullable=True),
        sa.Column("sample", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_references")),
        sa.UniqueConstraint(
            *("source", "model_version", "first_sighting_id"),
            name=op.f("uq_drift_references_source_model_version_first_sighting_id"),
        ),
    )
    op.create_table(
        "drift_checks",
        sa.Column("id", BigId, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model_version", VERSION, nullable=False),
        sa.Column("last_sighting_id", BigId, nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.Column("images", BigId, nullable=False),
        sa.Column("reference_images", BigId, nullable=False),
        sa.Column("without_logit", BigId, nullable=False),
        sa.Column("reference_without_logit", BigId, nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("psi", sa.Double(), nullable=True),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("novelty_psi", sa.Double(), nullable=True),
        sa.Column("novelty_p_value", sa.Double(), nullable=True),
        sa.Column("version_psi", sa.Double(), nullable=True),
        sa.Column("shares", sa.Text(), nullable=False),
        sa.Column("alarms", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_checks")),
        sa.UniqueConstraint(
            *("source", "model_version", "last_sighting_id"),
            name=op.f("uq_drift_checks_source_model_version_last_sighting_id"),
        ),
    )
    op.create_table(
        "version_notes",
        sa.Column("id", BigId, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["version"], ["model_versions.version"], name=op.f("fk_version_notes_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_notes")),
    )
