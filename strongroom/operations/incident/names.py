"""The secrets whose values are known to others: sealed, since an incident lies on the targets.

With the names go digests of the values that the sources had when the incident was opened. A secret that was
written after its last backup leaks like any other, and by that backup alone it would pass for changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from strongroom.container import cobblestone
from strongroom.container.derive import KEY_SIZE
from strongroom.container.digests import value_digester
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import FileKeyWrap, WrappingKey, WrappingKeyRecord, unlock
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Identity, Recipient
from strongroom.keys.key_names import recipient_key
from strongroom.model import ListedSecret, Secret
from strongroom.operations.archive.incidents import Suspicion
from strongroom.operations.archive.live_comparison import read_each
from strongroom.operations.errors import NothingOpens
from strongroom.operations.services import Services
from strongroom.sources import Source

_CONTEXT = b"strongroom/v1/incident-names"
_NOT_AS_ASKED = "The sealed names of the incident are not what the format asks for."


class _SealedNames(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    record: WrappingKeyRecord
    file_id: str
    key: FileKeyWrap
    content: str


class Named(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person named. ``values`` has, by source and name, a digest (hex) of the value at that
    time, under a ``key`` (hex) of its own; ``unread`` are the sources that did not answer then."""

    names: tuple[str, ...] = ()
    key: str = ""
    values: Mapping[str, Mapping[str, str]] = {}
    unread: tuple[str, ...] = ()

    def was(self, source: str, name: str, value: bytes) -> bool:
        """Tell whether a secret had this value when the incident was opened."""
        then = self.values.get(source, {}).get(name)
        return then is not None and then == _digest(bytes.fromhex(self.key), source, name, value)


def _digest(key: bytes, source: str, name: str, value: bytes) -> str:
    return value_digester(key, source)(name, 0, value).hex()


def _named(services: Services, names: Sequence[str]) -> Named:
    """Return names with what each source has of them now."""
    key, values, unread = os.urandom(KEY_SIZE), dict[str, dict[str, str]](), list[str]()
    for source in services.sources:
        try:
            values[source] = dict(_values(services.source(source), names, key))
        except StrongroomError:
            unread.append(source)
    return Named(names=tuple(names), key=key.hex(), values=values, unread=tuple(unread))


def _values(source: Source, names: Sequence[str], key: bytes) -> Iterator[tuple[str, str]]:
    for secret in read_each(source, [ListedSecret(name, 0) for name in names]):
        if isinstance(secret, Secret) and (value := secret.current.value) is not None:
            yield secret.name, _digest(key, source.name, secret.name, value.reveal())


def seal(services: Services, names: Sequence[str], *, without: Sequence[str] = ()) -> str:
    """Seal names to the recipients of all policies, except keys that are suspected themselves.

    Raises:
        ConfigError: no policy has another recipient.
    """
    recipients = {recipient_key(recipient): recipient for recipient in _recipients(services)}
    left = [recipient for key, recipient in recipients.items() if key not in without]
    if not left:
        raise ConfigError(
            "no policy has a recipient to which the names could be sealed",
            hint="Nothing was recorded. Names go to the targets, so they are sealed: configure a key first.",
        )
    wrapping = WrappingKey.create(left, may_lack=True)
    key, file_id = os.urandom(KEY_SIZE), os.urandom(32)
    sealed = _SealedNames(
        record=wrapping.record,
        file_id=file_id.hex(),
        key=wrapping.wrap_file_key(key, file_id),
        content=cobblestone.seal(
            key, _ENCODER.encode(_named(services, sorted(names))), context=_CONTEXT
        ).hex(),
    )
    return msgspec.json.encode(sealed).decode()


def _recipients(services: Services) -> Iterator[Recipient]:
    for policy in services.retention():
        yield from services.pinned(policy).recipients


def unseal(services: Services, suspicion: Suspicion) -> Named:
    """Return the secrets that a person named.

    Raises:
        NothingOpens: this process has no key.
        WrongKey: none that it has opens them.
    """
    return unsealed(suspicion, services.identities() if suspicion.names else ())


def unsealed(suspicion: Suspicion, identities: Sequence[Identity]) -> Named:
    """Return the secrets that a person named, by the keys that are at hand. Raises as :func:`unseal`."""
    if not suspicion.names:
        return Named()
    if not identities:
        raise NothingOpens("the names of the secrets of the incident are sealed, and no key is given")
    try:
        sealed = msgspec.json.decode(suspicion.names, type=_SealedNames)
        file_id, content = bytes.fromhex(sealed.file_id), bytes.fromhex(sealed.content)
    except ValueError:
        raise Malformed(_NOT_AS_ASKED) from None
    sealed.record.check()
    key = unlock(sealed.record, identities).unwrap_file_key(sealed.key, file_id)
    try:
        return msgspec.json.decode(cobblestone.open_(key, content, context=_CONTEXT), type=Named)
    except msgspec.MsgspecError:  # no cause: a validation message can quote what it read
        raise Malformed(_NOT_AS_ASKED) from None


_ENCODER = msgspec.json.Encoder(order="deterministic")
