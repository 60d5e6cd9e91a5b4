"""The installation's key and the roles' signing keys: Ed25519, one a role and version, each certified.

The installation key vouches for the roles' keys; its fingerprint is all that people pin. It is needed
only to certify, and may lie offline. On one host all lie in one folder. On several, each host has the
private keys of its own roles, and ``trusted.json`` says which key is whose: see
:mod:`strongroom.keys.hostlist`. Only the newest private half is kept: what the ones before it signed is
checked with their public halves, which stay listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from strongroom.container.marks import counting, number_in, with_lists
from strongroom.container.signing import MANIFEST_ROLES as MANIFEST_SIGNERS
from strongroom.container.signing import PUBLIC, CertifiedSigner, Signer, Signers, certify, is_small_order
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import hostlist, rolelist
from strongroom.keys.errors import RoleNotHere
from strongroom.keys.rolelist import (
    TRUSTED,
    RoleKey,
    RoleKeyList,
    chain_of,
    check_reason,
    named_successor,
    next_list,
)
from strongroom.model import Role
from strongroom.system import files

__all__ = ["MANIFEST_SIGNERS", "ROLES", "TRUSTED"]

ROLES = tuple(role.value for role in Role if role is not Role.OPERATOR)
"""Those that have a key of their own."""
INSTALLATION = "installation.key"
KIND = "strongroom-role-key-1"
INSTALLATION_KIND = "strongroom-installation-key-1"
GRACE = timedelta(hours=24)
"""How long what a retired key signs is still accepted as new: runs and messages on their way."""

Certifier = Path | Signer | None
"""The installation's private key, or where it lies; ``None``: with the role keys."""

_VARIETY = "Ed25519"


def load_or_create_role(
    folder: Path, role: str, *, installation_key: Certifier = None, given: bool = False
) -> CertifiedSigner:
    """Return a role's key, making and certifying it if there is none and this host may have every role.

    Args:
        installation_key: where the installation's private key lies, if not in the folder.
        given: somebody gives this host the role now: without that, one of several hosts makes no key.

    Raises:
        RoleNotHere: this is one of several hosts, and nobody gave it that role.
        ConfigError: there is no such role, the key's file is damaged or open to others, or a new key
            cannot be certified because the installation key is elsewhere.
    """
    _require_role(role)
    with files.locked_folder(folder):
        _finish(folder, role)
        if not _path(folder, role).exists():
            if _own(folder, role):
                raise ConfigError(
                    f"the private key of role '{role}' is gone",
                    hint=f"Bring '{_path(folder, role)}' back from its escrow. If it is lost for good: "
                    f"strongroom keys signers create {role} --lost",
                )
            if not given:
                require_role(folder, role)
            _ready(folder, installation_key)
            _installation(folder, role, installation_key)  # before a key is made that nobody could certify
            _install(_path(folder, role), Signer.generate())
        _trust(folder, role, _load(_path(folder, role), role), installation_key)
        _tell_hosts(folder, installation_key)
        return load_role(folder, role)


def require_role(folder: Path, role: str) -> None:
    """Return if this host may work as a role: every one of several was given some. Raises RoleNotHere."""
    own = hostlist.own_roles(folder)
    if own is None or role in own:
        return
    how = (
        f"strongroom cluster init --role {role}"
        if can_certify(folder)
        else f"'strongroom cluster token --role {role}' where the cluster was begun, then "
        "'strongroom cluster join TOKEN' here"
    )
    raise RoleNotHere(
        f"this host has no role '{role}'; it has {', '.join(own) or 'none'}",
        hint="Nothing was done. Repeat it on a host that has the role ('strongroom cluster hosts'), or have "
        f"the cluster do it (--cluster, where the command has that). To give this host the role: {how}",
    )


def _own(folder: Path, role: str) -> tuple[RoleKey, ...]:
    """Return the keys of a role that are this host's."""
    return rolelist.read(folder).on(rolelist.this_host(folder), role)


def _tell_hosts(folder: Path, installation_key: Certifier) -> None:
    """Sign the list anew for the other hosts, if there are any and the installation key is at hand."""
    if rolelist.this_host(folder) and can_certify(folder, installation_key):
        hostlist.sign_next(folder, _installation(folder, "installation", installation_key))


