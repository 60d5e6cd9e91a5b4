"""Making values, and putting one where a secret has it: in the whole value, or a field of a JSON object."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec
from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.operations.rotator import Shape

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
