"""The roles' signing keys: Ed25519, one a role and version, and the public halves that are trusted.

On one host all lie in one folder. On several, each host has the private keys of its own
roles and a copy of ``trusted.json``. Only the newest private half is kept: what the ones before
it signed is checked with their public halves, which stay listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from strongroom.container.signing import Signer, Signers
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import privatefile, rolelist
from strongroom.keys.rolelist import TRUSTED, Listed, RoleKey

__all__ = ["MANIFEST_SIGNERS", "ROLES", "TRUSTED"]

ROLES = ("submit", "beat", "control", "seal", "transfer", "verify", "drill", "recover", "watch")
MANIFEST_SIGNERS = ("control", "recover")
"""The roles whose signature makes a manifest: a backup's, and a rotation's or undo file's."""

KIND = "strongroom-role-key-1"
GRACE = timedelta(hours=24)
"""How long what a retired key signs is still accepted as new: runs and messages on their way."""

_VARIETY = "Ed25519"


def load_or_create_role(folder: Path, role: str) -> Signer:
    """Return a role's key, making it, and trusting its public half, if there is none.

    Raises:
        ConfigError: there is no such role, or the key's file is damaged or open to others.
    """
    _require_role(role)
    with privatefile.locked(folder):
        _finish(folder, role)
        if not _path(folder, role).exists():
            _create(folder, role)
        signer = load_role(folder, role)
        _trust(folder, role, signer)
        return signer


def load_role(folder: Path, role: str) -> Signer:
    """Return a role's key. Raises ConfigError if this host does not have it."""
    return _load(_path(folder, role), role)


def trusted(folder: Path) -> dict[str, bytes]:
    """Return the public half of the key that each role signs with now.

    Raises:
        ConfigError: the list is damaged, or others may change it: whoever can adds a signer.
    """
    found = {role: rolelist.current(keys) for role, keys in rolelist.read(folder).items()}
    return {role: key.raw for role, key in found.items() if key is not None}


def believed(folder: Path, wanted: Iterable[str] = MANIFEST_SIGNERS) -> Signers:
    """Return whose signatures under what is kept count: every version of these roles' keys."""
    listed = rolelist.read(folder)
    keys = [key for role in wanted for key in listed.get(role, ())]
    return Signers(
        (key.fingerprint for key in keys if not key.distrusted),
        retired={key.fingerprint: key.until for key in keys if key.until},
        distrusted={key.fingerprint: f"{key.distrusted}: {key.reason}" for key in keys if key.distrusted},
    )


# -- rotation --------------------------------------------------------------------


def announce(folder: Path, role: str, *, now: datetime | None = None) -> RoleKey:
    """Make a role's next key and list it, so that other hosts can be told before it signs.

    One that was announced already is returned. The role's present key must be here: the next
    one has to lie where the role works.
    """
    with _rotating(folder, role):
        return _announced(folder, role, now or datetime.now(UTC))


def rotate(folder: Path, role: str, *, grace: timedelta = GRACE, now: datetime | None = None) -> RoleKey:
    """Have a role sign with its next key from now on; make one if none was announced.

    It may die at any instruction: the list decides, and whoever loads the key finishes.
    """
    moment = now or datetime.now(UTC)
    with _rotating(folder, role):
        made = _announced(folder, role, moment)
        _begin(folder, role, ends=_stamp(moment + grace))
        return made


def distrust(
    folder: Path, fingerprint: str, *, reason: str, now: datetime | None = None
) -> tuple[str, RoleKey]:
    """Have nothing count any more that a key signs or signed; return its role, and its new entry.

    If it is the one that its role signs with, and that lies here, another takes its place.

    Raises:
        UsageError: no role ever had that key.
    """
    moment = now or datetime.now(UTC)
    with privatefile.locked(folder):
        listed = rolelist.read(folder)
        role, leaked = _found(listed, fingerprint)
        keys = tuple(
            msgspec.structs.replace(key, distrusted=_stamp(moment), reason=reason)
            if not key.distrusted and (key == leaked or (leaked.signs and key.announced))
            else key  # one that was announced lay beside the one that leaked
            for key in listed[role]
        )
        rolelist.write(folder, {**listed, role: keys})
        if rolelist.current(keys) is None and _path(folder, role).exists():
            _announced(folder, role, moment)
            _begin(folder, role, ends=_stamp(moment))
        return role, next(key for key in keys if key.fingerprint == fingerprint)


