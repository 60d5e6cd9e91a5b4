"""What can go wrong with keys, their files and their key services: HSM, Vault transit, KMS."""

from __future__ import annotations

from strongroom.errors import Alarm, CannotOpen, ConfigError, KeyServiceError, Untrusted


class KeyServiceUnavailable(KeyServiceError):
    """The key service did not answer, or was unplugged. Trying again can help."""

    transient = True
    default_hint = "No backup is damaged. Bring the HSM, Vault or KMS back, or use another recipient."


class KeyNotFound(KeyServiceError):
    """The key service answers and has no such key or version."""

    default_hint = "Compare label and version with the recovery kit. Never make a new key in its place."


class KeyAmbiguous(KeyServiceError):
    """Several keys have this label and version. Strongroom does not guess which is right."""

    default_hint = "Give one of them another id in the token, then repeat."


class KeyDenied(KeyServiceError):
    """The key service does not allow this use of the key."""

    default_hint = "No backup is damaged. Have the right granted, then repeat."


class KeyDisabled(KeyServiceError):
    """The key is switched off."""

    default_hint = "No backup is damaged. Switch the key on again, or use another recipient."


class KeyPendingDeletion(KeyServiceError):
    """The key will be deleted soon. What is sealed to it alone cannot be opened after that."""

    default_hint = "Cancel the deletion now, then re-wrap the backups before deleting it."


class KeyVersionTooOld(KeyServiceError):
    """The key service no longer decrypts with this version of the key."""

    default_hint = "Lower the key's minimum version, re-wrap what still needs the old one, then raise it."


class PinRefused(KeyServiceError):
    """The token refused the PIN, or Strongroom did not try it so that the token is not locked."""

    default_hint = "Strongroom does not try it again. Correct the PIN, then log in once by hand."


class PinLocked(KeyServiceError):
    """The token locked its PIN after too many wrong ones."""

    default_hint = "The keys are still there. The token's security officer has to set a new PIN."


class MechanismMissing(KeyServiceError):
    """The token cannot do what this kind of recipient needs."""

    default_hint = "Use another kind of recipient with this token: see docs/how-to/choose-recipients.md."


class TokenFull(KeyServiceError):
    """The token has no room and did not keep the new key."""

    default_hint = "Do not use a key of that name. Make room in the token, then make the key again."


class KeyExists(KeyServiceError):
    """The key exists already. Strongroom never overwrites a key."""

    default_hint = "Backups sealed to the key need it as it is. Take the next version."


class KeyNotDestroyed(KeyServiceError):
    """The key service did not destroy the key."""

    default_hint = "The backups still open. Have the right to destroy granted, or do it by hand, then resume."


class RoleNotHere(ConfigError):
    """This host has no key of the role that counts: it was not given the role, or the key counts no more."""


class WrongPassphrase(CannotOpen):
    """A key's file is sealed by another passphrase than the one that was given."""

    default_hint = (
        "No backup is damaged. Give the passphrase that the file was made with, or use another key."
    )


class PassphraseNeeded(ConfigError):
    """A key's file is sealed by a passphrase, and nobody is here to type it."""

    default_hint = (
        "No backup is damaged. Give --passphrase-file FILE, or set STRONGROOM_PASSPHRASE_FILE where this "
        "runs (for workers: where 'strongroom up' starts)."
    )


class NotDerived(KeyServiceError):
    """This machine could not derive a passphrase's key: it has not the memory, or its OpenSSL no scrypt."""

    transient = True
    default_hint = "No backup is damaged. Repeat where more memory is free, or on another machine."


class KeyUnproven(Alarm):
    """A key failed its check, or was not proven for too long. Backups may depend on it."""

    default_hint = "Run 'strongroom check keys', or have the key's custodian answer a challenge."


class SignatureRefused(Untrusted):
    """An SSH signature is forged, damaged, or by a key that does not count. Nothing was done on its word."""

    default_hint = "Sign again with a key of the allowed signers: 'strongroom approvals approve ID'."


class HostRemoved(Untrusted):
    """This host was thrown out of the installation. Every other host refuses what it sends."""

    default_hint = "To have it join again: move its 'keys' folder elsewhere, and join with a new token."


class TokenRefused(Untrusted):
    """A token to join with, or what came with it, counts for nothing here."""

    default_hint = "Make another where the cluster was begun: strongroom cluster token --role ROLE."
