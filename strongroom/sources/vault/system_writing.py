"""Puts policies, auth methods, roles, mounts and namespaces back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from strongroom.errors import SourceError
from strongroom.model import Secret
from strongroom.sources import SecretChange
from strongroom.sources.vault.explain import GO_ON
from strongroom.sources.vault.losses import VaultLosses
from strongroom.sources.vault.records import MOUNTS as MOUNT_TABLE
from strongroom.sources.vault.roles import ROLE, to_send
from strongroom.sources.vault.system import (
    AUTH,
    AUTH_CONFIG,
    AUTHS,
    MOUNT,
    MOUNTS,
    POLICY,
    kind_of,
)
from strongroom.system.errors import Conflict
from strongroom.vault.client import Vault
from strongroom.vault.failures import IN_USE, VaultRefused

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
        self._report(kind, change.secret.name, fields)

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
            self._post(namespace, f"{path}/tune", _tuning(fields))
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

    def _report(self, kind: str, name: str, fields: dict[str, Any]) -> None:
        for gap in gaps_of(kind, fields):
            self._losses.add(f"{name!r}: {gap}")


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


def _tuning(fields: dict[str, Any]) -> dict[str, Any]:
    given = {"description": fields.get("description", "")} | dict(fields.get("config") or {})
    if fields.get("type") in ("token", "ns_token"):
        given.pop("token_type", None)  # the method 'token' has its own, and refuses to hear of it
    if fields.get("options"):
        given["options"] = fields["options"]
    return given
