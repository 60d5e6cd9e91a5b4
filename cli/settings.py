"""The full configuration and what is built from it, for commands that need state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import prompts

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.operations.services import Services
    from strongroom.state.store import RunStore


def settings() -> Settings:
    """Return the configuration. Raises ConfigProblems, with every problem at once."""
    from strongroom.config import load_settings  # noqa: PLC0415 - pydantic

    return load_settings()


def services(found: Settings | None = None) -> Services:
    """Return everything that a person's own command line may use."""
    from strongroom.wiring import OPERATOR, build_services  # noqa: PLC0415 - sqlalchemy

    return build_services(found or settings(), role=OPERATOR, ask=_ask)


def run_store() -> RunStore:
    """Return the run store alone: looking needs no keys and no targets."""
    from strongroom.state.store import RunStore  # noqa: PLC0415 - sqlalchemy

    return RunStore(settings().database_url)


def _ask() -> str:
    return prompts.hidden("Passphrase: ")
