"""The checks of the calendar: for each name the function that does it, which loads on first use.

A new check is a function from the services and the settings to a
:class:`~strongroom.operations.services.CheckResult`, a line here, and an entry of the calendar whose option
``check`` names it. It raises what kept it from looking: a check that could not be done has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from strongroom.config import Settings
from strongroom.operations.services import CheckResult, Services
from strongroom.system.lazy import resolve

CHECKS: Final[Mapping[str, str]] = {
    "access": "strongroom.wiring.access_logs:check",
    "health": "strongroom.wiring.health_areas:check_now",
    "keys": "strongroom.operations.key_management.scheduled_check:prove",
    "signers": "strongroom.operations.key_management.signing_keys:renew",
    "review": "strongroom.wiring.security_review:remind",
}


def checks(settings: Settings) -> Mapping[str, Callable[[Services], CheckResult]]:
    """Return every check there is, by name."""
    return {name: partial(_check, function, settings) for name, function in CHECKS.items()}


def _check(function: str, settings: Settings, services: Services) -> CheckResult:
    checked: CheckResult = resolve(function)(services, settings)
    return checked
