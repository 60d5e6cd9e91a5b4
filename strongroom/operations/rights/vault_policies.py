"""The policies of Vault and OpenBao that each role needs on each configured server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Final

from strongroom.config import (
    RaftSourceSettings,
    Settings,
    TransitKeySettings,
    VaultEngineRotator,
    VaultSourceSettings,
    VaultTargetSettings,
)
from strongroom.config.failure_domains import own_mounts
from strongroom.errors import ConfigError
from strongroom.operations.engine.stage import verbs_on_stage
from strongroom.operations.rights import needs
from strongroom.operations.rights.needs import Errand
from strongroom.vault import rights
from strongroom.vault.rights import Need

SCRATCH: Final = "strongroom-drill-"
"""What the mounts of drills begin with."""
Policy = Mapping[str, frozenset[str]]
"""Paths, and what may be done there."""


def vault_policies(
    settings: Settings, roles: Iterable[str], *, kv1: Sequence[str] = ()
) -> dict[str, dict[str, Policy]]:
    """Return what each role needs, by the server's name and the role's.

    Args:
        kv1: the mounts of sources that are KV version 1. No configuration says which those are.

    Raises:
        ConfigError: a name holds what a policy would read as something else.
    """
    found: dict[str, dict[str, Policy]] = {}
    for server in settings.vaults:
        for role in roles:
            if policy := _merged(_needs(settings, server, role, kv1)):
                found.setdefault(server, {})[role] = policy
    return found


def policy_text(policy: Policy) -> str:
    """Return a policy as the server takes it."""
    return "".join(
        f'path "{path}" {{ capabilities = {json.dumps(sorted(can))}{_only(path)} }}\n'
        for path, can in policy.items()
    )


def policy_document(policy: Policy) -> dict[str, object]:
    """Return the same as JSON, which the server takes too."""
    extra: dict[str, object] = {"allowed_parameters": {name: [] for name in rights.TRIMMING}}
    return {
        "path": {
            path: {"capabilities": sorted(can)} | (extra if _only(path) else {})
            for path, can in policy.items()
        }
    }


def policy_lines(settings: Settings, found: Mapping[str, Mapping[str, Policy]], prefix: str) -> Iterator[str]:
    """Yield what a shell runs to write each policy. ``VAULT_CLI=vault`` has it call another program."""
    for server, policies in found.items():
        vault = settings.vaults[server]
        where = f"-address={quote(vault.address)}"
        where += f" -namespace={quote(vault.namespace)}" if vault.namespace else ""
        yield f"# server {quote(server)}"
        for role, policy in policies.items():
            text = quote(policy_text(policy).rstrip())
            yield f"printf '%s\\n' {text} | ${{VAULT_CLI:-bao}} policy write {where} {quote(prefix + role)} -"


def _only(path: str) -> str:
    if not path.endswith("/config") or "/keys/" not in path:
        return ""
    return f", allowed_parameters = {{ {', '.join(f'{json.dumps(name)} = []' for name in rights.TRIMMING)} }}"


def _merged(wanted: Iterable[Need]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for need in wanted:
        path = need.path
        # A path has to mean in a policy what it says; what stands in braces would be filled in.
        if not path.isprintable() or any(mark in path for mark in ("{{", '"', "\\", "${")):
            raise ConfigError(
                f"{path!r} cannot stand in a policy",
                hint="Name mounts, keys and folders of a Vault without quotes, backslashes and braces.",
            )
        if need.capabilities:
            found[path] = found.get(path, rights.NONE) | need.capabilities
    return {path: can - rights.DENIED or can for path, can in found.items()}


def _of_rotator(rotator: VaultEngineRotator) -> Iterator[Need]:
    for path, can in ((rotator.rotate, rights.UPDATE), (rotator.read, rights.READ)):
        if "*" in path or "+" in path:
            raise ConfigError(
                f"{path!r} would cover other paths in a policy", hint="Name the path without '*' and '+'."
            )
        if path:
            yield Need(path=path.replace("{last}", "+"), capabilities=can)


def _literal(name: str) -> str:
    """Return a name as a folder of a path; one with a wildcard would cover more than itself."""
    parts = name.strip("/").split("/")
    if "+" in parts or "*" in name or not all(parts):
        raise ConfigError(
            f"{name!r} would cover other mounts in a policy", hint="Name the mount without '*' and '+'."
        )
    return "/".join(parts) + "/"


# -- Who needs what on a server -----------------------------------------------------------------


def _needs(settings: Settings, server: str, role: str, kv1: Sequence[str]) -> Iterator[Need]:
    for section in (settings.sources, settings.targets, settings.keys, settings.rotators):
        for name, entry in section.items():
            if entry.on_vault == server:
                yield from _of_entry(settings, name, entry, role, kv1)
    for stage in settings.stages.values():
        if isinstance(stage, VaultTargetSettings) and stage.on_vault == server:
            yield from _of_place(stage, frozenset(_VERBS[verb] for verb in verbs_on_stage(role)))
    if settings.vaults[server].scratch and role in needs.REHEARSES:
        yield from rights.of_scratch(SCRATCH)


def _of_entry(settings: Settings, name: str, entry: object, role: str, kv1: Sequence[str]) -> Iterator[Need]:
    match entry:
        case VaultSourceSettings():
            yield from _of_source(settings, name, entry, role, kv1)
        case RaftSourceSettings() if role in needs.TAKES_SNAPSHOTS:
            yield from rights.of_snapshot()
        case RaftSourceSettings() if role == Errand.SNAPSHOT:
            yield from rights.of_snapshot_restore()
        case VaultTargetSettings():
            yield from _of_target(entry, role)
        case TransitKeySettings():
            yield from _of_key(_literal(entry.mount).rstrip("/"), _literal(entry.key).rstrip("/"), role)
        case VaultEngineRotator() if role in needs.ROTATES_SECRETS:
            yield from _of_rotator(entry)
        case _:
            pass


def _of_source(
    settings: Settings, name: str, source: VaultSourceSettings, role: str, kv1: Sequence[str]
) -> Iterator[Need]:
    old = {_literal(mount) for mount in kv1}
    excluded = {_literal(mount) for mount in source.exclude_mounts}
    named = sorted({_literal(mount) for mount in source.mounts} - excluded)
    mounts = {mount: 1 if mount in old else 2 for mount in named} or {
        **rights.EVERY_MOUNT,
        **dict.fromkeys(sorted(old - excluded), 1),
    }
    if role in needs.READS_SOURCES:
        # A role that uses the targets has what that takes beside, and a longer path goes before a pattern.
        own = () if role in needs.ON_TARGETS else own_mounts(settings, name)
        denied = excluded | {*map(_literal, own)}
        yield from rights.of_source(
            mounts,
            sorted(denied),
            system=source.system,
            writing=source.destination and role in needs.WRITES_SOURCES,
        )
    elif role == Errand.UNDO:
        yield from rights.of_undo(mounts)
    elif role == Errand.REBUILD:
        yield from rights.of_rebuild(mounts)
    elif role == Errand.REBUILD_UNDO:
        yield from rights.of_rebuild_undo()


_TOLD: Final = {
    needs.TargetAction.PUT: "put",
    needs.TargetAction.MARK: "put marks",
    needs.TargetAction.READ: "read",
    needs.TargetAction.LIST: "list",
    needs.TargetAction.DELETE: "delete",
}


def _of_target(target: VaultTargetSettings, role: str) -> Iterator[Need]:
    told = (_TOLD[action] for action in needs.ON_TARGETS.get(role, ()) if action in _TOLD)
    yield from _of_place(target, frozenset(told))


_VERBS: Final = {"put": "put", "get": "read", "delete": "delete", "list": "list"}


def _of_place(target: VaultTargetSettings, actions: frozenset[str]) -> Iterator[Need]:
    if actions:
        below = _literal(target.prefix) if target.prefix.strip("/") else ""
        transit = _literal(target.transit_key).rstrip("/") if target.transit_key else ""
        transit = transit if "/" in transit or not transit else f"transit/{transit}"
        yield from rights.of_target(_literal(target.mount), below, transit, actions)


def _of_key(mount: str, key: str, role: str) -> Iterator[Need]:
    if role in needs.SEALS:
        yield from rights.of_sealing(mount, key)
    if role in needs.OPENS:
        yield from rights.of_opening(mount, key)
    if role == Errand.SHRED:
        yield from rights.of_shredding(mount, key)
