"""The list of the roles' certified keys: every version there ever was, and what it still counts for.

A key that was retired stays listed for what it signed, with the time after which nothing new of
it counts. One that leaked stays listed too, as distrusted, so that what it signed is named.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from strongroom.container.certificate import Certificate
from strongroom.container.errors import FormatError
from strongroom.container.signing import PUBLIC, fingerprint
from strongroom.container.trust_list import Distrusted, SignedTrustList, counting
from strongroom.errors import ConfigError
from strongroom.keys import kept_lists
from strongroom.system import files

TRUSTED = "trusted.json"
LIMIT = 1024 * 1024


class RoleKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of a role's signing key, with its certificate; times RFC 3339, or empty.

    ``announced``: others shall know it before it signs. ``until``: nothing that is made later
    counts. ``distrusted``: since when nothing of it counts at all, with the ``reason``.
    """

    version: int
    certificate: Certificate
    since: str = ""
    announced: bool = False
    until: str = ""
    distrusted: str = ""
    reason: str = ""

    @property
    def raw(self) -> bytes:
        """The raw public key."""
        return self.certificate.public

    @property
    def fingerprint(self) -> str:
        """What people compare."""
        return self.certificate.key_fingerprint

    @property
    def signs(self) -> bool:
        """Whether it is the version that its role signs with now."""
        return not (self.announced or self.until or self.distrusted)

    def accepts(self, now: datetime) -> bool:
        """Tell whether what it signs now counts: messages, plans, receipts."""
        return not self.distrusted and (not self.until or now <= datetime.fromisoformat(self.until))


class RoleKeyList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The installation's public key (hex, empty before there is one), and every role's keys, the oldest
    version first. ``former`` are the installation keys that were handed over, the oldest first."""

    installation: str = ""
    roles: dict[str, tuple[RoleKey, ...]] = {}
    former: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The installation's fingerprint, which people pin; empty if there is none yet."""
        return fingerprint(bytes.fromhex(self.installation)) if self.installation else ""

    def of(self, role: str) -> tuple[RoleKey, ...]:
        """Return a role's keys."""
        return self.roles.get(role, ())

    def with_keys(self, role: str, keys: tuple[RoleKey, ...]) -> RoleKeyList:
        """Return the list with a role's keys exchanged."""
        return structs.replace(self, roles={**self.roles, role: keys})

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints under which people pin this installation, the present one first."""
        keys = (self.installation, *reversed(self.former)) if self.installation else ()
        return tuple(fingerprint(bytes.fromhex(key)) for key in keys)


def read(folder: Path) -> RoleKeyList:
    """Return the list, with what the newest trust list of the installation says of its keys; an empty one if
    there is none.

    Raises:
        ConfigError: the list is damaged, or others may change it: whoever can adds a signer.
    """
    listed = _read(folder)
    return _distrusting(listed, kept_lists.read(folder)) if listed.installation else listed


def _distrusting(listed: RoleKeyList, lists: Sequence[SignedTrustList]) -> RoleKeyList:
    """Return the list with those keys distrusted that another host distrusted."""
    leaked = {key.key: key for key in counting(listed.fingerprints, lists)}
    if not leaked:
        return listed
    return structs.replace(
        listed,
        roles={
            role: tuple(_as_listed(key, leaked.get(key.certificate.key)) for key in keys)
            for role, keys in listed.roles.items()
        },
    )


def _as_listed(key: RoleKey, leaked: Distrusted | None) -> RoleKey:
    if leaked is None or key.distrusted:
        return key
    return structs.replace(key, distrusted=leaked.since, reason=leaked.reason)


def _read(folder: Path) -> RoleKeyList:
    path = folder / TRUSTED
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(LIMIT)
    except FileNotFoundError:
        return RoleKeyList()
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"others may change '{path}'", hint=f"Run: chmod go-w '{path}'")
    return _parse(path, text)


def write(folder: Path, listed: RoleKeyList) -> None:
    """Put a new list in the old one's place, durably; the caller holds the folder's lock."""
    plain = msgspec.to_builtins(listed, order="sorted")
    try:
        with files.atomic(folder / TRUSTED, replace=True, mode=0o644) as file:
            file.write(json.dumps(plain, indent=2).encode("ascii") + b"\n")
    except OSError as error:
        raise ConfigError(
            f"'{folder / TRUSTED}' cannot be written: {error.strerror}",
            hint="The list is as it was. Free space or mend the rights, then repeat.",
        ) from None


def current(keys: tuple[RoleKey, ...]) -> RoleKey | None:
    """Return the version that signs; ``None`` if every one is retired or distrusted."""
    return next((key for key in reversed(keys) if key.signs), None)


def _parse(path: Path, text: str) -> RoleKeyList:
    try:
        plain = json.loads(text)
        _require_certificates(path, plain)
        listed = msgspec.convert(plain, RoleKeyList)
        if len(bytes.fromhex(listed.installation)) != (PUBLIC if listed.installation else 0):
            raise ValueError(listed.installation)
        if any(len(bytes.fromhex(key)) != PUBLIC for key in listed.former):
            raise ValueError(listed.former)
        for role, keys in listed.roles.items():
            for key in keys:
                _check(key, role, (listed.installation, *listed.former))
    except (ValueError, TypeError, RecursionError, msgspec.ValidationError, FormatError):
        raise ConfigError(f"'{path}' is damaged", hint="Bring it back from another host.") from None
    return listed


ROLES = Path("keys", "roles")
"""Where a state directory has its keys of roles."""


def require_certificates(state_dir: Path) -> None:
    """Refuse a state directory of a version before the first release. What else may be wrong with its keys,
    their reader says."""
    path = state_dir / ROLES / TRUSTED
    try:
        plain = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError):
        return
    _require_certificates(path, plain)


def _require_certificates(path: Path, plain: object) -> None:
    """Tell a list that was made before the first release: it is whole, and no copy of it helps."""
    if _is_early(plain):
        raise ConfigError(
            f"'{path}' was made by a version before the first release, whose keys and backups are of another "
            "form",
            hint="Nothing was changed. Move the whole state directory elsewhere, and keep it together with "
            "that version, which alone opens its backups; so the database of 'state.url'. Then "
            "begin with a new one: it makes new keys. docs/how-to/upgrade.md says how the local store's "
            "secrets come along. Make new backups at once.",
        )


def _is_early(plain: object) -> bool:
    """Tell whether a list is of a form of before: the first had no certificates, the last no ``former``.

    That is always written since backups are of the form that was released.
    """
    if not isinstance(plain, dict) or "former" in plain:
        return False
    return bool(plain.get("roles")) or any(isinstance(entry, list) and entry for entry in plain.values())


def _check(key: RoleKey, role: str, installations: tuple[str, ...]) -> None:
    """Hold an entry to its certificate: whoever edits the list cannot add a key to it."""
    for moment in filter(None, (key.since, key.until, key.distrusted)):
        if datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(moment)
    key.certificate.check_form()
    key.certificate.verify()
    if key.certificate.role != role or key.certificate.installation not in installations:
        raise ValueError(role)
