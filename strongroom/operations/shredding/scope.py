"""What may be shredded here: the policies' own word, and the keys that can be destroyed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from strongroom.container.stanza import Stanza
from strongroom.errors import ConfigError, KeyAmbiguous, NotErasable, OnLegalHold, StrongroomError
from strongroom.keys.destroying import Destroyer
from strongroom.words import nearest

CONFIRMER = "recover"
"""The role that a person confirms in: its key lies where people restore and rotate, on no pool that
always runs."""


class ErasurePolicy(Struct, frozen=True, kw_only=True):
    """What a policy says of shredding. ``seals_for`` names its keys, those inside an all-of too."""

    erasable: bool
    legal_hold: str = ""
    seals_for: frozenset[str] = frozenset()


class Scope(Struct, frozen=True, kw_only=True):
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
        found = self.policies.get(policy)
        if found is None:
            raise ConfigError(f"there is no policy '{policy}'", hint=nearest(policy, self.policies))
        if not found.erasable:
            raise NotErasable(f"Policy '{policy}' is immutable: its backups are kept for as long as it says.")
        if found.legal_hold:
            raise OnLegalHold(f"Policy '{policy}' is under a legal hold: {found.legal_hold}")
        return found

    def owner(self, stanza: Stanza) -> Destroyer | None:
        """Return what can destroy the key that a stanza is for; ``None`` if nothing here can.

        Raises:
            KeyAmbiguous: several configured keys answer to it.
        """
        found = [one for one in self.destroyers.values() if _owns(one, stanza)]
        if len(found) > 1:  # two servers may call their keys alike: the label has ours
            found = [one for one in found if one.name == stanza.label]
            if len(found) != 1:
                raise KeyAmbiguous(f"several configured keys may be the `{stanza.label}` of a backup")
        return found[0] if found else None

    def sealing(self, name: str) -> Sequence[str]:
        """Return the policies that still seal for a key."""
        return [policy for policy, one in self.policies.items() if name in one.seals_for]


def _owns(destroyer: Destroyer, stanza: Stanza) -> bool:
    """A key that is gone already, or cannot be read, is none that we could destroy."""
    try:
        return destroyer.owns(stanza)
    except StrongroomError as error:
        if error.transient:
            raise
        return False
