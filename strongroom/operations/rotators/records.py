"""What a rotation of secrets is to do, and what it did."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from strongroom.errors import UsageError
from strongroom.model import prepare
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunKind


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
        try:
            return msgspec.convert(run.spec.options, cls)
        except msgspec.ValidationError:
            raise RecordRefused(f"the options of run {run.id} are not those of a rotation") from None


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
