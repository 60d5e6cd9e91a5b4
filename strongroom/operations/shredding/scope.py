"""What may be shredded here: the policies' own word, and the keys that can be destroyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from strongroom.container.stanza import Stanza
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys.destroying import Destroyer
from strongroom.keys.errors import KeyAmbiguous
from strongroom.operations.shredding.errors import NotErasable, OnLegalHold
from strongroom.words import nearest

CONFIRMER = "recover"
"""The role that a person confirms in: its key lies where people restore and rotate, on no pool that
always runs."""


class ErasurePolicy(Struct, frozen=True, kw_only=True):
    """What a policy says of shredding. ``seals_for`` names its keys, those inside an all-of too."""

    erasable: bool
    legal_hold: str = ""
    seals_for: frozenset[str] = frozenset()


class ShredScope(Struct, frozen=True, kw_only=True):
    """The policies of this process's own configuration, and what it can destroy, by key name.

    ``confirmers`` are the installations whose intents count, signed by the role that confirms.
    """

    confirmers: frozenset[str]
    policies: Mapping[str, ErasurePolicy]
    destroyers: Mapping[str, Destroyer]

    def require(self, policy: str) -> ErasurePolicy:
        """Return a policy whose backups may be shredded now.

        Raises:
            ConfigError: there is no such policy.
            NotErasable: it is immutable.
            OnLegalHold: somebody keeps it.
        """
        erasure_policy = self.policies.get(policy)
        if erasure_policy is None:
            raise ConfigError(f"there is no policy '{policy}'", hint=nearest(policy, self.policies))
        if not erasure_policy.erasable:
            raise NotErasable(f"Policy '{policy}' is immutable: its backups are kept for as long as it says.")
        if erasure_policy.legal_hold:
            raise OnLegalHold(f"Policy '{policy}' is under a legal hold: {erasure_policy.legal_hold}")
        return erasure_policy

    def owner(self, stanza: Stanza) -> Destroyer | None:
        """Return what can destroy the key that a stanza is for; ``None`` if nothing here can.

        Raises:
            KeyAmbiguous: several configured keys answer to it.
        """
        destroyers = [destroyer for destroyer in self.destroyers.values() if _owns(destroyer, stanza)]
        if len(destroyers) > 1:  # two servers may call their keys alike: the label has ours
            destroyers = [destroyer for destroyer in destroyers if destroyer.name == stanza.label]
            if len(destroyers) != 1:
                raise KeyAmbiguous(f"several configured keys may be the `{stanza.label}` of a backup")
        return destroyers[0] if destroyers else None

    def sealing(self, name: str) -> Sequence[str]:
        """Return the policies that still seal for a key."""
        return [
            policy for policy, erasure_policy in self.policies.items() if name in erasure_policy.seals_for
        ]


def _owns(destroyer: Destroyer, stanza: Stanza) -> bool:
    """A key that is gone already, or cannot be read, is none that we could destroy."""
    try:
        return destroyer.owns(stanza)
    except StrongroomError as error:
        if error.transient:
            raise
        return False
