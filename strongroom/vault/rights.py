"""What each use of a Vault needs, path by path, and how that compares with what a token has.

The one place where a path and its capabilities stand: sources ask by it what lacks, ``check rights`` says so,
and ``cluster rules vault`` prints it as policies. A path may hold ``+`` for one part and end with ``*``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

CHANGING = frozenset({"create", "update", "patch", "delete", "sudo"})
READ, LIST, DELETE = frozenset({"read"}), frozenset({"list"}), frozenset({"delete"})
CREATE, UPDATE, SUDO = frozenset({"create"}), frozenset({"update"}), frozenset({"sudo"})
WRITE = CREATE | UPDATE
NONE = frozenset[str]()
DENIED = frozenset({"deny"})


class Need(Struct, frozen=True, kw_only=True):
    """What is needed at a path, which begins with its namespace.

    Args:
        capabilities: each of them has to be there; of others, those that change something are too many.
        secret: which secret it is needed for; empty for all.
        beside: whether it is for what lies beside the secrets: policies, mounts, ways to log in.
    """

    path: str
    capabilities: frozenset[str]
    secret: str = ""
    beside: bool = False


class PathRights(Struct, frozen=True):
    """What is missing at a path, and what is there and should not be."""

    path: str
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    secret: str = ""
    beside: bool = False

    @property
    def fits(self) -> bool:
        """Whether it is just right."""
        return not self.missing and not self.excess


def compared(need: Need, capabilities: Iterable[Any]) -> PathRights:
    """Compare what is needed at a path with the capabilities that a token has there."""
    has = {str(capability) for capability in capabilities}
    return PathRights(
        need.path,
        missing=tuple(sorted(need.capabilities - has)),
        excess=tuple(sorted((has & CHANGING) - need.capabilities)),
        secret=need.secret,
        beside=need.beside,
    )


# -- A source: what backing it up needs, and what being restored into needs beside that ---------


ROLES: Final = {
    "approle": ("role",),
    "cert": ("certs",),
    "jwt": ("role",),
    "kubernetes": ("role",),
    "ldap": ("groups", "users"),
    "ns_token": ("roles",),
    "oidc": ("role",),
    "token": ("roles",),
}
"""Where auth methods keep what says who may log in, if it can be read and written whole."""
CONFIGURED: Final = frozenset({"cert", "jwt", "kubernetes", "ldap", "oidc"})
"""Those whose settings can."""
_PATTERNS: Final = {"+/": ("role", "certs"), "token/": ("roles",)}
"""The same where it is not known which methods there are. LDAP's users and groups have to be added."""


def of_mount(name: str, version: int, *, writing: bool = False, system: bool = False) -> Iterator[Need]:
    """Yield what a KV mount needs, or all mounts of a pattern. ``system``: its settings are written too."""
    also = WRITE if writing else NONE
    if version == 1:
        yield Need(path=f"{name}*", capabilities=READ | LIST | also)
        return
    yield Need(path=f"{name}config", capabilities=READ | (also if system else NONE), beside=True)
    yield Need(path=f"{name}metadata/*", capabilities=READ | LIST | also)
    yield Need(path=f"{name}data/*", capabilities=READ | also)
    for change in ("delete", "undelete", "destroy"):
        yield Need(path=f"{name}{change}/*", capabilities=UPDATE & also if change != "undelete" else NONE)


