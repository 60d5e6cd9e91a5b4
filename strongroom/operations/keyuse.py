"""Which key opens what: stanzas and recipients by one public name."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.container.stanza import Recipient, Stanza
from strongroom.container.wrapping import WrappingKeyRecord


def stanza_fingerprint(stanza: Stanza) -> str:
    """Return the fingerprint of the recipient that a stanza was wrapped for.

    Every kind whose key has a public name puts it into ``key``; a passphrase has none, for
    whatever could be computed from it would help to guess it, so its label has to do.
    """
    key = stanza.args.get("key")
    return f"{stanza.type}:{key if isinstance(key, str) else stanza.label}"


def fingerprints_of(record: WrappingKeyRecord) -> frozenset[str]:
    """Return the fingerprints of all who can open a record."""
    return frozenset(stanza_fingerprint(stanza) for stanza in record.stanzas)


def is_for(record: WrappingKeyRecord, recipients: Sequence[Recipient]) -> bool:
    """Tell whether a record opens for exactly these recipients.

    Two passphrases of one label look the same, so a new passphrase needs a new label.
    """
    return fingerprints_of(record) == frozenset(recipient.fingerprint for recipient in recipients)
