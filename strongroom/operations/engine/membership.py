"""Several hosts: how their signed lists travel by the state database, how one joins, and how one is removed.

The database only carries. What each host believes of it is decided by its own folder of keys:
:mod:`strongroom.keys.hostlist` and :mod:`strongroom.keys.joining`.
"""

from __future__ import annotations

import base64
import hashlib
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.container.errors import FormatError
from strongroom.container.marks import TRUST_LIST, SignedTrustList
from strongroom.container.signing import Signers
from strongroom.errors import ConfigError, StrongroomError, UsageError
from strongroom.keys import hostlist, joining, keywrap, rolelist, roles
from strongroom.keys.errors import TokenRefused
from strongroom.keys.hostlist import HOST_LIST, RemovedHost
from strongroom.keys.joining import JoinRequest, JoinToken, Parcel
from strongroom.keys.rolelist import RoleKeyList
from strongroom.keys.roles import Certifier
from strongroom.operations.errors import HostIsAlone
from strongroom.state.hosts import HostRecord, JoinRecord
from strongroom.system import files

TRUST: Final = "trust"
BEHIND: Final = 8
"""How many numbers a list may be behind that was signed where nobody knew of the newest."""

# -- Lists on their way: each host takes over what is newer, and leaves what the database lacks --


def exchange(folder: Path, store: HostRecord) -> bool:
    """Take over the lists that other hosts left, and leave there what they lack; tell if any was new here.

    Nothing is done on a host that is alone.
    """
    if not rolelist.this_host(folder):
        return False
    new = _exchange_trust(folder, store)
    there = store.newest_lists(hostlist.KIND, after=hostlist.number(folder) - BEHIND)
    new = hostlist.adopt(folder, there) or new
    for content, statement in hostlist.kept(folder).items():
        if content not in there:
            store.put_list(hostlist.KIND, statement.number, content)
    return new


def _exchange_trust(folder: Path, store: HostRecord) -> bool:
    known = {
        content: signed.statement for content, signed in rolelist.files_of(folder, rolelist.chain_of(folder))
    }
    highest = max((statement.number for statement in known.values()), default=0)
    there = store.newest_lists(TRUST, after=highest)
    for content, statement in known.items():
        if content not in there:
            store.put_list(TRUST, statement.number, content)
    counting = [content for content in there if _signed_for(rolelist.chain_of(folder), content)]
    return bool(counting) and rolelist.keep(folder, counting)


def _signed_for(believed: Signers, content: bytes) -> SignedTrustList | None:
    try:
        return TRUST_LIST.open(content, trusted=believed)
    except FormatError:
        return None


# -- On the first host --------------------------------------------------------------------------


def begin(
    folder: Path, store: HostRecord, *, name: str, wanted: Sequence[str], installation_key: Certifier
) -> int:
    """Make this host the first of several, with the keys of some roles; return the number of its host list.

    Repeated, it makes what is missing.
    """
    roles.installation_signer(folder, installation_key)  # it begins an installation that has none
    first = not _others_with_keys(folder, store, name)
    for key in ("work", "digest"):
        keywrap.load_or_create(folder.parent, key, first=first)
    with files.locked_folder(folder):
        hostlist.name_host(folder, name)
        listed = rolelist.read(folder)
        named = {
            role: tuple(msgspec.structs.replace(key, host=key.host or name) for key in keys)
            for role, keys in listed.roles.items()
        }
        rolelist.write(folder, msgspec.structs.replace(listed, roles=named))
    for role in wanted:
        roles.load_or_create_role(folder, role, installation_key=installation_key, given=True)
    installation = roles.installation_signer(folder, installation_key)
    with files.locked_folder(folder):
        number = hostlist.sign_next(folder, installation)
    exchange(folder, store)
    return number


def _others_with_keys(folder: Path, store: HostRecord, name: str) -> bool:
    """Tell whether another host has the installation's common keys, as every role but a few needs."""
    exchange(folder, store)
    others = (own for host, own in hostlist.roles_of(folder).items() if host not in ("", name))
    return any(set(own) - joining.KEYLESS for own in others)


