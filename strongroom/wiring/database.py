"""Where the state database is, with the password that only a file holds."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from strongroom.config import Settings, StateSettings
from strongroom.config.checks.stores import VERIFIED
from strongroom.keys import rolelist
from strongroom.state import engine
from strongroom.state.engine import StateDatabase
from strongroom.state.store import RunStore
from strongroom.system import files
from strongroom.system.process import is_loopback
from strongroom.system.tls import system_authorities


def database_url(settings: Settings) -> str:
    """Return the address to connect to; it may hold a password, so it is for no message.

    Whoever wants the database asks here, so here the state directory is looked at before anything opens or
    migrates what an older version left.

    Raises:
        ConfigError: the password's file is missing, or open to others; or a version before the first release
            made the state directory.
    """
    rolelist.require_certificates(settings.state_dir)
    parts = urlsplit(settings.database_url)
    if settings.state.password_file is not None:
        password = quote(files.read_private(settings.state.password_file).rstrip("\r\n"), safe="")
        user, at, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user}:{password}{at}{host}" if at else parts.netloc)
    if parts.scheme == "sqlite":
        return settings.database_url
    given = parse_qsl(parts.query, keep_blank_values=True)
    ours = {key: value for key, value in _tls(settings.state, parts).items() if key not in dict(given)}
    return urlunsplit(parts._replace(query=urlencode([*given, *ours.items()], quote_via=quote)))


def _tls(state: StateSettings, address: SplitResult) -> dict[str, str]:
    """Return how PostgreSQL's client checks who answers. A socket of this host has nobody in between."""
    host = dict(parse_qsl(address.query)).get("host") or address.hostname or ""
    away = bool(host) and not host.startswith(("/", "@")) and not is_loopback(host)
    verified = state.ca_file is not None or (away and not state.plain)
    told = (
        {"sslmode": VERIFIED, "sslrootcert": str(state.ca_file or system_authorities())} if verified else {}
    )
    own = {"sslcert": state.certificate_file, "sslkey": state.key_file or state.certificate_file}
    return told | {option: str(path) for option, path in own.items() if path is not None}


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
