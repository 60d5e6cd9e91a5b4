"""What is built from the full configuration, for commands that need state."""

from __future__ import annotations

from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.operations.services import Services
from strongroom.state import schema_check
from strongroom.state.engine import Database
from strongroom.state.store import RunStore
from strongroom.wiring.database import database_url
from strongroom.wiring.services import build_services
from strongroom.wiring.signers import OPERATOR


def open_services(settings: Settings | None = None, *, output: Output | None = None) -> Services:
    """Return everything that a person's own command line may use; for ``output`` see :func:`asking`."""
    return build_services(settings or load_settings(), role=OPERATOR, ask=asking(output))


def run_store() -> RunStore:
    """Return the run store alone: looking needs no keys and no targets."""
    return RunStore(database_url(load_settings()))


def existing_run_store(settings: Settings) -> RunStore | None:
    """Return the run store of an installation that has one, for a look: none is made, and none migrated.

    Raises:
        StateError: it cannot be used, or has another schema.
    """
    url = database_url(settings)
    database = Database(url)
    if database.file is not None and not (database.file.is_file() and database.file.stat().st_size):
        return None
    schema_check.require(database)
    return RunStore(url)
