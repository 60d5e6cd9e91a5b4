"""A secret as it was at one of its versions: what was overwritten since is what people come for."""

from __future__ import annotations

from shlex import quote

from msgspec.structs import replace

from strongroom.container.name_index import older_versions
from strongroom.model import Secret
from strongroom.sources.errors import VersionNotFound


def holds(secret: Secret, number: int | None) -> bool:
    """Tell whether a secret has a version's value, or whether none is asked for."""
    return number is None or any(v.number == number and v.value is not None for v in secret.versions)


def at_version(secret: Secret, number: int | None, *, where: str) -> Secret:
    """Return a secret with what was newest at a version as its newest; as it is, if none is asked for.

    Its tags and dates stay those of the whole secret: no source keeps them by version.

    Args:
        where: what holds it, for the error.

    Raises:
        VersionNotFound: there is no such version.
    """
    if number is None:
        return secret
    versions = tuple(version for version in secret.versions if version.number <= number)
    if not versions or versions[-1].number != number:
        raise no_version(secret, number, where=where)
    return replace(secret, versions=versions, updated_at=versions[-1].created_at or secret.updated_at)


def no_version(secret: Secret, number: int, *, where: str) -> VersionNotFound:
    """Return what to say where a version is not, or has no value."""
    said = f"{where} holds no value of version {number} of '{secret.name}'"
    return VersionNotFound(
        f"{said}. It has {spelled_versions(secret)}.",
        hint=f"See which backups have it: strongroom backups find {quote(secret.name)} --version {number}",
    )


def spelled_versions(secret: Secret) -> str:
    """Return the numbers of a secret's versions, and which have no value: '3 (destroyed), 5-9, 10'."""
    with_value = {version.number for version in secret.versions if version.value is not None}
    runs = older_versions((*secret.versions, secret.current), with_value.__contains__)
    return ", ".join(run.words for run in runs)
