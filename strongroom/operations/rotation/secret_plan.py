"""Which rotator each secret has, and what it will do. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from strongroom.errors import UsageError
from strongroom.model import ListedSecret, Secret
from strongroom.operations.rotator import RotatorKind, SecretRotator
from strongroom.operations.rotators.place import SecretPlace
from strongroom.operations.rotators.records import PlannedRotation, SecretRotationPlan
from strongroom.operations.rotators.values import identify
from strongroom.operations.services import Services
from strongroom.sources import Source, is_setting
from strongroom.sources.select import matches
from strongroom.state.records import RotationState, SecretRotation
from strongroom.timestamps import rfc3339
from strongroom.words import plural

MOST = 10_000
"""Secrets of one run: each has a step of its own."""
NO_ROTATOR = "no rotator is for it: give it a new value by hand"
NOT_THERE = "it is not there"
DOES = {
    RotatorKind.RANDOM: "writes a random value",
    RotatorKind.COMMAND: "writes a random value and runs '{0}'",
    RotatorKind.VAULT_ENGINE: "has the Vault's secrets engine make a new value",
    RotatorKind.AWS: "has AWS run the secret's rotation function",
}


def plan_rotation(
    services: Services, names: Sequence[str], *, source: str, incident: str = ""
) -> SecretRotationPlan:
    """Say which rotator each secret has, and what it will do. It asks the source what is there.

    Args:
        names: full names at the source; one that is named twice counts once.
        incident: leave what was rotated in this incident already.

    Raises:
        UsageError: too many names, or none.
        ConfigError: this process has no such source, or may not write to it.
        SourceError: the source does not answer.
    """
    wanted = unique_names(names)
    place = services.destination(source)
    found = place.read([ListedSecret(name, 0) for name in wanted])
    planned = tuple(
        _plan_one(services, name, secret, place, incident=incident)
        for name, secret in zip(wanted, found, strict=True)
    )
    return SecretRotationPlan(source=source, secrets=planned, digest=_digest(source, planned))


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return each name once, in order. Raises UsageError for none, or for too many."""
    wanted = tuple(dict.fromkeys(names))
    if not wanted:
        raise UsageError("There is no secret to rotate.", hint="Name one, or an incident.")
    if len(wanted) > MOST:
        raise UsageError(
            f"{plural(len(wanted), 'secret')} are too many for one rotation: it takes {MOST:,} at most.",
            hint="Nothing was changed. Rotate them in parts.",
        )
    return wanted


def rotator_of(rotators: Sequence[SecretRotator], secret: Secret, source: Source) -> SecretRotator | None:
    """Return the first rotator that is for a secret of a source.

    There is none for what secrets rest on, such as a Vault's policies: no pattern means those.
    """
    if is_setting(secret.type, source):
        return None
    fitting = (
        rotator
        for rotator in rotators
        if rotator.source in ("", source.name) and matches(rotator.selection, secret)
    )
    return next(fitting, None)


def _last_rotation(services: Services, name: str, *, source: str) -> SecretRotation | None:
    """Return the newest rotation of a secret that is on record here, if it came to a good end."""
    found = services.store.secret_rotation(identify(services.digest_key, source=source, name=name))
    return found if found is not None and found.state is RotationState.DONE else None


def _plan_one(
    services: Services, name: str, secret: Secret | None, source: Source, *, incident: str
) -> PlannedRotation:
    if secret is None:
        return PlannedRotation(name=name, missing=True, why=NOT_THERE)
    rotator = rotator_of(services.rotators, secret, source)
    if rotator is None:
        return PlannedRotation(name=name, why=NO_ROTATOR)
    last = _last_rotation(services, name, source=source.name)
    now = SecretPlace(services, source=source.name, name=name, rotator=rotator)
    # A restore may have brought the former value back: it is as well known as it was.
    lasts = last is not None and not now.is_value(secret, secret.current, last.was)
    return PlannedRotation(
        name=name,
        rotator=rotator.name,
        does=_does(rotator),
        already=last is not None and lasts and bool(incident) and last.incident == incident,
        last=rfc3339(last.began_at) if last else "",
    )


def _does(rotator: SecretRotator) -> str:
    program = rotator.program.command[0] if rotator.program else ""
    return DOES[rotator.kind].format(program)


def _digest(source: str, planned: Sequence[PlannedRotation]) -> str:
    return hashlib.sha256(_ENCODER.encode([source, list(_facts(planned))])).hexdigest()


def _facts(planned: Sequence[PlannedRotation]) -> Iterator[tuple[str, str]]:
    yield from ((rotation.name, rotation.rotator) for rotation in planned if not rotation.already)


_ENCODER = msgspec.json.Encoder(order="deterministic")
