"""An index of the replicas that are not good: they are asked for every minute, and are few."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BAD = sa.text("replicas.good IS FALSE")


def upgrade() -> None:
    op.create_index("ix_replicas_bad", "replicas", ["backup"], sqlite_where=_BAD, postgresql_where=_BAD)
