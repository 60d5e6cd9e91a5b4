"""Making a trust list: the installation key's word on every key that counts for nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from strongroom.container.canonical import printable
from strongroom.container.signing import Signer, Signers
from strongroom.container.trust_list import (
    MAX_REASON,
    Distrusted,
    TrustList,
    counting,
    sign_list,
    with_lists,
)
from strongroom.errors import UsageError
from strongroom.keys import kept_lists, rolelist
from strongroom.keys.rolelist import RoleKeyList
from strongroom.timestamps import rfc3339


def check_reason(reason: str) -> None:
    """Refuse a reason that no list can hold, before anything is done. Raises UsageError."""
    if not printable(reason, MAX_REASON):
        raise UsageError(
            f"A reason has at most {MAX_REASON:,} characters, all of them printable.",
            hint="It goes onto every target, signed.",
        )


def chain_of(folder: Path) -> Signers:
    """Return the fingerprints under which this installation signs lists, its successors' too."""
    return with_lists(Signers(rolelist.read(folder).fingerprints), kept_lists.read(folder))


def named_successor(folder: Path, installation: Signer, successor: Signer) -> bool:
    """Tell whether an installation key's newest list names another one as the next."""
    own = kept_lists.files_of(folder, [installation.fingerprint])
    return any(signed_index.statement.successor == successor.public.hex() for _, signed_index in own)


def next_list(folder: Path, installation: Signer, *, now: datetime, successor: str | None = None) -> int:
    """Make the installation's next trust list, keep it here, and return its number.

    It holds what the one before has, and every key that is distrusted here. The caller holds the folder's
    lock.

    Args:
        successor: the public half, in hex, of the installation key that this one is handed over to.
    """
    listed = rolelist.read(folder)
    kept = kept_lists.read(folder)
    chain = chain_of(folder)
    distrusted = {key.key: key for key in (*_here(listed), *counting(listed.fingerprints, kept))}
    own = [
        signed_index.statement
        for signed_index in kept
        if signed_index.fingerprint == installation.fingerprint
    ]
    before = max(own, key=lambda trust_list: trust_list.number, default=None)
    numbers = [signed_index.statement.number for signed_index in kept if signed_index.fingerprint in chain]
    made = TrustList(
        number=1 + max(numbers, default=0),
        distrusted=tuple(distrusted[key] for key in sorted(distrusted)),
        successor=successor or (before.successor if before else None),
        made_at=rfc3339(now),
    )
    kept_lists.put(folder, [sign_list(made, installation)])
    return made.number


def _here(listed: RoleKeyList) -> list[Distrusted]:
    return [
        Distrusted(key=key.certificate.key, since=key.distrusted, reason=key.reason)
        for keys in listed.roles.values()
        for key in keys
        if key.distrusted
    ]
