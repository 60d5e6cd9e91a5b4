"""The host list: which host has which key, and which hosts were thrown out, by the installation key's word.

It is how several hosts agree on who counts without anybody copying a file. The state database carries it,
and may be anybody's: a list counts by the installation key's own signature, and it only ever narrows what a
host knows already. A key that was retired or removed here stays so, whatever an older list says that somebody
put back; one that is added has a certificate of the installation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, structs

from strongroom.container.canonical import printable
from strongroom.container.errors import FormatError, Malformed
from strongroom.container.marks import MAX_REASON, StatementKind, check_number, is_time, require_own_key
from strongroom.container.signing import Certificate, CertifiedSigner, Signer
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import rolelist
from strongroom.keys.errors import HostRemoved
from strongroom.keys.rolelist import RoleKey, RoleKeyList
from strongroom.model import prepare
from strongroom.system import files
from strongroom.times import rfc3339

KIND = "hosts"
"""What these lists are called in the state database."""
FOLDER = "hosts"
_SIGNER = "installation"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")


class RemovedHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host that was thrown out: when (RFC 3339), and why."""

    host: str
    at: str
    reason: str


class HostList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every key of every host, by role, and the hosts that were removed."""

    number: int
    made_at: str
    keys: Mapping[str, tuple[RoleKey, ...]]
    removed: tuple[RemovedHost, ...]


prepare(HostList)


class HostListKind(StatementKind[HostList], frozen=True, kw_only=True):
    """Host lists: the highest number counts."""

    def admit(self, certificate: Certificate) -> None:
        require_own_key(certificate)

    def check(self, statement: HostList) -> None:
        check_number(statement.number, "The host list's number", lowest=1)
        names = {key.host for keys in statement.keys.values() for key in keys}
        if not all(_NAME.fullmatch(name) for name in names | {gone.host for gone in statement.removed}):
            raise Malformed("A host on the host list has an impossible name.")
        if not all(printable(gone.reason, MAX_REASON) for gone in statement.removed):
            raise Malformed("A reason on the host list is too long, or cannot be printed.")
        if not all(map(is_time, (statement.made_at, *(gone.at for gone in statement.removed)))):
            raise Malformed("A time on the host list is malformed, or has no zone.")


HOST_LIST = HostListKind(
    name="hosts", words="host list", roles=(_SIGNER,), most=1024 * 1024, record=HostList, moment=""
)


def check_name(name: str) -> str:
    """Return a host's name; raise UsageError if it cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "That is no name for a host.",
            hint="It has up to 63 letters, digits, dots and hyphens. Give another: --name NAME.",
        )
    return name


def name_host(folder: Path, name: str) -> None:
    """Give this host its name among several, for good. The caller holds the folder's lock.

    Raises:
        UsageError: it has another one.
    """
    known = rolelist.this_host(folder)
    if known and known != name:
        raise UsageError(f"This host is called '{known}' already.", hint="Leave --name away.")
    if not known:
        files.write_whole(folder / rolelist.HOST, check_name(name).encode() + b"\n")


# -- the lists that are kept here: the highest, beside trusted.json


def kept(folder: Path) -> dict[bytes, HostList]:
    """Return the lists that are kept here by their bytes: the newest, or several that were made at once.

    Raises:
        ConfigError: one is damaged.
    """
    found: dict[bytes, HostList] = {}
    for path in sorted((folder / FOLDER).glob("[0-9]*.json")):
        try:
            content = path.read_bytes()
            found[content] = HOST_LIST.open(content, trusted=None).statement
        except FileNotFoundError:  # a higher one took its place meanwhile
            continue
        except (FormatError, OSError) as error:
            raise ConfigError(
                f"the host list '{path}' cannot be used: {error}",
                hint="Remove the file: the state database brings it again.",
            ) from None
    return found


def number(folder: Path) -> int:
    """Return the number of the newest list that is kept here; 0 if there is none."""
    return _highest(kept(folder))


def _highest(lists: Mapping[bytes, HostList]) -> int:
    return max((statement.number for statement in lists.values()), default=0)


def removed(folder: Path) -> dict[str, RemovedHost]:
    """Return the hosts that were thrown out and did not join again."""
    gone = {host.host: host for statement in kept(folder).values() for host in statement.removed}
    listed = rolelist.read(folder)
    back = {key.host for keys in listed.roles.values() for key in keys if key.signs}
    return {name: host for name, host in gone.items() if name not in back}


def require_member(folder: Path) -> None:
    """Raise HostRemoved if this host was thrown out, as far as it knows."""
    if gone := removed(folder).get(rolelist.this_host(folder) or ""):
        raise HostRemoved(f"this host, '{gone.host}', was removed at {gone.at}: {gone.reason}")


