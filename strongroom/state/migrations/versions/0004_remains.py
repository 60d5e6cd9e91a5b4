"""Runs say whether they left something to sweep, and an index finds those that did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REMAINS = sa.text("runs.remains IS TRUE")


def upgrade() -> None:
    op.add_column("runs", sa.Column("remains", sa.Boolean, nullable=False, server_default=sa.false()))
    # One that was swept meanwhile is swept once more, and leaves nothing then.
    op.execute("UPDATE runs SET remains = TRUE WHERE kind = 'backup' AND facts LIKE '%\"unswept\":[\"%'")
    op.create_index("ix_runs_remains", "runs", ["policy"], sqlite_where=_REMAINS, postgresql_where=_REMAINS)