def of_namespace(
    namespace: str, *, system: bool, writing: bool = False, methods: Mapping[str, str] | None = None
) -> Iterator[Need]:
    """Yield what a namespace needs beside its mounts.

    Args:
        methods: the type of each auth method by its path; ``None`` if they are not known.
    """
    yield Need(path=f"{namespace}sys/mounts", capabilities=READ)
    yield Need(path=f"{namespace}sys/namespaces/", capabilities=LIST)
    if not system:
        return
    also = WRITE if writing else NONE
    yield Need(path=f"{namespace}sys/policies/acl/", capabilities=LIST, beside=True)
    yield Need(path=f"{namespace}sys/policies/acl/*", capabilities=READ | also, beside=True)
    yield Need(path=f"{namespace}sys/auth", capabilities=READ, beside=True)
    if writing:
        yield Need(path=f"{namespace}sys/mounts/*", capabilities=also, beside=True)
        yield Need(path=f"{namespace}sys/auth/*", capabilities=also | SUDO, beside=True)
    if writing or methods is None:
        yield Need(path=f"{namespace}sys/namespaces/*", capabilities=READ | also, beside=True)
    if methods is None:
        configured, kinds = ["+/"], dict(_PATTERNS)
    else:
        configured = [path for path, kind in methods.items() if kind in CONFIGURED]
        kinds = {path: ROLES.get(kind, ()) for path, kind in methods.items()}
    for path in configured:
        yield Need(path=f"{namespace}auth/{path}config", capabilities=READ | also, beside=True)
    for path, names in kinds.items():
        for name in names:
            yield Need(path=f"{namespace}auth/{path}{name}/", capabilities=LIST, beside=True)
            yield Need(path=f"{namespace}auth/{path}{name}/*", capabilities=READ | also, beside=True)


EVERY_MOUNT: Final[Mapping[str, int]] = {"+/": 2, "+/+/": 2}
"""All KV mounts of version 2 whose name has one part, here and in the namespaces right below."""


def of_source(
    mounts: Mapping[str, int], excluded: Iterable[str] = (), *, system: bool, writing: bool = False
) -> Iterator[Need]:
    """Yield what a source needs of whose server nothing is known: its namespace, and those right below.

    Args:
        mounts: the KV version of each.
        excluded: mounts and namespaces that are not to be read, whatever pattern covers them.
    """
    for namespace in ("", "+/"):
        yield from of_namespace(namespace, system=system)
    for name, version in mounts.items():
        yield from of_mount(name, version, writing=writing)
        if version == 2:  # a listing with details, which only OpenBao has
            yield Need(path=f"{name}detailed-metadata/*", capabilities=LIST)
    if any("+" in name for name in mounts):
        yield from (Need(path=f"{place}*", capabilities=DENIED) for place in excluded)


def of_undo(mounts: Mapping[str, int]) -> Iterator[Need]:
    """Yield what undoing a restore needs beside: it removes the keys that the restore made."""
    for mount, version in mounts.items():
        yield Need(path=f"{mount}*" if version == 1 else f"{mount}metadata/*", capabilities=DELETE)


def of_rebuild(mounts: Mapping[str, int]) -> Iterator[Need]:
    """Yield what bringing back a whole server needs beside: who may write policies may do everything."""
    for namespace in ("", "+/"):
        for need in of_namespace(namespace, system=True, writing=True):
            if need.capabilities & CHANGING:
                yield Need(path=need.path, capabilities=need.capabilities & CHANGING)
    for mount, version in mounts.items():
        if version == 2:
            yield Need(path=f"{mount}config", capabilities=WRITE)


def of_rebuild_undo() -> Iterator[Need]:
    """Yield what undoing that needs beside: it removes policies, roles, and mounts without content."""
    for namespace in ("", "+/"):
        for place in ("sys/mounts/*", "auth/+/role/*", "auth/+/certs/*", "auth/token/roles/*"):
            yield Need(path=f"{namespace}{place}", capabilities=DELETE)
        yield Need(path=f"{namespace}sys/policies/acl/*", capabilities=DELETE)


def of_snapshot() -> Iterator[Need]:
    """Yield what taking a snapshot of the whole server needs."""
    yield Need(path="sys/storage/raft/snapshot", capabilities=READ)
    yield Need(path="sys/storage/raft/snapshot-force", capabilities=NONE)
    yield Need(path="sys/key-status", capabilities=READ)


