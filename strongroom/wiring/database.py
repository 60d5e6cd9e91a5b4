"""Where the state database is, with the password that only a file holds."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

from strongroom.config import Settings
from strongroom.keys import rolelist
from strongroom.state import engine
from strongroom.state.engine import StateDatabase
from strongroom.state.store import RunStore
from strongroom.system import files


def database_url(settings: Settings) -> str:
    """Return the address to connect to; it may hold a password, so it is for no message.

    Whoever wants the database asks here, so here the state directory is looked at before anything opens or
    migrates what an older version left.

    Raises:
        ConfigError: the password's file is missing, or open to others; or a version before the first release
            made the state directory.
    """
    rolelist.require_certificates(settings.state_dir)
    if settings.state.password_file is None:
        return settings.database_url
    parts = urlsplit(settings.database_url)
    password = quote(files.read_private(settings.state.password_file).rstrip("\r\n"), safe="")
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}{at}{host}" if at else parts.netloc))


def existing_run_store(settings: Settings) -> RunStore | None:
    """Return the run store of an installation that has one, for a look: none is made, and none migrated.

    Raises:
        StateError: it cannot be used, or has another schema.
    """
    url = database_url(settings)
    database = StateDatabase(url)
    if database.file is not None and not (database.file.is_file() and database.file.stat().st_size):
        return None
    engine.require(database)
    return RunStore(url)
