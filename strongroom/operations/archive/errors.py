"""Why something is not shredded, or not brought back."""

from __future__ import annotations

from strongroom.errors import Refused


class BackupShredded(Refused):
    """The backup was shredded, or is being shredded. Strongroom does not bring it back."""

    default_hint = "Nothing was written. 'strongroom keys shred --status' shows what was destroyed, and when."


class NotErasable(Refused):
    """The policy's backups may not be shredded, or what was named cannot be destroyed."""

    default_hint = "Nothing was changed. See docs/how-to/shred-a-backup.md for what makes a policy erasable."


class OnLegalHold(Refused):
    """A legal hold keeps the backup from being shredded."""

    default_hint = (
        "Nothing was changed. The person who set the hold lifts it: 'strongroom backups hold release', or "
        "policies.NAME.legal_hold."
    )


class KeyShared(Refused):
    """The key that would be destroyed also opens backups that should stay."""

    default_hint = (
        "Nothing was changed. Shred those too, or rotate first: to the key's next version with "
        "'strongroom keys rotate POLICY --renew', or to another key."
    )
