"""A KV key as a secret: how custom metadata is understood, what a key can keep, what only Vault knows."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom import freeform
from strongroom.model import (
    Media,
    Secret,
    SecretBytes,
    SecretVersion,
    VersionState,
    prepare,
)
from strongroom.sources.batches import on_top
from strongroom.sources.convention import spelled, understood
from strongroom.sources.vault.records import KeyInfo, Mount, MountConfig

# -- Custom metadata of a KV v2 key: the convention's words (:mod:`strongroom.sources.convention`), and tags
#
# ========================  ==============================================
# ``tag.<key>``             the tag ``<key>``
# any key named by the      a tag of that name; it also stays as it is
# setting ``tag_metadata``
# ========================  ==============================================
#
# Everything else stays in ``metadata["vault"]["custom_metadata"]``.


TAG = "tag."
EVERY = "*"


def tags_in(rest: dict[str, str], *, tag_metadata: Collection[str] = ()) -> dict[str, str]:
    """Take the tags out of what the convention leaves over."""
    tags = {key.removeprefix(TAG): rest.pop(key) for key in [*rest] if key.startswith(TAG) and key != TAG}
    plain = {key: value for key, value in rest.items() if key in tag_metadata or EVERY in tag_metadata}
    # A tag spelled both ways stays in both places, and its own spelling wins.
    for key in plain.keys() & tags.keys():
        rest[TAG + key] = tags[key]
    return plain | tags


def custom_metadata_of(secret: Secret, rest: Mapping[str, str]) -> dict[str, str]:
    """Put custom metadata together again."""
    tags = {TAG + key: value for key, value in secret.tags.items() if rest.get(key) != value}
    return spelled(secret, rotation=secret.rotation) | tags | dict(rest)


# -- Values that are no JSON object, in a store that holds nothing else -------------------------
#
# KV holds objects. A text from another source is kept as ``{"value": "…"}``, bytes as
# ``{"base64": "…"}``, any other JSON as ``{"json": "…"}``, and custom metadata says
# ``strongroom.wrapped = true``, so that reading gives back what was written.


MARK = "strongroom.wrapped"
_KEYS = {"value": Media.TEXT, "base64": Media.BINARY, "json": Media.JSON}


def needs_wrapping(versions: tuple[SecretVersion, ...]) -> bool:
    """Say whether one of the values is no JSON object."""
    return any(version.value is not None and not _is_object(version) for version in versions)


def wrapped(version: SecretVersion) -> bytes:
    """Return a value as an object that :func:`unwrapped` knows."""
    assert version.value is not None
    raw = version.value.reveal()
    if version.media is Media.BINARY:
        return msgspec.json.encode({"base64": base64.b64encode(raw).decode()})
    if version.media is Media.TEXT:
        return msgspec.json.encode({"value": raw.decode()})
    # One that looks as if it were wrapped has to be, or it would be unwrapped.
    return raw if _is_object(version) and _inner(raw) is None else msgspec.json.encode({"json": raw.decode()})


def unwrapped(version: SecretVersion) -> SecretVersion:
    """Return a version as it was before :func:`wrapped`; one that was not wrapped as it is."""
    inner = _inner(version.value.reveal()) if version.value is not None else None
    if inner is None:
        return version
    media, text = inner
    try:
        raw = base64.b64decode(text, validate=True) if media is Media.BINARY else text.encode()
    except binascii.Error:
        return version  # somebody wrote this by hand
    return replace(version, value=SecretBytes(raw), media=media)


def _is_object(version: SecretVersion) -> bool:
    """Say whether a value may be put into a request as it is: what merely begins like an object
    could end the member that it stands in, and say something about the request itself."""
    if version.media is not Media.JSON or version.value is None:
        return False
    try:
        return isinstance(msgspec.json.decode(version.value.reveal()), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _inner(raw: bytes) -> tuple[Media, str] | None:
    found = msgspec.json.decode(raw)
    if not isinstance(found, dict) or len(found) != 1:
        return None
    ((key, text),) = found.items()
    return (_KEYS[key], text) if key in _KEYS and isinstance(text, str) else None


# -- A KV key as a secret, and what of it only Vault understands --------------------------------


VAULT = "vault"
"""The member of a secret's metadata that holds its :class:`Facts`."""
FREE = "strongroom.metadata"
"""Custom metadata that holds the free-form metadata of a secret from elsewhere, as JSON."""
EMPTY = SecretVersion(number=0, state=VersionState.DESTROYED)
"""Stands for a key that has metadata and never had a version."""


class VaultFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What restoring needs to know beyond the secret itself. Defaults are left out.

    ``custom_metadata`` is what the convention leaves over; ``None`` if there was not any.
    The mount's settings stand here because they decide what a key's mean.
    """

    namespace: str = ""
    mount: str = ""
    kv: int = 2
    max_versions: int = 0
    cas_required: bool = False
    metadata_cas_required: bool = False
    delete_version_after: str = "0s"
    oldest_version: int = 0
    current_metadata_version: int = 0
    deletion_times: dict[str, str] = {}
    custom_metadata: dict[str, str] | None = None
    mount_max_versions: int = 0
    mount_delete_version_after: str = "0s"


prepare(VaultFacts)


def secret_of(
    name: str,
    mount: Mount,
    config: MountConfig | None,
    info: KeyInfo,
    versions: tuple[SecretVersion, ...],
    *,
    tag_metadata: frozenset[str] = frozenset(),
) -> Secret:
    """Make a secret of what was read."""
    custom = dict(info.custom_metadata or {})
    if custom.get(MARK) == "true":
        inner = tuple(map(unwrapped, versions))
        if inner != versions:  # else somebody set the mark by hand, and it stays what it is
            del custom[MARK]
        versions = inner
    free = free_of(custom)
    meaning = understood(custom)
    tags = tags_in(meaning.rest, tag_metadata=tag_metadata)
    rest = None if info.custom_metadata is None else meaning.rest
    facts = _facts(mount, config or MountConfig(), info, rest)
    return Secret(
        name=name,
        versions=versions or (EMPTY,),
        type=meaning.type,
        tags=tags,
        created_at=info.created_time or None,
        updated_at=info.updated_time or None,
        expires_at=meaning.expires_at,
        rotation=meaning.rotation,
        metadata=free | {VAULT: msgspec.to_builtins(facts)},
    )


def facts_of(secret: Secret) -> VaultFacts | None:
    """Return what a secret knows of the Vault that it comes from; ``None`` if it comes from elsewhere."""
    found = secret.metadata.get(VAULT)
    try:
        return msgspec.convert(found, VaultFacts) if isinstance(found, dict) else None
    except msgspec.ValidationError:
        return None


def custom_of(secret: Secret) -> dict[str, str] | None:
    """Return the custom metadata that says all that it can of a secret; ``None`` for none at all."""
    facts = facts_of(secret)
    rest = (facts.custom_metadata if facts else None) or {}
    custom = custom_metadata_of(secret, rest)
    free = {key: value for key, value in secret.metadata.items() if key != VAULT}
    if free:
        custom[FREE] = msgspec.json.encode(free, order="sorted").decode()
    if needs_wrapping(secret.versions):
        custom[MARK] = "true"
    if not custom and (facts is None or facts.custom_metadata is None):
        return None
    return custom


def data_of(version: SecretVersion, *, wrap: bool) -> bytes:
    """Return the JSON object to write for a version that has a value."""
    assert version.value is not None
    return wrapped(version) if wrap else version.value.reveal()


def free_of(custom: dict[str, str]) -> dict[str, Any]:
    """Take free-form metadata out of custom metadata, if it is there and whole."""
    if FREE not in custom:
        return {}
    try:
        found = freeform.decode(custom[FREE].encode())
    except msgspec.DecodeError:
        return {}
    if not isinstance(found, dict) or VAULT in found:
        return {}
    del custom[FREE]
    return found


def _facts(mount: Mount, config: MountConfig, info: KeyInfo, rest: Mapping[str, str] | None) -> VaultFacts:
    if mount.version == 1:
        return VaultFacts(namespace=mount.namespace, mount=mount.path, kv=1)
    return VaultFacts(
        namespace=mount.namespace,
        mount=mount.path,
        max_versions=info.max_versions,
        cas_required=info.cas_required,
        metadata_cas_required=info.metadata_cas_required,
        delete_version_after=info.delete_version_after,
        oldest_version=info.oldest_version,
        current_metadata_version=info.current_metadata_version,
        deletion_times={str(n): at.deletion_time for n, at in info.versions.items() if at.deletion_time},
        custom_metadata=None if rest is None else dict(rest),
        mount_max_versions=config.max_versions,
        mount_delete_version_after=config.delete_version_after,
    )


# -- Older names of a role's parameters, which a server shows beside the newer ones -------------
#
# A role that was made with ``period`` is shown with ``period`` and ``token_period``; one that was made
# with ``token_period`` is not. Sent together, the newer one counts and the older one is forgotten. So the
# older one alone is sent where the two agree, and what a role means is compared, however it is spelled.
# The pairs are those of ``sdk/helper/tokenutil`` and of the token store, in OpenBao as in Vault.


ROLE = "vault_role"
"""The type of what a role, group or certificate of an auth method is kept as."""
NEWER = {
    "bound_cidrs": "token_bound_cidrs",
    "explicit_max_ttl": "token_explicit_max_ttl",
    "max_ttl": "token_max_ttl",
    "num_uses": "token_num_uses",
    "period": "token_period",
    "policies": "token_policies",
    "ttl": "token_ttl",
}
"""Each older name, and the one that took its place."""


def to_send(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a role so that the server shows it as it was: of two names for one thing, one."""
    sent = dict(fields)
    for older, newer in NEWER.items():
        if older not in sent or newer not in sent:
            continue
        is_spelled_so = sent[older] and sent[older] == sent[newer]
        del sent[newer if is_spelled_so else older]
    return sent


