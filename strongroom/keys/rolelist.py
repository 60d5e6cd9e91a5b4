"""The roles' certified keys, every version there ever was, and the trust lists that say what each counts
for."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from strongroom.container.canonical import printable
from strongroom.container.errors import FormatError
from strongroom.container.marks import (
    MAX_REASON,
    TRUST_LIST,
    Distrusted,
    SignedTrustList,
    TrustList,
    counting,
    sign_list,
    with_lists,
)
from strongroom.container.signing import PUBLIC, Certificate, Signer, Signers, fingerprint
from strongroom.errors import ConfigError, UsageError
from strongroom.system import files
from strongroom.times import rfc3339

# -- The trust lists that this host has seen: of each installation the highest, beside ``trusted.json``
#
# They were found on targets, or made here. A target may withhold them later, so they are kept, and never
# replaced by lower ones.


FOLDER = "trust"
MOST = 9
"""Lists of one installation and number that are kept: hosts that made one at the same time."""

Kept = dict[Path, SignedTrustList]


def read_kept_list(folder: Path) -> list[SignedTrustList]:
    """Return the lists that are kept beside a host's role keys.

    Raises:
        ConfigError: one of them is damaged, or cannot be read.
    """
    return list(_read_file(folder).values())


def files_of(folder: Path, installations: Iterable[str]) -> list[tuple[bytes, SignedTrustList]]:
    """Return the files of the lists that one of these installations signed, as they lie on targets."""
    own = frozenset(installations)
    return [
        (path.read_bytes(), signed_index)
        for path, signed_index in _read_file(folder).items()
        if signed_index.fingerprint in own
    ]


def keep(folder: Path, found: Iterable[bytes]) -> bool:
    """Keep of these lists those that are not lower than what is kept; tell whether anything is new.

    Whoever calls has checked that somebody who is pinned signed them.

    Raises:
        ConfigError: they cannot be written here.
    """
    with files.locked_folder(folder):
        return put(folder, found)


def put(folder: Path, found: Iterable[bytes]) -> bool:
    """Keep lists as :func:`keep` does; the caller holds the folder's lock."""
    kept = _read_file(folder)
    new = False
    for content in found:
        if _is_new(kept, content):
            _write(folder, kept, content)
            new = True
    return new


def _read_file(folder: Path) -> Kept:
    found: Kept = {}
    for path in sorted((folder / FOLDER).glob("[0-9]*.json")):
        try:
            with path.open("rb") as file:
                found[path] = TRUST_LIST.open(file.read(TRUST_LIST.most + 1), trusted=None)
        except FileNotFoundError:  # a higher one took its place meanwhile
            continue
        except (FormatError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error.message
            raise ConfigError(
                f"'{path}' cannot be used: {why}",
                hint="It is a trust list that this host keeps. Bring it back from another host's state "
                "directory, or from the folder 'trust' on a target.",
            ) from None
    return found


def _is_new(kept: Kept, content: bytes) -> bool:
    signed_index = TRUST_LIST.open(content, trusted=None)
    same = [
        other.statement.number for other in kept.values() if other.fingerprint == signed_index.fingerprint
    ]
    if (
        max(same, default=0) > signed_index.statement.number
        or same.count(signed_index.statement.number) >= MOST
    ):
        return False
    return _name(signed_index, content) not in [path.name for path in kept]


def _write(folder: Path, kept: Kept, content: bytes) -> None:
    signed_index = TRUST_LIST.open(content, trusted=None)
    path = folder / FOLDER / _name(signed_index, content)
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with files.atomic(path, replace=True, mode=0o644) as file:
            file.write(content)
        for other, lower in list(kept.items()):
            if (
                lower.fingerprint == signed_index.fingerprint
                and lower.statement.number < signed_index.statement.number
            ):
                other.unlink(missing_ok=True)
                del kept[other]
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be written: {error.strerror}",
            hint="The lists are as they were. Free space or mend the rights, then repeat.",
        ) from None
    kept[path] = signed_index


def _name(signed_index: SignedTrustList, content: bytes) -> str:
    return f"{signed_index.statement.number:08}-{hashlib.sha256(content).hexdigest()[:16]}.json"


# -- The list of the roles' certified keys: every version there ever was, and what it still counts for
#
# A key that was retired stays listed for what it signed, with the time after which nothing new of
# it counts. One that leaked stays listed too, as distrusted, so that what it signed is named.


TRUSTED = "trusted.json"
LIMIT = 1024 * 1024
A_RUN_LASTS = timedelta(days=7)
"""How long what was signed for a run is needed, at most. When it began is the state database's word: without
this, a host that was thrown out could sign for ever what it dates back."""


class RoleKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of a role's signing key, with its certificate; times RFC 3339, or empty.

    ``host``: where its private half lies, once there are several hosts. ``announced``: others shall know it
    before it signs. ``until``: nothing that is made later counts. ``removed``: its host was thrown out, so
    nothing counts that comes from now on, but for a run that goes on (:meth:`stays_good`). ``distrusted``:
    since when nothing of it counts at all, with the ``reason``.
    """

    version: int
    certificate: Certificate
    since: str = ""
    announced: bool = False
    until: str = ""
    distrusted: str = ""
    reason: str = ""
    host: str = ""
    removed: bool = False

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
        """Whether it is the version that its role signs with now, on its host."""
        return not (self.announced or self.until or self.distrusted or self.removed)

    def accepts(self, now: datetime) -> bool:
        """Tell whether what it signs now counts: messages, plans, receipts."""
        if self.distrusted or self.removed:
            return False
        return not self.until or now <= datetime.fromisoformat(self.until)

    def stays_good(self, begun: datetime, now: datetime) -> bool:
        """Tell whether what it signed for a run that began then still counts though its host was thrown out
        since: unless as leaked, and for as long as a run lasts."""
        if not self.removed or self.distrusted:
            return False
        return begun <= datetime.fromisoformat(self.until) and now - begun <= A_RUN_LASTS


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

    def on(self, host: str, role: str) -> tuple[RoleKey, ...]:
        """Return the keys of a role that lie, or lay, on one host."""
        return tuple(key for key in self.of(role) if key.host == host)

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
    return _distrusting(listed, read_kept_list(folder)) if listed.installation else listed


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


HOST = "host"
"""The file with this host's name, once it is one of several."""


def this_host(folder: Path) -> str:
    """Return the name that this host has among several; empty if it is alone."""
    try:
        return (folder / HOST).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        raise ConfigError(f"'{folder / HOST}' cannot be read", hint="It holds this host's name.") from None


def current(keys: tuple[RoleKey, ...]) -> RoleKey | None:
    """Return which of one host's keys signs; ``None`` if every one is retired or distrusted."""
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
                check(key, role, (listed.installation, *listed.former))
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


def check(key: RoleKey, role: str, installations: tuple[str, ...]) -> None:
    """Hold an entry to its certificate: whoever edits the list cannot add a key to it."""
    for moment in filter(None, (key.since, key.until, key.distrusted)):
        if datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(moment)
    key.certificate.check_form()
    key.certificate.verify()
    if key.certificate.role != role or key.certificate.installation not in installations:
        raise ValueError(role)


# -- Making a trust list: the installation key's word on every key that counts for nothing ------


def check_reason(reason: str) -> None:
    """Refuse a reason that no list can hold, before anything is done. Raises UsageError."""
    if not printable(reason, MAX_REASON):
        raise UsageError(
            f"A reason has at most {MAX_REASON:,} characters, all of them printable.",
            hint="It goes onto every target, signed.",
        )


def chain_of(folder: Path) -> Signers:
    """Return the fingerprints under which this installation signs lists, its successors' too."""
    return with_lists(Signers(read(folder).fingerprints), read_kept_list(folder))


def named_successor(folder: Path, installation: Signer, successor: Signer) -> bool:
    """Tell whether an installation key's newest list names another one as the next."""
    own = files_of(folder, [installation.fingerprint])
    return any(signed_index.statement.successor == successor.public.hex() for _, signed_index in own)


def next_list(folder: Path, installation: Signer, *, now: datetime, successor: str | None = None) -> int:
    """Make the installation's next trust list, keep it here, and return its number.

    It holds what the one before has, and every key that is distrusted here. The caller holds the folder's
    lock.

    Args:
        successor: the public half, in hex, of the installation key that this one is handed over to.
    """
    listed = read(folder)
    kept = read_kept_list(folder)
    chain = chain_of(folder)
    distrusted = {key.key: key for key in (*_here(listed), *counting(listed.fingerprints, kept))}
    own = [
        signed_index.statement
        for signed_index in kept
        if signed_index.fingerprint == installation.fingerprint
    ]
    before = max(own, key=lambda trust_list: trust_list.number, default=None)
    numbers = [signed_index.statement.number for signed_index in kept if signed_index.fingerprint in chain]
    made = TrustList(
        number=1 + max(numbers, default=0),
        distrusted=tuple(distrusted[key] for key in sorted(distrusted)),
        successor=successor or (before.successor if before else None),
        made_at=rfc3339(now),
    )
    put(folder, [sign_list(made, installation)])
    return made.number


def _here(listed: RoleKeyList) -> list[Distrusted]:
    return [
        Distrusted(key=key.certificate.key, since=key.distrusted, reason=key.reason)
        for keys in listed.roles.values()
        for key in keys
        if key.distrusted
    ]
