"""Rotating one secret. A process may die at any instruction: the next one goes on, and rotates nothing twice.

A value that Strongroom makes is brought to the source first, and then given to whatever checks it. So it
never gets lost: whoever takes over reads it there, knows it by its keyed digest on record, and gives it once
more. It is nowhere else, and on no disk of Strongroom's. If it is refused, the former value counts again.
A value that another makes is known by its difference from the one before, whose digest is on record.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from msgspec.structs import replace

from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Secret, SecretBytes
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.services import (
    CarriedValue,
    Engine,
    Program,
    SecretRotator,
    Services,
)
from strongroom.operations.errors import SecretNotRotated
from strongroom.operations.rotation.secret_plan import (
    RotateSecretsOptions,
    SecretsPlanned,
    StepRotated,
    require_rotation_approval,
    rotator_of,
)
from strongroom.operations.rotation.secret_values import (
    Offer,
    SecretPlace,
    find_offer,
    make_offer,
    make_value,
)
from strongroom.state.records import RotationState, Run, RunStep, SecretRotation
from strongroom.system.errors import Conflict
from strongroom.system.program import NotStarted, TooSlow, run_program
from strongroom.words import plural

TOKENS: Final = uuid.UUID("6f1f0f57-7d0c-4c39-9d0f-0b1a5d0d2a53")


def rotate_step(run: Run, step: RunStep, services: Services) -> StepRotated:
    """Give one secret a new value, or go on with what another process began."""
    options = RotateSecretsOptions.of(run)
    require_rotation_approval(run, services)
    name = options.names[step.piece]
    rotator = _own_rotator(run, step.piece, services)
    place = SecretPlace(services, source=run.spec.source, name=name, rotator=rotator)
    there = place.look()
    if rotator_of(services.rotators, there, services.destination(run.spec.source)) != rotator:
        raise ConfigError(
            f"secret '{name}' is not one of those that rotator '{rotator.name}' is for",
            hint="Nothing was changed. Its name or tags have changed since it was planned: rotate it again.",
        )
    return SecretRotationStep(run, options, rotator, place, services).perform(there)


def _own_rotator(run: Run, piece: int, services: Services) -> SecretRotator:
    planned = read_facts(run, SecretsPlanned).rotators
    name = planned[piece] if 0 <= piece < len(planned) else ""
    found = next((rotator for rotator in services.rotators if rotator.name == name), None)
    if found is None:
        raise ConfigError(
            f"this process has no rotator '{name}', by which run {run.id} was planned",
            hint="Nothing was changed. Use the same configuration on every host; then rotate it again.",
        )
    return found


class SecretRotationStep:
    """The rotation of one secret by its rotator."""

    def __init__(
        self,
        run: Run,
        options: RotateSecretsOptions,
        rotator: SecretRotator,
        place: SecretPlace,
        services: Services,
    ) -> None:
        self._run = run
        self._options = options
        self._rotator = rotator
        self._work = rotator.work
        self._place = place
        self._services = services
        self._on_record = services.store.secret_rotation(place.id)
        # What another run left unfinished is no help: its value may be known to others by now.
        own = self._on_record is not None and self._on_record.run == run.id
        self._earlier = self._on_record if own else None
        self._said: list[str] = []

    def perform(self, there: Secret) -> StepRotated:
        """Rotate it, unless that is on record as done in this run."""
        if self._earlier is not None and self._earlier.state is RotationState.DONE:
            return self._result(there)
        if self._work.engine is not None:
            return self._result(self._by_engine(there))
        return self._result(self._by_us(there) if self._work.shape is not None else self._by_service(there))

    # -- what Strongroom makes -----------------------------------------------------

    def _by_us(self, there: Secret) -> Secret:
        begun = self._begun
        offer = find_offer(self._place, there, begun) if begun is not None else None
        if begun is None or offer is None:
            begun, offer = self._offered(there)
        try:
            self._give(offer.value)
        except SecretNotRotated as refused:
            happened, to_do = offer.withdraw()
            self._end(begun, RotationState.FAILED)
            raise SecretNotRotated(f"{refused.message}. {happened}", hint=to_do) from None
        there = offer.accept()
        self._end(begun)
        if offer.replaced_for_good:
            self._said.append("its source keeps no versions: the former value is in the backups alone")
        return there

    def _offered(self, there: Secret) -> tuple[SecretRotation, Offer]:
        """Make a value, put its digest on record, and bring it to the source."""
        now = self._place.digest(self._place.value_of(there))
        if self._begun is not None and self._begun.was != now:
            raise self._changed_by_another()
        there = self._place.without_leftovers(there, self._on_record)
        assert self._work.shape is not None
        value = make_value(self._work.shape)
        begun = self._begin(there, was=now, becomes=self._place.digest(value))
        checked = not self._work.by_hand or bool(self._rotator.check)
        return begun, make_offer(self._place, there, value, begun, checked=checked)

    def _give(self, value: SecretBytes) -> None:
        """Give the value to the program that brings it where it is checked, then see whether it works."""
        if self._work.program is not None:
            self._call(self._work.program, value, "the command")
        if self._work.carry is not None:
            self._carry(self._work.carry, value)
        if self._rotator.check is not None:
            self._call(self._rotator.check, value, "the check")

    def _carry(self, carry: Callable[[CarriedValue], None], value: SecretBytes) -> None:
        """Have a plug-in bring the value. Of what else it raises the class is said: the words may hold it."""
        carried = CarriedValue(
            value=value, secret=self._place.name, source=self._place.source, run=self._run.id
        )
        words = f"rotator '{self._rotator.name}' for secret '{self._place.name}'"
        try:
            carry(carried)
        except StrongroomError as error:
            if error.transient or isinstance(error, SecretNotRotated):
                raise
            raise SecretNotRotated(f"{words}: {error.message}", hint=error.hint) from None
        except Exception as error:  # noqa: BLE001 - a package of others fails as it likes
            raise SecretNotRotated(f"{words} failed with {type(error).__name__}") from None

    def _call(self, program: Program, value: SecretBytes, what: str) -> None:
        told = {
            "ROTATE_SECRET": self._place.name,
            "ROTATE_SOURCE": self._place.source,
            "ROTATE_RUN": self._run.id,
        }
        words = f"{what} of rotator '{self._rotator.name}' for secret '{self._place.name}'"
        try:
            status = run_program(program.command, told=told, timeout=program.timeout, given=value.reveal())
        except NotStarted as error:
            raise SecretNotRotated(f"{words} could not be started: {error}") from None
        except TooSlow as error:
            raise SecretNotRotated(f"{words} did not end within {program.timeout:g} s, {error}") from None
        if status != 0:
            raise SecretNotRotated(f"{words} ended with status {status}")

    # -- what an engine makes ------------------------------------------------------

    def _by_engine(self, there: Secret) -> Secret:
        assert self._work.engine is not None
        engine = self._work.engine(self._place.name)
        held = self._place.value_of(there)  # raises while nothing is rotated if there is no such field
        before = engine.read()
        if before is None:
            return self._by_silent_engine(there, engine)
        begun, now = self._begun, self._place.digest(before)
        if begun is None or begun.was == now:
            begun = self._begin(there, was=now)
            engine.rotate()
        value = engine.read()
        if value is None or self._place.digest(value) == begun.was:
            raise SecretNotRotated(
                f"the engine was asked to rotate secret '{self._place.name}', and gives the former value",
                hint="Nothing was written. Look at the engine's role, then rotate this secret again.",
            )
        if held != value:
            there = self._carried(there, value)
        self._check(there)
        self._end(begun)
        return there

    def _carried(self, there: Secret, value: SecretBytes) -> Secret:
        """Write what the engine made to the secret, whose former value is void by now."""
        try:
            return self._place.write(there, value)
        except StrongroomError as error:
            if error.transient:
                raise
            raise SecretNotRotated(
                f"{error.message}. The engine's new value counts already, and the secret does not have it",
                hint="Remove the cause, then rotate this secret again. Until then its users cannot log in.",
            ) from None

    def _by_silent_engine(self, there: Secret, engine: Engine) -> Secret:
        """Have a value made that the server alone knows. Whether one that was asked for before was made,
        nobody can tell; another one does no harm, since nobody has to learn it."""
        begun = self._begun or self._begin(there)
        engine.rotate()
        self._end(begun)
        self._said.append("the value at the source is void now: the Vault's engine alone knows the new one")
        return there

    # -- what a service makes ------------------------------------------------------

    def _by_service(self, there: Secret) -> Secret:
        service = self._place.destination
        if not service.rotates:
            raise ConfigError(
                f"source '{self._place.source}' rotates nothing by itself",
                hint=f"Rotator '{self._rotator.name}' is of kind 'aws': give it a source of AWS.",
            )
        begun = self._begun or self._begin(there, was=self._place.digest(self._place.value_of(there)))
        token = str(uuid.uuid5(TOKENS, f"{begun.run} {begun.secret}"))
        service.rotate(self._place.name, token=token, timeout=self._rotator.timeout)
        there = self._place.look()
        if self._place.digest(self._place.value_of(there)) == begun.was:
            raise SecretNotRotated(
                f"the rotation of secret '{self._place.name}' ended, and its value is the former one",
                hint="Look at the log of its rotation function. Nothing else was changed.",
            )
        self._check(there)
        self._end(begun)
        return there

    def _check(self, there: Secret) -> None:
        """See whether a value works that cannot be taken back."""
        if self._rotator.check is None:
            return
        try:
            self._call(self._rotator.check, self._place.value_of(there), "the check")
        except SecretNotRotated as refused:
            raise SecretNotRotated(
                f"{refused.message}. The new value is current all the same: the former one is void",
                hint="Try the new value by hand; then rotate this secret again.",
            ) from None

    # -- the record ----------------------------------------------------------------

    @property
    def _begun(self) -> SecretRotation | None:
        """What a process that died began of this rotation, and did not end."""
        unfinished = self._earlier is not None and self._earlier.state is RotationState.BEGUN
        return self._earlier if unfinished else None

    def _begin(self, there: Secret, *, was: str = "", becomes: str = "") -> SecretRotation:
        begun = SecretRotation(
            secret=self._place.id,
            run=self._run.id,
            rotator=self._rotator.name,
            incident=self._options.incident,
            began_at=time.time(),
            expected=there.current.number,
            was=was,
            becomes=becomes,
        )
        self._services.store.put_secret_rotation(begun)
        return begun

    def _end(self, begun: SecretRotation, state: RotationState = RotationState.DONE) -> None:
        self._services.store.put_secret_rotation(replace(begun, state=state))

    def _changed_by_another(self) -> Conflict:
        return Conflict(
            f"somebody else wrote to secret '{self._place.name}' while it was being rotated",
            hint="Their value was left as it is. Look at it; then rotate this secret again, if it is to be.",
        )

    def _result(self, there: Secret) -> StepRotated:
        return StepRotated(
            rotator=self._rotator.name,
            version=there.current.number or None,
            to_do=tuple(self._to_do(there)),
        )

    def _to_do(self, there: Secret) -> Iterator[str]:
        """Yield what a person must still do about this secret."""
        if self._rotator.to_do:
            yield self._rotator.to_do
        elif self._work.by_hand:
            yield f"bring the new value from '{self._place.source}' to whatever checks it, and to its users"
        yield from self._said
        if self._options.incident and (others := self._place.others(there)):
            yield f"its {plural(others, 'other field')} kept their values: change those that others may know"
        if there.expires_at is not None:
            yield f"its date of expiry was left as it is: {there.expires_at}"
