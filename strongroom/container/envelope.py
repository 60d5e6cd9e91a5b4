"""Envelopes: the wrapped copies of a file key.

Each container ends in its first one. Later generations, made by rotation, are *detached*:
signed documents of their own, so that no byte of a locked container has to change.
"""

from __future__ import annotations

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.certificate import ENVELOPE_ROLES, Certificate, CertifiedSigner
from strongroom.container.document import DocumentKind
from strongroom.container.errors import Malformed, Stale, Tampered
from strongroom.container.wrapping import FileKeyWrap, WrappingKeyRecord
from strongroom.model import prepare

MAX_ENVELOPE = 256 * 1024
_FRAME = 1024
DETACHED = DocumentKind("envelope", "detached envelope", ENVELOPE_ROLES, MAX_ENVELOPE + _FRAME)


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a container carries: its file key under a wrapping key, that one's record, and its signer's
    certificate."""

    file_key: FileKeyWrap
    wrapping_key: WrappingKeyRecord
    certificate: Certificate


prepare(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """Return the canonical JSON; raise Malformed if the format's limit would be passed."""
    data = canonical.encode(envelope)
    if len(data) > MAX_ENVELOPE:
        raise Malformed("The recipients' stanzas are larger than an envelope may be.")
    return data


def decode_envelope(data: bytes) -> Envelope:
    """Parse a container's envelope strictly."""
    envelope = canonical.decode(data, Envelope, "The envelope")
    envelope.wrapping_key.check()
    envelope.certificate.check_form()
    return envelope


def write_detached(record: WrappingKeyRecord, signer: CertifiedSigner) -> bytes:
    """Return a detached envelope: the record, signed."""
    return document.write(DETACHED, canonical.encode(record), signer)


class SignedEnvelope(Struct, frozen=True):
    """A detached envelope's record, with the certificate of the key that signed it."""

    record: WrappingKeyRecord
    certificate: Certificate


def open_detached(data: bytes, *, trusted: frozenset[str] | None) -> SignedEnvelope:
    """Parse a detached envelope strictly, check its signature, and return the signer's certificate too."""
    parsed = document.parse(DETACHED, data, trusted=trusted)
    body = parsed.body
    if len(body) > MAX_ENVELOPE:
        raise Malformed("The envelope is larger than the format allows.")
    record = canonical.decode(body, WrappingKeyRecord, "The envelope")
    record.check()
    return SignedEnvelope(record, parsed.certificate)


def choose(envelope: Envelope, newer: WrappingKeyRecord | None) -> WrappingKeyRecord:
    """Return the record to unlock: the newer generation if there is one.

    There is no falling back to the older one: its recipients were rotated away.
    """
    own = envelope.wrapping_key
    if newer is None:
        return own
    if newer.id != own.id:
        raise Tampered("The detached envelope is another wrapping key's.")
    if newer.generation <= own.generation:
        raise Stale(f"The detached envelope's generation {newer.generation} is not newer.")
    return newer
