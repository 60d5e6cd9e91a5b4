"""What lies on the targets, by one listing of each: bytes in all, and which backups have objects where."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.operations.layout import EMERGENCY, containers_prefix
from strongroom.operations.services import Services
from strongroom.targets import Target

AT_ONCE = 8
FOLDERS = (containers_prefix("")[:-1], EMERGENCY)
"""In these each backup has a folder of its own, named by its id."""


class Stock(Struct, frozen=True, kw_only=True):
    """What a target holds: ``size`` bytes, and of which backups there is more than a manifest."""

    size: int
    backups: frozenset[str]


def take_stock(services: Services) -> Mapping[str, Stock]:
    """List every target that answers, all at once."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = zip(services.targets, threads.map(_stock, services.targets.values()), strict=True)
        return {name: stock for name, stock in found if stock is not None}


def size_of(target: Target) -> int:
    """Return how many bytes all objects of a target have."""
    return sum(info.size for info in target.list())


def _stock(target: Target) -> Stock | None:
    size, backups = 0, set[str]()
    try:
        for info in target.list():
            size += info.size
            folder = next((start for start in FOLDERS if info.name.startswith(start)), None)
            if folder is not None:
                backups.add(info.name.removeprefix(folder).partition("/")[0])
    except StrongroomError:
        return None
    return Stock(size=size, backups=frozenset(backups))
