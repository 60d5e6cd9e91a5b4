"""Several hosts: their processes, tokens to join with, signed lists, and which versions understand this."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("schema", sa.String(32), nullable=False),
        sa.Column("heard_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("host", "role", name="pk_processes"),
    )
    op.create_table(
        "joins",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("parcel", sa.Text),
        sa.Column("request", sa.Text),
        sa.Column("used_by", sa.String(255)),
        sa.Column("used_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_joins"),
    )
    op.create_table(
        "signed_lists",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", "number", "sha256", name="pk_signed_lists"),
    )
    op.create_table(
        "understood",
        sa.Column("schema", sa.String(32), nullable=False),
        sa.Column("oldest", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("schema", name="pk_understood"),
    )