@contextmanager
def _rotating(folder: Path, role: str) -> Iterator[None]:
    """Hold the lock, where a role's own key lies, whatever became of that."""
    _require_role(role)
    with privatefile.locked(folder):
        _finish(folder, role)
        signer, keys = load_role(folder, role), rolelist.read(folder).get(role, ())
        if signer.public not in [key.raw for key in keys]:
            _trust(folder, role, signer)
        yield


def _announced(folder: Path, role: str, now: datetime) -> RoleKey:
    listed = rolelist.read(folder)
    keys = listed[role]
    if keys[-1].announced and not keys[-1].distrusted:
        return keys[-1]
    signer = Signer.generate()
    _next(folder, role).unlink(missing_ok=True)  # of an attempt that did not get as far as the list
    _install(_next(folder, role), signer)
    version = keys[-1].version + 1
    made = RoleKey(version=version, public=signer.public.hex(), since=_stamp(now), announced=True)
    rolelist.write(folder, {**listed, role: (*keys, made)})
    return made


def _begin(folder: Path, role: str, *, ends: str) -> None:
    """Let the announced key sign, and what the one before it signs count until its end only."""
    listed = rolelist.read(folder)
    rolelist.write(folder, {**listed, role: tuple(_moved_on(key, ends) for key in listed[role])})
    _finish(folder, role)


def _moved_on(key: RoleKey, ends: str) -> RoleKey:
    if key.announced:
        return msgspec.structs.replace(key, announced=False)
    return msgspec.structs.replace(key, until=ends) if key.signs else key


def _finish(folder: Path, role: str) -> None:
    """Put the next private key in the place of the last one, once the list says that it signs."""
    path = _next(folder, role)
    if not path.exists():
        return
    now = rolelist.current(rolelist.read(folder).get(role, ()))
    if now is not None and _load(path, role).public == now.raw:
        path.replace(_path(folder, role))
        privatefile.sync(folder)


def _found(listed: Listed, fingerprint: str) -> tuple[str, RoleKey]:
    for role, keys in listed.items():
        for key in keys:
            if key.fingerprint == fingerprint:
                return role, key
    raise UsageError(
        "No role of this installation has or had a key of that fingerprint.",
        hint="See 'strongroom signers list'.",
    )


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


# -- files -----------------------------------------------------------------------


def _require_role(role: str) -> None:
    if role not in ROLES:
        raise ConfigError(f"there is no role '{role}'", hint=f"The roles: {', '.join(ROLES)}.")


def _path(folder: Path, role: str) -> Path:
    return folder / f"{role}.key"


def _next(folder: Path, role: str) -> Path:
    return folder / f"{role}.next.key"


def _load(path: Path, role: str) -> Signer:
    variety, private = privatefile.read_line(path, kind=KIND)
    if variety != _VARIETY or len(private) != 32:
        raise ConfigError(f"the key of role '{role}' is of an unknown kind")
    return Signer.from_private(private)


def _create(folder: Path, role: str) -> None:
    if role in rolelist.read(folder):
        raise ConfigError(
            f"the private key of role '{role}' is gone, its public half is still trusted",
            hint=f"Bring '{_path(folder, role)}' back from its escrow; a new one would not be believed.",
        )
    _install(_path(folder, role), Signer.generate())


def _install(path: Path, signer: Signer) -> None:
    try:
        privatefile.install_line(path, kind=KIND, variety=_VARIETY, content=signer.private_bytes())
    except UsageError as error:
        raise ConfigError(error.message) from None


def _trust(folder: Path, role: str, signer: Signer) -> None:
    """Trust a role's key that is new, or whose making was interrupted; never another one."""
    listed = rolelist.read(folder)
    keys = listed.get(role, ())
    if not keys:
        made = RoleKey(version=1, public=signer.public.hex(), since=_stamp(datetime.now(UTC)))
        rolelist.write(folder, {**listed, role: (made,)})
        return
    now = rolelist.current(keys)
    if now is not None and now.raw == signer.public:
        return
    raise _mistrusted(role, keys, signer)


def _mistrusted(role: str, keys: tuple[RoleKey, ...], signer: Signer) -> ConfigError:
    for key in keys:
        if key.raw == signer.public and key.distrusted:
            return ConfigError(
                f"the private key of role '{role}' is distrusted since {key.distrusted}: {key.reason}",
                hint=f"Nothing is signed with it. Make another: 'strongroom signers rotate {role}'.",
            )
        if key.raw == signer.public and key.until:
            return ConfigError(
                f"the private key of role '{role}' is version {key.version}, which was rotated away",
                hint="Bring the present one back from its escrow, or rotate once more.",
            )
    return ConfigError(
        f"the private key of role '{role}' is not the one that is trusted here",
        hint="Somebody replaced one of the two. Compare with another host before going on.",
    )
