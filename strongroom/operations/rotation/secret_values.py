"""New values of one secret: made, put in at the source with check-and-set, offered until accepted."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from strongroom.container.errors import VerificationFailed
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion
from strongroom.operations.engine.services import SecretRotator, Services, Shape
from strongroom.operations.errors import SecretNotRotated
from strongroom.sources import Destination, SecretChange
from strongroom.sources.errors import SecretNotFound
from strongroom.state.records import SecretRotation
from strongroom.times import rfc3339

# -- Making values, and putting one where a secret has it: in the whole value, or a field of a JSON object


_DOMAIN = b"strongroom/v1/secret-rotation/"
_Object = dict[str, msgspec.Raw]


def make_value(shape: Shape) -> SecretBytes:
    """Make a value at random. One that lacks a class of characters is not taken: many systems refuse it."""
    every = "".join(shape.classes)
    while True:
        value = "".join(secrets.choice(every) for _ in range(shape.length))
        if all(set(some) & set(value) for some in shape.classes):
            return SecretBytes(value.encode())


def identify(key: bytes, *, source: str, name: str) -> str:
    """Return the keyed digest by which the record knows a secret."""
    return _keyed(key, b"name", source.encode(), name.encode())


def digest_value(key: bytes, *, secret: str, value: SecretBytes) -> str:
    """Return the keyed digest by which the record knows a value of a secret."""
    return _keyed(key, b"value", secret.encode(), value.reveal())


def _keyed(key: bytes, *parts: bytes) -> str:
    text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.new(key, _DOMAIN + text, hashlib.sha256).hexdigest()


def value_in(secret: Secret, version: SecretVersion, field: str) -> SecretBytes:
    """Return the value that a rotation is about: the whole one, or the field of a JSON object.

    Raises:
        SourceError: there is no such place, or it is not clear which field is meant.
    """
    found = _object_of(version)
    if found is None:
        _refuse_field(secret, field)
        return _whole(secret, version)
    return SecretBytes(_text(secret, found, _field_of(secret, found, field)).encode())


def count_others(version: SecretVersion) -> int:
    """Return how many fields a rotation of one field leaves as they are."""
    return max(0, len(_object_of(version) or {}) - 1)


def with_value(secret: Secret, value: SecretBytes, field: str) -> SecretVersion:
    """Return a secret's current version with another value in its place; all else of it stays as it is."""
    version = secret.current
    found = _object_of(version)
    if found is None:
        _refuse_field(secret, field)
        return replace(version, value=value, number=version.number + 1)
    place = _field_of(secret, found, field)
    changed = {**found, place: msgspec.Raw(msgspec.json.encode(value.reveal().decode()))}
    encoded = SecretBytes(msgspec.json.encode(changed))
    return replace(version, value=encoded, number=version.number + 1)


def _whole(secret: Secret, version: SecretVersion) -> SecretBytes:
    if version.value is None:
        raise SourceError(f"the current version of secret '{secret.name}' has no value to replace", hint="")
    if version.media is Media.BINARY:
        raise SourceError(
            f"the value of secret '{secret.name}' is binary, and a text would not do in its place",
            hint="Nothing was changed. Use a rotator of kind 'command', or give it a new value by hand.",
        )
    return version.value


def _object_of(version: SecretVersion) -> _Object | None:
    """Return a value that is a JSON object, its members as they are spelt; ``None`` for any other."""
    if version.value is None or version.media is Media.BINARY:
        return None
    try:
        return msgspec.json.decode(version.value.reveal(), type=_Object)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _field_of(secret: Secret, found: _Object, field: str) -> str:
    if field in found:
        return field
    if field:
        raise SourceError(
            f"the value of secret '{secret.name}' has no field '{field}'",
            hint="Nothing was changed. Correct the rotator's 'field', or 'include'.",
        )
    if len(found) != 1:
        raise SourceError(
            f"the value of secret '{secret.name}' has {len(found)} fields, and the rotator names none",
            hint='Nothing was changed. Name it: field = "…" in the rotator\'s settings.',
        )
    return next(iter(found))


