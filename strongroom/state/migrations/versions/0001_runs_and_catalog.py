"""Runs, steps, slots, events and the catalog."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state = 'active'")
_UNSETTLED = sa.text("state IN ('ready', 'sent', 'running')")


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("policy", sa.String(255), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("closing", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.String(255)),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("request_id", name="uq_runs_request_id"),
    )
    op.create_index("ix_runs_created_at", "runs", ["created_at"])
    op.create_index("ix_runs_active", "runs", ["id"], sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)
    _create_steps()
    op.create_table(
        "slots",
        sa.Column("policy", sa.String(255), nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("policy", "due_at", name="pk_slots"),
    )
    _create_events()
    _create_catalog()


def _create_steps() -> None:
    op.create_table(
        "steps",
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("piece", sa.Integer, nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("silent", sa.Integer, nullable=False),
        sa.Column("dispatch", sa.BigInteger, nullable=False),
        sa.Column("sends", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.Double),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("owner", sa.String(255)),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_expires", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("run", "kind", "piece", "target", name="pk_steps"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_steps_run"),
    )
    op.create_index("ix_steps_tally", "steps", ["run", "kind", "target", "state"])
    op.create_index("ix_steps_started", "steps", ["kind", "started_at"])
    op.create_index(
        "ix_steps_unsettled", "steps", ["run"], sqlite_where=_UNSETTLED, postgresql_where=_UNSETTLED
    )
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.bulk_insert(counters, [{"name": "dispatch", "value": 0}])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64)),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_run", "events", ["run", "id"])
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_heartbeats"),
    )


def _create_catalog() -> None:
    op.create_table(
        "catalog",
        sa.Column("backup", sa.String(64), nullable=False),
        sa.Column("policy", sa.String(255), nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("values", sa.Boolean, nullable=False),
        sa.Column("secrets", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("containers", sa.Integer, nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("backup", name="pk_catalog"),
    )
    op.create_index("ix_catalog_created_at", "catalog", ["created_at"])
    op.create_table(
        "replicas",
        sa.Column("backup", sa.String(64), nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("good", sa.Boolean, nullable=False),
        sa.Column("verified", sa.String(16)),
        sa.Column("verified_at", sa.Double),
        sa.PrimaryKeyConstraint("backup", "target", name="pk_replicas"),
        sa.ForeignKeyConstraint(["backup"], ["catalog.backup"], name="fk_replicas_backup"),
    )