def load_role(folder: Path, role: str) -> CertifiedSigner:
    """Return a role's key with its certificate. Raises ConfigError if this host does not have it."""
    signer = _load(_path(folder, role), role)
    for key in rolelist.read(folder).of(role):
        if key.raw == signer.public:
            trust, lists = known_lists(folder)
            return CertifiedSigner.of(signer, key.certificate, trust=trust, lists=lists)
    raise ConfigError(
        f"the private key of role '{role}' is not listed as certified",
        hint="On one of several hosts: wait until it is certified ('strongroom cluster join' says how). "
        f"Else run: strongroom keys signers rotate {role}",
    )


def trusted(folder: Path) -> dict[str, bytes]:
    """Return the public half of the key that each role signs with now.

    Raises:
        ConfigError: the list is damaged, or others may change it: whoever can narrows what is believed.
    """
    listed, host = rolelist.read(folder), rolelist.this_host(folder)
    found = {role: rolelist.current(listed.on(host, role)) for role in listed.roles}
    return {role: key.raw for role, key in found.items() if key is not None}


def believed(folder: Path, also: Iterable[str] = ()) -> Signers:
    """Return whose signatures under what is kept count: this installation's, but for keys that are
    retired or distrusted here.

    Args:
        also: fingerprints of other installations that are pinned here.
    """
    listed = rolelist.read(folder)
    keys = [key for found in listed.roles.values() for key in found]
    pins = Signers(
        (*listed.fingerprints, *also),
        retired={key.fingerprint: key.until for key in keys if key.until},
        distrusted={key.fingerprint: f"{key.distrusted}: {key.reason}" for key in keys if key.distrusted},
    )
    known = with_lists(pins, rolelist.read_kept_list(folder))
    return Signers(known, retired=known.retired, distrusted=known.distrusted)


def installation_signer(folder: Path, installation_key: Certifier = None) -> Signer:
    """Return this installation's private key, making it for an installation that has none yet.

    Raises:
        ConfigError: it is not here, or what was given is another one.
    """
    with files.locked_folder(folder):
        _ready(folder, installation_key)
        path = installation_key or folder / INSTALLATION
        if not can_certify(folder, installation_key):
            raise ConfigError(
                f"the installation key is not here: there is no '{path}'",
                hint="Give it: --installation-key FILE, or --installation-share FILE with its words.",
            )
        return _installation(folder, "installation", installation_key)


def write_installation_key(path: Path, key: Signer) -> None:
    """Write an installation key into a file of its own, and read it back."""
    _install(path, key, INSTALLATION_KIND)
    if read_installation_key(path).public != key.public:
        raise ConfigError(f"'{path}' does not hold what was written", hint="Take another medium.")


def make_all(folder: Path) -> Signer:
    """Make a key for every role that has none yet, and return the installation key that certifies them.

    It can go offline then: whatever this host does for the first time later would have to ask for it. Which
    roles one of several hosts has was said when it began or joined.
    """
    installation = installation_signer(folder)
    listed = rolelist.read(folder)
    for role in () if rolelist.this_host(folder) else ROLES:
        if not listed.of(role):  # one that is listed may be another host's
            load_or_create_role(folder, role)
    return installation


def read_installation_key(key: Path | Signer) -> Signer:
    """Return the installation key, or that which a file holds. Raises ConfigError if it is none."""
    return key if isinstance(key, Signer) else _load_as(key, INSTALLATION_KIND, "the installation key")


def remove_installation_key(folder: Path) -> bool:
    """Take the private installation key from beside the role keys; tell whether it was there."""
    with files.locked_folder(folder):
        there = (folder / INSTALLATION).exists()
        (folder / INSTALLATION).unlink(missing_ok=True)
        files.sync(folder)
        return there


def hand_over(folder: Path, successor: Signer, *, installation_key: Certifier, now: datetime) -> int:
    """Have another installation key certify from now on; return the number of its trust list.

    The key before names it in its last list, so whoever pins that one goes on to this. The role keys stay,
    with new certificates. Asked again, it does what is left.
    """
    with files.locked_folder(folder):
        listed = rolelist.read(folder)
        if successor.public.hex() != listed.installation:
            old = _installation(folder, "installation", installation_key)
            if not named_successor(folder, old, successor):
                next_list(folder, old, now=now, successor=successor.public.hex())
            rolelist.write(folder, _certified_anew(listed, successor, now))
        _tell_hosts(folder, successor)
        known = known_lists(folder)[0]
        own = [signed_index for _, signed_index in rolelist.files_of(folder, [successor.fingerprint])]
        return known if own else next_list(folder, successor, now=now)


