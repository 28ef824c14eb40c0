"""The audit log is append-only: the database itself refuses to change or delete its rows"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
rewrites = ()

REFUSAL = "audit_log is append-only"
SQLITE = f"""
CREATE TRIGGER audit_log_no_{{deed}} BEFORE {{deed}} ON audit_log
BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
"""
POSTGRESQL = (
    f"""
    CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$
    """,
    """
    CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
    """,
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in [SQLITE.format(deed=deed) for deed in ("UPDATE", "DELETE")] if is_sqlite else POSTGRESQL:
        op.execute(statement)