def make_token(
    folder: Path,
    store: HostRecord,
    *,
    granted: tuple[str, ...],
    seconds: float,
    database: str,
    configuration: str,
) -> JoinToken:
    """Make a token, and leave in the database what it brings, sealed to it."""
    require_begun(folder)
    joining.forget_old_grants(folder, now=time.time())
    token = joining.make(folder, granted=granted, expires=int(time.time() + seconds), database=database)
    shared = folder.parent
    needs = bool(set(granted) - joining.KEYLESS)
    parcel = Parcel(
        work=keywrap.load_or_create(shared, "work").hex() if needs else "",
        digest=keywrap.load_or_create(shared, "digest").hex() if needs else "",
        hosts=_texts(hostlist.kept(folder)),
        trust=_texts(content for content, _ in rolelist.files_of(folder, rolelist.chain_of(folder))),
        configuration=configuration,
    )
    store.put_join(token.id, digest=token.digest, parcel=joining.seal(token, parcel), seconds=seconds)
    return token


def require_begun(folder: Path) -> str:
    """Return this host's name. Raises HostIsAlone on a host that is alone."""
    if name := rolelist.this_host(folder):
        return name
    raise HostIsAlone("This host is alone: no cluster was begun here, and it joined none.")


def _texts(contents: Iterator[bytes] | Mapping[bytes, object]) -> tuple[str, ...]:
    return tuple(base64.b64encode(content).decode() for content in contents)


def shared_text(text: str) -> str:
    """Return a configuration as another host gets it: without where this one keeps its state, listens, and
    how much it does at once. Where that cannot be taken out as lines, it is left in."""
    kept: list[str] = []
    local, top = False, True
    for line in text.splitlines(keepends=True):
        word = line.strip()
        if word.startswith("["):
            top, local = False, word.split("]")[0].strip("[ ") in LOCAL
        if not local and not (top and word.replace(" ", "").startswith("state_dir=")):
            kept.append(line)
    shared = "".join(kept)
    wanted = {name: table for name, table in tomllib.loads(text).items() if name not in LOCAL}
    with suppress(tomllib.TOMLDecodeError):
        if tomllib.loads(shared) == wanted:
            return shared
    return text


LOCAL: Final = ("state_dir", "listen", "workers")
"""What of a configuration is each host's own."""


# -- On the host that joins: it may be killed at any instruction, and is asked again then --------


JOINING: Final = "joining.json"


class JoinUnderway(Struct, frozen=True, kw_only=True):
    """A join that was begun: its token and its request, kept until the host has its certificates."""

    token: JoinToken
    request: JoinRequest


def underway(folder: Path) -> JoinUnderway | None:
    """Return the join that was begun here and is not ended."""
    path = folder / JOINING
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(files.read_private(path), type=JoinUnderway)
    except msgspec.DecodeError:
        raise ConfigError(f"'{path}' is damaged", hint="Remove it, and join with a new token.") from None


def begin_join(folder: Path, token: JoinToken, *, host: str) -> JoinUnderway:
    """Make this host's keys and its request.

    Raises:
        UsageError: this host belongs to an installation already, or another join was begun here.
    """
    begun = underway(folder)
    if begun is not None:
        if begun.token != token:
            raise UsageError(
                f"Another join was begun here, with token {begun.token.id[:8]}.",
                hint=f"Go on with it: strongroom cluster join. Or give it up: remove '{folder / JOINING}'.",
            )
        return begun
    if (known := roles.installation_fingerprint(folder)) and known != token.installation:
        raise UsageError(
            f"This host belongs to another installation already: {known}.",
            hint="Nothing was changed. To have it join another, begin with an empty state directory.",
        )
    with files.locked_folder(folder):
        hostlist.name_host(folder, host)
    begun = JoinUnderway(token=token, request=joining.ask(folder, token, host=host))
    with files.atomic(folder / JOINING, replace=True, mode=0o600) as file:
        file.write(msgspec.json.encode(begun))
    return begun


def use_token(begun: JoinUnderway, store: HostRecord) -> JoinRecord:
    """Use the token up for this host's request.

    Raises:
        TokenRefused: it is over, used up, or not what the database knows.
    """
    token, request = begun.token, begun.request
    record = store.use_join(
        token.id,
        digest=token.digest,
        host=request.host,
        request=msgspec.json.encode(request).decode(),
    )
    if record is None:
        raise _why_refused(token, store.join_of(token.id))
    return record