def _certified_anew(listed: RoleKeyList, successor: Signer, now: datetime) -> RoleKeyList:
    def anew(role: str, key: RoleKey) -> RoleKey:
        if key.until or key.distrusted:
            return key
        certificate = certify(successor, role=role, public=key.raw, issued_at=now)
        return structs.replace(key, certificate=certificate)

    return structs.replace(
        listed,
        installation=successor.public.hex(),
        former=(*listed.former, listed.installation),
        roles={role: tuple(anew(role, key) for key in keys) for role, keys in listed.roles.items()},
    )


def known_lists(folder: Path) -> tuple[int, dict[str, bytes]]:
    """Return the number of this installation's newest trust list that is known here, 0 if there is none, and
    the lists that a reader needs, by their names on a target."""
    own = chain_of(folder)
    lists: dict[str, bytes] = {}
    for content, signed in rolelist.files_of(folder, own):
        name = signed.statement.object_name
        beside = (f"{name}.r{number}" for number in range(1, 10))
        lists[next(file_name for file_name in (name, *beside) if file_name not in lists)] = content
    return max((number_in(name) or 0 for name in lists), default=0), lists


def installation_fingerprint(folder: Path) -> str:
    """Return this installation's fingerprint; empty if nothing was signed here yet."""
    return rolelist.read(folder).fingerprint


# -- rotation --------------------------------------------------------------------


def announce(
    folder: Path, role: str, *, now: datetime | None = None, installation_key: Certifier = None
) -> RoleKey:
    """Make a role's next key and list it, so that other hosts can be told before it signs.

    One that was announced already is returned. The role's present key must be here: the next
    one has to lie where the role works.
    """
    with _rotating(folder, role, installation_key):
        made = _announced(folder, role, now or datetime.now(UTC), installation_key)
        _tell_hosts(folder, installation_key)
        return made


def rotate(
    folder: Path,
    role: str,
    *,
    grace: timedelta = GRACE,
    now: datetime | None = None,
    installation_key: Certifier = None,
) -> RoleKey:
    """Have a role sign with its next key from now on; make one if none was announced.

    It may die at any instruction: the list decides, and whoever loads the key finishes.
    """
    moment = now or datetime.now(UTC)
    with _rotating(folder, role, installation_key):
        made = _announced(folder, role, moment, installation_key)
        begun = _begin(folder, role, made, ends=_stamp(moment + grace))
        _tell_hosts(folder, installation_key)
        return begun


def replace(
    folder: Path,
    role: str,
    *,
    grace: timedelta = GRACE,
    now: datetime | None = None,
    installation_key: Certifier = None,
) -> RoleKey:
    """Give a role whose private key is lost another one, certified by the same installation key.

    What the lost key signed stays good; nobody elsewhere has to do anything.

    Raises:
        UsageError: the role's key is here, or the role never had one.
    """
    _require_role(role)
    moment = now or datetime.now(UTC)
    with files.locked_folder(folder):
        _finish(folder, role)
        if not _own(folder, role):
            raise UsageError(
                f"Role '{role}' never had a key here.",
                hint=f"Make one: strongroom keys signers create {role}",
            )
        if _path(folder, role).exists():
            raise UsageError(
                f"The key of role '{role}' is here: it is not lost.",
                hint=f"To change it: strongroom keys signers rotate {role}",
            )
        made = _announced(folder, role, moment, installation_key)
        begun = _begin(folder, role, made, ends=_stamp(moment + grace))
        _tell_hosts(folder, installation_key)
        return begun


# -- a key that is made on another host than the installation key -------------------


def request(folder: Path, role: str) -> bytes:
    """Make a role's next private key here, to be certified elsewhere; return its public half.

    Until the list that certifies it arrives here, it signs nothing. Asked again, it is the same, unless
    the list says by now that it will never sign.
    """
    _require_role(role)
    with files.locked_folder(folder):
        _finish(folder, role)
        path = _next(folder, role)
        listed = {key.raw: key for key in rolelist.read(folder).of(role)}
        known = listed.get(_load(path, role).public) if path.exists() else None
        if known is not None and not (known.signs or known.announced):
            path.unlink()
        if not path.exists():
            _install(path, Signer.generate())
        return _load(path, role).public


