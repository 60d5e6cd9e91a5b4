"""The source: KV secrets of every namespace and mount that is meant, and what they rest on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from strongroom.model import ListedSecret, Secret, VersionState
from strongroom.sources import Destination, Foreseen, Refuse, SecretChange
from strongroom.sources.batches import Refusing, batched_secrets, check_expected, check_writable
from strongroom.sources.vault import secrets
from strongroom.sources.vault.reading import SLICE, Details, KeyReader, Sizes, WantedKey, ordered, size_of
from strongroom.sources.vault.records import (
    Folder,
    KeyInfo,
    ListedKey,
    Lister,
    Mount,
    MountInfo,
    absent,
    explained,
    walk,
)
from strongroom.sources.vault.scope import NamePlace, ServerScope, foresee
from strongroom.sources.vault.secrets import EVERY, ROLE, TAG, facts_of, is_unfinished
from strongroom.sources.vault.survey import MountChoice, ServerSurvey
from strongroom.sources.vault.system import AUTH, LAYERS, MOUNT, NAMESPACE, POLICY
from strongroom.sources.vault.writing import VaultLosses
from strongroom.system.lazy import batched
from strongroom.vault.answers import Denied
from strongroom.vault.client import Vault, rights
from strongroom.vault.rights import (
    DELETE,
    NONE,
    READ,
    SUDO,
    UPDATE,
    WRITE,
    Need,
    PathRights,
    of_mount,
    of_namespace,
)

# -- Which rights a source needs, to be backed up and to be restored into: the shipped policies, derived
# from what there is


def needs(survey: ServerSurvey, *, system: bool, writing: bool = False) -> Iterator[Need]:
    """Yield what backing up needs, path by path, or what being restored into needs beside that.

    Whatever else changes something is too many.
    """
    for namespace in survey.namespaces:
        methods = {path: info.type for path, info in _methods(survey, namespace).items()} if system else {}
        yield from of_namespace(namespace, system=system, writing=writing, methods=methods)
    for mount in survey.mounts.values():
        yield from of_mount(mount.name, mount.version, writing=writing, system=system)


def _methods(survey: ServerSurvey, namespace: str) -> Mapping[str, MountInfo]:
    """Return the auths that we may see: that the right to see them is missing is said beside."""
    try:
        return survey.auths(namespace)
    except Denied:
        return {}


def needs_of(secrets: Iterable[Secret], scope: ServerScope) -> Iterator[Need]:
    """Yield what writing each of these secrets needs, and reading it back."""
    for secret in secrets:
        for path, capabilities in _writes(secret, scope):
            yield Need(path=path, capabilities=capabilities, secret=secret.name)


def removals_of(secrets: Iterable[Secret], scope: ServerScope) -> Iterator[Need]:
    """Yield what removing each of these secrets needs, as far as it is ever removed."""
    for secret in secrets:
        if secret.type in (POLICY, ROLE, MOUNT):
            yield Need(path=secret.name, capabilities=DELETE, secret=secret.name)
        elif secret.type not in LAYERS:
            mount, path, version = _place(secret, scope)
            inner = "" if version == 1 else "metadata/"
            yield Need(path=f"{mount}{inner}{path}", capabilities=DELETE, secret=secret.name)


def _writes(secret: Secret, scope: ServerScope) -> Iterator[tuple[str, frozenset[str]]]:
    if secret.type in LAYERS:
        yield secret.name, WRITE | (SUDO if secret.type == AUTH else NONE)
        return
    mount, path, version = _place(secret, scope)
    if version == 1:
        yield f"{mount}{path}", READ | WRITE
    elif mount:
        yield f"{mount}metadata/{path}", READ | WRITE
        yield f"{mount}data/{path}", READ | WRITE
        states = {secret_version.state for secret_version in secret.versions}
        if VersionState.DELETED in states:
            yield f"{mount}delete/{path}", UPDATE
        if VersionState.DESTROYED in states:
            yield f"{mount}destroy/{path}", UPDATE


def _place(secret: Secret, scope: ServerScope) -> tuple[str, str, int]:
    """Return mount, path and KV version of a secret: as the server has it, or as it will be made again."""
    place = scope.find(secret.name)
    if place is not None and place.mount is not None:
        return place.mount.name, place.path, place.mount.version
    facts = facts_of(secret)
    if facts is None:
        return "", "", 2  # from elsewhere, and no mount for it yet: the server knows no path to ask for
    mount = f"{facts.namespace}{facts.mount}"
    return mount, secret.name.removeprefix(mount), facts.kv


# -- The source: KV secrets of every namespace and mount that is meant, and what they rest on ---


CHUNK = 1_024
"""Keys that are listed before their sizes are looked at."""
SMALL = 16_384
"""Bytes of a secret up to which a thread takes several: what is in flight is all held at once."""
NEVER = (
    "identity entities, groups and aliases",
    "tokens, leases and AppRole secret ids",
    "passwords of userpass users, and secrets in the settings of auth methods",
    "audit devices, quotas, plugins and the server's own configuration",
    "the keys that unseal the server",
    "data of versions that were deleted and could still be undeleted",
)
"""What is in no backup of secrets, whatever the server holds. A raft snapshot has most of it."""
_SETTINGS = "policies, auth methods, roles and mount settings: switched off by 'system'"

A = TypeVar("A")
B = TypeVar("B")


class VaultSource(Destination):
    """A :class:`~strongroom.sources.Destination` on a Vault or OpenBao server.

    A secret is named ``<namespace><mount><path>``; namespaces and mounts end with a slash. An
    entry's locator is the number of keys in its folder.

    Args:
        vault: the server; may be shared with targets and keys.
        name: what the source is called in digests and manifests.
        mounts: KV mounts to take, as ``mount`` or ``namespace/mount``; all, if left empty.
        exclude_mounts: mounts, or whole namespaces, to leave out.
        leave_out: mounts that are this installation's own targets: backups of backups grow without end.
        system: whether to list policies, auth methods, roles, mount settings and namespaces too.
        tag_metadata: custom metadata that also counts as tags; ``*`` for all.
    """

    kind = "vault"
    written_at_once = 100

    def __init__(
        self,
        vault: Vault,
        *,
        name: str = "vault",
        mounts: Sequence[str] = (),
        exclude_mounts: Sequence[str] = (),
        leave_out: tuple[str, ...] = (),
        system: bool = True,
        tag_metadata: Iterable[str] = (),
    ) -> None:
        self._vault = vault
        self.name = name
        self._choice = MountChoice(mounts=tuple(mounts), exclude_mounts=(*exclude_mounts, *leave_out))
        self._system = system
        self._tag_metadata = frozenset(tag_metadata)
        self._losses = VaultLosses()
        self._at_least: dict[tuple[str, str], float] = {}
        self._told: dict[str, tuple[KeyInfo, datetime]] = {}
        self._written: tuple[frozenset[str], ServerScope] | None = None

    def __repr__(self) -> str:
        return f"VaultSource({self.name!r}, {self._vault!r})"

    @property
    def address(self) -> str:
        """Return the server's address, and the namespace that names are relative to."""
        connection = self._vault.connection
        return f"{connection.address} {connection.namespace}".rstrip()

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield what secrets rest on, then every secret, folder by folder."""
        with explained(self.name, "list"):
            scope = self._scope()
            if self._system:
                for name in scope.system.names():
                    yield ListedSecret(name, 1_024, (), {} if with_tags else None)
            for mount in scope.survey.mounts.values():
                yield from self._list_mount(scope, mount, with_tags=with_tags)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret as of one moment of its own, many requests in flight."""
        return self._read(entries, {})

    def read_written(self, names: Sequence[str]) -> Iterator[Secret | None]:
        """Yield what is there of what was just written. The metadata of a new key is what the server answered
        to the writing of it: the data, read back, carries it again and has to be of that very version."""
        written, scope = self._written or (frozenset(), None)
        known = scope if written.issuperset(names) else None
        return self._read([ListedSecret(name, 0) for name in names], self._told, known)

    def _read(
        self,
        entries: Sequence[ListedSecret],
        told: Mapping[str, tuple[KeyInfo, datetime]],
        scope: ServerScope | None = None,
    ) -> Iterator[Secret | None]:
        if scope is None:
            with explained(self.name, "look around", whole=True):
                scope = self._scope(entry.name for entry in entries)
        asked = (entry for entry in entries if entry.name not in told)
        details = Details(
            self._vault, (_wanted(entry, scope.find(entry.name)) for entry in asked), self._at_least
        )

        def one(entry: ListedSecret) -> Secret | None:
            place = scope.find(entry.name)
            if place is None:
                return None
            with explained(self.name, f"read {place.name!r}"):
                known = told.get(entry.name) or details.known(_wanted(entry, place))
                return scope.read(place, known)

        together = SLICE if sum(entry.size for entry in entries) < SMALL * len(entries) else 1
        yield from self._in_flight(one, entries, weigh=size_of, together=together)

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        """Return the current version number of each name that exists; 0 for a key without versions,
        1 for what has no versions."""
        with explained(self.name, "look around", whole=True):
            scope = self._scope(names)
        return self._heads(scope, names, without=self._absent(scope, names))

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret with its whole history; return how many were written.

        The server has no transaction over several keys, so a batch is checked before any of it
        is written, and each single write has check-and-set. A restore that was interrupted goes
        on where it stopped: what a key holds of the wanted history is not written again.
        """
        batches = batched_secrets(changes, by=lambda change: change.secret)
        return sum(self._write_batch(batch, refuse) for batch in batches)

    def delete(self, names: Iterable[str]) -> int:
        """Remove keys with all versions, policies and roles; return how many there were."""
        wanted = list(dict.fromkeys(names))
        with explained(self.name, "look around", whole=True):
            scope = self._scope(wanted)
        heads = self._heads(scope, wanted)

        def one(name: str) -> bool:
            place = scope.find(name) if name in heads else None
            with explained(self.name, f"delete {name!r}", writing=True):
                return place is not None and scope.delete(place, self._losses)

        return sum(self._in_flight(one, wanted))

    def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
        """Remove those whose current version is still this one. Each is asked for: a policy may hide from a
        listing what is there, and an undo would leave it."""
        with explained(self.name, "look around", whole=True):
            scope = self._scope(heads)
        now = self._heads(scope, [*heads])
        same = [name for name, head in heads.items() if now.get(name) == head]
        self.delete(same)
        return same

    def stays(self, secrets: Sequence[Secret], *, without: Collection[str]) -> dict[str, str]:
        """Return, by name, why what others rest on is never removed."""
        with explained(self.name, "look around", whole=True):
            scope = self._scope(secret.name for secret in secrets)
            found = {secret.name: scope.stays(secret, without=without) for secret in secrets}
        return {name: why for name, why in found.items() if why}

    def how_to_tag(self, key: str, value: str) -> str:
        """Say what counts as a tag."""
        counts = key in self._tag_metadata or EVERY in self._tag_metadata
        patch = f"kv metadata patch -custom-metadata={'' if counts else TAG}{key}={value} MOUNT/PATH"
        said = f"Custom metadata tags a Vault's secret: 'bao {patch}', or 'vault {patch}'."
        if counts:
            return said
        return (
            f"{said} Where the custom metadata is called '{key}' already, write tag_metadata = [\"{key}\"] "
            f"into [sources.{self.name}]."
        )

    def losses(self) -> tuple[str, ...]:
        return self._losses.lines

    def kept(self, secret: Secret) -> Secret:
        """Return what of a secret a KV mount can keep."""
        return secrets.kept(secret)

    def is_unfinished(self, wanted: Secret, found: Secret, *, tried: bool) -> bool:
        """Return whether a restore was writing it, and what is there is how that may have begun."""
        return tried and (wanted.type in LAYERS or is_unfinished(wanted, found))

    def layers(self) -> tuple[str, ...]:
        """Return the types of what secrets rest on: namespaces first, roles last."""
        return LAYERS

    def not_contained(self) -> tuple[str, ...]:
        """Return what the server holds that is in no backup of secrets."""
        with explained(self.name, "look around", whole=True):
            survey = self._scope().survey
        return (*survey.missing, *(() if self._system else (_SETTINGS,)), *NEVER)

    @property
    def requests(self) -> int:
        """How many requests this process has sent to the server."""
        return self._vault.requests

    def home(self) -> str:
        return self._vault.cluster()

    def rights(self) -> tuple[PathRights, ...]:
        """Compare what our token may do with what backing up needs, path by path."""
        with explained(self.name, "ask what the token may do"):
            return rights(self._vault, needs(self._scope().survey, system=self._system))

    def write_rights(
        self, secrets: Iterable[Secret] | None = None, *, removing: bool = False
    ) -> tuple[PathRights, ...]:
        """Return what our token lacks to write secrets, and to read them back, or to remove them; without
        any named, what being a destination takes, beside what a backup takes."""
        with explained(self.name, "ask what the token may do"):
            if secrets is None:
                survey = self._scope().survey
                return rights(self._vault, needs(survey, system=self._system, writing=True))
            wanted = list(secrets)
            scope = self._scope(secret.name for secret in wanted)
            asked = removals_of(wanted, scope) if removing else needs_of(wanted, scope)
            return rights(self._vault, asked)

    def foresee(self, secrets: Sequence[Secret], *, made: Collection[str]) -> Iterator[Foreseen]:
        """Yield what writing each secret would come to, by the mounts that are there now."""
        with explained(self.name, "look around", whole=True):
            scope = self._scope(secret.name for secret in secrets)
        # Namespaces lie in namespaces: those of one layer are written parents first.
        parents = {secret.name for secret in secrets if secret.type == NAMESPACE}
        return (foresee(secret, scope, parents.union(made)) for secret in secrets)

    def _scope(self, about: Iterable[str] | None = None) -> ServerScope:
        survey = ServerSurvey(self._vault, self._choice, about=about)
        return ServerScope(self._vault, survey, tag_metadata=self._tag_metadata)

    def _list_mount(self, scope: ServerScope, mount: Mount, *, with_tags: bool) -> Iterator[ListedSecret]:
        reader = scope.reader(mount)
        in_flight = self._vault.connection.in_flight
        sizes = Sizes(self._vault.threads, in_flight=in_flight)
        keys = walk(self._vault, mount, in_flight=in_flight, detailed=with_tags)

        def sample(path: str) -> Secret | None:
            try:
                return reader.read(mount.name + path, path)
            except Denied:
                return None  # a plan that may only list has to guess

        for chunk in batched(keys, CHUNK):
            guessed = sizes.of([key.path for key in chunk], sample)
            tags = self._tags(reader, chunk) if with_tags else [None] * len(chunk)
            for key, size, tagged in zip(chunk, guessed, tags, strict=True):
                yield ListedSecret(mount.name + key.path, size, (key.beside,), tagged)

    def _tags(self, reader: KeyReader, chunk: Sequence[ListedKey]) -> Iterator[dict[str, str]]:
        return self._in_flight(lambda found: reader.tags(found.path, found.info), chunk)

    def _heads(
        self, scope: ServerScope, names: Sequence[str], *, without: Collection[str] = ()
    ) -> dict[str, int]:
        asked = [name for name in names if name not in without]
        found = list(self._in_flight(lambda name: self._head(scope, name), asked))
        return {name: head for name, head in zip(asked, found, strict=True) if head is not None}

    def _head(self, scope: ServerScope, name: str) -> int | None:
        place = scope.find(name)
        with explained(self.name, f"look at {name!r}", writing=True):
            return scope.head(place) if place else None

    def _absent(self, scope: ServerScope, names: Iterable[str]) -> frozenset[str]:
        """Return those of ``names`` that are not there, as far as few listings tell. KV version 1 has no
        check-and-set that would find out where a listing hides a key."""
        in_mounts: dict[str, list[NamePlace]] = {}
        for name in names:
            place = scope.find(name)
            if place is not None and place.mount is not None and place.mount.version == 2:
                in_mounts.setdefault(place.mount.name, []).append(place)
        gone: set[str] = set()
        for mount_name, places in in_mounts.items():
            assert places[0].mount is not None
            lister = Lister(self._vault, places[0].mount, detailed=False)
            with explained(self.name, "look around", writing=True, whole=True):
                paths = absent(lister, [place.path for place in places], each=self._each)
                gone.update(mount_name + path for path in paths)
        return frozenset(gone)

    def _each(self, work: Callable[[str], Folder], folders: Sequence[str]) -> Iterator[Folder]:
        return self._in_flight(work, folders, together=1)

    def _write_batch(self, batch: Sequence[SecretChange], refuse: Refuse | None) -> int:
        self._told, self._written = {}, None
        with explained(self.name, "look around", writing=True, whole=True):
            scope = self._scope(change.secret.name for change in batch)
        written, is_layered = 0, False
        for is_below, group in _by_layer(self._checked(scope, batch, refuse)):
            if is_layered:
                with explained(self.name, "look around", writing=True, whole=True):
                    # what the layer below made is there now
                    scope = self._scope(change.secret.name for change in group)
            is_layered = is_layered or is_below
            write = self._writing(scope, refuse)
            written += sum(map(write, group) if is_below else self._in_flight(write, group))
        # What is read back lies where it was written, unless mounts or the like were among it.
        if not is_layered:
            self._written = frozenset(change.secret.name for change in batch), scope
        return written

    def _checked(
        self, scope: ServerScope, batch: Sequence[SecretChange], refuse: Refuse | None
    ) -> Sequence[SecretChange]:
        """Return the changes that may be written: whole ones, of keys that are as the writer saw them.

        Where each stands by itself, a new key whose first write is its first version is not looked at:
        that write is done only if there is none, and says so.
        """
        whole = [change for change in batch if _is_writable(change, refuse)]
        asked = {c.secret.name for c in whole if refuse is None or not scope.is_checked_by_write(c)}
        gone = self._absent(scope, asked)

        def is_as_seen(change: SecretChange) -> bool:
            name = change.secret.name
            with Refusing(name, refuse):
                if name in asked:
                    check_expected(change, None if name in gone else self._head(scope, name))
                return True
            return False

        return [change for change, may in zip(whole, self._in_flight(is_as_seen, whole), strict=True) if may]

    def _writing(self, scope: ServerScope, refuse: Refuse | None) -> Callable[[SecretChange], bool]:
        def one(change: SecretChange) -> bool:
            with (
                Refusing(change.secret.name, refuse),
                explained(self.name, f"write {change.secret.name!r}", writing=True),
            ):
                told = scope.write(change, self._losses)
                if told is not None:
                    self._told[change.secret.name] = told
                return True
            return False

        return one

    def _in_flight(
        self,
        work: Callable[[A], B],
        items: Sequence[A],
        *,
        weigh: Callable[[B], int] = lambda _: 0,
        together: int = SLICE,
    ) -> Iterator[B]:
        many = self._vault.connection.in_flight
        return ordered(self._vault.threads, work, items, in_flight=many, weigh=weigh, together=together)


def _is_writable(change: SecretChange, refuse: Refuse | None) -> bool:
    with Refusing(change.secret.name, refuse):
        check_writable(change.secret)
        return True
    return False


def _by_layer(batch: Sequence[SecretChange]) -> Iterator[tuple[bool, list[SecretChange]]]:
    """Yield what others rest on first, and whether it is that; all else comes last, in one group."""
    placed = sorted(batch, key=_layer)
    for layer, group in groupby(placed, key=_layer):
        yield layer[0] < len(LAYERS), list(group)


def _layer(change: SecretChange) -> tuple[int, int]:
    """Namespaces lie in namespaces, so each depth is a layer of its own."""
    secret = change.secret
    layer = LAYERS.index(secret.type) if secret.type in LAYERS else len(LAYERS)
    return layer, secret.name.count("/") if secret.type == NAMESPACE else 0


def _wanted(entry: ListedSecret, place: NamePlace | None) -> WantedKey | None:
    if place is None or place.mount is None:
        return None
    return WantedKey(place.mount, place.path, entry.locator[0] if entry.locator else 0)