# -- What of a secret a KV v2 key can keep: the form in which written and read back are compared ---


MOST_KEYS, LONGEST_KEY, LONGEST_VALUE = 64, 128, 512
"""Limits of custom metadata: ``builtin/logical/kv/path_metadata.go`` of OpenBao, the same in Vault."""
_EXACT = 2**53
_decimals = msgspec.json.Decoder(float_hook=Decimal).decode
_MANY_DIGITS = re.compile(rb"[0-9.]{16,}")
"""Whatever has fewer digits is the same as a double."""


def kept(secret: Secret) -> Secret:
    """Return what can be kept: no times of the server's own making, no place, settings of the key."""
    custom = fitting(custom_of(secret) or {})
    custom.pop(MARK, None)
    free = free_of(custom)
    meaning = understood(custom)
    tags = tags_in(meaning.rest)
    settings = _settings(secret) | ({"custom_metadata": meaning.rest} if meaning.rest else {})
    # A destroyed version and one that is long gone are the same nothing.
    is_role = secret.type == ROLE
    older = [version for version in secret.versions[:-1] if version.state is not VersionState.DESTROYED]
    return Secret(
        name=secret.name,
        versions=tuple(_canonical(version, is_role=is_role) for version in (*older, *secret.versions[-1:])),
        type=meaning.type,
        tags=tags,
        expires_at=meaning.expires_at,
        rotation=meaning.rotation,
        metadata=free | ({VAULT: settings} if settings else {}),
    )


