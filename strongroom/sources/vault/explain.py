"""Makes source errors of what went wrong between here and the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.errors import SourceError
from strongroom.sources.errors import SourceClosed, SourceUnavailable
from strongroom.vault.failures import Denied, LoginRefused, NotVault, VaultError

GO_ON = (
    "Whatever else was restored stays. Put this right, or leave it out with --exclude; then repeat the "
    "command: a restore goes on where it stopped."
)
"""What to do about a secret that could not be restored."""
_READING = (
    "Compare the token's policies with ops/vault/*.hcl, or leave out what it may not see: 'exclude_mounts' "
    "takes mounts and whole namespaces."
)
_WRITING = "The token's policies lack something of ops/vault/restore*.hcl. "


@contextmanager
def explained(source: str, doing: str, *, writing: bool = False, whole: bool = False) -> Iterator[None]:
    """Say what failed while doing what. The server's own words are left out: they may quote values.

    Args:
        writing: whether a restore is at work, which has another way to go on than a backup.
        whole: whether nothing else can be done where this is denied.
    """
    try:
        yield
    except Denied as denied:
        kind = SourceClosed if whole else SourceError
        raise kind(
            f"source '{source}': no right to {doing}: {denied.message} (status 403)",
            hint=_WRITING + GO_ON if writing else _READING,
        ) from None
    except VaultError as error:
        kind = SourceUnavailable if error.transient else SourceError
        hint = GO_ON if writing else error.hint
        if isinstance(error, LoginRefused | NotVault):
            kind = SourceClosed
            hint = f"{error.hint} {GO_ON}" if writing and error.hint else hint
        raise kind(f"source '{source}' could not {doing}: {error.message}", hint=hint) from None
