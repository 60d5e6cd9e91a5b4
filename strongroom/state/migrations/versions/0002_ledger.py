"""Events carry the digest that chains each to the one before it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from strongroom.state.catalog import digest

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_events = sa.table(
    "events",
    sa.column("id", sa.BigInteger),
    sa.column("at", sa.Double),
    sa.column("kind", sa.Text),
    sa.column("run", sa.Text),
    sa.column("detail", sa.Text),
    sa.column("chain", sa.Text),
)
_SOME = 1000


def upgrade() -> None:
    op.add_column("events", sa.Column("chain", sa.String(64), nullable=False, server_default=""))
    conn, chain, after = op.get_bind(), "", 0
    columns = _events.c
    query = sa.select(columns.id, columns.at, columns.kind, columns.run, columns.detail)
    while rows := conn.execute(query.where(columns.id > after).order_by(columns.id).limit(_SOME)).all():
        for row in rows:
            chain = digest(chain, at=row.at, kind=row.kind, run=row.run, detail=row.detail)
            conn.execute(sa.update(_events).where(columns.id == row.id).values(chain=chain))
        after = rows[-1].id
