"""The names of secrets whose values are known to others: sealed, since an incident lies on the targets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from strongroom.container import cobblestone
from strongroom.container.derive import KEY_SIZE
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import FileKeyWrap, WrappingKey, WrappingKeyRecord, unlock
from strongroom.errors import ConfigError
from strongroom.keys import Recipient
from strongroom.keys.key_names import recipient_key
from strongroom.operations.archive.incidents import Suspicion
from strongroom.operations.errors import NothingOpens
from strongroom.operations.services import Services

_CONTEXT = b"strongroom/v1/incident-names"


class _Sealed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    record: WrappingKeyRecord
    file_id: str
    key: FileKeyWrap
    content: str


def seal(services: Services, names: Sequence[str], *, without: Sequence[str] = ()) -> str:
    """Seal names to the recipients of all policies, except keys that are suspected themselves.

    Raises:
        ConfigError: no policy has another recipient.
    """
    recipients = {recipient_key(one): one for one in _recipients(services)}
    left = [one for key, one in recipients.items() if key not in without]
    if not left:
        raise ConfigError(
            "no policy has a recipient to which the names could be sealed",
            hint="Nothing was recorded. Names go to the targets, so they are sealed: configure a key first.",
        )
    wrapping = WrappingKey.create(left, may_lack=True)
    key, file_id = os.urandom(KEY_SIZE), os.urandom(32)
    sealed = _Sealed(
        record=wrapping.record,
        file_id=file_id.hex(),
        key=wrapping.wrap_file_key(key, file_id),
        content=cobblestone.seal(key, msgspec.json.encode(sorted(names)), context=_CONTEXT).hex(),
    )
    return msgspec.json.encode(sealed).decode()


def _recipients(services: Services) -> Iterator[Recipient]:
    for policy in services.retention():
        yield from services.pinned(policy).recipients


def unseal(services: Services, suspicion: Suspicion) -> tuple[str, ...]:
    """Return the names that a person gave.

    Raises:
        NothingOpens: this process has no key.
        WrongKey: none that it has opens them.
    """
    if not suspicion.names:
        return ()
    if not (identities := services.identities()):
        raise NothingOpens("the names of the secrets of the incident are sealed, and no key is given")
    try:
        sealed = msgspec.json.decode(suspicion.names, type=_Sealed)
    except msgspec.MsgspecError:
        raise Malformed("The sealed names of the incident are not what the format asks for.") from None
    sealed.record.check()
    key = unlock(sealed.record, identities).unwrap_file_key(sealed.key, bytes.fromhex(sealed.file_id))
    return tuple(msgspec.json.decode(cobblestone.open_(key, bytes.fromhex(sealed.content), context=_CONTEXT)))
