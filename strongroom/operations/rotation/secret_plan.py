"""What a rotation of secrets will do, what people approve of it, and what it did."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from strongroom.errors import UsageError
from strongroom.model import ApprovalAction, ListedSecret, Secret, prepare
from strongroom.operations.engine.approvals import UNKNOWN, ApprovalRequest
from strongroom.operations.engine.approving import require_approval
from strongroom.operations.engine.jobs import read_facts, read_options
from strongroom.operations.engine.services import SecretRotator, Services
from strongroom.operations.rotation.secret_values import SecretPlace, identify
from strongroom.sources import Source, is_setting
from strongroom.sources.batches import matches
from strongroom.state.records import RotationState, Run, RunKind, RunStep, SecretRotation
from strongroom.times import rfc3339
from strongroom.words import plural

# -- What a rotation of secrets is to do, and what it did ---------------------------------------


class RotateSecretsOptions(Struct, frozen=True, kw_only=True):
    """What a run is asked for, as its spec's options keep it: a step is about one of ``names``."""

    names: tuple[str, ...]
    reason: str
    by: str = ""
    incident: str = ""

    @classmethod
    def of(cls, run: Run) -> RotateSecretsOptions:
        """Return what a run was asked for. Raises UsageError for a run of another kind."""
        if run.spec.kind is not RunKind.ROTATE_SECRET:
            raise UsageError(f"Run {run.id} is a {run.spec.kind.value}: it rotated no secret.", hint="")
        return read_options(run, cls, "a rotation")


class PlannedRotation(Struct, frozen=True, kw_only=True):
    """What a rotation will do with one secret. Without a ``rotator`` nothing is done; ``why`` says why.

    ``already`` says that the secret was rotated in the same incident, so that it is left as it is.
    ``last`` is when it was rotated last, as far as is on record here.
    """

    name: str
    missing: bool = False
    rotator: str = ""
    does: str = ""
    why: str = ""
    already: bool = False
    last: str = ""


class SecretRotationPlan(Struct, frozen=True, kw_only=True):
    """What a rotation will do. ``digest`` is SHA-256 (hex) over all of it: what people approve."""

    source: str
    secrets: tuple[PlannedRotation, ...]
    digest: str

    @property
    def to_rotate(self) -> tuple[PlannedRotation, ...]:
        """Those that get a new value."""
        return tuple(planned for planned in self.secrets if planned.rotator and not planned.already)


class SecretRotationResult(StrEnum):
    """What came of one secret."""

    DONE = "done"
    ALREADY = "already"
    FAILED = "failed"
    NO_ROTATOR = "no-rotator"
    MISSING = "missing"
    WAITS = "waits"


class RotatedSecret(Struct, frozen=True, kw_only=True):
    """What came of one secret. ``version`` is the current one at the source, if it has versions.

    ``why`` says what failed, or why nothing was done, and ``code`` names the class of the failure. ``to_do``
    is what a person must still do.
    """

    name: str
    result: SecretRotationResult
    rotator: str = ""
    version: int | None = None
    code: str = ""
    why: str = ""
    to_do: tuple[str, ...] = ()


class Rotated(Struct, frozen=True, kw_only=True):
    """What a rotation did, secret by secret. ``to_do`` is what a person must still do, all of it."""

    source: str
    run: str
    secrets: tuple[RotatedSecret, ...]
    to_do: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[str, ...]:
        """The names of those that have a new value, of this run or of an earlier one of the incident."""
        return self._named(SecretRotationResult.DONE, SecretRotationResult.ALREADY)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of those that have no new value that works."""
        return self._named(SecretRotationResult.FAILED, SecretRotationResult.WAITS)

    @property
    def no_rotator(self) -> tuple[str, ...]:
        """The names of those that no rotator is for."""
        return self._named(SecretRotationResult.NO_ROTATOR)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of those that are not there."""
        return self._named(SecretRotationResult.MISSING)

    def _named(self, *results: SecretRotationResult) -> tuple[str, ...]:
        return tuple(secret.name for secret in self.secrets if secret.result in results)


class SecretsNamed(Struct, frozen=True, kw_only=True):
    """That the control role signed a run, and with it the names of its secrets."""

    count: int


class SecretsPlanned(Struct, frozen=True, kw_only=True):
    """What the recover role found out: for each name its rotator, empty where nothing is to be done.

    ``missing`` are the numbers of those that are not there, ``already`` of those that were rotated in the
    incident before.
    """

    digest: str
    rotators: tuple[str, ...]
    missing: tuple[int, ...] = ()
    already: tuple[int, ...] = ()


class RotationApproved(Struct, frozen=True, kw_only=True):
    """A rotation may go on: nothing asks for approvals, or enough were there. Each secret's step asks too."""


class StepRotated(Struct, frozen=True, kw_only=True):
    """What a step did, without the name of its secret."""

    rotator: str
    version: int | None = None
    to_do: tuple[str, ...] = ()


prepare(RotateSecretsOptions, RotatedSecret, SecretsNamed, SecretsPlanned, RotationApproved, StepRotated)


# -- Which rotator each secret has, and what it will do. Reads only -----------------------------


MOST = 10_000
"""Secrets of one run: each has a step of its own."""
NO_ROTATOR = "no rotator is for it: give it a new value by hand"
NOT_THERE = "it is not there"


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
        does=rotator.work.does,
        already=last is not None and lasts and bool(incident) and last.incident == incident,
        last=rfc3339(last.began_at) if last else "",
    )


def _digest(source: str, planned: Sequence[PlannedRotation]) -> str:
    return hashlib.sha256(_ENCODER.encode([source, list(_facts(planned))])).hexdigest()


def _facts(planned: Sequence[PlannedRotation]) -> Iterator[tuple[str, str]]:
    yield from ((rotation.name, rotation.rotator) for rotation in planned if not rotation.already)


_ENCODER = msgspec.json.Encoder(order="deterministic")


# -- What people approve of a rotation: which secrets get a new value, by which rotators --------


def approve_step(run: Run, step: RunStep, services: Services) -> RotationApproved:
    """Wait until enough people approved the rotation, if this process's configuration asks for that."""
    require_rotation_approval(run, services)
    return RotationApproved()


def require_rotation_approval(run: Run, services: Services) -> None:
    """Return if the secrets may be rotated. Each step asks: whoever edits rows gets past the approving step.

    Raises:
        ApprovalNeeded, NotApproved: as :func:`~strongroom.operations.engine.approving.require_approval`.
    """
    planned, options = read_facts(run, SecretsPlanned), RotateSecretsOptions.of(run)
    by_rotator = Counter(name for name in planned.rotators if name)
    request = ApprovalRequest(
        action=ApprovalAction.ROTATE_SECRET,
        subject=run.id,
        digest=planned.digest,
        requester=options.by or UNKNOWN,
        destination=run.spec.source,
        size=by_rotator.total(),
        lines=tuple(_lines(run, by_rotator)),
    )
    require_approval(services, request, holder=run.id)


def _lines(run: Run, by_rotator: Counter[str]) -> Iterator[str]:
    yield f"give {plural(by_rotator.total(), 'secret')} of '{run.spec.source}' a new value"
    for name, count in sorted(by_rotator.items())[:20]:
        yield f"{plural(count, 'secret')} by rotator '{name}'"
