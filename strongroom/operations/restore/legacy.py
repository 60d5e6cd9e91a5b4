"""The secrets in an old file: its plaintext is JSON that earlier tools laid out freely.

Read in memory only; nothing of it touches the disk.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from strongroom.container.errors import DuplicateSecret, Malformed
from strongroom.model import Secret
from strongroom.sources.errors import EmptySource
from strongroom.sources.json_files import JsonLayout
from strongroom.sources.records import BadRecordError

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_WHOLE = "secrets"


def secrets_in(plaintext: bytes) -> list[Secret]:
    """Return the secrets of an old file's plaintext.

    It is an object of names and values or records, or a list of records; either may lie
    under ``secrets`` beside whatever else the tool kept.

    Raises:
        Malformed: it is no such JSON.
        EmptySource, DuplicateSecret: it has no secret, or two of one name.
    """
    secrets = _parsed(plaintext)
    if not secrets:
        raise EmptySource("the old file opens, but holds no secret")
    names = [secret.name for secret in secrets]
    if (
        twice := next((name for name in names if names.count(name) > 1), None)
        if len(set(names)) < len(names)
        else None
    ):
        raise DuplicateSecret(f"the old file has two secrets named {twice!r}")
    return secrets


def _parsed(plaintext: bytes) -> list[Secret]:
    try:
        return [JsonLayout().parse(piece) for piece in _pieces(plaintext)]
    except BadRecordError as error:
        problem = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = "it is not JSON"
    # Outside of the handler: what was caught can quote a value.
    raise Malformed(f"The old file opens, but its content cannot be read: {problem}.")


def _pieces(plaintext: bytes) -> list[bytes]:
    text = plaintext.strip()
    if text[:1] == b"{":
        members = _object(text)
        if _WHOLE in members and bytes(members[_WHOLE])[:1] in (b"{", b"["):
            return _pieces(bytes(members[_WHOLE]))
        return [msgspec.json.encode(name) + b":" + bytes(value) for name, value in members.items()]
    return [bytes(record) for record in _list(text)]
