"""The rotators as this process's own configuration has them."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any, Final

from strongroom.config import (
    CommandRotator,
    RandomRotator,
    RotatorSettings,
    Settings,
    VaultEngineRotator,
)
from strongroom.model import Selection
from strongroom.operations.rotator import Engine, Program, Rotator, RotatorKind, Shape
from strongroom.system.lazy import lazy

CLASSES: Final = {
    "alphanumeric": (string.ascii_lowercase, string.ascii_uppercase, string.digits),
    "letters": (string.ascii_lowercase, string.ascii_uppercase),
    "digits": (string.digits,),
    "hex": ("0123456789abcdef",),
}
_ENGINE = lazy("strongroom.wiring.vault_adapters:secrets_engine")


def rotators(settings: Settings) -> tuple[Rotator, ...]:
    """Return every rotator, in the order of the configuration."""
    return tuple(_rotator(name, found, settings) for name, found in settings.rotators.items())


def _rotator(name: str, found: RotatorSettings, settings: Settings) -> Rotator:
    selection = Selection(include=found.include, exclude=found.exclude, tags=found.tags)
    check = Program(command=found.check, timeout=found.timeout) if found.check else None
    return Rotator(
        name=name,
        kind=RotatorKind(found.kind),
        source=found.source or "",
        selection=selection,
        field=found.field,
        check=check,
        timeout=found.timeout,
        to_do=found.to_do,
        **_own(found, settings),
    )


def _own(found: RotatorSettings, settings: Settings) -> dict[str, Any]:
    match found:
        case RandomRotator():
            return {"shape": _shape(found)}
        case CommandRotator():
            return {"shape": _shape(found), "program": Program(command=found.command, timeout=found.timeout)}
        case VaultEngineRotator():
            return {"engine": _engine(found, settings)}
        case _:
            return {}


def _shape(found: RandomRotator | CommandRotator) -> Shape:
    symbols = (found.symbols,) if found.symbols else ()
    return Shape(length=found.length, classes=(*CLASSES[found.alphabet], *symbols))


def _engine(found: VaultEngineRotator, settings: Settings) -> Callable[[str], Engine]:
    def of_secret(name: str) -> Engine:
        made: Engine = _ENGINE(found, settings, last=name.rpartition("/")[2])
        return made

    return of_secret