def _why_refused(token: JoinToken, there: JoinRecord | None) -> TokenRefused:
    if there is None:
        return TokenRefused(
            f"The state database knows no token {token.id[:8]}.",
            hint="Is it the database of that installation? Or make another: strongroom cluster token.",
        )
    if there.used_at is not None:
        at = datetime.fromtimestamp(there.used_at, UTC).isoformat(timespec="seconds")
        return TokenRefused(
            f"Token {token.id[:8]} was used up by host '{there.used_by}' at {at}.",
            hint="If that was nobody of yours, throw that host out at once: strongroom cluster remove "
            f"{there.used_by} --leaked --reason WHY. Then make another token.",
        )
    if there.expires_at <= time.time():
        at = datetime.fromtimestamp(there.expires_at, UTC).isoformat(timespec="seconds")
        return TokenRefused(f"Token {token.id[:8]} is over since {at}.")
    return TokenRefused(
        f"Token {token.id[:8]} is not what the state database knows of it.",
        hint="Its digest there is another's: somebody changed one of the two. Make another token.",
    )


def unpack(folder: Path, begun: JoinUnderway, sealed: bytes) -> Parcel:
    """Take over what a token brings: keys for stage and digests, and the lists.

    Raises:
        TokenRefused: it is not what was sealed to the token, or not this installation's.
        ConfigError: this host has other keys of that kind.
    """
    token = begun.token
    parcel = joining.open_parcel(token, sealed)
    for name, content in (("work", parcel.work), ("digest", parcel.digest)):
        if content:
            _place(folder.parent, name, bytes.fromhex(content))
    lists = [base64.b64decode(text) for text in parcel.hosts]
    with files.locked_folder(folder):
        if not rolelist.read(folder).installation:
            rolelist.write(folder, RoleKeyList(installation=_installation(token, lists)))
    trust = [base64.b64decode(text) for text in parcel.trust]
    rolelist.keep(folder, [content for content in trust if _signed_for(rolelist.chain_of(folder), content)])
    hostlist.adopt(folder, lists)
    return parcel


def _installation(token: JoinToken, lists: Sequence[bytes]) -> str:
    for content in lists:
        with suppress(FormatError):
            return HOST_LIST.open(content, trusted=Signers([token.installation])).certificate.installation
    raise TokenRefused(f"What the token brings is not signed by installation {token.installation}.")


def _place(folder: Path, name: str, key: bytes) -> None:
    path = folder / f"{name}.key"
    if not path.exists():
        with files.locked_folder(folder):
            files.write_line(path, kind=keywrap.KIND, variety=name, content=key)
    if keywrap.load_or_create(folder, name) != key:
        raise ConfigError(
            f"'{path}' is another key than this installation's",
            hint="This host was set up by itself before. Begin with an empty state directory.",
        )


def certified(folder: Path, begun: JoinUnderway) -> bool:
    """Tell whether every key that this host asked for signs by now."""
    listed = rolelist.read(folder)
    signing = {
        key.certificate.key
        for role in begun.request.keys
        for key in listed.on(begun.request.host, role)
        if key.signs
    }
    return signing >= set(begun.request.keys.values())


def end_join(folder: Path, begun: JoinUnderway, store: HostRecord) -> None:
    """Put the certified keys in their place, and remove what is not needed any more."""
    for role in begun.request.keys:
        roles.load_or_create_role(folder, role)
    store.end_join(begun.token.id)
    give_up(folder)


def give_up(folder: Path) -> None:
    """Forget the join that was begun here. Its keys stay, and are asked for again."""
    (folder / JOINING).unlink(missing_ok=True)


def request_file(folder: Path, begun: JoinUnderway) -> bytes:
    """Return the request as it is carried to whoever has the installation key, with what this host knows."""
    request = msgspec.structs.replace(begun.request, hosts=_texts(hostlist.kept(folder)))
    return msgspec.json.format(msgspec.json.encode(request)) + b"\n"


# -- Where the installation key is ----------------------------------------------------------------


class CertifiedHost(Struct, frozen=True, kw_only=True):
    """A host that was certified, and its keys' fingerprints by role."""

    host: str
    keys: Mapping[str, str]
    token: str


