"""Finding a key in a token: by label *and* id, and the id is its version.

A label alone finds every version, and a token that holds a key twice must not choose for us.
"""

from __future__ import annotations

from typing import Any

from strongroom.errors import UsageError
from strongroom.keys.errors import KeyAmbiguous, KeyDenied, KeyNotFound
from strongroom.keys.pkcs11.session import Token

MAX_VERSION = 0xFFFF


def version_id(version: int) -> bytes:
    """Return the ``CKA_ID`` of a version: two bytes, big-endian. Raises UsageError."""
    if not 1 <= version <= MAX_VERSION:
        raise UsageError(f"a key's version must be 1 to {MAX_VERSION}")
    return version.to_bytes(2, "big")


def find(token: Token, session: Any, kind: str, label: str, version: int) -> Any:
    """Return the one key object of that label and version.

    Args:
        kind: ``PRIVATE_KEY``, ``PUBLIC_KEY`` or ``SECRET_KEY``.

    Raises:
        KeyNotFound: there is none; the message has the versions that there are.
        KeyAmbiguous: there are several.
    """

    def look(session: Any) -> Any:
        found = search(session, kind, label, version)
        if not found:
            raise KeyNotFound(
                f"{token.describe()} has no key `{label}` v{version}{_others(session, kind, label)}"
            )
        if len(found) > 1:
            raise KeyAmbiguous(f"{token.describe()} has {len(found)} keys `{label}` v{version}")
        return found[0]

    return token.key(session, (kind, label, version), look)


def search(session: Any, kind: str, label: str | None = None, version: int | None = None) -> list[Any]:
    """Return all key objects of a kind, of a label and of a version if given."""
    from pkcs11 import Attribute, ObjectClass

    wanted: dict[Any, Any] = {Attribute.CLASS: ObjectClass[kind]}
    if label is not None:
        wanted[Attribute.LABEL] = label
    if version is not None:
        wanted[Attribute.ID] = version_id(version)
    # A search that cannot begin fails a second time when the binding collects it, with a traceback
    # that nobody can catch; so ask first whether the device is there.
    session.token.slot.get_token()
    # All of them, at once: a search left open calls into the library when it is collected.
    return list(session.get_objects(wanted))


def require_use(key: Any, method: str, attribute: str) -> None:
    """Refuse a key that the token does not allow a use: the binding then gives it no such method.

    Raises:
        KeyDenied: with the attribute that is missing.
    """
    if not hasattr(key, method):
        raise KeyDenied(
            f"the token does not allow the key `{key.label}` this use",
            hint=f"The key lacks {attribute}. No backup is damaged: set it, if the token lets you.",
        )


def versions(token: Token, kind: str, label: str | None = None) -> list[tuple[str, int]]:
    """Return label and version of every key of a kind whose id is a version."""
    return token.do(lambda session: sorted(_versions(session, kind, label)))


def _versions(session: Any, kind: str, label: str | None) -> list[tuple[str, int]]:
    from pkcs11 import Attribute

    found = ((each[Attribute.LABEL], each[Attribute.ID]) for each in search(session, kind, label))
    return [(str(name), int.from_bytes(id_, "big")) for name, id_ in found if len(id_) == 2]


def _others(session: Any, kind: str, label: str) -> str:
    numbers = sorted({version for _, version in _versions(session, kind, label)})
    return f"; there is v{', v'.join(map(str, numbers))}" if numbers else ", nor any other version of it"
