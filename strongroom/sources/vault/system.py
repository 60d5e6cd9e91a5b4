"""Policies, auth methods, roles, mount settings and namespaces as entries of a backup.

They are named like their paths in the API, below their namespace, and hold what the API says,
as JSON with sorted members, without what the server makes up itself (accessors, identifiers, times).

=======================  ==================================  ===========================================
type                     name                                holds
=======================  ==================================  ===========================================
``vault_namespace``      ``sys/namespaces/<name>``           custom metadata
``vault_mount``          ``sys/mounts/<path>``               type, options, tuning; KV v2: its ``config``
``vault_auth``           ``sys/auth/<path>``                 type, options, tuning
``vault_auth_config``    ``auth/<path>/config``              what the method lets be read of its settings
``vault_policy``         ``sys/policies/acl/<name>``         the policy
``vault_role``           ``auth/<path>/<kind>/<name>``       a role, group or certificate of an auth method
=======================  ==================================  ===========================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.sources.vault.records import KEYS, MountInfo, kv_mount
from strongroom.sources.vault.roles import ROLE
from strongroom.sources.vault.survey import OWN, ServerSurvey
from strongroom.vault.answers import ServerAnswer
from strongroom.vault.client import Vault
from strongroom.vault.failures import Denied

NAMESPACE, MOUNT, AUTH = "vault_namespace", "vault_mount", "vault_auth"
AUTH_CONFIG, POLICY = "vault_auth_config", "vault_policy"
LAYERS = (NAMESPACE, MOUNT, AUTH, AUTH_CONFIG, POLICY, ROLE)
"""What rests on what: a mount lies in a namespace, a role in an auth method."""

POLICIES, NAMESPACES, MOUNTS, AUTHS = "sys/policies/acl/", "sys/namespaces/", "sys/mounts/", "sys/auth/"
BUILT_IN = frozenset({"root", "response-wrapping", "control-group"})
"""Policies that nobody may change."""
ROLES = {
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
CONFIGURED = frozenset({"cert", "jwt", "kubernetes", "ldap", "oidc"})
_OF_POLICY = frozenset({"name", "version", "modified"})


class System:
    """Reads the entries of one server."""

    def __init__(self, vault: Vault, survey: ServerSurvey) -> None:
        self._vault = vault
        self._survey = survey

    def names(self) -> Iterator[str]:
        """Yield the names of all entries."""
        for namespace in self._survey.namespaces:
            if namespace:
                yield entry_of(namespace)
            if namespace not in self._survey.blind:
                yield from self._of_mounts(namespace)
            for name in _keys(self._vault.system(namespace=namespace).list_acl_policies()):
                if name not in BUILT_IN:
                    yield namespace + POLICIES + name
            for path, info in self._survey.auths(namespace).items():
                yield namespace + AUTHS + path.rstrip("/")
                yield from self._of_method(namespace, path, info.type)

    def has_method(self, namespace: str, path: str) -> bool:
        """Say whether the auth method is there that a role or settings belong to, as far as we may see it."""
        try:
            return bool(self._method(namespace, path))
        except Denied:
            return True

    def split(self, name: str) -> tuple[str, str] | None:
        """Return namespace and path of an entry, or ``None`` if it is no name of one."""
        for namespace in self._survey.namespaces:
            rest = name.removeprefix(namespace)
            if name.startswith(namespace) and rest.startswith((POLICIES, NAMESPACES, MOUNTS, AUTHS, "auth/")):
                return namespace, rest
        return None

    def read(self, name: str, namespace: str, path: str) -> Secret | None:
        """Return an entry as a secret of one version, or ``None`` if there is no such thing."""
        kind = kind_of(path)
        fields = self._readers()[kind](namespace, path)
        if fields is None:
            return None
        value = SecretBytes(msgspec.json.encode(fields, order="sorted"))
        return Secret(
            name=name, type=kind, versions=(SecretVersion(number=1, value=value, media=Media.JSON),)
        )

    def _readers(self) -> dict[str, Callable[[str, str], dict[str, Any] | None]]:
        return {
            NAMESPACE: self._namespace,
            MOUNT: self._mount,
            AUTH: self._auth,
            AUTH_CONFIG: self._data,
            POLICY: self._policy,
            ROLE: self._role,
        }

    def _namespace(self, namespace: str, path: str) -> dict[str, Any] | None:
        found = self._data(namespace, path)
        return None if found is None else {"custom_metadata": found.get("custom_metadata") or {}}

    def _mount(self, namespace: str, path: str) -> dict[str, Any] | None:
        inner = path.removeprefix(MOUNTS) + "/"
        info = self._survey.tables[namespace].get(inner)
        if info is None:
            return None
        mount = kv_mount(namespace, inner, info)
        config = self._survey.config(mount) if mount is not None and mount.version == 2 else None
        return _settings(info) | ({"kv": msgspec.to_builtins(config)} if config else {})

    def _auth(self, namespace: str, path: str) -> dict[str, Any] | None:
        info = self._survey.auths(namespace).get(path.removeprefix(AUTHS) + "/")
        return None if info is None else _settings(info)

    def _policy(self, namespace: str, path: str) -> dict[str, Any] | None:
        answer = self._vault.system(namespace=namespace).read_acl_policy(path.removeprefix(POLICIES))
        found = _stored_fields(answer)
        return found and {key: value for key, value in found.items() if key not in _OF_POLICY}

    def _role(self, namespace: str, path: str) -> dict[str, Any] | None:
        """A role of AppRole has an identifier, by which its clients know it."""
        found = self._data(namespace, path)
        if found is not None and self._method(namespace, path) == "approle":
            found |= self._data(namespace, f"{path}/role-id") or {}
        return found

    def _data(self, namespace: str, path: str) -> dict[str, Any] | None:
        return _stored_fields(self._vault.get(path, namespace=namespace))

    def _of_mounts(self, namespace: str) -> Iterator[str]:
        for path in self._survey.tables[namespace]:
            if path not in OWN:
                yield namespace + MOUNTS + path.rstrip("/")

    def _of_method(self, namespace: str, path: str, method: str) -> Iterator[str]:
        if method in CONFIGURED and self._data(namespace, f"auth/{path}config") is not None:
            yield f"{namespace}auth/{path}config"
        for kind in ROLES.get(method, ()):
            for role in _keys(self._vault.list(f"auth/{path}{kind}/", namespace=namespace)):
                yield f"{namespace}auth/{path}{kind}/{role}"

    def _method(self, namespace: str, path: str) -> str:
        mounts = self._survey.auths(namespace)
        inner = path.removeprefix("auth/")
        fitting = [mount for mount in mounts if inner.startswith(mount)]
        return mounts[max(fitting, key=len)].type if fitting else ""


def _keys(answer: ServerAnswer) -> list[str]:
    keys = answer.read(KEYS).data if answer.found else None
    return keys.keys if keys else []


def _stored_fields(answer: ServerAnswer) -> dict[str, Any] | None:
    """Return what is there. A member that is null was never set, and would come back as something."""
    found = answer.data() if answer.found else {}
    return {key: value for key, value in found.items() if value is not None} or None


def entry_of(namespace: str) -> str:
    """Return the name of the entry that a namespace is kept as."""
    parent, _, child = namespace.rstrip("/").rpartition("/")
    return f"{parent}/{NAMESPACES}{child}" if parent else NAMESPACES + child


def _settings(info: MountInfo) -> dict[str, Any]:
    return dict(msgspec.to_builtins(info)) | {"options": info.options or {}}


def kind_of(path: str) -> str:
    """Return the type of the entry at a path of the API."""
    for start, kind in ((POLICIES, POLICY), (NAMESPACES, NAMESPACE), (MOUNTS, MOUNT), (AUTHS, AUTH)):
        if path.startswith(start):
            return kind
    return AUTH_CONFIG if path.endswith("/config") else ROLE