class RefusedRequest(Struct, frozen=True, kw_only=True):
    """A request that was refused, and why."""

    host: str
    token: str
    why: str
    hint: str


def certify_waiting(
    folder: Path, store: HostRecord, *, installation_key: Certifier = None, late: bool = False
) -> tuple[list[CertifiedHost], list[RefusedRequest]]:
    """Certify the requests that wait in the database, as far as their tokens grant it; leave the new list.

    Those of tokens that were made on another host are left to that one.
    """
    done: list[CertifiedHost] = []
    refused: list[RefusedRequest] = []
    for record in store.requests():
        try:
            request = msgspec.json.decode(record.request or "", type=JoinRequest)
            if record.id not in joining.grants(folder) or not _waits(folder, request):
                continue
            done.append(certify_request(folder, request, installation_key=installation_key, late=late))
        except (StrongroomError, msgspec.DecodeError) as error:
            said = error if isinstance(error, StrongroomError) else TokenRefused("a request that is damaged")
            host = str(record.used_by)[:64]
            refused.append(RefusedRequest(host=host, token=record.id, why=said.message, hint=said.hint or ""))
    if done:
        exchange(folder, store)
    return done, refused


def _waits(folder: Path, request: JoinRequest) -> bool:
    """Tell whether a key of a request was never listed: what signs is done, what was removed stays so."""
    known = {key.certificate.key for keys in rolelist.read(folder).roles.values() for key in keys}
    return not set(request.keys.values()) <= known


def certify_request(
    folder: Path,
    request: JoinRequest,
    *,
    installation_key: Certifier = None,
    late: bool = False,
    by_hand: bool = False,
) -> CertifiedHost:
    """Certify what one host asks for; see :func:`strongroom.keys.joining.certify`."""
    installation = roles.installation_signer(folder, installation_key)
    if by_hand:  # where the installation key lies may be a machine without the database
        hostlist.adopt(folder, [base64.b64decode(text) for text in request.hosts])
    made = joining.certify(folder, request, installation_key=installation, late=late, by_hand=by_hand)
    with files.locked_folder(folder):
        hostlist.sign_next(folder, installation)
    keys = {role: key.fingerprint for role, key in made}
    return CertifiedHost(host=request.host, keys=keys, token=request.token)


def remove(
    folder: Path, store: HostRecord, host: str, *, reason: str, installation_key: Certifier
) -> tuple[int, tuple[str, ...]]:
    """Throw a host out; return the number of the list that says so, and its keys' fingerprints.

    Raises:
        UsageError: there is no such host, or it is this one.
    """
    rolelist.check_reason(reason)
    exchange(folder, store)
    name = require_begun(folder)
    listed = rolelist.read(folder)
    keys = [key for own in listed.roles.values() for key in own if key.host == host and not key.removed]
    if host == name:
        raise UsageError(
            "That is this host.", hint="Remove it from another one that has the installation key."
        )
    if not keys and host not in hostlist.removed(folder):
        known = ", ".join(hostlist.roles_of(folder)) or "none"
        raise UsageError(f"There is no host '{host}'.", hint=f"There are: {known}.")
    installation = roles.installation_signer(folder, installation_key)
    if keys:
        gone = RemovedHost(host=host, at=datetime.now(UTC).isoformat(timespec="seconds"), reason=reason)
        with files.locked_folder(folder):
            hostlist.sign_next(folder, installation, remove=gone)
    exchange(folder, store)
    return hostlist.number(folder), tuple(key.fingerprint for key in keys)


def answer_file(folder: Path) -> bytes:
    """Return the newest host list, which certifies whom it names: what a host waits for."""
    return max(hostlist.kept(folder).items(), key=lambda found: found[1].number)[0]


def take_answer(folder: Path, content: bytes) -> None:
    """Take over a host list that was carried here.

    Raises:
        TokenRefused: it does not count here.
    """
    if not hostlist.adopt(folder, [content]) and content not in hostlist.kept(folder):
        digest = hashlib.sha256(content).hexdigest()[:16]
        raise TokenRefused(
            f"The answer ({digest}) is no host list that the installation key signed, or an older one.",
            hint="Take the file that 'strongroom cluster certify REQUEST --to FILE' wrote.",
        )
