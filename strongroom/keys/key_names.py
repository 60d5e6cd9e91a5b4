"""Which key something is sealed to: one name for it, by which stanzas and recipients are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from strongroom.container import canonical
from strongroom.container.stanza import Recipient, Stanza
from strongroom.keys import BY_LABEL, allof


def stanza_key(stanza: Stanza) -> str:
    """Return which key a stanza was wrapped for: its recipient's fingerprint, or type and label."""
    if stanza.type == allof.TYPE:
        return _composed([[stanza_key(way_in) for way_in in leg] for leg in allof.inner(stanza)])
    key = stanza.args.get("key")
    named = isinstance(key, str) and stanza.kind not in BY_LABEL
    return f"{stanza.kind}:{key if named else stanza.label}"


def recipient_key(recipient: Recipient) -> str:
    """Return what :func:`stanza_key` says of a stanza for this recipient."""
    if isinstance(recipient, allof.AllOfRecipient):
        return _composed(
            [[recipient_key(other_recipient) for other_recipient in leg] for leg in recipient.legs]
        )
    by_label = recipient.type in BY_LABEL
    return f"{recipient.type}:{recipient.label}" if by_label else recipient.fingerprint


def _composed(legs: Sequence[Sequence[str]]) -> str:
    return f"{allof.TYPE}:{hashlib.sha256(canonical.encode(legs)).hexdigest()}"
