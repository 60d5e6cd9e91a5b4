"""An index that counts a run's steps, and that no planner takes for the one that finds a step by its key.

Older code works beside it.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_steps_tally", "steps")
    op.create_index("ix_steps_tally", "steps", ["run", "state", "kind", "target"])
