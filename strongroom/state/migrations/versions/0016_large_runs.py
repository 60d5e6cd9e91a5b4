"""What a very large run has still to insert, and an index for the steps of one that wait.

Older code works beside it: it goes on with the steps that are there, and fails a run of which it is the only
one to see that more were to come.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UNSETTLED = "state IN ('ready', 'sent', 'running')"


def upgrade() -> None:
    op.add_column("runs", sa.Column("unmade", sa.Text))
    op.drop_index("ix_steps_unsettled", "steps")
    where = sa.text(UNSETTLED)
    columns = ["run", "kind", "state", "piece"]
    op.create_index("ix_steps_unsettled", "steps", columns, sqlite_where=where, postgresql_where=where)
