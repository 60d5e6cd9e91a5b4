"""The tables, as SQLAlchemy Core. A change here needs a migration; a test compares them.

Times are seconds since the epoch by the database's clock. JSON is text, written and read
by :mod:`strongroom.state.codec`, so that a row means the same in both databases.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    false,
    text,
)

from strongroom.state.sql import partial_index

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

runs: Final = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("policy", String(255), nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("closing", Boolean, nullable=False),
    Column("request_id", String(255), unique=True),
    Column("facts", Text, nullable=False),
    Column("error", Text),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    # Whether it ended with something left on stage or target that is still to be swept.
    Column("remains", Boolean, nullable=False, server_default=false()),
    # Whether it waits for its turn: nothing of it was ever given out.
    Column("queued", Boolean, nullable=False, server_default=false()),
    # Whether it is so old that its steps were folded, or were looked at and are kept.
    Column("folded", Boolean, nullable=False, server_default=false()),
    # Ranges of steps that follow and are not inserted yet: too many for one transaction.
    Column("unmade", Text),
    Index("ix_runs_created_at", "created_at"),
    Index("ix_runs_finished_at", "finished_at"),
    Index("ix_runs_policy", "policy", "kind", "created_at"),
    # All that is counted of runs is in it, so that no row is read for that.
    Index("ix_runs_counts", "created_at", "policy", "kind", "state"),
)

ACTIVE: Final = text("runs.state = 'active'")
"""Spelt out, not bound: neither planner uses a partial index for a parameter."""

partial_index("ix_runs_active", runs.c.id, where=ACTIVE)

REMAINS: Final = text("runs.remains IS TRUE")
"""Runs that left something; spelt out, as above."""

partial_index("ix_runs_remains", runs.c.policy, where=REMAINS)

QUEUED: Final = text("runs.queued IS TRUE AND runs.state = 'active'")
"""Runs that wait for their turn; spelt out, as above."""
BEGUN: Final = text("runs.queued IS FALSE AND runs.state = 'active'")
"""Runs that have begun and not ended; spelt out, as above."""
UNFOLDED: Final = text("runs.folded IS FALSE AND runs.finished_at IS NOT NULL")
"""Ended runs whose steps were not folded; spelt out, as above."""

partial_index("ix_runs_queued", runs.c.kind, runs.c.created_at, where=QUEUED)
partial_index("ix_runs_begun", runs.c.kind, where=BEGUN)
partial_index("ix_runs_unfolded", runs.c.finished_at, where=UNFOLDED)

steps: Final = Table(
    "steps",
    metadata,
    Column("run", String(64), ForeignKey("runs.id"), nullable=False),
    Column("kind", String(32).with_variant(String(16), "sqlite"), nullable=False),  # SQLite holds no length
    Column("piece", Integer, nullable=False),
    Column("target", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    # Starts in all, and starts since the last recorded outcome: a step that was refused
    # politely twenty times is not one that kills its worker.
    Column("attempts", Integer, nullable=False),
    Column("silent", Integer, nullable=False),
    Column("dispatch", BigInteger, nullable=False),
    Column("sends", Integer, nullable=False),
    Column("sent_at", Double),
    Column("not_before", Double, nullable=False),
    Column("owner", String(255)),
    Column("fence", Integer, nullable=False),
    Column("lease_expires", Double),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("result", Text),
    Column("error", Text),
    # Since when it waits for room, or for a place that does not answer: starts that do not count.
    Column("waits_since", Double),
    PrimaryKeyConstraint("run", "kind", "piece", "target"),
    # The state before what makes a key with the run: where PostgreSQL counted its rows before a run of very
    # many steps came, it would find one step by this index, among all others of its kind.
    Index("ix_steps_tally", "run", "state", "kind", "target"),
    Index("ix_steps_started", "kind", "started_at"),
)

UNSETTLED: Final = text("steps.state IN ('ready', 'sent', 'running')")
"""Steps that may still change; spelt out for the partial index, as above."""

partial_index("ix_steps_unsettled", steps.c.run, steps.c.kind, steps.c.state, steps.c.piece, where=UNSETTLED)

folded_steps: Final = Table(
    "folded_steps",
    metadata,
    Column("run", String(64), ForeignKey("runs.id"), nullable=False),
    # A few records that stand for all steps of a run that ended long ago.
    Column("steps", Text, nullable=False),
    PrimaryKeyConstraint("run"),
)

counters: Final = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

slots: Final = Table(
    "slots",
    metadata,
    Column("policy", String(255), nullable=False),
    Column("due_at", Double, nullable=False),
    Column("run", String(64), nullable=False),
    PrimaryKeyConstraint("policy", "due_at"),
)

events: Final = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("run", String(64)),
    Column("detail", Text, nullable=False),
    Column("chain", String(64), nullable=False, server_default=""),
    Index("ix_events_run", "run", "id"),
    Index("ix_events_kind", "kind", "at"),
    # AUTOINCREMENT: an id is never given out twice, even if the newest rows were cut off.
    sqlite_autoincrement=True,
)

catalog: Final = Table(
    "catalog",
    metadata,
    Column("backup", String(64), primary_key=True),
    Column("policy", String(255), nullable=False),
    Column("source", String(255), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("values", Boolean, nullable=False),
    Column("secrets", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("containers", Integer, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Index("ix_catalog_created_at", "created_at"),
)

replicas: Final = Table(
    "replicas",
    metadata,
    Column("backup", String(64), ForeignKey("catalog.backup"), nullable=False),
    Column("target", String(255), nullable=False),
    Column("good", Boolean, nullable=False),
    Column("verified", String(16)),
    Column("verified_at", Double),
    PrimaryKeyConstraint("backup", "target"),
)

BAD: Final = text("replicas.good IS FALSE")
"""Replicas that are not good; spelt out for the partial index, as above."""

partial_index("ix_replicas_bad", replicas.c.backup, where=BAD)

container_checks: Final = Table(
    "container_checks",
    metadata,
    # No foreign key: what was read of a backup that is gone is no fact about anything.
    Column("backup", String(64), nullable=False),
    Column("target", String(255), nullable=False),
    # Its number in the manifest; -1 is the manifest itself, with its envelopes.
    Column("piece", Integer, nullable=False),
    Column("depth", String(16), nullable=False),
    Column("checked_at", Double, nullable=False),
    PrimaryKeyConstraint("backup", "target", "piece"),
)

pauses: Final = Table(
    "pauses",
    metadata,
    Column("entry", String(255), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", String(255), nullable=False),
    Column("since", Double, nullable=False),
    # None: until somebody resumes it.
    Column("until", Double),
)

secret_rotations: Final = Table(
    "secret_rotations",
    metadata,
    # A keyed digest of source and name: names of secrets are not kept here.
    Column("secret", String(64), primary_key=True),
    Column("run", String(64), nullable=False),
    Column("rotator", String(255), nullable=False),
    Column("incident", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("began_at", Double, nullable=False),
    Column("expected", Integer),
    # Keyed digests of values; empty where there was none to know.
    Column("was", String(64), nullable=False),
    Column("becomes", String(64), nullable=False),
)

access_marks: Final = Table(
    "access_marks",
    metadata,
    Column("log", String(64), nullable=False),
    # A digest of the file's beginning: rotation changes its name.
    Column("head", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("tail", String(64), nullable=False),
    PrimaryKeyConstraint("log", "head"),
)

heartbeats: Final = Table(
    "heartbeats",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("at", Double, nullable=False),
)

leases: Final = Table(
    "leases",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("renewed_at", Double, nullable=False),
)

alerts: Final = Table(
    "alerts",
    metadata,
    # A digest of who is told together, and by whose look.
    Column("audience", String(64), nullable=False),
    Column("key", String(255), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("weight", Integer, nullable=False),
    Column("what", Text, nullable=False),
    Column("first_seen", Double, nullable=False),
    Column("sent_at", Double),
    Column("resolved_at", Double),
    PrimaryKeyConstraint("audience", "key"),
)

processes: Final = Table(
    "processes",
    metadata,
    Column("host", String(255), nullable=False),
    Column("role", String(32), nullable=False),
    Column("version", String(64), nullable=False),
    # The newest schema that its code knows.
    Column("schema", String(32), nullable=False),
    Column("heard_at", Double, nullable=False),
    PrimaryKeyConstraint("host", "role"),
)

joins: Final = Table(
    "joins",
    metadata,
    Column("id", String(64), primary_key=True),
    # Of a key that only the token gives: who reads this row can use no token.
    Column("digest", String(64), nullable=False),
    Column("made_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    # Sealed under a key that only the token gives; removed once the host has joined.
    Column("parcel", Text),
    Column("request", Text),
    Column("used_by", String(255)),
    Column("used_at", Double),
)

signed_lists: Final = Table(
    "signed_lists",
    metadata,
    Column("kind", String(16), nullable=False),
    Column("number", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    # Base64. Each host checks the signature itself: this table only carries.
    Column("content", Text, nullable=False),
    PrimaryKeyConstraint("kind", "number", "sha256"),
)

understood: Final = Table(
    "understood",
    metadata,
    Column("schema", String(32), primary_key=True),
    # The oldest schema whose code can work with that one.
    Column("oldest", String(32), nullable=False),
)
