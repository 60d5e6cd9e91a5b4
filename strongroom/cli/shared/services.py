"""What is built from the full configuration, for commands that need state."""

from __future__ import annotations

from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.model import Role
from strongroom.operations.engine.services import Services
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.wiring import adapters
from strongroom.wiring.database import database_url, existing_run_store
from strongroom.wiring.services import build_services

__all__ = ["configured_targets", "existing_run_store", "open_services", "run_store"]


def open_services(settings: Settings | None = None, *, output: Output | None = None) -> Services:
    """Return everything that a person's own command line may use; for ``output`` see :func:`asking`."""
    return build_services(settings or load_settings(), role=Role.OPERATOR, ask=asking(output))


def configured_targets() -> dict[str, Target]:
    """Return the configured targets; what is there is neither made nor marked."""
    settings = load_settings()
    return {name: adapters.target(name, settings, prepare=False) for name in settings.targets}


def run_store() -> RunStore:
    """Return the run store alone: looking needs no keys and no targets."""
    return RunStore(database_url(load_settings()))