def _text(secret: Secret, found: _Object, field: str) -> str:
    try:
        return msgspec.json.decode(found[field], type=str)
    except msgspec.MsgspecError:
        problem = SourceError(
            f"field '{field}' of secret '{secret.name}' is no text",
            hint="Nothing was changed. Correct the rotator's 'field', or 'include'.",
        )
    raise problem


def _refuse_field(secret: Secret, field: str) -> None:
    if field:
        raise SourceError(
            f"the value of secret '{secret.name}' is no JSON object, so it has no field '{field}'",
            hint="Nothing was changed. Correct the rotator's 'field', or 'include'.",
        )


# -- One secret at its source: looking at it, and giving it another value with check-and-set ----


class SecretPlace:
    """A secret at its source, and the field of it that a rotation is about."""

    def __init__(self, services: Services, *, source: str, name: str, rotator: SecretRotator) -> None:
        self.writer = rotator.destination or services.writer(source)
        self.destination = services.destination(self.writer)
        self._key = services.digest_key
        self.id = identify(services.digest_key, source=source, name=name)
        self.source = source
        self.name = name
        self.field = rotator.field

    def look(self) -> Secret:
        """Return the secret as it is now. Raises SecretNotFound."""
        (secret,) = self.destination.read([ListedSecret(self.name, 0)])
        if secret is None:
            raise SecretNotFound(f"source '{self.source}' has no secret '{self.name}'")
        return secret

    def digest(self, value: SecretBytes) -> str:
        """Return a value's digest as the record keeps it."""
        return digest_value(self._key, secret=self.id, value=value)

    def value_of(self, secret: Secret) -> SecretBytes:
        """Return the current value, of the field. Raises SourceError."""
        return value_in(secret, secret.current, self.field)

    def others(self, secret: Secret) -> int:
        """Return how many fields a secret has beside the one that a rotation is about."""
        return count_others(secret.current)

    def write(self, there: Secret, value: SecretBytes) -> Secret:
        """Put a value in the place of the current one, if that is still ``there``, and read it back.

        Raises:
            Conflict: somebody else wrote to the secret.
            VerificationFailed: what is there afterwards is not what was written.
        """
        return self._put(there, with_value(there, value, self.field))

    def without_leftovers(self, there: Secret, earlier: SecretRotation | None) -> Secret:
        """Take away what an earlier rotation left beside the current version; return what is there then."""
        if earlier is None:
            return there
        beside = self.destination.staged(there)
        if beside is None or not self.is_value(there, beside, earlier.becomes):
            return there
        self.destination.unstage(there)
        return self.look()

    def put_back(self, there: Secret, was: str, *, known: SecretVersion | None) -> Secret | None:
        """Make the value with this digest current again: ``known``, or one that the source still has."""
        former = known or next(
            (v for v in reversed(there.versions[:-1]) if self.is_value(there, v, was)), None
        )
        return None if former is None else self._put(there, replace(former, number=there.current.number + 1))

    def is_value(self, secret: Secret, version: SecretVersion, digest: str) -> bool:
        """Tell whether a version of a secret has the value with this digest."""
        try:
            return version.value is not None and self.digest(value_in(secret, version, self.field)) == digest
        except SourceError:  # an older version may have had another form
            return False

    def _put(self, there: Secret, version: SecretVersion) -> Secret:
        now = rfc3339(time.time())
        wanted = replace(there, versions=(replace(version, created_at=now),), updated_at=now)
        with self._writing():
            self.destination.write([SecretChange(secret=wanted, expected=there.current.number)])
        return self.look_for(value_in(wanted, version, self.field))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what a refusal means to a rotation. The source's words are those of a restore."""
        try:
            yield
        except SourceError as error:
            if error.transient:
                raise
            raise SecretNotRotated(
                f"the new value could not be written: {error.message}",
                hint=f"The former value is still current. The login of source '{self.writer}' wrote: give it "
                "the right to, or name a source on the same server whose login may write as 'destination' of "
                "the rotator. Then rotate again.",
            ) from None

    def look_for(self, value: SecretBytes) -> Secret:
        """Return the secret as it is now, which has to have this value. Raises VerificationFailed."""
        found = self.look()
        if self.value_of(found) != value:
            raise VerificationFailed(
                f"secret '{self.name}' was written, and '{self.source}' then gave another value"
            )
        return found


