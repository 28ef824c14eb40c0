"""Evidence maps beside predictions, and novelty limits of operating points"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
rewrites = ()


def upgrade() -> None:
    op.add_column("predictions", sa.Column("evidence", sa.LargeBinary(), nullable=True))
    op.add_column("operating_points", sa.Column("novelty_limit", sa.Double(), nullable=True))
