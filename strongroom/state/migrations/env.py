"""What Alembic runs: migrate on the connection that the caller holds, in its transaction."""

from __future__ import annotations

from alembic import context

from strongroom.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by making a new one
)
with context.begin_transaction():
    context.run_migrations()
