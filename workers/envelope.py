"""The signed envelope round every message body: ``SR1.role.time.signature.body``.

Ed25519 over all of it but the signature, so a worker of one role cannot forge another's
messages and whoever writes to the broker cannot forge any. The body is JSON. Replays are
not stopped here: a dispatch number or request id makes them no-ops.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from strongroom.container.errors import Tampered
from strongroom.container.signing import SIGNATURE, Signer, verify_any
from strongroom.operations.errors import MessageRefused

CONTENT_TYPE: Final = "application/x-strongroom-signed"
SERIALIZER: Final = "strongroom-signed"
DOMAIN: Final = b"strongroom/v1/message"
VERSION: Final = b"SR1"
LIMIT: Final = 1024 * 1024
"""Bytes of the largest body looked at; messages carry identifiers, so theirs are tiny."""


class SignedList(list[Any]):
    """An opened task body, and who signed it."""

    sender: str = ""


class SignedDict(dict[str, Any]):
    """An opened control message or reply, and who signed it."""

    sender: str = ""


Opened = SignedList | SignedDict


def seal(data: Any, *, role: str, signer: Signer, encode: Callable[[Any], str]) -> str:
    """Return ``data`` as JSON, signed in ``role``'s name."""
    head = b".".join([VERSION, role.encode("ascii"), str(int(time.time())).encode("ascii")])
    body = encode(data).encode()
    signature = base64.urlsafe_b64encode(signer.sign(DOMAIN, head + b"." + body)).rstrip(b"=")
    return b".".join([head, signature, body]).decode()


def open_(
    raw: str | bytes,
    *,
    trusted: Callable[[str], Sequence[bytes]],
    removed: Callable[[str], Mapping[bytes, str]] = lambda _role: {},
) -> Opened:
    """Return what was signed.

    Args:
        trusted: the public keys of a role whose signatures count now; none for one that is not known.
        removed: those of hosts that were thrown out, with their names, so that it is said who sends still.

    Raises:
        MessageRefused: unsigned, altered, or signed by nobody known.
    """
    data = raw.encode() if isinstance(raw, str) else bytes(raw)
    if len(data) > LIMIT:
        raise MessageRefused("a message of too many bytes")  # how many would make each a reason of its own
    role, head, signature, body = _parts(data)
    publics, gone = trusted(role), removed(role)
    if not publics and not gone:
        raise MessageRefused("a message signed by an unknown role")
    signed = head + b"." + body
    try:
        verify_any(publics, DOMAIN, signed, signature)
    except Tampered:
        raise MessageRefused(_stranger(role, gone, signed, signature)) from None
    return _opened(body, role)


def _stranger(role: str, removed: Mapping[bytes, str], signed: bytes, signature: bytes) -> str:
    with suppress(Tampered):
        host = removed[verify_any(tuple(removed), DOMAIN, signed, signature)]
        return f"a message of role '{role}' from host '{host}', which was removed"
    return f"a message whose signature is not of role '{role}'"


def _parts(data: bytes) -> tuple[str, bytes, bytes, bytes]:
    parts = data.split(b".", 4)
    if len(parts) != 5 or parts[0] != VERSION:
        raise MessageRefused("an unsigned message")
    version, role, at, signature, body = parts
    if not (role.isalnum() and role.isascii() and len(role) <= 32 and at.isdigit()):
        raise MessageRefused("a message whose envelope is malformed")
    return role.decode("ascii"), b".".join([version, role, at]), _signature(signature), body


def _signature(text: bytes) -> bytes:
    try:
        signature = base64.b64decode(text + b"==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if len(signature) != SIGNATURE:
        raise MessageRefused("a message whose envelope is malformed")
    return signature


def _opened(body: bytes, role: str) -> Opened:
    try:
        data = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise MessageRefused(f"a message of role '{role}' that is not JSON") from None
    opened: Opened
    if isinstance(data, list):
        opened = SignedList(data)
    elif isinstance(data, dict):
        opened = SignedDict(data)
    else:
        raise MessageRefused(f"a message of role '{role}' of an unknown shape")
    opened.sender = role
    return opened
