"""Which rights reading a source needs: the shipped policy, derived from what there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strongroom.sources.vault.records import Mount, MountInfo
from strongroom.sources.vault.survey import Survey
from strongroom.sources.vault.system import CONFIGURED, ROLES
from strongroom.vault.failures import Denied
from strongroom.vault.rights import Need

READ, LIST = frozenset({"read"}), frozenset({"list"})


def needs(survey: Survey, *, system: bool) -> Iterator[Need]:
    """Yield what backing up needs, path by path. Whatever changes something is too many."""
    for namespace in survey.namespaces:
        yield Need(path=f"{namespace}sys/mounts", capabilities=READ)
        yield Need(path=f"{namespace}sys/namespaces/", capabilities=LIST)
        if system:
            yield from _of_system(survey, namespace)
    for mount in survey.mounts.values():
        yield from _of_mount(mount)


def _of_mount(mount: Mount) -> Iterator[Need]:
    name = mount.name
    if mount.version == 1:
        yield Need(path=f"{name}*", capabilities=READ | LIST)
        return
    yield Need(path=f"{name}config", capabilities=READ)
    yield Need(path=f"{name}metadata/*", capabilities=READ | LIST)
    yield Need(path=f"{name}data/*", capabilities=READ)
    for change in ("delete", "undelete", "destroy"):
        yield Need(path=f"{name}{change}/*", capabilities=frozenset())


def _of_system(survey: Survey, namespace: str) -> Iterator[Need]:
    yield Need(path=f"{namespace}sys/policies/acl/", capabilities=LIST)
    yield Need(path=f"{namespace}sys/policies/acl/*", capabilities=READ)
    yield Need(path=f"{namespace}sys/auth", capabilities=READ)
    for path, info in _methods(survey, namespace).items():
        if info.type in CONFIGURED:
            yield Need(path=f"{namespace}auth/{path}config", capabilities=READ)
        for kind in ROLES.get(info.type, ()):
            yield Need(path=f"{namespace}auth/{path}{kind}/", capabilities=LIST)
            yield Need(path=f"{namespace}auth/{path}{kind}/*", capabilities=READ)


def _methods(survey: Survey, namespace: str) -> Mapping[str, MountInfo]:
    """Return the auths that we may see: that the right to see them is missing is said beside."""
    try:
        return survey.auths(namespace)
    except Denied:
        return {}
