"""What can go wrong between here and a Vault server.

These never leave an adapter: a source makes :class:`~strongroom.errors.SourceError` of them, a
target or a key its own kind. They hold status and headers, and no body: a server's words about
what it was sent may quote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

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