def of_snapshot_restore() -> Iterator[Need]:
    """Yield what replacing the server by a snapshot needs; of another cluster, or from before its keys were
    replaced, too."""
    yield Need(path="sys/storage/raft/snapshot", capabilities=READ | UPDATE)
    yield Need(path="sys/storage/raft/snapshot-force", capabilities=UPDATE)
    yield Need(path="sys/key-status", capabilities=READ)


def of_scratch(prefix: str) -> Iterator[Need]:
    """Yield what drills need that make mounts of their own: they see whose each is, and touch no other."""
    yield Need(path="sys/mounts", capabilities=READ)
    yield Need(path=f"sys/mounts/{prefix}*", capabilities=UPDATE | DELETE)
    yield Need(path=f"{prefix}*", capabilities=READ | LIST | WRITE)


# -- A target: a KV mount of its own ------------------------------------------------------------


USES: Final = frozenset({"put", "read", "list", "delete"})


def of_target(mount: str, below: str, transit: str, actions: frozenset[str]) -> Iterator[Need]:
    """Yield what a target needs. No use of it needs ``update``, so that nothing there is overwritten.

    Args:
        mount: with its slash; ``below`` is the folder in it that is the target's, with its slash, or empty.
        transit: the path of the key, as ``mount/key``, that each chunk is encrypted under too, or empty.
        actions: of :data:`USES`, or ``put marks`` for who deletes and puts nothing else.
    """
    put, deleting = "put" in actions, DELETE if "delete" in actions else NONE
    yield Need(path=f"{mount}data/{below}*", capabilities=READ | (CREATE if put else NONE))
    if "put marks" in actions and not put:
        for kind in ("objects", "chunks"):
            for name in ("deletion", "probes"):
                yield Need(path=f"{mount}data/{below}{kind}/{name}/*", capabilities=CREATE | READ)
    yield Need(path=f"{mount}metadata/{below}*", capabilities=LIST | deleting)
    for change in ("delete", "undelete", "destroy"):
        yield Need(path=f"{mount}{change}/{below}*", capabilities=NONE)
    yield Need(path=f"{mount}config", capabilities=NONE)
    yield Need(path=f"sys/mounts/{mount.rstrip('/')}", capabilities=NONE)
    if transit:
        engine, _, key = transit.rpartition("/")
        if put or "put marks" in actions:
            yield Need(path=f"{engine}/encrypt/{key}", capabilities=UPDATE)
        yield Need(path=f"{engine}/decrypt/{key}", capabilities=UPDATE)
        yield Need(path=f"{engine}/keys/{key}", capabilities=NONE)
        yield Need(path=f"{engine}/keys/{key}/config", capabilities=NONE)


# -- A key of the transit engine ----------------------------------------------------------------


def of_sealing(mount: str, key: str) -> Iterator[Need]:
    """Yield what sealing to a key needs. It opens nothing."""
    yield Need(path=f"{mount}/datakey/plaintext/{key}", capabilities=UPDATE)
    yield Need(path=f"{mount}/keys/{key}", capabilities=READ)


def of_opening(mount: str, key: str) -> Iterator[Need]:
    """Yield what opening with a key needs."""
    yield Need(path=f"{mount}/decrypt/{key}", capabilities=UPDATE)
    yield Need(path=f"{mount}/keys/{key}", capabilities=READ)


TRIMMING: Final = ("min_decryption_version", "min_encryption_version")
"""The two settings of a key that shredding changes. Others would let it be exported or deleted."""


def of_shredding(mount: str, key: str) -> Iterator[Need]:
    """Yield what shredding needs beside: whoever has it can make every backup under the key unreadable."""
    yield Need(path=f"{mount}/keys/{key}", capabilities=READ)
    for change in ("rotate", "config", "trim"):
        yield Need(path=f"{mount}/keys/{key}/{change}", capabilities=UPDATE)
