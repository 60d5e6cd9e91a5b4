"""Which target this is: what every target tells of itself, said once."""

from __future__ import annotations

from msgspec import Struct


class TargetIdentity(Struct, frozen=True, kw_only=True):
    """What a target is called, where it lies, who runs it, and its canonical address."""

    name: str
    region: str
    provider: str
    address: str

    def __str__(self) -> str:
        return f"target '{self.name}' ({self.address})"


class Identified:
    """The four properties that :class:`~strongroom.targets.Target` asks for, read from one record."""

    def __init__(self, place: TargetIdentity) -> None:
        self.place = place

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def region(self) -> str:
        return self.place.region

    @property
    def provider(self) -> str:
        return self.place.provider

    @property
    def address(self) -> str:
        return self.place.address