def certify_key(
    folder: Path,
    role: str,
    public: bytes,
    *,
    host: str = "",
    grace: timedelta = GRACE,
    now: datetime | None = None,
    installation_key: Certifier = None,
) -> RoleKey:
    """Certify and list a key that :func:`request` made on a host: its role signs with it there from now.

    Repeated, it does nothing, or what an attempt that died left undone.

    Raises:
        UsageError: that is no public key, it is another role's, or it is distrusted.
    """
    _require_role(role)
    if len(public) != PUBLIC:
        raise UsageError(
            "That is no public key.", hint="It is the 64 digits that 'signers create --request' printed."
        )
    if is_small_order(public):
        raise UsageError(
            "That is a public key of small order: anybody can sign for it.",
            hint=f"No host makes such a key. Run 'strongroom keys signers create {role} --request' again, "
            "and check who changed the line on its way.",
        )
    moment = now or datetime.now(UTC)
    with files.locked_folder(folder):
        made = _known(rolelist.read(folder), role, public)
        if made is not None and not made.announced:
            return made
        if made is None:
            _ready(folder, installation_key)
            made = structs.replace(_certified(folder, role, public, moment, installation_key), host=host)
        begun = _begin(folder, role, made, ends=_stamp(moment + grace))
        _tell_hosts(folder, installation_key)
        return begun


def _known(listed: RoleKeyList, role: str, public: bytes) -> RoleKey | None:
    """Return the entry of a key that is to be certified. Raises UsageError if it must not be."""
    for owner, keys in listed.roles.items():
        for key in (key for key in keys if key.raw == public):
            if owner != role:
                raise UsageError(
                    f"That is the key of role '{owner}': no two roles share one.",
                    hint=f"Run 'strongroom keys signers create {role} --request' where role '{role}' works.",
                )
            if key.distrusted:
                raise UsageError(
                    f"That key is distrusted since {key.distrusted}: {key.reason}",
                    hint=f"Run 'strongroom keys signers create {role} --request' there: it makes another.",
                )
            return key
    return None


# -- leaks ---------------------------------------------------------------------------


class Distrust(NamedTuple):
    """A key that is distrusted now, its role, and the number of the trust list that says so; 0: none does,
    since the installation key was not at hand."""

    role: str
    key: RoleKey
    number: int


def distrust(
    folder: Path,
    fingerprint: str,
    *,
    reason: str,
    now: datetime | None = None,
    installation_key: Certifier = None,
) -> Distrust:
    """Have nothing count any more that a key signs or signed.

    If it is the one that its role signs with, and that lies here, another takes its place; and the
    installation's next trust list tells every other host and reader. Both need the installation key. Asked
    again with it, it does what is left.

    Raises:
        UsageError: no role ever had that key, or the reason cannot be told.
    """
    moment = now or datetime.now(UTC)
    check_reason(reason)
    with files.locked_folder(folder):
        listed = rolelist.read(folder)
        role, leaked = _found(listed, fingerprint)
        # One that was announced lay beside the one that leaked.
        beside = [key for key in listed.on(leaked.host, role) if leaked.signs and key.announced]
        keys = tuple(
            structs.replace(key, distrusted=_stamp(moment), reason=reason)
            if not key.distrusted and (key == leaked or key in beside)
            else key
            for key in listed.of(role)
        )
        rolelist.write(folder, listed.with_keys(role, keys))
        number = 0
        if can_certify(folder, installation_key):
            here = leaked.host == rolelist.this_host(folder)
            if here and rolelist.current(_own(folder, role)) is None and _path(folder, role).exists():
                made = _announced(folder, role, moment, installation_key)
                _begin(folder, role, made, ends=_stamp(moment))
            number = _listed_as_leaked(folder, leaked) or next_list(
                folder, _installation(folder, role, installation_key), now=moment
            )
            _tell_hosts(folder, installation_key)
        return Distrust(role, next(key for key in keys if key.fingerprint == fingerprint), number)


def _listed_as_leaked(folder: Path, leaked: RoleKey) -> int:
    """Return the number of the newest trust list if that distrusts a key already; else 0."""
    listed = counting(rolelist.read(folder).fingerprints, rolelist.read_kept_list(folder))
    return known_lists(folder)[0] if leaked.certificate.key in [key.key for key in listed] else 0


