"""The view `worklist`: `Database.upgrade` makes the views anew from their current text"""

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
rewrites = ()


def upgrade() -> None:
    """No table changes."""
