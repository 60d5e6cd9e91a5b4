"""A new version beside the current one, under AWSPENDING, until it is made current: as AWS's rotations do.

So users read the former value until whatever checks it has taken the new one. AWSCURRENT is taken from the
version that was read, by name: the service refuses if it is on another by now.
"""

from __future__ import annotations

from secrets import token_hex

from strongroom.errors import SourceError
from strongroom.model import Secret, SecretVersion
from strongroom.sources.aws.checks import given
from strongroom.sources.aws.client import Api
from strongroom.sources.aws.failures import AwsInvalid
from strongroom.sources.aws.secrets import facts_of
from strongroom.sources.aws.versions import CURRENT, PENDING, own_id
from strongroom.system.errors import Conflict


def staged(secret: Secret) -> SecretVersion | None:
    """Return the version that has the label, if that is not the current one."""
    number = _number(secret, PENDING)
    if number is None or number == _number(secret, CURRENT):
        return None
    return next((version for version in secret.versions if version.number == number), None)


def stage(api: Api, secret: Secret, version: SecretVersion) -> None:
    """Put a version beside the current one. Raises Conflict if another rotation is under way."""
    if staged(secret) is not None:
        raise Conflict(
            f"another rotation of secret {secret.name!r} has not ended: a version has the label {PENDING}",
            hint="Wait for its end, or take the label off at AWS; then rotate this secret again.",
        )
    id_ = own_id(secret.name, version.number, version.media, salt=token_hex())
    api.ask(
        "put_secret_value",
        f"write a version of secret '{secret.name}'",
        SecretId=secret.name,
        ClientRequestToken=id_,
        VersionStages=[PENDING],
        **given(version),
    )


def promote(api: Api, secret: Secret) -> None:
    """Make what lies beside current, if the current one is still what was read. Raises Conflict."""
    new = _id(secret, PENDING)
    _move(api, secret, CURRENT, RemoveFromVersionId=_id(secret, CURRENT), MoveToVersionId=new)
    _move(api, secret, PENDING, RemoveFromVersionId=new)


def unstage(api: Api, secret: Secret) -> None:
    """Take the label off what lies beside: the service removes a version without a label in its time."""
    _move(api, secret, PENDING, RemoveFromVersionId=_id(secret, PENDING))


def _move(api: Api, secret: Secret, label: str, **versions: str) -> None:
    doing = f"move label '{label}' of secret '{secret.name}'"
    try:
        api.ask("update_secret_version_stage", doing, SecretId=secret.name, VersionStage=label, **versions)
    except AwsInvalid:
        raise Conflict(f"somebody else moved label {label} of secret {secret.name!r} meanwhile") from None


def _number(secret: Secret, label: str) -> int | None:
    facts = facts_of(secret)
    held = facts.versions.items() if facts else ()
    return next((int(number) for number, version in held if label in version.stages), None)


def _id(secret: Secret, label: str) -> str:
    facts, number = facts_of(secret), _number(secret, label)
    if facts is None or number is None:
        raise SourceError(f"no version of secret '{secret.name}' has the label {label}")
    return facts.versions[str(number)].id
