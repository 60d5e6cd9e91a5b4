"""Paths as Vault spells them, and which of them we will not send."""

from __future__ import annotations

from urllib.parse import quote, urlencode

LONGEST = 4_096
"""Bytes of a path; more is refused here rather than somewhere on the way."""


def addressable(path: str) -> bool:
    """Say whether a path reaches the server as it is.

    Dots and empty segments are resolved on the way, by our own HTTP library or the server's: asked
    for ``a/../b`` the server would be asked for ``b``, which is another secret. The server refuses
    what cannot be printed.
    """
    return bool(path) and _encodes(path) and path.isprintable() and not _resolved(path)


def _encodes(path: str) -> bool:
    try:
        return len(path.encode()) <= LONGEST
    except UnicodeEncodeError:
        return False


def _resolved(path: str) -> bool:
    return any(part in ("", ".", "..") for part in path.split("/"))


def target(*parts: str, **parameters: object) -> str:
    """Return the request target of a path: ``target("secret/", "data", "a b")``."""
    path = "/".join(quote(part.strip("/"), safe="/") for part in parts if part.strip("/"))
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"/v1/{path}" + (f"?{urlencode(given)}" if given else "")


def folder(text: str) -> str:
    """Spell a mount or a namespace: no slash in front, one at the end; nothing for the root."""
    inner = text.strip("/")
    return f"{inner}/" if inner else ""
