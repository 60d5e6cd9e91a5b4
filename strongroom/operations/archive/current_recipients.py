"""Who can open a backup now, in words: a manifest names those of back then only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.container.errors import FormatError
from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.container.stanza import Stanza
from strongroom.keys import BY_LABEL, allof
from strongroom.operations.archive.envelopes import EnvelopePlace, find_newest, wrapping_keys

_WORDS = {
    "hpke": "the holder of the private key {}",
    "keyfile": "anyone with the key file {}",
    "passphrase": "anyone who knows the passphrase {}",
    "quorum": "the custodians of the quorum {}",
    "transit": "anyone who may decrypt with the transit key {}",
    "kms": "anyone who may decrypt with the KMS key {}",
    "pkcs11-ec": "the HSM key {}",
    "pkcs11-aes": "the HSM key {}",
}
_CURVES = {0x0010: "P-256", 0x0011: "P-384", 0x0020: "X25519"}
"""What falls to a quantum computer, as RFC 9180 numbers it."""


def readers_now(place: EnvelopePlace, manifest: Manifest, *, trusted: frozenset[str] | None) -> Manifest:
    """Return a manifest with the recipients that its wrapping keys' newest records open for.

    A manifest names those of the time of sealing. Where no newer envelope lies, they are it still.
    """
    keys = wrapping_keys(manifest)
    newest = [find_newest(place, key, trusted=trusted).newest for key in keys]
    stanzas = [stanza for record in newest if record is not None for stanza in record.stanzas]
    if not stanzas:
        return manifest
    try:
        now = [_reader(stanza, manifest.recipients) for stanza in stanzas]
    except FormatError:  # a stranger's, maybe: it must not keep anybody from looking
        return manifest
    recipients = manifest.recipients if None in newest else ()
    return replace(manifest, recipients=tuple(dict.fromkeys((*recipients, *now))))


def _reader(stanza: Stanza, recipients: Iterable[ManifestRecipient]) -> ManifestRecipient:
    """Return who opens a stanza: in the manifest's words if it names them, else in those of the stanza."""
    fingerprint = _fingerprint(stanza)
    for recipient in recipients:
        by_label = stanza.kind in BY_LABEL and (recipient.type, recipient.name) == (stanza.kind, stanza.label)
        if by_label or recipient.fingerprint == fingerprint:
            return recipient
    return ManifestRecipient(
        name=stanza.label,
        type=stanza.kind,
        fingerprint=fingerprint,
        post_quantum=_post_quantum(stanza),
        describes=_describe(stanza),
    )


def _fingerprint(stanza: Stanza) -> str:
    if stanza.type == allof.TYPE:
        legs = [[_fingerprint(way_in) for way_in in leg] for leg in allof.inner(stanza)]
        return f"{stanza.type}:{hashlib.sha256(canonical.encode(legs)).hexdigest()}"
    key = stanza.args.get("key")
    return f"{stanza.kind}:{key if isinstance(key, str) else stanza.label}"


def _describe(stanza: Stanza) -> str:
    if stanza.type == allof.TYPE:
        legs = (" or ".join(map(_describe, leg)) for leg in allof.inner(stanza))
        return f"all of these together: {'; and '.join(legs)}"
    name = f"`{stanza.label}`" if stanza.label else str(stanza.args.get("key", ""))[:16]
    words = _WORDS.get(stanza.kind, f"{stanza.kind} {{}}").format(name).rstrip()
    version = f" v{stanza.args.get('version')}" if stanza.type.startswith("pkcs11-") else ""
    return f"{words}{version}{_strength(stanza)}"


def _strength(stanza: Stanza) -> str:
    if not _post_quantum(stanza):
        return f" ({_CURVES[int(stanza.args['kem'])]}, not post-quantum)"
    return " (hybrid post-quantum)" if stanza.type == "hpke" else ""


def _post_quantum(stanza: Stanza) -> bool:
    if stanza.type == allof.TYPE:
        return any(all(map(_post_quantum, leg)) for leg in allof.inner(stanza))
    return stanza.args.get("kem") not in _CURVES
