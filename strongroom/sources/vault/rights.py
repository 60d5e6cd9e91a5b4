"""Which rights a source needs, to be backed up and to be restored into: the shipped policies, derived
from what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from strongroom.model import Secret, VersionState
from strongroom.sources.vault.records import Mount, MountInfo
from strongroom.sources.vault.roles import ROLE
from strongroom.sources.vault.scope import ServerScope
from strongroom.sources.vault.secrets import facts_of
from strongroom.sources.vault.survey import ServerSurvey
from strongroom.sources.vault.system import AUTH, CONFIGURED, LAYERS, MOUNT, POLICY, ROLES
from strongroom.vault.failures import Denied
from strongroom.vault.rights import Need

DELETE = frozenset({"delete"})
READ, LIST = frozenset({"read"}), frozenset({"list"})
WRITE, UPDATE, SUDO = frozenset({"create", "update"}), frozenset({"update"}), frozenset({"sudo"})
NONE = frozenset[str]()


def needs(survey: ServerSurvey, *, system: bool, writing: bool = False) -> Iterator[Need]:
    """Yield what backing up needs, path by path, or what being restored into needs beside that.

    Whatever else changes something is too many.
    """
    also = WRITE if writing else NONE
    for namespace in survey.namespaces:
        yield Need(path=f"{namespace}sys/mounts", capabilities=READ)
        yield Need(path=f"{namespace}sys/namespaces/", capabilities=LIST)
        if system:
            yield from _of_system(survey, namespace, also)
    for mount in survey.mounts.values():
        yield from _of_mount(mount, also, config=also if system else NONE)


def _of_mount(mount: Mount, also: frozenset[str], *, config: frozenset[str]) -> Iterator[Need]:
    name = mount.name
    if mount.version == 1:
        yield Need(path=f"{name}*", capabilities=READ | LIST | also)
        return
    yield Need(path=f"{name}config", capabilities=READ | config, beside=True)
    yield Need(path=f"{name}metadata/*", capabilities=READ | LIST | also)
    yield Need(path=f"{name}data/*", capabilities=READ | also)
    for change in ("delete", "undelete", "destroy"):
        yield Need(path=f"{name}{change}/*", capabilities=UPDATE & also if change != "undelete" else NONE)


def _of_system(survey: ServerSurvey, namespace: str, also: frozenset[str]) -> Iterator[Need]:
    yield Need(path=f"{namespace}sys/policies/acl/", capabilities=LIST, beside=True)
    yield Need(path=f"{namespace}sys/policies/acl/*", capabilities=READ | also, beside=True)
    yield Need(path=f"{namespace}sys/auth", capabilities=READ, beside=True)
    if also:
        yield Need(path=f"{namespace}sys/mounts/*", capabilities=also, beside=True)
        yield Need(path=f"{namespace}sys/auth/*", capabilities=also | SUDO, beside=True)
        yield Need(path=f"{namespace}sys/namespaces/*", capabilities=READ | also, beside=True)
    for path, info in _methods(survey, namespace).items():
        if info.type in CONFIGURED:
            yield Need(path=f"{namespace}auth/{path}config", capabilities=READ | also, beside=True)
        for kind in ROLES.get(info.type, ()):
            yield Need(path=f"{namespace}auth/{path}{kind}/", capabilities=LIST, beside=True)
            yield Need(path=f"{namespace}auth/{path}{kind}/*", capabilities=READ | also, beside=True)


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
