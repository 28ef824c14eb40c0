"""${message}"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None
rewrites = ()  # tables of which every row is read and written: `db upgrade --check` counts them


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
