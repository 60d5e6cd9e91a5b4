"""What a blob container has to refuse, asked of the service itself on an object of the caller's own.

Where the account has no version-level immutability (and on the emulator) nothing of locks
can be shown. What a credential may do is read off a SAS token, which states it; what a role
grants to an identity is not shown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from azure.core.exceptions import AzureError
from azure.storage.blob import ImmutabilityPolicy

from strongroom.errors import StrongroomError
from strongroom.targets.azure.refusals import NOT_AZURE, code_of, status_of
from strongroom.targets.probing import ProbeCheck, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.storage.blob import BlobClient, ContainerClient

NEEDED = "rl"
"""Rights of a SAS token (letters of its ``sp``) that everybody needs: read, list."""
USEFUL = "cwdi"
"""Create, write (for blocks), delete, set immutability: needed by some, no harm to locked blobs."""
_LETTERS = {
    "a": "add",
    "c": "create",
    "d": "delete",
    "e": "execute",
    "f": "filter by tags",
    "i": "set immutability",
    "l": "list",
    "m": "move",
    "o": "change owners",
    "p": "change permissions",
    "r": "read",
    "t": "tags",
    "w": "write",
    "x": "delete versions",
    "y": "delete for good",
}
_REFUSED = frozenset({403, 409, 412})


def overwriting(blob: BlobClient) -> ProbeCheck:
    """Put an object over one that is there, under the condition that there is none."""
    return _tried("write over an object", lambda: blob.upload_blob(b"", overwrite=False), _OVERWRITTEN)


def ending_a_lock(blob: BlobClient) -> Iterator[ProbeCheck]:
    """Shorten and lift an object's lock, and remove the version that it holds."""
    soon = ImmutabilityPolicy(expiry_time=datetime.now(UTC) + timedelta(minutes=1), policy_mode="Unlocked")
    yield _tried("shorten a lock", lambda: blob.set_immutability_policy(soon), _LOCK_IS_NONE)
    yield _tried("lift a lock", blob.delete_immutability_policy, _LOCK_IS_NONE)
    yield _tried("remove a locked object", blob.delete_blob, _LOCK_IS_NONE)


def locking(container: ContainerClient, *, wanted: bool) -> ProbeCheck:
    """Look whether single blobs can be locked."""
    what = "the container has version-level immutability"
    try:
        there = bool(container.get_container_properties().immutable_storage_with_versioning_enabled)
    except (AzureError, *NOT_AZURE) as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_said(error))
    if there:
        return ProbeCheck(what=what)
    return ProbeCheck(
        what=what, outcome=ProbeResult.MISSING if wanted else ProbeResult.ADVICE, detail=_UNLOCKED
    )


def of_credential(credential: object) -> Iterator[ProbeCheck]:
    """Compare what a credential may do with what is needed, as far as it states that."""
    what = "rights of the credential"
    if isinstance(credential, dict):
        yield ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=_ACCOUNT_KEY)
    elif isinstance(credential, str):
        yield from _of_token(what, set(parse_qs(credential).get("sp", [""])[0]))
    else:
        yield ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_IDENTITY)


def _of_token(what: str, has: set[str]) -> Iterator[ProbeCheck]:
    missing = sorted(set(NEEDED) - has)
    excess = sorted(has - set(NEEDED) - set(USEFUL))
    if missing:
        yield ProbeCheck(what=what, outcome=ProbeResult.MISSING, detail=_words(missing))
    if excess:
        yield ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=_words(excess))
    if not missing and not excess:
        yield ProbeCheck(what=what)


def _words(letters: list[str]) -> str:
    return ", ".join(f"{_LETTERS.get(letter, 'unknown')} ({letter})" for letter in letters)


def _tried(what: str, attempt: Callable[[], object], otherwise: str) -> ProbeCheck:
    try:
        attempt()
    except (AzureError, *NOT_AZURE) as error:
        if status_of(error) in _REFUSED:
            return ProbeCheck(what=what)
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=_said(error))
    except StrongroomError as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
    return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=otherwise)


def _said(error: Exception) -> str:
    """Only status and code: the library's own text can quote a token."""
    return f"the service answered {status_of(error) or 'nothing'} {code_of(error)}".rstrip()


_OVERWRITTEN = "the service does not hold to If-None-Match"
_LOCK_IS_NONE = "the lock does not hold: anyone with this credential can destroy backups"
_UNLOCKED = "turn on versioning and version-level immutability: see ops/azure"
_ACCOUNT_KEY = "an account key may do everything, change locks included; use a SAS token or an identity"
_IDENTITY = "what a role grants to an identity is not stated here; compare it with ops/azure"
