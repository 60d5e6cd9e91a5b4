"""The rotators as this process's own configuration has them."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any, Final

from strongroom.config import (
    CommandRotator,
    RandomRotator,
    RotatorSettings,
    Settings,
    VaultEngineRotator,
    VaultSourceSettings,
)
from strongroom.model import Selection
from strongroom.operations.rotator import Engine, Program, RotatorKind, SecretRotator, Shape
from strongroom.system.lazy import lazy

CLASSES: Final = {
    "alphanumeric": (string.ascii_lowercase, string.ascii_uppercase, string.digits),
    "letters": (string.ascii_lowercase, string.ascii_uppercase),
    "digits": (string.digits,),
    "hex": ("0123456789abcdef",),
}
_ENGINE = lazy("strongroom.wiring.vault_adapters:secrets_engine")


def rotators(settings: Settings) -> tuple[SecretRotator, ...]:
    """Return every rotator, in the order of the configuration."""
    return tuple(_rotator(name, found, settings) for name, found in settings.rotators.items())


def _rotator(name: str, found: RotatorSettings, settings: Settings) -> SecretRotator:
    selection = Selection(include=found.include, exclude=found.exclude, tags=found.tags)
    check = Program(command=found.check, timeout=found.timeout) if found.check else None
    return SecretRotator(
        name=name,
        kind=RotatorKind(found.kind),
        source=found.source or "",
        destination=found.destination or "",
        selection=selection,
        field=found.field,
        check=check,
        timeout=found.timeout,
        to_do=found.to_do,
        **_own(found, settings),
    )


def writers(settings: Settings) -> Mapping[str, str]:
    """Return which source writes the secrets of another one: it reaches the same server, to restore into it.

    Backups are made with a login that may only read. Where several could write, the rotator has to say which.
    """
    places: dict[tuple[str, str], list[str]] = {}
    for name, source in settings.sources.items():
        if isinstance(source, VaultSourceSettings) and source.destination:
            places.setdefault(_server(source, settings), []).append(name)
    found = {
        name: places.get(_server(source, settings), [])
        for name, source in settings.sources.items()
        if isinstance(source, VaultSourceSettings) and not source.destination
    }
    return {name: names[0] for name, names in found.items() if len(names) == 1}


def _server(source: VaultSourceSettings, settings: Settings) -> tuple[str, str]:
    server = settings.vaults[source.vault]
    return server.address.rstrip("/"), server.namespace.strip("/")


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
