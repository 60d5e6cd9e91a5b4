"""Values that are no JSON object, in a store that holds nothing else.

KV holds objects. A text from another source is kept as ``{"value": "…"}``, bytes as
``{"base64": "…"}``, any other JSON as ``{"json": "…"}``, and custom metadata says
``strongroom.wrapped = true``, so that reading gives back what was written.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec.structs import replace

from strongroom.model import Media, SecretBytes, SecretVersion

MARK = "strongroom.wrapped"
_KEYS = {"value": Media.TEXT, "base64": Media.BINARY, "json": Media.JSON}


def needs_wrapping(versions: tuple[SecretVersion, ...]) -> bool:
    """Say whether one of the values is no JSON object."""
    return any(version.value is not None and not _is_object(version) for version in versions)


def wrapped(version: SecretVersion) -> bytes:
    """Return a value as an object that :func:`unwrapped` knows."""
    assert version.value is not None
    raw = version.value.reveal()
    if version.media is Media.BINARY:
        return msgspec.json.encode({"base64": base64.b64encode(raw).decode()})
    if version.media is Media.TEXT:
        return msgspec.json.encode({"value": raw.decode()})
    # One that looks as if it were wrapped has to be, or it would be unwrapped.
    return raw if _is_object(version) and _inner(raw) is None else msgspec.json.encode({"json": raw.decode()})


def unwrapped(version: SecretVersion) -> SecretVersion:
    """Return a version as it was before :func:`wrapped`; one that was not wrapped as it is."""
    inner = _inner(version.value.reveal()) if version.value is not None else None
    if inner is None:
        return version
    media, text = inner
    try:
        raw = base64.b64decode(text, validate=True) if media is Media.BINARY else text.encode()
    except binascii.Error:
        return version  # somebody wrote this by hand
    return replace(version, value=SecretBytes(raw), media=media)


def _is_object(version: SecretVersion) -> bool:
    """Say whether a value may be put into a request as it is: what merely begins like an object
    could end the member that it stands in, and say something about the request itself."""
    if version.media is not Media.JSON or version.value is None:
        return False
    try:
        return isinstance(msgspec.json.decode(version.value.reveal()), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _inner(raw: bytes) -> tuple[Media, str] | None:
    found = msgspec.json.decode(raw)
    if not isinstance(found, dict) or len(found) != 1:
        return None
    ((key, text),) = found.items()
    return (_KEYS[key], text) if key in _KEYS and isinstance(text, str) else None
