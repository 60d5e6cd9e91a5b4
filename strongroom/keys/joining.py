"""A token with which another host joins, what it brings there, and what that host asks for.

A token is 256 bits from the operating system and says what it grants. HKDF-SHA-512 (RFC 5869) makes three
keys of it, one for each use: one shows the database that its holder may use it (its SHA-256 alone lies
there), one seals the parcel (Cobblestone-256, which commits to its key), and one authenticates the request
(HMAC-SHA-256). So whoever reads or writes the database can open no parcel and forge no request.

What a token grants is decided by a file where it was made, beside the keys there: not by the database, and
not by the token's own words. That file has the key of requests alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from strongroom.container import canonical, cobblestone
from strongroom.container.canonical import unhex
from strongroom.container.errors import FormatError
from strongroom.container.signing import PUBLIC, SIGNATURE, verify_any
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import hostlist, rolelist, roles
from strongroom.keys.errors import TokenRefused
from strongroom.keys.rolelist import RoleKey
from strongroom.keys.roles import Certifier
from strongroom.model import Role, prepare
from strongroom.system import files

PREFIX = "srjoin1-"
SECRET = 32
_DOMAIN = b"strongroom/v1/join/"
_SAME = _DOMAIN + b"host"
KEYLESS = frozenset({Role.SUBMIT.value, Role.WATCH.value, Role.PAGE.value})
"""Roles that neither read the stage nor compare values: a token for these alone brings no key for that."""


class JoinToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token says. ``expires`` in seconds since the epoch; ``database`` without a password."""

    id: str
    secret: str
    roles: tuple[str, ...]
    expires: int
    database: str
    installation: str

    def __repr__(self) -> str:
        return f"JoinToken({self.id})"

    def text(self) -> str:
        """Return it as it is typed."""
        return PREFIX + base64.urlsafe_b64encode(canonical.encode(self)).decode().rstrip("=")

    def derived(self, purpose: bytes) -> bytes:
        """Return the key for one use."""
        return cobblestone.hkdf(
            bytes.fromhex(self.secret), salt=bytes.fromhex(self.id), info=_DOMAIN + purpose
        )

    @property
    def digest(self) -> str:
        """What the database may know of it."""
        return hashlib.sha256(self.derived(b"authentication")).hexdigest()


class Parcel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a host gets that it cannot make itself. Keys in hex, empty if it needs none; lists in base64."""

    work: str
    digest: str
    hosts: tuple[str, ...]
    trust: tuple[str, ...]
    configuration: str

    def __repr__(self) -> str:
        return "Parcel(...)"


class JoinRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys (public, in hex, by role) a host asks to have certified; ``mac`` shows that it has the
    token. ``same`` is a signature by a key that it has already, if it joined before: it shows that it is no
    other host of that name. ``hosts`` is the newest host list that it knows, for whoever certifies without
    the database."""

    token: str
    host: str
    keys: Mapping[str, str]
    hosts: tuple[str, ...]
    same: str = ""
    mac: str = ""

    def authenticated(self, key: bytes) -> JoinRequest:
        unsigned = structs.replace(self, mac="")
        return structs.replace(self, mac=hmac.digest(key, canonical.encode(unsigned), "sha256").hex())


