"""Room for the longest name of a kind of step. SQLite never minded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("steps", "kind", type_=sa.String(32), existing_nullable=False)
