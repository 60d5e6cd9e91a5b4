"""What a drill is asked for, and what its steps found out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.model import prepare
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.engine.jobs import read_facts, read_options
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.scratch import DrillScope
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, TargetPin
from strongroom.words import nearest

LOCAL: Final = "local"
"""The scratch store on the host that drills. Any other place is a configured Vault server."""


class DrillOptions(Struct, frozen=True, kw_only=True):
    """What a drill is asked for, as its run's options keep it.

    Args:
        secret: of a drill of one secret: which; any of the backup if left out.
        tags: of a drill of a category: which; those of any secret of the backup if left out.
        target: the only target to read from; of a failover drill the one whose region is cut off.
        into: ``local``, or the name of the Vault server on which a mount is made for the drill.
        within_days: rehearse a random backup of so many days; the newest if it is 0.
        live: whether the source is compared with afterwards.
        only_open: open all of it and restore nothing; ``into`` is then what a restore would change.
    """

    objective_seconds: float
    drill: DrillScope = DrillScope.FULL
    secret: str = ""
    tags: Mapping[str, str] = {}
    target: str = ""
    into: str = LOCAL
    within_days: float = 0.0
    live: bool = True
    only_open: bool = False


class Picked(Struct, frozen=True, kw_only=True):
    """The backup that is rehearsed, out of how many, and the targets that are cut off meanwhile."""

    backup: str
    created_at: str
    source: str
    secrets: int
    size: int
    among: int
    cut_off: tuple[str, ...]
    seconds: float = 0.0


class DrillPlan(Struct, frozen=True, kw_only=True):
    """What the control role signs of a drill."""

    picked: Picked


class EnvironmentCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing about the environment, and how it stands. ``code`` is that of an error that keeps from
    drilling."""

    check: str
    state: str
    what: str
    to_do: str = ""
    code: str = ""


class Proved(Struct, frozen=True, kw_only=True):
    """Whether this host could recover: the drill goes on only if nothing is wrong."""

    checks: tuple[EnvironmentCheck, ...]
    seconds: float

    @property
    def wrong(self) -> EnvironmentCheck | None:
        """The first thing that keeps the drill from being made."""
        return next((checked for checked in self.checks if checked.code), None)


class Rehearsed(Struct, frozen=True, kw_only=True):
    """What came back, of which backup, and from where.

    ``tags`` are those of a category. ``secrets`` of ``expected`` came back, with so many ``versions`` that
    have a value; ``not_done`` counts the others by the code of the error. ``gave`` says how many secrets were
    read from each target. ``shortfall`` is what the backup lacks of those before it, without a name.
    ``would`` is what a restore would do, where all was opened and nothing was restored.
    """

    backup: str
    created_at: str
    source: str
    tags: Mapping[str, str]
    expected: int
    secrets: int
    versions: int
    not_done: Mapping[str, int]
    gave: Mapping[str, int]
    seconds: float
    shortfall: Shortfall | None = None
    would: Restored | None = None


class DrillComparison(Struct, frozen=True, kw_only=True):
    """How many values were compared with their keyed digest at capture. ``stand_out`` counts what a look at
    each value by itself found, in a drill that takes one."""

    compared: int
    differ: int
    missing: int
    stand_out: int | None
    seconds: float


class TornDown(Struct, frozen=True, kw_only=True):
    """The place of the drill is gone."""

    seconds: float


class Live(Struct, frozen=True, kw_only=True):
    """How the secrets that came back stand in the source now. Those ``unread`` could not be read there."""

    same: int
    changed: int
    missing: int
    unread: int
    seconds: float


class DrillFacts(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What is known of a drill, from step to step."""

    picked: Picked | None = None
    drill_prove: Proved | None = None
    drill_restore: Rehearsed | None = None
    drill_compare: DrillComparison | None = None
    drill_teardown: TornDown | None = None
    drill_live: Live | None = None


prepare(DrillOptions, DrillPlan, DrillFacts)


def options_of(run: Run) -> DrillOptions:
    """Return what a drill was asked for."""
    return read_options(run, DrillOptions, "a drill")


def took_seconds(facts: DrillFacts) -> float:
    """Return how long a drill took from picking the backup to the last value, as far as it came."""
    timed = (facts.picked, facts.drill_prove, facts.drill_restore, facts.drill_compare)
    return sum(step.seconds for step in timed if step is not None)


def cut_off(pins: tuple[TargetPin, ...], options: DrillOptions) -> tuple[str, ...]:
    """Return the targets that a drill does without.

    Raises:
        ConfigError: the policy does not store on the target that is named, or nothing would be left.
    """
    known = {pin.name: pin for pin in pins}
    if options.target and options.target not in known:
        raise ConfigError(
            f"The policy does not store on '{options.target}'.", hint=nearest(options.target, known)
        )
    if options.drill is not DrillScope.FAILOVER:
        return tuple(name for name in known if options.target and name != options.target)
    lost = known[options.target].region if options.target else pins[0].region
    away = tuple(pin.name for pin in pins if pin.region == lost)
    if len(away) == len(pins):
        raise ConfigError(
            f"All targets of the policy are in region '{lost}': without it, nothing is left to recover from.",
            hint="Store on a target in another region too.",
        )
    return away


def picked_of(run: Run) -> Picked:
    """Return the backup that was picked."""
    picked = read_facts(run, DrillFacts).picked
    if picked is None:
        raise RecordRefused(f"run {run.id} does not record which backup its drill picked")
    return picked