class Grant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token grants, where it was made. ``used`` is the digest of the one request that it served."""

    id: str
    key: str
    roles: tuple[str, ...]
    expires: int
    used: str = ""


prepare(JoinToken, Parcel, JoinRequest, Grant)


# -- where a token is made


def make(folder: Path, *, granted: tuple[str, ...], expires: int, database: str) -> JoinToken:
    """Make a token, and note here what it grants.

    Raises:
        ConfigError: it cannot be noted.
    """
    token = JoinToken(
        id=secrets.token_hex(16),
        secret=os.urandom(SECRET).hex(),
        roles=tuple(sorted(granted)),
        expires=expires,
        database=database,
        installation=rolelist.read(folder).fingerprint,
    )
    key = token.derived(b"request").hex()
    with files.locked_folder(folder):
        _write_grant(folder, Grant(id=token.id, key=key, roles=token.roles, expires=expires))
    return token


def seal(token: JoinToken, parcel: Parcel) -> bytes:
    """Return a parcel that only the token opens."""
    context = _DOMAIN + b"parcel/" + token.id.encode()
    return cobblestone.seal(token.derived(b"parcel"), canonical.encode(parcel), context=context)


def grants(folder: Path) -> dict[str, Grant]:
    """Return what the tokens grant that were made here, by their ids. A damaged one grants nothing."""
    found = {}
    for path in sorted((folder / "tokens").glob("*.json")):
        try:
            grant = msgspec.json.decode(files.read_private(path), type=Grant)
        except (msgspec.DecodeError, ConfigError):
            continue
        found[grant.id] = grant
    return found


def _write_grant(folder: Path, grant: Grant) -> None:
    place = folder / "tokens"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        with files.atomic(place / f"{grant.id}.json", replace=True, mode=0o600) as file:
            file.write(canonical.encode(grant))
    except OSError as error:
        raise ConfigError(f"'{place}' cannot be written: {error.strerror}") from None


def forget_old_grants(folder: Path, *, now: float) -> None:
    """Remove what tokens granted that are over for a month: their requests are long answered."""
    for grant in grants(folder).values():
        if grant.expires < now - 30 * 86_400:
            (folder / "tokens" / f"{grant.id}.json").unlink(missing_ok=True)


# -- where a host joins


def parse(text: str) -> JoinToken:
    """Return a token that somebody typed. Raises UsageError, which repeats none of it."""
    body = "".join(text.split())
    if not body.startswith(PREFIX):
        raise UsageError(
            "That is no token.", hint="It begins with 'srjoin1-': 'strongroom cluster token' printed it."
        )
    body = body.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        token = canonical.decode(raw, JoinToken, "The token")
        unhex(token.id, 16, "Its id")
        unhex(token.secret, SECRET, "Its secret")
    except (binascii.Error, ValueError, FormatError):
        raise UsageError("That token is not whole.", hint="Copy it again: it is one long line.") from None
    return token


def open_parcel(token: JoinToken, sealed: bytes) -> Parcel:
    """Return what a token brings.

    Raises:
        TokenRefused: it was sealed to another token, or changed.
    """
    context = _DOMAIN + b"parcel/" + token.id.encode()
    try:
        plain = cobblestone.open_(token.derived(b"parcel"), sealed, context=context)
        return canonical.decode(plain, Parcel, "The parcel")
    except FormatError:
        raise TokenRefused(
            "What the state database has for this token was not sealed to it.",
            hint="Somebody wrote to the database. Nothing was changed here. Treat it as an incident.",
        ) from None


def ask(folder: Path, token: JoinToken, *, host: str) -> JoinRequest:
    """Make this host's keys, and return the request to have them certified: the same one each time.

    A key of a role that it was given before stays.
    """
    own = {
        role: public for role, public in roles.trusted(folder).items() if (folder / f"{role}.key").exists()
    }
    keys = {role: (own.get(role) or roles.request(folder, role)).hex() for role in token.roles}
    request = JoinRequest(token=token.id, host=host, keys=keys, hosts=())
    if own:
        signature = roles.load_role(folder, min(own)).sign(_SAME, _digest(request).encode())
        request = structs.replace(request, same=signature.hex())
    return request.authenticated(token.derived(b"request"))


# -- where a request is certified


def certify(
    folder: Path,
    request: JoinRequest,
    *,
    installation_key: Certifier = None,
    late: bool = False,
    by_hand: bool = False,
) -> list[tuple[str, RoleKey]]:
    """Certify what a host asks for, as far as its token grants it. Repeated, it does what is left.

    Args:
        late: a person says that it may come after the token was over.
        by_hand: a person looked at the request itself, where nothing is known of the token.

    Raises:
        TokenRefused: the token does not grant it, was not made here, is over, or served another request.
    """
    grant = grants(folder).get(request.token)
    if grant is None and not by_hand:
        raise TokenRefused(f"token {request.token[:8]} was not made on this host")
    if grant is not None:
        _require_granted(request, grant, late=late or by_hand)
        with files.locked_folder(folder):
            _write_grant(folder, structs.replace(grant, used=_digest(request)))
    hostlist.check_name(request.host)
    _require_free(folder, request)
    return [
        (
            role,
            roles.certify_key(
                folder,
                role,
                unhex(public, PUBLIC, "A public key"),
                host=request.host,
                installation_key=installation_key,
            ),
        )
        for role, public in sorted(request.keys.items())
    ]


def _require_granted(request: JoinRequest, grant: Grant, *, late: bool) -> None:
    if not hmac.compare_digest(request.authenticated(bytes.fromhex(grant.key)).mac, request.mac):
        raise TokenRefused(
            f"a request of host '{request.host}' was not made with token {grant.id[:8]}",
            hint="Nothing was certified. Somebody wrote to the state database: treat it as an incident.",
        )
    if beyond := sorted(set(request.keys) - set(grant.roles)):
        raise TokenRefused(f"token {grant.id[:8]} does not grant role {', '.join(beyond)}")
    if grant.used not in ("", _digest(request)):
        raise TokenRefused(f"token {grant.id[:8]} was used up by another request")
    if not late and not grant.used and datetime.now(UTC).timestamp() > grant.expires:
        raise TokenRefused(
            f"token {grant.id[:8]} was over before the request of host '{request.host}' came here",
            hint="Make another token. Or, if you know that host: strongroom cluster certify --late.",
        )


def _require_free(folder: Path, request: JoinRequest) -> None:
    """Refuse a name that another host has: its keys would end for those of this one."""
    listed = rolelist.read(folder).roles.values()
    there = [key for keys in listed for key in keys if key.host == request.host and key.signs]
    if {key.certificate.key for key in there} <= set(request.keys.values()):
        return
    try:
        signature = unhex(request.same, SIGNATURE, "What shows that it is the same host")
        verify_any([key.raw for key in there], _SAME, _digest(request).encode(), signature)
    except FormatError:
        raise TokenRefused(
            f"there is a host called '{request.host}' already, with other keys",
            hint="Join with another --name, or throw that one out first: strongroom cluster remove "
            f"{request.host}.",
        ) from None


def check_digits(request: JoinRequest) -> str:
    """Return what people compare who carry a request to where no token is known."""
    digest = _digest(request)
    return " ".join(digest[at : at + 4] for at in range(0, 16, 4))


def _digest(request: JoinRequest) -> str:
    return hashlib.sha256(canonical.encode(structs.replace(request, hosts=(), same="", mac=""))).hexdigest()
