"""Targets that are cut off for one drill: a region is gone for it, and for nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Never

from strongroom.errors import ConfigError, TargetError
from strongroom.operations.drills.facts import DrillOptions, Picked
from strongroom.operations.recovery_objective import DrillScope
from strongroom.operations.services import Services
from strongroom.state.records import TargetPin
from strongroom.targets import Target
from strongroom.words import nearest


class CutOff:
    """A target that refuses everything. It is not asked, so a drill finds out nothing through it."""

    def __init__(self, target: Target) -> None:
        self.name, self.region = target.name, target.region
        self.provider, self.address = target.provider, target.address

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TargetError(f"target '{self.name}' is cut off for this drill")

    put = read = stat = list = delete = abort_incomplete = _refuse


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


def within_reach(picked: Picked, services: Services) -> Services:
    """Return services to which the targets of a drill that are cut off refuse everything."""
    away = {name: CutOff(services.target(name)) for name in picked.cut_off}
    return replace(services, targets={**services.targets, **away})