@contextmanager
def _rotating(folder: Path, role: str, installation_key: Certifier) -> Iterator[None]:
    """Hold the lock, where a role's own key lies, whatever became of that."""
    _require_role(role)
    with files.locked_folder(folder):
        _finish(folder, role)
        signer, keys = _load(_path(folder, role), role), rolelist.read(folder).of(role)
        if signer.public not in [key.raw for key in keys]:
            _trust(folder, role, signer, installation_key)
        yield


def _announced(folder: Path, role: str, now: datetime, installation_key: Certifier) -> RoleKey:
    listed = _ready(folder, installation_key)
    newest = _own(folder, role)[-1]
    if newest.announced and not (newest.distrusted or newest.removed):
        return newest
    signer = Signer.generate()
    made = _certified(folder, role, signer.public, now, installation_key)
    _next(folder, role).unlink(missing_ok=True)  # of an attempt that did not get as far as the list
    _install(_next(folder, role), signer)
    rolelist.write(folder, listed.with_keys(role, (*listed.of(role), made)))
    return made


def _certified(folder: Path, role: str, public: bytes, now: datetime, installation_key: Certifier) -> RoleKey:
    """Return a new entry of this host that does not sign yet. Versions count over all hosts."""
    installation = _installation(folder, role, installation_key)
    certificate = certify(installation, role=role, public=public, issued_at=now)
    version = 1 + max((key.version for key in rolelist.read(folder).of(role)), default=0)
    host = rolelist.this_host(folder)
    return RoleKey(version=version, certificate=certificate, since=_stamp(now), announced=True, host=host)


def _begin(folder: Path, role: str, made: RoleKey, *, ends: str) -> RoleKey:
    """Let one key sign, listed or new, and what any other of its host signs count until its end only."""
    listed = rolelist.read(folder)
    begun = structs.replace(made, announced=False)
    before = tuple(
        _ended(key, ends) if key.host == made.host else key for key in listed.of(role) if key.raw != made.raw
    )
    keys = sorted((*before, begun), key=lambda key: key.version)
    rolelist.write(folder, listed.with_keys(role, tuple(keys)))
    _finish(folder, role)
    return begun


def _ended(key: RoleKey, ends: str) -> RoleKey:
    """Return a key that signs no more, if it did; one that was announced never will."""
    if key.until or key.distrusted:
        return key
    return structs.replace(key, announced=False, until=ends)


def _finish(folder: Path, role: str) -> None:
    """Put the next private key in the place of the last one, once the list says that it signs."""
    path = _next(folder, role)
    if not path.exists():
        return
    public = _load(path, role).public
    if any(key.raw == public and key.signs for key in rolelist.read(folder).of(role)):
        path.replace(_path(folder, role))
        files.sync(folder)


def _found(listed: RoleKeyList, fingerprint: str) -> tuple[str, RoleKey]:
    for role, keys in listed.roles.items():
        if key := next((key for key in keys if key.fingerprint == fingerprint), None):
            return role, key
    what = "No role of this installation has or had a key of that fingerprint."
    raise UsageError(what, hint="See 'strongroom keys signers list'.")


# -- the installation key --------------------------------------------------------


def can_certify(folder: Path, installation_key: Certifier = None) -> bool:
    """Tell whether the installation's private key is at hand."""
    return isinstance(installation_key, Signer) or (installation_key or folder / INSTALLATION).exists()


def _ready(folder: Path, installation_key: Certifier) -> RoleKeyList:
    """Return the list; of a new installation, make its key and begin the list with it."""
    listed = rolelist.read(folder)
    if listed.installation:
        return listed
    # Refuse to begin a list where there was one. Without it an installation would quietly become another one,
    # which nobody believes, or believe again a key that it distrusted.
    if not can_certify(folder, installation_key) and any(folder.glob("*.key")):
        raise ConfigError(
            f"there are role keys in '{folder}', but neither {TRUSTED} nor {INSTALLATION}",
            hint=f"Bring {TRUSTED} back from another host or from the escrow. A host that joins an "
            "installation gets it by 'strongroom cluster join'.",
        )
    if any(_path(folder, role).exists() for role in ROLES):
        raise ConfigError(
            f"there are role keys in '{folder}', but {TRUSTED} is gone, which says what they still count for",
            hint="Bring it back from another host or from the escrow. If there is no copy, move the roles' "
            f"keys elsewhere and leave {INSTALLATION}: it certifies new ones, and people go on pinning the "
            "same fingerprint.",
        )
    path = installation_key or folder / INSTALLATION
    if isinstance(path, Path) and not path.exists():
        _install(path, Signer.generate(), INSTALLATION_KIND)
    begun = structs.replace(listed, installation=read_installation_key(path).public.hex())
    rolelist.write(folder, begun)
    return begun


