"""The full configuration and what is built from it, for commands that need state."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from strongroom.cli.shared import passphrases
from strongroom.cli.terminal import prompts

if TYPE_CHECKING:
    from strongroom.cli.terminal.output import Output
    from strongroom.config import Settings
    from strongroom.operations.services import Services
    from strongroom.state.store import RunStore
    from strongroom.wiring.prompts import Ask


def settings() -> Settings:
    """Return the configuration. Raises ConfigProblems, with every problem at once."""
    from strongroom.config import load_settings  # noqa: PLC0415 - the whole configuration

    return load_settings()


def services(found: Settings | None = None, *, output: Output | None = None) -> Services:
    """Return everything that a person's own command line may use.

    Args:
        output: given to seal with a passphrase that is asked for: twice, and with a warning
            if it is weak. Without it one is asked for once, to open.
    """
    from strongroom.wiring.services import build_services  # noqa: PLC0415 - sqlalchemy
    from strongroom.wiring.signers import OPERATOR  # noqa: PLC0415

    return build_services(found or settings(), role=OPERATOR, ask=asking(output))


def asking(output: Output | None = None) -> Ask:
    """Return how a person is asked for what opens; see :func:`services`."""
    from strongroom.wiring.prompts import Ask  # noqa: PLC0415 - sqlalchemy

    passphrase = cache(lambda: _ask() if output is None else passphrases.ask_new(output))
    return Ask(passphrase=passphrase, pin=lambda words: prompts.hidden(f"{words}: "))


def run_store() -> RunStore:
    """Return the run store alone: looking needs no keys and no targets."""
    from strongroom.state.store import RunStore  # noqa: PLC0415 - sqlalchemy
    from strongroom.wiring.database import database_url  # noqa: PLC0415

    return RunStore(database_url(settings()))


def recorded(found: Settings) -> RunStore | None:
    """Return the run store of an installation that has one, for a look: none is made, and none migrated.

    Raises:
        StateError: it cannot be used, or has another schema.
    """
    from strongroom.state import schema_check  # noqa: PLC0415 - sqlalchemy
    from strongroom.state.engine import Database  # noqa: PLC0415
    from strongroom.state.store import RunStore  # noqa: PLC0415
    from strongroom.wiring.database import database_url  # noqa: PLC0415

    url = database_url(found)
    database = Database(url)
    if database.file is not None and not (database.file.is_file() and database.file.stat().st_size):
        return None
    schema_check.require(database)
    return RunStore(url)


def _ask() -> str:
    return prompts.hidden("Passphrase: ")
