"""Which namespaces and KV mounts there are, where names lie in them, and what is not backed up."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.sources.vault.records import (
    CONFIG,
    KEYS,
    MOUNTS,
    SEEN,
    Mount,
    MountConfig,
    MountInfo,
    kv_mount,
)
from strongroom.vault import answers
from strongroom.vault.answers import Denied
from strongroom.vault.client import Vault

DEEPEST = 64
"""Namespaces within namespaces. A server that shows more is showing the same ones again."""
OWN = frozenset({"sys/", "cubbyhole/", "identity/"})
"""Mounts that each namespace has, which nobody made and nobody can."""
_ENGINES = {
    "aws": "credentials that the AWS engine issues, and its own",
    "database": "database credentials that the engine issues, its connections and their passwords",
    "kubernetes": "service account tokens that the engine issues, and its own",
    "ldap": "passwords that the LDAP engine manages",
    "pki": "certificate authorities, their keys and the certificates that they issued",
    "rabbitmq": "credentials that the RabbitMQ engine issues, and its own",
    "ssh": "the SSH certificate authority and its key",
    "totp": "TOTP keys",
    "transit": "transit keys: whatever they encrypt is lost with them",
}


class MountChoice(Struct, frozen=True, kw_only=True):
    """What of the server a source means, as given in the settings.

    Args:
        mounts: full names (``team/secret/``) of the KV mounts to take; all, if left empty.
        exclude_mounts: full names of mounts to leave out, above all the one that backups lie in;
            or of namespaces, with all that is in them.
    """

    mounts: tuple[str, ...] = ()
    exclude_mounts: tuple[str, ...] = ()

    def excludes(self, name: str) -> bool:
        """Say whether the mount or namespace of this full name is to be left out."""
        return name in map(answers.folder, self.exclude_mounts)

    def takes(self, name: str) -> bool:
        """Say whether the mount of this full name is meant."""
        if self.excludes(name):
            return False
        return not self.mounts or name in map(answers.folder, self.mounts)


class ServerSurvey:
    """What was found at one moment.

    Args:
        about: names of secrets, if these alone are meant: then no namespace and no mount is asked about
            that none of them lies in. Who restores one secret needs the rights of its own namespace.
    """

    def __init__(self, vault: Vault, choice: MountChoice, *, about: Iterable[str] | None = None) -> None:
        self._vault = vault
        self._folders = None if about is None else frozenset(_folders(about))
        self._choice = choice
        self._configs: dict[str, MountConfig | None] = {}
        self._auths: dict[str, dict[str, MountInfo]] = {}
        self._lock = threading.Lock()
        self.missing: list[str] = []
        self.blind: set[str] = set()
        self.namespaces = list(self._namespaces())
        self.tables = {namespace: self._mounts(namespace) for namespace in self.namespaces}
        mounts = (mount for namespace in self.namespaces for mount in self._kv(namespace))
        self.mounts = {mount.name: mount for mount in mounts if self._concerns(mount.name)}
        # A mount that was asked for by name and is not there is an error, not an empty backup.
        wanted = set(map(answers.folder, self._choice.mounts)) - set(
            map(answers.folder, self._choice.exclude_mounts)
        )
        gone = sorted(name for name in wanted - self.mounts.keys() if self._concerns(name))
        if gone:
            raise SourceError(
                f"there is no KV mount {', '.join(map(repr, gone))} on the server",
                hint="Check 'mounts' in the source's settings; a name begins with its namespace.",
            )

    def find(self, name: str) -> tuple[Mount, str] | None:
        """Return the mount that a secret's name lies in, and the path there: mounts contain slashes,
        and the longest prefix wins."""
        end = len(name)
        while (end := name.rfind("/", 0, end)) > 0:
            mount = self.mounts.get(name[: end + 1])
            if mount is not None:
                return mount, name[end + 1 :]
        return None

    def config(self, mount: Mount) -> MountConfig | None:
        """Return a KV v2 mount's settings; ``None`` where we may not read them."""
        with self._lock:
            if mount.name not in self._configs:
                self._configs[mount.name] = _config(self._vault, mount)
            return self._configs[mount.name]

    def auths(self, namespace: str) -> dict[str, MountInfo]:
        """Return the auth methods of a namespace, by path."""
        with self._lock:
            if namespace not in self._auths:
                answer = self._vault.system(namespace=namespace).list_auth_methods()
                self._auths[namespace] = dict(answer.read(MOUNTS).data) if answer.found else {}
            return self._auths[namespace]

    def _namespaces(self) -> Iterator[str]:
        waiting = [""]
        while waiting:
            namespace = waiting.pop()
            yield namespace
            if namespace.count("/") < DEEPEST:
                below = (namespace + key for key in self._below(namespace))
                waiting += filter(self._is_meant, filter(self._concerns, below))

    def _concerns(self, folder: str) -> bool:
        return self._folders is None or folder in self._folders

    def _below(self, namespace: str) -> list[str]:
        try:
            answer = self._vault.system(namespace=namespace).list_namespaces()
        except Denied:
            self.missing.append(f"namespaces below '{namespace or '/'}': no right to list them")
            return []
        found = answer.read(KEYS).data if answer.found else None  # Vault without namespaces: 404
        keys = found.keys if found else []
        if odd := [key for key in keys if not answers.addressable(key.removesuffix("/"))]:
            raise SourceError(
                f"a namespace in '{namespace or '/'}' has a name that cannot be asked for: {odd[0]!r}",
                hint="Ask who runs the server what it is; it cannot be backed up as it is.",
            )
        return [answers.folder(key) for key in keys]

    def _is_meant(self, namespace: str) -> bool:
        if self._choice.excludes(namespace):
            self.missing.append(
                f"{namespace}: a namespace that the settings leave out, with all that is in it"
            )
            return False
        return True

    def _kv(self, namespace: str) -> Iterator[Mount]:
        for path, info in self.tables[namespace].items():
            mount = kv_mount(namespace, path, info)
            name = namespace + path
            if mount is None and path not in OWN:
                self.missing.append(
                    f"{name}: {_ENGINES.get(info.type, f'what the {info.type} engine holds')}"
                )
            elif mount is not None and self._choice.takes(name):
                yield mount
            elif mount is not None:
                self.missing.append(f"{name}: a KV mount that the settings leave out, with all its secrets")

    def _mounts(self, namespace: str) -> dict[str, MountInfo]:
        try:
            answer = self._vault.system(namespace=namespace).list_mounted_secrets_engines()
        except Denied:
            # Take the mounts that our token is shown; what it is not shown is left out in silence.
            self.blind.add(namespace)
            self.missing.append(
                f"mounts in '{namespace or '/'}' that the token's policies do not name: "
                "no right to read sys/mounts, so there may be more than was seen"
            )
            return dict(self._vault.get("sys/internal/ui/mounts", namespace=namespace).read(SEEN).data.secret)
        if not answer.found:
            raise SourceError(f"there is no namespace '{namespace}' on the server")
        return dict(answer.read(MOUNTS).data)


def _folders(names: Iterable[str]) -> Iterator[str]:
    """Yield every folder that names lie in: namespaces and mounts are among them."""
    for name in names:
        end = 0
        while (end := name.find("/", end) + 1) > 0:
            yield name[:end]


def _config(vault: Vault, mount: Mount) -> MountConfig | None:
    try:
        answer = vault.get(mount.path, "config", namespace=mount.namespace)
    except Denied:
        return None
    return answer.read(CONFIG).data if answer.found else None
