"""Policies, auth methods, roles, mounts and namespaces as entries of a backup, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.sources import SecretChange
from strongroom.sources.vault.records import GO_ON, KEYS, MountInfo, kv_mount
from strongroom.sources.vault.records import MOUNTS as MOUNT_TABLE
from strongroom.sources.vault.secrets import ROLE, to_send
from strongroom.sources.vault.survey import OWN, ServerSurvey
from strongroom.sources.vault.writing import VaultLosses
from strongroom.system.errors import Conflict
from strongroom.vault.answers import IN_USE, Denied, ServerAnswer, VaultRefused
from strongroom.vault.client import Vault
from strongroom.vault.rights import CONFIGURED, ROLES

# -- Policies, auth methods, roles, mount settings and namespaces as entries of a backup --------
#
# They are named like their paths in the API, below their namespace, and hold what the API says,
# as JSON with sorted members, without what the server makes up itself (accessors, identifiers, times).
#
# =======================  ==================================  ===========================================
# type                     name                                holds
# =======================  ==================================  ===========================================
# ``vault_namespace``      ``sys/namespaces/<name>``           custom metadata
# ``vault_mount``          ``sys/mounts/<path>``               type, options, tuning; KV v2: its ``config``
# ``vault_auth``           ``sys/auth/<path>``                 type, options, tuning
# ``vault_auth_config``    ``auth/<path>/config``              what the method lets be read of its settings
# ``vault_policy``         ``sys/policies/acl/<name>``         the policy
# ``vault_role``           ``auth/<path>/<kind>/<name>``       a role, group or certificate of an auth method
# =======================  ==================================  ===========================================


NAMESPACE, MOUNT, AUTH = "vault_namespace", "vault_mount", "vault_auth"
AUTH_CONFIG, POLICY = "vault_auth_config", "vault_policy"
LAYERS = (NAMESPACE, MOUNT, AUTH, AUTH_CONFIG, POLICY, ROLE)
"""What rests on what: a mount lies in a namespace, a role in an auth method."""

POLICIES, NAMESPACES, MOUNTS, AUTHS = "sys/policies/acl/", "sys/namespaces/", "sys/mounts/", "sys/auth/"
BUILT_IN = frozenset({"root", "response-wrapping", "control-group"})
"""Policies that nobody may change."""
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


# -- Puts policies, auth methods, roles, mounts and namespaces back -----------------------------


_DELETABLE = frozenset({POLICY, ROLE})
_AT_CREATION = frozenset({"local_secret_ids"})  # refused later, even with the value that it has
_ON_ENABLING = ("type", "description", "options", "config", "local", "seal_wrap", "external_entropy_access")


class SystemWriter:
    """Writes entries of one server, each so that twice is the same as once."""

    def __init__(self, vault: Vault, losses: VaultLosses) -> None:
        self._vault = vault
        self._losses = losses

    def write(self, change: SecretChange, namespace: str, path: str) -> None:
        """Write one entry; what rests on it must come later.

        Raises:
            SourceError: the entry makes no sense, or the server will not have it.
        """
        fields, kind = fields_of(change.secret), kind_of(path)
        if kind == ROLE and change.expected is not None:
            fields = {name: value for name, value in fields.items() if name not in _AT_CREATION}
        if kind == ROLE:
            fields = to_send(fields)
        try:
            if kind in (MOUNT, AUTH):
                self._enable(change, namespace, path, fields)
            elif kind != AUTH_CONFIG or self._differs(namespace, path, fields):
                self._post(namespace, path, fields)
        except VaultRefused as refused:
            raise SourceError(
                f"the server does not take {change.secret.name!r} (status {refused.status})",
                hint="It may need what no backup holds, as the password of an auth method. " + GO_ON,
            ) from None
        for gap in gaps_of(kind, fields):
            self._losses.add(f"{change.secret.name!r}: {gap}")

    def delete(self, name: str, namespace: str, path: str) -> bool:
        """Remove an entry that nothing rests on; say whether it was removed."""
        if kind_of(path) not in _DELETABLE:
            self._losses.add(f"{name!r} is left: removing it would remove all that it holds")
            return False
        self._vault.delete(path, namespace=namespace)
        return True

    def _enable(self, change: SecretChange, namespace: str, path: str, fields: dict[str, Any]) -> None:
        if change.expected is None:
            enabling = {name: fields[name] for name in _ON_ENABLING if name in fields}
            self._make(change.secret.name, namespace, path, enabling)
        else:
            given = {"description": fields.get("description", "")} | dict(fields.get("config") or {})
            if fields.get("type") in ("token", "ns_token"):
                given.pop("token_type", None)  # the method 'token' has its own, and refuses to hear of it
            if fields.get("options"):
                given["options"] = fields["options"]
            self._post(namespace, f"{path}/tune", given)
        if path.startswith(MOUNTS) and fields.get("kv") is not None:
            self._post(namespace, f"{path.removeprefix(MOUNTS)}/config", fields["kv"])

    def _make(self, name: str, namespace: str, path: str, enabling: dict[str, Any]) -> None:
        """Make a mount that was not there a moment ago, and that one alone.

        Raises:
            Conflict: somebody else was faster.
        """
        lost = False

        def happened() -> bool:
            nonlocal lost
            lost = True
            return self._is_made(name, namespace, path, enabling)

        try:
            self._vault.post(path, body=enabling, namespace=namespace, happened=happened)
        except VaultRefused as refused:
            if refused.reason not in IN_USE:
                raise
            if not (lost and self._vault.wait_until(happened)):
                raise _made_by_another(name) from None
        if self._vault.reads_late:
            self._vault.wait_until(lambda: self._is_made(name, namespace, path, enabling))

    def _is_made(self, name: str, namespace: str, path: str, enabling: dict[str, Any]) -> bool:
        """Look what became of a mount whose making got no reply."""
        table = MOUNTS if path.startswith(MOUNTS) else AUTHS
        mounts = self._vault.get(table, namespace=namespace).read(MOUNT_TABLE).data
        info = mounts.get(f"{path.removeprefix(table)}/")
        if info is not None and info.type != enabling.get("type"):
            raise _made_by_another(name)
        return info is not None

    def _differs(self, namespace: str, path: str, fields: dict[str, Any]) -> bool:
        """Servers show settings of an auth method that they do not accept: what is so already is let be."""
        answer = self._vault.get(path, namespace=namespace)
        return not answer.found or {**answer.data(), **fields} != answer.data()

    def _post(self, namespace: str, path: str, body: dict[str, Any]) -> None:
        if not self._vault.post(path, body=body, namespace=namespace, repeatable=True).found:
            raise SourceError(
                f"the server has no place for {f'{namespace}{path}'!r}",
                hint="Restore what it belongs to first (names 'sys/auth/…', 'sys/namespaces/…'), or make it "
                "by hand. " + GO_ON,
            )


def _made_by_another(name: str) -> Conflict:
    return Conflict(f"somebody else made {name!r} while it was being restored")


def gaps_of(kind: str, fields: dict[str, Any]) -> Iterator[str]:
    """Yield what of an entry no backup has."""
    if kind == MOUNT and fields.get("type") not in ("kv", "generic"):
        yield f"it is empty: what the {fields.get('type')} engine held is in no backup"
    if kind == AUTH_CONFIG:
        yield "passwords and tokens in it cannot be read, so set them again"
    if kind == AUTH and fields.get("type") in ("userpass", "radius"):
        yield "its users are in no backup, as their passwords cannot be read"
    if kind == AUTH and fields.get("type") == "approle":
        yield "secret ids cannot be read, so its clients need new ones"


def fields_of(secret: Secret) -> dict[str, Any]:
    """Return what an entry holds."""
    value = secret.current.value
    try:
        return msgspec.json.decode(value.reveal() if value else b"", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SourceError(f"{secret.name!r} does not hold settings of a Vault server") from None
