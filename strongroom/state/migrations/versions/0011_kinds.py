"""Runs by policy and kind, and events by kind: what metrics ask at each scrape, without reading all rows."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_runs_policy", "runs", ["policy", "kind", "created_at"])
    op.create_index("ix_events_kind", "events", ["kind", "at"])
