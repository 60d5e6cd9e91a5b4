"""Destroying a key of KMS: deletion is scheduled, and until its date somebody can cancel it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from strongroom.container.stanza import Identity, Stanza
from strongroom.keys.destroying import Fate, KeyVersionState
from strongroom.keys.errors import KeyNotFound
from strongroom.keys.kms import TYPE, KmsIdentity, arn_of
from strongroom.keys.kms.service import Kms
from strongroom.timestamps import rfc3339

_WAITS = frozenset({"PendingDeletion", "PendingReplicaDeletion"})


class KmsDestroyer:
    """A key of AWS KMS. Its own rotations cannot be destroyed apart, so it goes as a whole."""

    renews = False

    def __init__(self, name: str, kms: Kms) -> None:
        self.name = name
        self._kms = kms

    def owns(self, stanza: Stanza) -> bool:
        return stanza.type == TYPE and self._kms.may_be(arn_of(stanza))

    def takes(self, version: int, other: int) -> bool:
        return version == other

    def look(self, version: int) -> KeyVersionState:  # noqa: ARG002 - a key has one
        """Ask KMS for the key's state."""
        where = f"{self._kms.options.region} {self._kms.options.key_id}"
        try:
            found = self._kms.state()
        except KeyNotFound as error:
            return KeyVersionState(fate=Fate.GONE, where=where, absent=True, answer={"said": error.code})
        state = str(found.get("KeyState", ""))
        return KeyVersionState(
            fate=Fate.PENDING if state in _WAITS else Fate.THERE,
            where=where,
            until=_date(found.get("DeletionDate")) if state in _WAITS else "",
            doubts=tuple(_doubts(found)),
            answer={"arn": str(found.get("Arn", "")), "state": state, "origin": str(found.get("Origin", ""))},
        )

    def prepare(self, version: int) -> None:
        """Do nothing: the policy has to name another key first."""

    def destroy(self, version: int) -> None:
        """Schedule the deletion, as soon as KMS lets."""
        if self.look(version).fate is Fate.THERE:
            self._kms.schedule_deletion()

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - as above
        return KmsIdentity(self._kms)


def _doubts(found: dict[str, Any]) -> list[str]:
    doubts = []
    if found.get("MultiRegion"):
        doubts.append("the key has replicas in other regions, or can have: each opens by itself")
    if found.get("Origin") not in (None, "AWS_KMS"):
        doubts.append("the key's material came from outside of KMS")
    return doubts


def _date(value: object) -> str:
    """Of a key that waits for its replicas KMS tells no day."""
    return rfc3339(value) if isinstance(value, datetime) else ""
