"""Recipients and identities: who can wrap and unwrap a run's wrapping key.

The protocols and the stanza are the file format's own words, so they live with it;
here are their implementations, one a module.
"""

from __future__ import annotations

from typing import Protocol

from strongroom.container.stanza import Identity, Recipient, Stanza


class Opener(Identity, Protocol):
    """An identity that knows its own sealing side."""

    def recipient(self) -> Recipient:
        """Return the recipient that this identity opens for."""
        ...


__all__ = ["Identity", "Opener", "Recipient", "Stanza"]
