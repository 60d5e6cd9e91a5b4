"""Paths: what must not lie inside what. Links are resolved first, so they hide nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.checks.secrets import secret_files
from strongroom.config.model import Settings
from strongroom.config.problems import KeyPath


def check(context: Context) -> Iterator[Misfit]:
    """Yield paths that must not lie where they do."""
    targets = {
        name: real(target.folder)
        for name, target in context.settings.targets.items()
        if target.folder is not None
    }
    yield from _apart(targets)
    for key, path in secret_files(context.settings).items():
        yield from _not_in_target(key, path, targets, "a secret must never lie with the backups")
    for key, path, why in _working_places(context.settings):
        yield from _not_in_target(key, path, targets, why)
    yield from _not_backing_up_itself(context.settings, targets)


def _apart(targets: dict[str, Path]) -> Iterator[Misfit]:
    """Two targets on one directory would count one copy twice."""
    for name, path in targets.items():
        for other, place in targets.items():
            key = ("targets", name, "path")
            if path == place and list(targets).index(other) < list(targets).index(name):
                yield Misfit(key, f"the same directory as target '{other}'", "Give each its own.")
            elif place in path.parents:
                yield Misfit(key, f"lies inside target '{other}'", "Give each its own, side by side.")


def _working_places(settings: Settings) -> Iterator[tuple[KeyPath, Path, str]]:
    yield ("state_dir",), settings.state_dir, "the keys in it must never lie with the backups"
    if settings.stage.path:
        yield ("stage", "path"), settings.stage.path, "the stage is emptied, a target is not"
    if settings.approvals.allowed_signers:
        why = "an attacker who writes it says who may approve"
        yield ("approvals", "allowed_signers"), settings.approvals.allowed_signers, why
    for name, source in settings.sources.items():
        if source.folder:
            yield ("sources", name, "path"), source.folder, "live secrets must never lie with their backups"


def _not_in_target(key: KeyPath, path: Path, targets: dict[str, Path], why: str) -> Iterator[Misfit]:
    found = real(path)
    for name, place in targets.items():
        if place == found or place in found.parents:
            yield Misfit(key, f"lies inside target '{name}', and {why}", f"Keep it outside of {place}.")


def _not_backing_up_itself(settings: Settings, targets: dict[str, Path]) -> Iterator[Misfit]:
    for source_name, source in settings.sources.items():
        if not source.BY_FILE or source.folder is None:
            continue
        for name, path in targets.items():
            if real(source.folder) in path.parents:
                key = ("targets", name, "path")
                yield Misfit(key, f"is inside source '{source_name}'", "Keep it outside of what it backs up.")


def real(path: Path) -> Path:
    """Return where a path leads to in the end."""
    return Path(os.path.realpath(path))  # Path.resolve raises for links that lead in a circle
