"""What can be wrong with sealed bytes, or with what is to be sealed."""

from __future__ import annotations

from typing import Final

from strongroom.errors import CannotOpen, Damaged, Missing, Refused, StrongroomError, Untrusted


class FormatError(StrongroomError):
    """Groups everything that can be wrong with sealed bytes, whatever its family."""


class WrongKey(FormatError, CannotOpen):
    """None of the available keys opens this backup. No damage is known."""

    default_hint = "Nothing was damaged. Try another passphrase, key file or private key."

    def __init__(self, message: str, *, hint: str | None = None, nothing_tried: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.nothing_tried = nothing_tried


class UnsupportedVersion(FormatError, CannotOpen):
    """Another version of Strongroom wrote this file, or it has an unknown suite or flag."""

    default_hint = "Use a Strongroom at least as new as the one that wrote it."


def before_first_release(what: str) -> UnsupportedVersion:
    """Return what refuses the format that was corrected before anybody used it."""
    return UnsupportedVersion(
        f"{what} was written before Strongroom's first release.",
        hint="Nothing was altered: the version that wrote it opens it. Make a new backup with this one.",
    )


class LegacyFormat(FormatError, CannotOpen):
    """This is an old Fernet file. Strongroom reads one only if asked to."""

    default_hint = "Repeat with --legacy to read it, then make a new backup in the current format."


class NotABackup(FormatError, Damaged):
    """The file is not one of Strongroom's backups."""

    default_hint = "Check the path: Strongroom did not write this file."


class Malformed(FormatError, Damaged):
    """The structure breaks the format's rules."""

    default_hint = "Do not trust this copy. Restore from another replica."


class Truncated(FormatError, Damaged):
    """The bytes end before the format says they may."""

    default_hint = "The copy is incomplete. Restore from another replica and run 'strongroom backups repair'."


class Tampered(FormatError, Damaged):
    """Authentication failed: the bytes are not those that were sealed."""

    default_hint = (
        "Keep this copy as evidence and restore from another replica: 'strongroom backups replicas BACKUP' "
        "says "
        "which are good, and --from-target names one."
    )


class MissingPiece(FormatError, Missing):
    """A container or manifest that should be there is missing."""

    default_hint = "Restore from another replica and run 'strongroom backups repair'."


class VerificationFailed(Damaged):
    """What was read back is not what was written, or a live secret is not as it should be."""

    default_hint = "Restore from another replica; run 'strongroom backups repair' for the bad one."


class UntrustedSigner(FormatError, Untrusted):
    """Nobody who is trusted here signed it."""

    default_hint = "Compare the fingerprint with the recovery kit; then give it with --signer."


class TrustListMissing(FormatError, Untrusted):
    """A trust list that must be there is not: a key may be distrusted that would be believed here."""

    default_hint = (
        "Read another target, or put a copy of that file into the folder 'trust' beside the backup. If no "
        "such list was ever made, that key leaked: 'strongroom keys signers distrust'. With --any-signer the "
        "backup is read without knowing who made it."
    )


class Stale(FormatError, Damaged):
    """An older generation or backup was put in a newer one's place."""

    default_hint = "Suspect a rollback. Compare with another target before restoring."


class DuplicateSecret(Refused):
    """Two secrets have the same name. Strongroom does not guess which is right."""

    default_hint = "No backup was made. Remove or rename one of the two, then repeat."


class SecretTooLarge(Refused):
    """A secret is larger than the container format allows."""

    default_hint = "No backup was made. Split the secret or exclude it, then repeat."


DAMAGE: Final = (Malformed, MissingPiece, NotABackup, Stale, Tampered, Truncated, VerificationFailed)
"""What shows that a replica is damaged, foreign, older than the others, or lacks something. A replica that
could not be reached, or that no key opens, may be whole."""
