"""Whose signature is believed: this installation's own, the configured, and what is typed."""

from __future__ import annotations

import re
from argparse import _ActionsContainer as Arguments
from collections.abc import Sequence

from cli.place import Place, trusted_in_file
from strongroom.container.signing import fingerprint
from strongroom.errors import UntrustedSigner, UsageError
from strongroom.keys import roles

MANIFEST_SIGNERS = ("control", "recover")
"""The roles whose signature makes a manifest: a backup's, and an undo file's."""

_FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")


def add_signer_argument(parser: Arguments) -> None:
    """Let a command be told whose backups to believe."""
    parser.add_argument(
        "--signer",
        metavar="FINGERPRINT",
        action="append",
        default=[],
        help="trust this signer too (sr1:…, from the recovery kit); repeatable",
    )


def trusted(place: Place, typed: Sequence[str] = ()) -> frozenset[str]:
    """Return the fingerprints that count here."""
    for word in typed:
        if not _FINGERPRINT.fullmatch(word):
            raise UsageError("--signer needs a fingerprint.", hint="It is 'sr1:' and 64 hexadecimal digits.")
    return frozenset({*typed, *trusted_in_file(place), *own(place)})


def own(place: Place) -> frozenset[str]:
    """Return the fingerprints of this installation itself; none if it has no keys yet."""
    known = roles.trusted(place.role_keys)
    return frozenset(fingerprint(known[role]) for role in MANIFEST_SIGNERS if role in known)


def explained(error: UntrustedSigner) -> UntrustedSigner:
    """Return the error with the very words that go on from here."""
    found = _FINGERPRINT.search(error.message)
    if found is None:
        return error
    return UntrustedSigner(
        f"This backup is signed by\n{found[0]}\nand nobody here trusts that signer.",
        hint="Compare that fingerprint, all of it, with the one in your recovery kit, or with what "
        "'strongroom backup-info' says on the machine that made the backup. If it is the same, repeat with:\n"
        f"--signer {found[0]}",
    )
