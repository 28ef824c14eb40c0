"""Alembic's entry point: runs migrations on the connection that `Database.upgrade` hands in."""

from alembic import context

from shared.database.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
