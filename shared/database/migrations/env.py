"""Alembic's entry point: runs migrations on the connection that `Database.upgrade` hands in."""

from alembic import context
from alembic.migration import MigrationContext

from shared.database import views
from shared.database.tables import Base


def _revision() -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


connection = context.config.attributes["connection"]
# Alembic takes SQLite for a database that cannot roll back a change of schema, and would commit before the views exist.
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    before = _revision()
    context.run_migrations()
    # While nothing changes the views stay, and whatever others built on them.
    if before != _revision() == context.get_head_revision():
        views.drop(connection)
        views.create(connection)
