"""What can go wrong with a source, or be missing in it."""

from __future__ import annotations

from strongroom.errors import Missing, SourceError


class SourceUnavailable(SourceError):
    """The source did not answer. Trying again can help."""

    transient = True


class SourceClosed(SourceError):
    """The source refuses the login, or another server answers in its place."""

    default_hint = "Nothing more was tried. Renew the credential or correct the address, then repeat."


class SourceChanged(SourceError):
    """The source changed during the backup. Trying again reads it afresh."""

    transient = True


class EmptySource(Missing):
    """The source holds no secret at all. No backup was written."""

    default_hint = "An empty backup would hide a loss. Check the source."


class EmptySourceYet(EmptySource):
    """The source holds no secret, and the policy never had a backup. No backup was written."""

    default_hint = (
        "Put the first secret there, then 'strongroom backup --policy POLICY'. If there should be some "
        "already, check the source's address and what its login may list."
    )


class SecretNotFound(Missing):
    """There is no secret of that name."""

    default_hint = "See the names with 'strongroom list'."


class VersionNotFound(Missing):
    """The secret is there, and its value at that version is not."""

    default_hint = "See which versions backups hold: 'strongroom backups history NAME'."
