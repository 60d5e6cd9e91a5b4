"""What a restore run is asked for, filled in from the settings where nothing was said."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.errors import ConfigError
from strongroom.model import Selection
from strongroom.operations.restore.facts import RestoreOptions, scope_of
from strongroom.operations.restore.plan import parse_relocation
from strongroom.words import nearest


def restore_options(
    settings: Settings,
    *,
    to: str,
    names: Sequence[str] = (),
    selection: Selection = Selection(),
    overwrite: bool = False,
    relocate: str = "",
    requester: str = "",
) -> RestoreOptions:
    """Return the options of a restore run.

    Raises:
        ConfigError: there is no such destination.
        UsageError: ``relocate`` is no ``FROM=TO``.
    """
    if to not in settings.sources:
        raise ConfigError(f"there is no source '{to}' to restore into", hint=nearest(to, settings.sources))
    options = RestoreOptions(
        destination=to,
        names=tuple(names),
        overwrite=overwrite,
        requester=requester,
        relocation=parse_relocation(relocate),
        first=settings.restore.first,
    )
    scope = scope_of(options, selection)
    objective: int = getattr(settings.drill.objective_seconds, scope.value)
    return replace(options, objective_seconds=objective)