def roles_of(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return which roles' keys each host has, of those that sign."""
    found: dict[str, list[str]] = {}
    for role, keys in rolelist.read(folder).roles.items():
        for host in dict.fromkeys(key.host for key in keys if key.signs):
            found.setdefault(host, []).append(role)
    return {host: tuple(sorted(names)) for host, names in sorted(found.items())}


def own_roles(folder: Path) -> tuple[str, ...] | None:
    """Return the roles whose keys this host has among several; ``None`` if it is alone and may have all."""
    host = rolelist.this_host(folder)
    if not host:
        return None
    listed = rolelist.read(folder)
    return tuple(role for role in listed.roles if any(not key.removed for key in listed.on(host, role)))


def _keep(folder: Path, content: bytes, statement: HostList) -> None:
    digest = hashlib.sha256(content).hexdigest()[:16]
    files.sync(_folder(folder))
    files.write_whole(_folder(folder) / f"{statement.number:08}-{digest}.json", content, replace=True)
    for path in (folder / FOLDER).glob("[0-9]*.json"):
        if int(path.name[:8]) < statement.number:
            path.unlink(missing_ok=True)


def _folder(folder: Path) -> Path:
    path = folder / FOLDER
    path.mkdir(mode=0o755, exist_ok=True)
    return path


# -- making one


def sign_next(folder: Path, installation: Signer, *, remove: RemovedHost | None = None) -> int:
    """Sign what this host knows as the next list, unless that is what the newest says; return its number.

    The caller holds the folder's lock.

    Args:
        remove: a host that is thrown out with it.
    """
    known = kept(folder)
    listed = rolelist.read(folder)
    if remove is not None:
        listed = _without(listed, remove)
        rolelist.write(folder, listed)
    gone = {host.host: host for statement in known.values() for host in statement.removed}
    if remove is not None:
        gone[remove.host] = remove
    newest = _highest(known)
    made = HostList(
        number=newest + 1,
        made_at=rfc3339(datetime.now(UTC)),
        # Without what the trust list says, which travels by itself and reaches every reader.
        keys={
            role: tuple(structs.replace(key, distrusted="", reason="") for key in keys)
            for role, keys in sorted(listed.roles.items())
        },
        removed=tuple(gone[name] for name in sorted(gone)),
    )
    for other in known.values():
        if len(known) == 1 and structs.replace(made, number=other.number, made_at=other.made_at) == other:
            return newest
    signer = CertifiedSigner.issued(
        installation, installation=installation, role=_SIGNER, issued_at=datetime.fromisoformat(made.made_at)
    )
    _keep(folder, HOST_LIST.sign(made, signer), made)
    return made.number


def _without(listed: RoleKeyList, gone: RemovedHost) -> RoleKeyList:
    def end(key: RoleKey) -> RoleKey:
        if key.host != gone.host or key.removed:
            return key
        return structs.replace(key, announced=False, removed=True, until=_earlier(key.until, gone.at))

    return structs.replace(listed, roles={role: tuple(map(end, keys)) for role, keys in listed.roles.items()})


# -- taking one over


def adopt(folder: Path, found: Iterable[bytes]) -> bool:
    """Take over what the lists say that count; tell if anything was new.

    An older one may say something new too, since the installation key may have signed where nobody knew of
    the newest; it takes nothing back. Whatever else is among them is passed over: anybody may have put it
    there.

    Raises:
        ConfigError: this host's own list is damaged, or cannot be written.
    """
    new = False
    with files.locked_folder(folder):
        for content in found:
            known = kept(folder)
            if content in known or (opened := _opened(folder, content)) is None:
                continue
            statement, listed = opened
            if listed != rolelist.read(folder):
                rolelist.write(folder, listed)
                new = True
            if statement.number >= _highest(known):
                _keep(folder, content, statement)
                new = True
    return new


def _opened(folder: Path, content: bytes) -> tuple[HostList, RoleKeyList] | None:
    """Return a list that counts here, and what this host knows with it."""
    try:
        signed = HOST_LIST.open(content, trusted=rolelist.chain_of(folder))
        listed = _handed_over(rolelist.read(folder), signed.certificate.installation)
        return None if listed is None else (signed.statement, merged(listed, signed.statement))
    except (FormatError, ValueError):
        return None


def _handed_over(listed: RoleKeyList, installation: str) -> RoleKeyList | None:
    """Return what is known under the installation key that signed; ``None`` for one of before, which signs
    no list any more. That one follows on the other a trust list said, or it would not be believed."""
    if installation in listed.former:
        return None
    if installation == listed.installation:
        return listed
    return structs.replace(listed, installation=installation, former=(*listed.former, listed.installation))


def merged(listed: RoleKeyList, statement: HostList) -> RoleKeyList:
    """Return what a host knows together with what a list says: never more than either allows of a key that
    both have."""
    roles: dict[str, tuple[RoleKey, ...]] = {}
    for role in sorted({*listed.roles, *statement.keys}):
        own = {key.raw: key for key in listed.of(role)}
        for key in statement.keys.get(role, ()):
            rolelist.check(key, role, (listed.installation, *listed.former))
            own[key.raw] = _narrower(own[key.raw], key, listed.installation) if key.raw in own else key
        roles[role] = tuple(sorted(own.values(), key=lambda key: (key.version, key.raw)))
    return structs.replace(listed, roles=roles)


def _narrower(own: RoleKey, other: RoleKey, installation: str) -> RoleKey:
    newer = other.certificate.installation == installation != own.certificate.installation
    return structs.replace(
        own,
        certificate=other.certificate if newer else own.certificate,
        host=own.host or other.host,
        announced=own.announced and other.announced,
        until=_earlier(own.until, other.until),
        removed=own.removed or other.removed,
    )


def _earlier(first: str, second: str) -> str:
    moments = [moment for moment in (first, second) if moment]
    return min(moments, key=datetime.fromisoformat, default="")
