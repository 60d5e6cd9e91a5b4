"""A local store, its rotators, and a program that stands for what checks a password."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.engine.services import Program, RotatorWork, SecretRotator, Services, Shape
from strongroom.sources import Destination
from strongroom.sources.local import LocalStore
from tests.operations.world import World, make_world
from tests.patience import PATIENCE

SHAPE = Shape(length=24, classes=("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"))
OLD = "CANARY-old-password"
REASON = "it leaked"


def store_world(folder: Path) -> tuple[World, LocalStore]:
    """Return an installation, and a local store that is its source ``local``."""
    return make_world(folder, secrets=[]), LocalStore(folder, name="local")


def services_for(world: World, destination: Destination, *rotators: SecretRotator) -> Services:
    """Return what a fresh process has that may write to the source."""
    by_name = {destination.name: destination}
    return world.services(sources=by_name, destinations=by_name, rotators=rotators)


def held(name: str, value: str = OLD, **more: object) -> Secret:
    """Return a secret of one version."""
    version = SecretVersion(number=1, value=SecretBytes(value.encode()), media=Media.TEXT)
    return Secret(name=name, versions=(version,), **more)  # type: ignore[arg-type]


def random_rotator(**more: object) -> SecretRotator:
    """Return a rotator of kind random for what lies under prod/."""
    given: dict[str, object] = {"name": "passwords", "work": RotatorWork(does="makes one", shape=SHAPE)}
    return SecretRotator(**{**given, "selection": Selection(include=("prod/*",)), **more})  # type: ignore[arg-type]


def command_rotator(program: Program, **more: object) -> SecretRotator:
    """Return a rotator of kind command."""
    work = RotatorWork(does=f"makes one and runs '{program.command[0]}'", shape=SHAPE, program=program)
    return random_rotator(**{"name": "database", "work": work, **more})


def script(path: Path, *lines: str, timeout: float = PATIENCE) -> Program:
    """Write a program of the user's own; it gets the value on its standard input."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Program(command=(str(path),), timeout=timeout)


def values(destination: Destination, name: str) -> Sequence[str]:
    """Return all values of a secret, the oldest first."""
    (secret,) = destination.read([ListedSecret(name, 0)])
    assert secret is not None
    return [version.value.reveal().decode() for version in secret.versions if version.value is not None]
