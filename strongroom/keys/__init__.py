"""Recipients and identities: who can wrap and unwrap a run's wrapping key.

The protocols and the stanza are the file format's own words, so they live with it;
here are their implementations, one a module.
"""

from __future__ import annotations

from typing import Final, Protocol

from strongroom.container.wrapping import Identity, Recipient, Stanza

BY_LABEL: Final = frozenset({"passphrase", "kms", "transit"})
"""Kinds whose stanzas do not carry their recipient's fingerprint, and are known again by their label: a
passphrase has none (whatever could be computed from it would help to guess it), and what a key service
calls a key may change."""


class Opener(Identity, Protocol):
    """An identity that knows its own sealing side."""

    def recipient(self) -> Recipient:
        """Return the recipient that this identity opens for."""
        ...


__all__ = ["BY_LABEL", "Identity", "Opener", "Recipient", "Stanza"]