def fitting(custom: Mapping[str, str]) -> dict[str, str]:
    """Return the custom metadata that the server accepts."""
    fits = [key for key, value in custom.items() if _fits(key, LONGEST_KEY) and _fits(value, LONGEST_VALUE)]
    return {key: custom[key] for key in fits[:MOST_KEYS]}


def _fits(text: str, longest: int) -> bool:
    return 0 < len(text.encode(errors="replace")) <= longest and text.isprintable()


def _settings(secret: Secret) -> dict[str, Any]:
    facts = facts_of(secret)
    if facts is None:
        return {}
    named = {
        "max_versions": facts.max_versions,
        "cas_required": facts.cas_required,
        "metadata_cas_required": facts.metadata_cas_required,
        "delete_version_after": facts.delete_version_after,
    }
    return {name: value for name, value in named.items() if value and value != "0s"}


def _canonical(version: SecretVersion, *, is_role: bool) -> SecretVersion:
    if version.value is None:
        return SecretVersion(number=version.number, state=version.state)
    if version.media is not Media.JSON:
        return replace(version, created_at=None)
    raw = canonical(version.value.reveal(), is_role=is_role)
    return replace(version, created_at=None, value=SecretBytes(raw))


def canonical(raw: bytes, *, is_role: bool = False) -> bytes:
    """Spell JSON in one way. The server spells it anew, and reads integers above 2^53 as doubles.

    Args:
        is_role: whether it is a role, whose parameters may have older names.
    """
    try:
        found = _rounded(msgspec.json.decode(raw))
        if is_role and isinstance(found, dict):
            # What a role means: each thing under its newer name.
            meant = dict(found)
            for older, newer in NEWER.items():
                if older in meant:
                    value = meant.pop(older)
                    meant.setdefault(newer, value)
            found = meant
        return msgspec.json.encode(found, order="sorted")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return raw


