"""Recipients and identities: who can wrap and unwrap a run's wrapping key.

The protocols and the stanza are the file format's own words, so they live with it;
here are their implementations, one a module.
"""

from __future__ import annotations

from strongroom.container.stanza import Identity, Recipient, Stanza

__all__ = ["Identity", "Recipient", "Stanza"]
