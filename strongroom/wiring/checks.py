"""The checks of the calendar: for each name the module that holds its ``CHECK``, which loads on first use.

A new check is a function from the services and the settings to a
:class:`~strongroom.operations.services.Checked`, a line here, and an entry of the calendar whose option
``check`` names it. It raises what kept it from looking: a check that could not be done has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Final

from strongroom.config import Settings
from strongroom.operations.services import Checked, Services

CHECKS: Final[Mapping[str, str]] = {
    "health": "strongroom.wiring.health_areas",
    "keys": "strongroom.operations.key_management.scheduled_check",
}


def checks(settings: Settings) -> Mapping[str, Callable[[Services], Checked]]:
    """Return every check there is, by name."""
    return {name: partial(_check, module, settings) for name, module in CHECKS.items()}


def _check(module: str, settings: Settings, services: Services) -> Checked:
    checked: Checked = import_module(module).CHECK(services, settings)
    return checked