def _installation(folder: Path, role: str, installation_key: Certifier) -> Signer:
    """Return the installation's key, to certify a role's. Raises ConfigError if it is not the listed one."""
    listed = rolelist.read(folder)
    path = installation_key or folder / INSTALLATION
    if not can_certify(folder, installation_key):
        raise ConfigError(
            f"a new key of role '{role}' needs the installation key to certify it, and '{path}' is not there",
            hint="Keys that are certified already go on working. One of several hosts gets a role by a token "
            "that grants it ('strongroom cluster join'). Or run 'strongroom keys signers create "
            f"{role} --request' here: it prints what to run where the key of {listed.fingerprint} is kept. "
            "Or bring that key here for one command: 'strongroom keys signers "
            f"create {role} {'--lost ' if _own(folder, role) else ''}--installation-key FILE'.",
        )
    signer = read_installation_key(path)
    if signer.public.hex() != listed.installation:
        given = f"'{path}' is" if isinstance(path, Path) else "what was given is"
        raise ConfigError(
            f"{given} the key of another installation ({signer.fingerprint})",
            hint=f"This one is {listed.fingerprint}. Bring that key.",
        )
    return signer


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
    return _load_as(path, KIND, f"the key of role '{role}'")


def _load_as(path: Path, kind: str, what: str) -> Signer:
    variety, private = files.read_line(path, kind=kind)
    if variety != _VARIETY or len(private) != 32:
        raise ConfigError(f"{what} is of an unknown kind")
    return Signer.from_private(private)


def _install(path: Path, signer: Signer, kind: str = KIND) -> None:
    try:
        files.write_line(path, kind=kind, variety=_VARIETY, content=signer.private_bytes())
    except UsageError as error:
        raise ConfigError(error.message) from None


def _trust(folder: Path, role: str, signer: Signer, installation_key: Certifier) -> None:
    """Certify a role's key that is new, or whose making was interrupted; never another one."""
    keys = _own(folder, role)
    if not keys:
        listed = _ready(folder, installation_key)
        made = _certified(folder, role, signer.public, datetime.now(UTC), installation_key)
        begun = structs.replace(made, announced=False)
        rolelist.write(folder, listed.with_keys(role, (*listed.of(role), begun)))
        return
    if (refusal := _refusal(role, keys, signer)) is not None:
        raise refusal


def refused(folder: Path) -> Iterator[ConfigError]:
    """Yield why nothing is signed with a role's key that lies here, of each for which that is so.

    Another host may have distrusted it: its list came from a target.
    """
    listed = rolelist.read(folder)
    for role in ROLES:
        keys = listed.of(role)
        if not keys or not _path(folder, role).exists():
            continue
        if (refusal := _refusal(role, keys, _load(_path(folder, role), role))) is not None:
            yield refusal


def _refusal(role: str, keys: tuple[RoleKey, ...], signer: Signer) -> ConfigError | None:
    listed = [key for key in keys if key.raw == signer.public]
    if any(key.signs for key in listed):
        return None
    for key in listed:
        if key.distrusted:
            return RoleNotHere(
                f"the private key of role '{role}' is distrusted since {key.distrusted}: {key.reason}",
                hint=f"Nothing is signed with it. Make another: 'strongroom keys signers rotate {role}'.",
            )
        if key.removed:
            return RoleNotHere(
                f"this host was removed from the installation, and its key of role '{role}' with it",
                hint="Every other host refuses what it sends. To have it join again: move its 'keys' folder "
                "elsewhere, then 'strongroom cluster join' with a new token.",
            )
        if key.until:
            return RoleNotHere(
                f"the private key of role '{role}' is version {key.version}, which was rotated away",
                hint="Bring the present one back from its escrow, or rotate once more.",
            )
    return ConfigError(
        f"the private key of role '{role}' is not the one that is trusted here",
        hint="Somebody replaced one of the two. Compare with another host before going on.",
    )
