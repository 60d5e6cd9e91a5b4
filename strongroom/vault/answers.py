"""What a Vault server answers, and what can go wrong between here and it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

# -- What can go wrong between here and a Vault server ------------------------------------------
#
# These never leave an adapter: a source makes :class:`~strongroom.errors.SourceError` of them, a
# target or a key its own kind. They hold status and headers, and no body: a server's words about
# what it was sent may quote it.


TOO_LARGE = "too large"
NO_SPACE = "no space left on device"
TOO_OLD = "disallowed by policy (too old)"
MANY_STRINGS = "exceeded maximum number of strings"
OTHER_VERSION = "parameter did not match the current version"
IN_USE = ("path is already in use", "existing mount at", "path already in use")
REASONS = (TOO_LARGE, NO_SPACE, TOO_OLD, MANY_STRINGS, OTHER_VERSION, *IN_USE)
"""All that is ever taken over of a server's words: these, where it says them."""


class VaultError(Exception):
    """Base of everything here.

    Args:
        message: one sentence for a person.
        status: the HTTP status, if there was an answer.
        headers: the answer's headers, in lower case.
        hint: what to do about it.
        reason: one of :data:`REASONS`, if the server's words hold it.
    """

    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        hint: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.hint = hint
        self.reason = reason


class Unavailable(VaultError):
    """No usable answer, and trying again later can help."""

    transient = True


class VaultSealed(Unavailable):
    """The server, or the namespace, is sealed."""


class Throttled(Unavailable):
    """A quota was exceeded for longer than we are patient."""


class Ambiguous(Unavailable):
    """A write got no usable answer: it may or may not have happened. Read before trying again."""


class Unconfirmed(VaultError):
    """The server answers, and this one write does not get through to it, however often it is sent."""


class Denied(VaultError):
    """The token is good, and its policies do not allow this."""


class LoginRefused(VaultError):
    """The server gives us no token."""


class VaultRefused(VaultError):
    """The server will not do this, however often it is asked."""


class NotVault(VaultError):
    """What answered is not the server it should be: certificate, redirect or content are wrong."""


# -- One answer of the server -------------------------------------------------------------------


T = TypeVar("T")


class ServerAnswer(Struct, frozen=True, gc=False):
    """Status, headers (whatever the case of their names) and body. It has no ``repr``: the body is secret."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"

    @property
    def found(self) -> bool:
        """Whether there is what was asked for."""
        return self.status != 404

    def read(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the body as a record. Raises :class:`NotVault` if it is something else."""
        try:
            return decoder.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # No cause: a validation message can quote what it read.
            raise NotVault("the answer is not one that Vault gives", status=self.status) from None

    def data(self) -> dict[str, Any]:
        """Return the ``data`` of the body as plain objects; empty if there is none."""
        return self.read(_ANY).data or {}

    @property
    def moment(self) -> datetime | None:
        """The server's clock when it answered, to the second."""
        try:
            return parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError):
            return None


class _Any(Struct):
    data: dict[str, Any] | None = None


_ANY = msgspec.json.Decoder(_Any)


# -- Puts hvac's classes on our own transport: they know the API, and we send -------------------
#
# hvac's own adapter loses status and headers of errors, sends the token to whoever a redirect
# names, retries no LIST, and takes tokens and addresses from the environment.


Send = Callable[[str, str, bytes | None], ServerAnswer]
"""Method, request target and body of one request, which is answered or raises VaultError."""


# -- Paths as Vault spells them, and which of them we will not send -----------------------------


LONGEST = 4_096
"""Bytes of a path; more is refused here rather than somewhere on the way."""


def addressable(path: str) -> bool:
    """Say whether a path reaches the server as it is.

    Dots and empty segments are resolved on the way, by our own HTTP library or the server's: asked
    for ``a/../b`` the server would be asked for ``b``, which is another secret. The server refuses
    what cannot be printed.
    """
    return (
        bool(path)
        and _encodes(path)
        and path.isprintable()
        and not any(part in ("", ".", "..") for part in path.split("/"))
    )


def _encodes(path: str) -> bool:
    try:
        return len(path.encode()) <= LONGEST
    except UnicodeEncodeError:
        return False


def target(*parts: str, **parameters: object) -> str:
    """Return the request target of a path: ``target("secret/", "data", "a b")``."""
    path = "/".join(quote(part.strip("/"), safe="/") for part in parts if part.strip("/"))
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"/v1/{path}" + (f"?{urlencode(given)}" if given else "")


def folder(text: str) -> str:
    """Spell a mount or a namespace: no slash in front, one at the end; nothing for the root."""
    inner = text.strip("/")
    return f"{inner}/" if inner else ""
