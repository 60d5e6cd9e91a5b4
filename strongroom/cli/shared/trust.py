"""Whose signature is believed: this installation's own, the configured, and what is typed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from strongroom.cli.terminal.place import Place, trusted_in_file
from strongroom.container.certificate import Certificate, require_in_time, require_trusted
from strongroom.container.errors import UntrustedSigner
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.errors import UsageError
from strongroom.keys import roles

_FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")
_UNKNOWN = re.compile(rf"Signed by installation ({_FINGERPRINT.pattern})")


def trusted_signers(place: Place, typed: Sequence[str] = ()) -> Signers:
    """Return the fingerprints that count here; one that is typed does, whatever is known of it."""
    for word in typed:
        if not _FINGERPRINT.fullmatch(word):
            raise UsageError("--signer needs a fingerprint.", hint="It is 'sr1:' and 64 hexadecimal digits.")
    return roles.believed(place.role_keys, trusted_in_file(place)).with_named(typed)


def require_trust(signed: SignedManifest, known: Signers) -> None:
    """Refuse a backup whose signer does not count, or not for one of that date."""
    if signed.fingerprint not in known:
        raise explain_unknown_signer(UntrustedSigner(f"Signed by installation {signed.fingerprint}."))
    require_trusted(signed.certificate, known)
    require_in_time(signed.certificate, signed.manifest.created_at, known)


def signers_to_accept(signed: SignedManifest, known: Signers) -> frozenset[str]:
    """Return whose containers and envelopes count for a backup.

    Of an installation that is not known here, its own: a stranger's envelope must not stand in the way.
    """
    return known if signed.fingerprint in known else frozenset({signed.fingerprint})


def doubt_about(signed: SignedManifest, known: Signers) -> str:
    """Say why a backup's signer does not count here; nothing if it does."""
    return doubt_about_certificate(signed.certificate, known, signed.manifest.created_at)


def doubt_about_certificate(certificate: Certificate, known: Signers, made_at: str = "") -> str:
    """Say why a key's signature does not count here; nothing if it does."""
    try:
        require_trusted(certificate, known)
        if made_at:
            require_in_time(certificate, made_at, known)
    except UntrustedSigner as error:
        return error.message
    return ""


def explain_unknown_signer(error: UntrustedSigner, *, what: str = "backup") -> UntrustedSigner:
    """Return the error with the very words that go on from here, if it is the installation that is unknown.

    To name the installation does not help where one of its keys is retired or distrusted.
    """
    found = _UNKNOWN.search(error.message)
    if found is None:
        return error
    return UntrustedSigner(
        f"This {what} is of the installation\n{found[1]}\nwhich is not trusted here.",
        hint="Compare that fingerprint, all of it, with the one in your recovery kit, or with what "
        "'strongroom signers list' says on the machine that made it. If it is the same, repeat with:\n"
        f"--signer {found[1]}",
    )