def keeps_numbers(raw: bytes) -> bool:
    """Say whether KV version 2 gives every number of a JSON value back as it is: it reads all as doubles."""
    if not _MANY_DIGITS.search(raw):
        return True
    try:
        return _exact(_decimals(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True


def _exact(found: Any) -> bool:
    if isinstance(found, dict):
        return all(map(_exact, found.values()))
    if isinstance(found, list):
        return all(map(_exact, found))
    if not isinstance(found, int | Decimal) or isinstance(found, bool):
        return True
    try:
        return Decimal(repr(float(found))) == found
    except OverflowError:
        return False


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    if isinstance(found, float) and found.is_integer() and abs(found) <= _EXACT:
        return int(found)  # 1.0 comes back as 1
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) > _EXACT:
        return _rounded(_double(found))  # it may come out as 2^53 itself
    return found


def _double(number: int) -> float | str:
    try:
        return float(number)
    except OverflowError:
        return str(number)


# -- What has to be written so that a key ends up with a given history --------------------------
#
# Version numbers of a key begin at 1 and have no gaps. So numbers that the backup does not have are
# written too, as placeholders, and taken away again: those that the key's limit of versions had
# pushed out are pushed out again, those that were destroyed are destroyed, and those that were deleted are
# deleted. A placeholder says what it is, should somebody undelete it.


PLACEHOLDER = b'{"strongroom":"a placeholder: the data of this version was not in the backup"}'
DEFAULT_VERSIONS = 10
"""Versions that a key keeps if neither it nor its mount says anything: ``AddVersion``."""


class HistoryPlan(Struct, frozen=True, kw_only=True):
    """Versions to write, which of all to delete and destroy, and the limit of versions meanwhile.

    ``stamped`` are live versions that are to delete themselves one day. ``oldest`` is the
    first version that shall be left.
    """

    write: tuple[SecretVersion, ...]
    delete: tuple[int, ...] = ()
    destroy: tuple[int, ...] = ()
    stamped: frozenset[int] = frozenset()
    limit: int = 0
    oldest: int = 0

    @property
    def is_stamped_first(self) -> bool:
        """Whether versions may delete themselves from the first on."""
        live = next((version.number for version in self.write if version.value is not None), None)
        return live is None or live in self.stamped


def plan(secret: Secret, found: Secret | None, config: MountConfig) -> HistoryPlan:
    """Say what to write for ``secret``, given what is there."""
    head = found.current.number if found else 0
    facts = facts_of(secret) or VaultFacts()
    if found is None or is_unfinished(secret, found):
        return _whole(secret, head, facts, config)
    versions = on_top(secret.versions, head)
    moved = {version.number: new.number for version, new in zip(secret.versions, versions, strict=True)}
    first = min(version.number for version in found.versions) if head else 1
    needed = versions[-1].number - max(first, 1) + 1
    # A limit under which nothing is pushed out: what was there has to stay for a way back.
    return _plan(
        versions,
        versions,
        moved,
        facts,
        limit=facts.max_versions if effective_limit(facts.max_versions, config) >= needed else needed,
        oldest=0,
    )


def is_unfinished(wanted: Secret, found: Secret) -> bool:
    """Say whether what is there is the beginning of what is wanted: a restore that was interrupted,
    or a key that has not been written to since an earlier time. Of what is wanted nothing may be missing
    so far: what was deleted since has to come back on top."""
    goal, secret = kept(wanted), kept(found)
    head = found.current.number
    if head > wanted.current.number or secret == goal:
        return False
    goals = {version.number: version for version in goal.versions if version.number <= head}
    held = {version.number: version for version in secret.versions}
    return all(_fits_history(held.get(number), goals.get(number)) for number in goals | held)


def _fits_history(version: SecretVersion | None, goal: SecretVersion | None) -> bool:
    value = version.value if version else None
    if goal is None or goal.value is None:
        return value is None or value.reveal() == PLACEHOLDER
    return version is not None and (value, version.media) == (goal.value, goal.media)


def _whole(secret: Secret, head: int, facts: VaultFacts, config: MountConfig) -> HistoryPlan:
    given = {version.number: version for version in secret.versions}
    last, lowest = secret.current.number, min(given)
    oldest = facts.oldest_version if facts_of(secret) else (lowest if lowest > 1 else 0)
    versions = [
        given.get(number, SecretVersion(number=number, state=VersionState.DESTROYED))
        for number in range(1, last + 1)
    ]
    limit = _exactly(last, oldest, facts, config)
    same = {number: number for number in given}
    return _plan(tuple(versions[head:]), tuple(versions), same, facts, limit=limit, oldest=oldest)


def _plan(
    write: tuple[SecretVersion, ...],
    versions: tuple[SecretVersion, ...],
    moved: dict[int, int],
    facts: VaultFacts,
    *,
    limit: int,
    oldest: int,
) -> HistoryPlan:
    live = {version.number for version in versions if version.value is not None}
    stamped = {moved[int(number)] for number in facts.deletion_times if int(number) in moved}
    by = {
        state: tuple(
            v.number for v in versions if v.value is None and v.state is state and v.number >= oldest
        )
        for state in VersionState
    }
    return HistoryPlan(
        write=write,
        delete=by[VersionState.DELETED],
        destroy=by[VersionState.DESTROYED],
        stamped=frozenset(stamped & live),
        limit=limit,
        oldest=oldest,
    )


def _exactly(last: int, oldest: int, facts: VaultFacts, config: MountConfig) -> int:
    """Return the limit under which versions before ``oldest`` are pushed out, and no others.

    The server counts ``oldest`` as 0 until it has pushed out, or could have, a first one.
    """
    if _left(last, effective_limit(facts.max_versions, config)) == oldest:
        return facts.max_versions
    return last - oldest + 1


def effective_limit(limit: int, config: MountConfig) -> int:
    """Return how many versions a key keeps."""
    return max(limit, config.max_versions) or DEFAULT_VERSIONS


def _left(last: int, limit: int) -> int:
    return last - limit + 1 if last >= limit else 0
