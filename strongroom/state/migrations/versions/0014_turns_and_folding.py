"""Runs that wait for their turn, the steps of runs of long ago in a few rows, and indexes for a long record.

Older code works beside it: it begins each run at once, and shows no steps of a run that was folded.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("queued", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("folded", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "folded_steps",
        sa.Column("run", sa.String(64), sa.ForeignKey("runs.id", name="fk_folded_steps_run"), nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_folded_steps"),
    )
    if op.get_context().dialect.name == "postgresql":
        _grant()
    for name, columns, rows in (
        ("ix_runs_queued", ["kind", "created_at"], "runs.queued IS TRUE AND runs.state = 'active'"),
        ("ix_runs_begun", ["kind"], "runs.queued IS FALSE AND runs.state = 'active'"),
        ("ix_runs_unfolded", ["finished_at"], "runs.folded IS FALSE AND runs.finished_at IS NOT NULL"),
    ):
        where = sa.text(rows.replace("runs.", ""))
        op.create_index(name, "runs", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_runs_finished_at", "runs", ["finished_at"])
    op.create_index("ix_runs_counts", "runs", ["created_at", "policy", "kind", "state"])


def _grant() -> None:
    """Let who was granted the steps do the same with what is kept of them: every step asks for it, and who
    grants may come to it hours after the first host was upgraded. Who removes no step only reads."""
    conn = op.get_bind()
    rights = """
        SELECT role.rolname, bool_or(granted.privilege_type = 'DELETE')
        FROM pg_class AS class, aclexplode(class.relacl) AS granted JOIN pg_roles AS role
        ON role.oid = granted.grantee
        WHERE class.oid = to_regclass('steps') AND role.oid <> class.relowner GROUP BY role.rolname
    """
    for name, works in conn.execute(sa.text(rights)).all():
        verbs = "SELECT, INSERT, UPDATE, DELETE" if works else "SELECT"
        role = conn.dialect.identifier_preparer.quote_identifier(name)
        conn.exec_driver_sql(f"GRANT {verbs} ON folded_steps TO {role}")
