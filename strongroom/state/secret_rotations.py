"""The newest rotation of each secret: what a process that takes one over has to know."""

from __future__ import annotations

from sqlalchemy import select

from strongroom.model import prepare
from strongroom.state import codec, events, sql, tables
from strongroom.state.engine import Transactions
from strongroom.state.records import RotationState, SecretRotation

prepare(SecretRotation)

EVENTS = {
    RotationState.BEGUN: "secret.rotating",
    RotationState.DONE: "secret.rotated",
    RotationState.FAILED: "secret.rotation-failed",
}


class SecretRotations(Transactions):
    """Rotations of secrets, by the keyed digest of a secret's source and name."""

    def secret_rotation(self, secret: str) -> SecretRotation | None:
        """Return the newest rotation of a secret; ``None`` if there was none."""
        query = select(tables.secret_rotations).where(tables.secret_rotations.c.secret == secret)
        with self._database.reading() as conn:
            row = conn.execute(query).one_or_none()
        return None if row is None else codec.record_of(row, SecretRotation, "rotation of a secret")

    def put_secret_rotation(self, rotation: SecretRotation) -> None:
        """Record how far the rotation of a secret is, in place of what was known of it, and as an event."""
        detail = {"secret": rotation.secret, "rotator": rotation.rotator, "incident": rotation.incident}
        with self._database.writing() as conn:
            row = {**codec.row_of(rotation), "state": rotation.state.value}
            sql.put(conn, tables.secret_rotations, [row])
            events.append(conn, EVENTS[rotation.state], rotation.run, detail)