# -- A new value that its source has and whatever checks it may not know yet: it is accepted, or withdrawn


class Withdrawn(NamedTuple):
    """What is current after a value was refused, and what a person can do."""

    happened: str
    to_do: str


class Offer(Protocol):
    """A new value at its source."""

    @property
    def value(self) -> SecretBytes: ...

    @property
    def replaced_for_good(self) -> bool:
        """Whether the source keeps no former version."""
        ...

    def accept(self) -> Secret:
        """Let the value be what everybody reads; return the secret."""
        ...

    def withdraw(self) -> Withdrawn:
        """Let the former value be what everybody reads."""
        ...


def make_offer(
    place: SecretPlace, there: Secret, value: SecretBytes, begun: SecretRotation, *, checked: bool
) -> Offer:
    """Bring a value to the source: beside the current one, if something checks it and the source can do that.

    Raises:
        Conflict: somebody else wrote to the secret, or rotates it.
    """
    if checked and place.destination.stage(there, with_value(there, value, place.field)):
        return _Beside(place, place.look(), place.destination)
    return _Current(place, place.write(there, value), there.current, begun.was)


def find_offer(place: SecretPlace, there: Secret, begun: SecretRotation) -> Offer | None:
    """Return the offer that a process made, by the digests of its record, before it died."""
    if place.digest(place.value_of(there)) == begun.becomes:
        return _Current(place, there, None, begun.was)
    beside = place.destination.staged(there)
    if beside is not None and place.is_value(there, beside, begun.becomes):
        return _Beside(place, there, place.destination)
    return None


class _Current(NamedTuple):
    """The value is current already: such a source has no place beside it."""

    place: SecretPlace
    there: Secret
    former: SecretVersion | None
    was: str

    @property
    def value(self) -> SecretBytes:
        return self.place.value_of(self.there)

    @property
    def replaced_for_good(self) -> bool:
        return self.former is not None and self.former.number == self.there.current.number

    def accept(self) -> Secret:
        return self.there

    def withdraw(self) -> Withdrawn:
        former = self.place.put_back(self.there, self.was, known=self.former)
        if former is None:
            return Withdrawn(
                "The source kept no former value, so the new one stays current",
                "Perhaps nothing knows the new value yet. Set it where it is checked, or bring the former "
                "one back from a backup: 'strongroom restore'.",
            )
        return Withdrawn(
            f"The former value is current again, as version {former.current.number}",
            f"Version {self.there.current.number} at the source has the value that was refused, in case that "
            "it was taken all the same. Remove the cause, then rotate this secret again.",
        )


class _Beside(NamedTuple):
    """The value lies beside the current one, and nobody reads it by itself."""

    place: SecretPlace
    there: Secret
    destination: Destination

    @property
    def value(self) -> SecretBytes:
        beside = self.destination.staged(self.there)
        assert beside is not None
        return value_in(self.there, beside, self.place.field)

    @property
    def replaced_for_good(self) -> bool:
        return False

    def accept(self) -> Secret:
        offered = self.value
        self.destination.promote(self.there)
        return self.place.look_for(offered)

    def withdraw(self) -> Withdrawn:
        self.destination.unstage(self.there)
        return Withdrawn(
            "The former value was current all the time, and still is",
            "What was refused lies at the source as a version without a label for a while, in case that it "
            "was taken all the same. Remove the cause, then rotate this secret again.",
        )
