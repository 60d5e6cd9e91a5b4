"""One secret as a JSON record: what JSONL lines and JSON documents hold.

Known fields are ``name value type version tags created_at updated_at expires_at rotation``;
every other one becomes metadata. A value that is a JSON string is text; any other JSON is
kept exactly as written, since writing it anew could change what its users compare or sign.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from strongroom.model import Media, Rotation, Secret, SecretBytes, Version

Name = Annotated[str, Meta(min_length=1)]
Number = Annotated[int, Meta(ge=1, le=2**53)]
Days = Annotated[int, Meta(ge=1, le=2**31)]


class BadRecord(ValueError):
    """A record breaks the rules. Its text names fields and types, never a value."""


class _Rotation(Struct, gc=False):
    days: Days
    enabled: bool = True


class Listed(Struct, gc=False):
    """What a listing needs of a record; the rest is skipped over, which is fast."""

    name: Name
    value: Raw


class Tagged(Listed, gc=False):
    """The same with tags."""

    tags: dict[str, str] | None = None


class _Record(Tagged, gc=False):
    type: str = "generic"
    version: Number = 1
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    rotation: _Rotation | None = None


KNOWN = frozenset(_Record.__struct_fields__)
_ROTATION = frozenset(_Rotation.__struct_fields__)

listed = msgspec.json.Decoder(Listed).decode
tagged = msgspec.json.Decoder(Tagged).decode
_record = msgspec.json.Decoder(_Record).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_any = msgspec.json.Decoder(Any).decode
_text = msgspec.json.Decoder(str).decode


def parse_record(data: bytes) -> Secret:
    """Decode one record, or raise :class:`BadRecord`."""
    return attempt(_parse, data)


def parse_value(name: str, value: Raw) -> Secret:
    """Make a secret of a bare JSON value."""
    return Secret(name=name, versions=(attempt(_version, value, 1),))


def attempt(parse: Any, *args: Any) -> Any:
    """Call ``parse``; what it finds wrong becomes :class:`BadRecord`.

    The cause is dropped for good, not merely hidden: a ``UnicodeDecodeError`` carries the
    bytes it could not decode, and those are a value.
    """
    try:
        return parse(*args)
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except msgspec.MsgspecError as error:
        problem = str(error)
    raise BadRecord(problem)


def _parse(data: bytes) -> Secret:
    record = _record(data)
    fields = _fields(data)
    return Secret(
        name=record.name,
        versions=(_version(record.value, record.version),),
        type=record.type,
        tags=record.tags or {},
        created_at=record.created_at,
        updated_at=record.updated_at,
        expires_at=record.expires_at,
        rotation=_rotation(record.rotation),
        metadata=_metadata(fields),
    )


def _version(value: Raw, number: int) -> Version:
    written = bytes(value)
    if written[:1] == b'"':
        return Version(number=number, value=SecretBytes(_text(written).encode()))
    if not written.isascii():
        written.decode()  # msgspec skips over bytes it was not asked to decode
    return Version(number=number, value=SecretBytes(written), media=Media.JSON)


def _rotation(rotation: _Rotation | None) -> Rotation | None:
    return None if rotation is None else Rotation(days=rotation.days, enabled=rotation.enabled)


def _metadata(fields: dict[str, Raw]) -> dict[str, Any]:
    found = {key: _any(value) for key, value in fields.items() if key not in KNOWN}
    if "rotation" in fields and fields["rotation"] != b"null":
        further = {key: value for key, value in _any(fields["rotation"]).items() if key not in _ROTATION}
        if further:
            found["rotation"] = further
    return found
