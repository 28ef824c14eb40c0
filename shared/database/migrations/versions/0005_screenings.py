"""Predictions by revision of the decoder; what differs by source and day in a table of its own"""

import sqlalchemy as sa
from alembic import op

from shared.database.tables import BigId, Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
rewrites = ("sightings", "predictions")

MOVED = ("probability", "threshold", "label", "unfamiliar")


def upgrade() -> None:
    for view in ("results", "results_history"):  # made anew from `views.py` at the end
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.create_table(
        "screenings",
        sa.Column("sighting_id", BigId, autoincrement=False, nullable=False),
        sa.Column("prediction_id", BigId, autoincrement=False, nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("label", sa.String(16), nullable=False),
        sa.Column("unfamiliar", sa.Boolean(), nullable=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["sighting_id"], ["sightings.id"], name=op.f("fk_screenings_sighting_id")),
        sa.PrimaryKeyConstraint("sighting_id", "prediction_id", name=op.f("pk_screenings")),
        sqlite_with_rowid=False,
    )
    # Every prediction of a content was shown in the history of each of its sightings, and stays there.
    op.execute(
        "INSERT INTO screenings (sighting_id, prediction_id, probability, threshold, label, unfamiliar, created_at) "
        "SELECT s.id, p.id, p.probability, p.threshold, p.label, p.unfamiliar, p.created_at "
        "FROM sightings s JOIN predictions p ON p.sha256 = s.sha256 WHERE s.prediction_id IS NOT NULL"
    )
    op.create_index("ix_screenings_prediction_id", "screenings", ["prediction_id", "sighting_id"], unique=False)
    with op.batch_alter_table("predictions") as predictions:
        predictions.drop_constraint("uq_predictions_sha256_model_version", type_="unique")
        for column in MOVED:
            predictions.drop_column(column)
        predictions.add_column(sa.Column("decoder_revision", BigId, nullable=False, server_default=sa.text("0")))
        predictions.add_column(sa.Column("decoded_with", sa.Text(), nullable=True))
        predictions.add_column(sa.Column("logit", sa.Double(), nullable=True))
        predictions.create_unique_constraint(
            "uq_predictions_sha256_model_version_decoder_revision", ["sha256", "model_version", "decoder_revision"]
        )
    op.create_index("ix_predictions_decoder_revision", "predictions", ["decoder_revision"], unique=False)
    op.execute("ALTER TABLE jobs ADD COLUMN if_differs BOOLEAN DEFAULT false NOT NULL")
