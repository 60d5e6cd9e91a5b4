"""What a Vault server refuses, as errors of a target.

The server's own words are not repeated: they may quote what it was sent.
"""

from __future__ import annotations

from http import HTTPStatus

from strongroom.errors import TargetError
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets.errors import TargetUnavailable
from strongroom.vault.failures import (
    NO_SPACE,
    TOO_LARGE,
    Denied,
    LoginRefused,
    NotVault,
    Unconfirmed,
    VaultError,
    VaultSealed,
)


def typed(error: VaultError, *, titled: str, doing: str, writing: bool) -> TargetError:
    """Return the error of ours that says what happened and what to do next."""
    start = f"{titled} could not {doing}: {error.message}"
    if error.reason == TOO_LARGE or error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TargetError(f"{titled} could not {doing}: the entry is too large for it", hint=_CHUNK)
    if error.reason == NO_SPACE or error.status == HTTPStatus.INSUFFICIENT_STORAGE:
        return TargetFull(f"{titled} could not {doing}: its storage has no room left")
    if isinstance(error, Denied):
        return (TargetReadOnly if writing else TargetError)(f"{start} (status 403)", hint=_RIGHTS)
    if isinstance(error, LoginRefused | NotVault):
        return TargetError(start, hint=error.hint)
    if error.transient or isinstance(error, Unconfirmed):
        hint = _SEALED if isinstance(error, VaultSealed) else error.hint
        return TargetUnavailable(start, hint=hint, retry_after=_retry_after(error))
    return TargetError(start, hint=error.hint)


def _retry_after(error: VaultError) -> float | None:
    said = error.headers.get("retry-after", "")
    return float(said) if said.isdecimal() else None


_CHUNK = (
    "Nothing half-written was left. Lower 'chunk_bytes' of this target: the server's storage limits one "
    "entry (1 MiB on Raft, 512 KiB on Consul), and text takes a third more than the bytes."
)
_RIGHTS = "Compare the token's policies with ops/vault/kv-target.hcl."
_SEALED = "The backups there are safe. Unseal the server, then run 'strongroom runs retry'."
