"""Alembic's entry: migrates over the connection it is given, in that connection's transaction."""

from alembic import context

from storage.catalogue.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
