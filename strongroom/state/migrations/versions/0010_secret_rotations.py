"""Secrets that are given a new value: on record before, and after."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secret_rotations",
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("rotator", sa.String(255), nullable=False),
        sa.Column("incident", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("expected", sa.Integer),
        sa.Column("was", sa.String(64), nullable=False),
        sa.Column("becomes", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("secret", name="pk_secret_rotations"),
    )
