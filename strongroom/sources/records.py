"""One secret as a JSON record: what JSONL lines and JSON documents hold.

Known fields are ``name value type version tags created_at updated_at expires_at rotation``;
every other one becomes metadata. A value that is a JSON string is text; any other JSON is
kept exactly as written, since writing it anew could change what its users compare or sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, defstruct

from strongroom import freeform
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion

Name = Annotated[str, Meta(min_length=1)]
Number = Annotated[int, Meta(ge=1, le=2**53)]
MOST_DAYS = 2**31
Days = Annotated[int, Meta(ge=1, le=MOST_DAYS)]


class BadRecordError(ValueError):
    """A record breaks the rules. Its text names fields and types, never a value."""


class RecordHead(Struct, gc=False):
    """What a listing needs of a record; the rest is skipped over, which is fast."""

    name: Name
    value: Raw


class Tagged(RecordHead, gc=False):
    """The same with tags."""

    tags: dict[str, str] | None = None


class _Rotation(Struct, gc=False):
    days: Days
    enabled: bool = True


class _SecretRecord(Tagged, gc=False):
    type: str = "generic"
    version: Number = 1
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    rotation: _Rotation | None = None


KNOWN = frozenset(_SecretRecord.__struct_fields__)
LEARNED = 64

listed = msgspec.json.Decoder(RecordHead).decode
tagged = msgspec.json.Decoder(Tagged).decode
_record = msgspec.json.Decoder(_SecretRecord).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_text = msgspec.json.Decoder(str).decode
_TEXT = frozenset({str})

P = ParamSpec("P")
T = TypeVar("T")


def attempt(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``parse``; what it finds wrong becomes :class:`BadRecordError`.

    The cause is dropped for good, not merely hidden: a ``UnicodeDecodeError`` carries the
    bytes it could not decode, and those are a value.
    """
    try:
        return parse(*args, **kwargs)
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except msgspec.MsgspecError as error:
        problem = _CUT if str(error) == _TRUNCATED else str(error)
    raise BadRecordError(problem)


_TRUNCATED = "Input data was truncated"
_CUT = (
    "it ends too early, or holds half of a surrogate pair (an escape from \\ud800 to \\udfff that stands "
    "alone), which is no character: write such a value as base64"
)
"""The parser says the same of both."""


class _RecordShape:
    """A decoder for records whose further fields are known, so that one pass reads all.

    It fails on any other field, and on a value that is no text unless the caller allows such.
    """

    def __init__(self, further: tuple[str, ...], value: type[str | Raw] = str) -> None:
        self.further = further
        self.value = value
        places = {f"further_{number}": field for number, field in enumerate(further)}
        # A rotation with more than the model has goes to the metadata, which a shape cannot tell: it fails.
        self._decode = msgspec.json.Decoder(
            cast(
                "type[_SecretRecord]",
                defstruct(
                    "Shaped",
                    [
                        ("value", value),
                        ("rotation", RotationSchedule | None, None),
                        *((place, Any, UNSET) for place in places),
                    ],
                    bases=(_SecretRecord,),
                    rename=places,
                    forbid_unknown_fields=True,
                    gc=False,
                ),
            ),
            float_hook=freeform.number,
        ).decode
        self._places = tuple(places.items())

    def parse(self, data: bytes) -> Secret | None:
        """Decode one record; ``None`` if its rotation cannot be, or a number may come back as another."""
        record = self._decode(data)
        rotation = cast("RotationSchedule | None", record.rotation)
        if rotation is not None and not 0 < rotation.days <= MOST_DAYS:
            return None
        metadata = {}
        for place, field in self._places:
            value = getattr(record, place)
            if value is not UNSET:
                metadata[field] = value
        # Texts have no sign to lose, and dates look as if they had: this is asked of every record.
        if not _TEXT.issuperset(map(type, metadata.values())) and freeform.may_lose_a_sign(data):
            return None
        return _secret(record, _version(record.value, record.version), rotation, metadata)


class Records:
    """Decodes the records of one file.

    The records of a file are mostly alike. Fields that are not known beforehand are learned
    as they come, up to :data:`LEARNED`: decoding them along with the known ones takes half
    the time of a second pass for them. That values may be other JSON than text is learned
    from the first that is.
    """

    def __init__(self) -> None:
        self._shape = _RecordShape(())

    def parse(self, data: bytes) -> Secret:
        """Decode one record, or raise :class:`BadRecordError`."""
        try:
            if secret := self._shape.parse(data):
                return secret
        except (ValueError, RecursionError):
            pass
        return attempt(self._learn, data)  # outside of the handler, so that no error carries the other

    def _learn(self, data: bytes) -> Secret:
        record, fields = _record(data), _fields(data)
        found = record.rotation
        rotation = None if found is None else RotationSchedule(days=found.days, enabled=found.enabled)
        secret = _secret(record, _version(record.value, record.version), rotation, _metadata(fields))
        shape = self._shape
        # Whether JSON writes a field's name as it is; msgspec can learn no other.
        further = shape.further + tuple(
            field
            for field in fields
            if field not in KNOWN
            and field not in shape.further
            and msgspec.json.encode(field) == b'"%b"' % field.encode()
        )
        value = shape.value if secret.current.media is Media.TEXT else Raw
        if (further, value) != (shape.further, shape.value) and len(further) <= LEARNED:
            self._shape = _RecordShape(further, value)
        return secret


def parse_value(name: str, value: Raw) -> Secret:
    """Make a secret of a bare JSON value."""
    return Secret(name=name, versions=(attempt(_version, value, 1),))


def _secret(
    record: _SecretRecord, version: SecretVersion, rotation: RotationSchedule | None, metadata: dict[str, Any]
) -> Secret:
    return Secret(
        name=record.name,
        versions=(version,),
        type=record.type,
        tags=record.tags or {},
        created_at=record.created_at,
        updated_at=record.updated_at,
        expires_at=record.expires_at,
        rotation=rotation,
        metadata=metadata,
    )


def _version(value: str | Raw, number: int) -> SecretVersion:
    if isinstance(value, str):
        return SecretVersion(number=number, value=SecretBytes(value.encode()))
    written = bytes(value)
    if written[:1] == b'"':
        return SecretVersion(number=number, value=SecretBytes(_text(written).encode()))
    if not written.isascii():
        written.decode()  # msgspec skips over bytes that it was not asked to decode
    return SecretVersion(number=number, value=SecretBytes(written), media=Media.JSON)


def _metadata(fields: dict[str, Raw]) -> dict[str, Any]:
    found = {field: freeform.decode(value) for field, value in fields.items() if field not in KNOWN}
    rotation = freeform.decode(fields["rotation"]) if "rotation" in fields else None
    further = {field: value for field, value in (rotation or {}).items() if field not in ("days", "enabled")}
    return {**found, "rotation": further} if further else found
