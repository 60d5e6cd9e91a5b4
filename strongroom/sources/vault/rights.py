"""Which rights reading a source needs: the shipped policy, derived from what there is."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.sources.vault.records import Mount
from strongroom.sources.vault.survey import Survey
from strongroom.sources.vault.system import CONFIGURED, ROLES
from strongroom.vault.rights import Need

READ, LIST = frozenset({"read"}), frozenset({"list"})


def needs(survey: Survey, *, system: bool) -> Iterator[Need]:
    """Yield what backing up needs, path by path. Whatever changes something is too many."""
    for namespace in survey.namespaces:
        yield Need(namespace=namespace, path="sys/mounts", capabilities=READ)
        yield Need(namespace=namespace, path="sys/namespaces/", capabilities=LIST)
        if system:
            yield from _of_system(survey, namespace)
    for mount in survey.mounts.values():
        yield from _of_mount(mount)


def _of_mount(mount: Mount) -> Iterator[Need]:
    namespace, path = mount.namespace, mount.path
    if mount.version == 1:
        yield Need(namespace=namespace, path=f"{path}*", capabilities=READ | LIST)
        return
    yield Need(namespace=namespace, path=f"{path}config", capabilities=READ)
    yield Need(namespace=namespace, path=f"{path}metadata/*", capabilities=READ | LIST)
    yield Need(namespace=namespace, path=f"{path}data/*", capabilities=READ)
    for change in ("delete", "undelete", "destroy"):
        yield Need(namespace=namespace, path=f"{path}{change}/*", capabilities=frozenset())


def _of_system(survey: Survey, namespace: str) -> Iterator[Need]:
    yield Need(namespace=namespace, path="sys/policies/acl/", capabilities=LIST)
    yield Need(namespace=namespace, path="sys/policies/acl/*", capabilities=READ)
    yield Need(namespace=namespace, path="sys/auth", capabilities=READ)
    for path, info in survey.auths(namespace).items():
        if info.type in CONFIGURED:
            yield Need(namespace=namespace, path=f"auth/{path}config", capabilities=READ)
        for kind in ROLES.get(info.type, ()):
            yield Need(namespace=namespace, path=f"auth/{path}{kind}/", capabilities=LIST)
            yield Need(namespace=namespace, path=f"auth/{path}{kind}/*", capabilities=READ)
