"""PostgreSQL: how it is reached, and what its client means when it cannot reach it."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event

from strongroom.state.errors import StateError, StateUnavailable
from strongroom.system.tls import ClientTls

_CONNECT_SECONDS: Final = 10


def create(url: URL, *, busy_seconds: float) -> Engine:
    """Return an engine for a database on a server. Nothing is opened before the first use.

    Args:
        busy_seconds: how long a transaction waits for another's lock.
    """
    limits = f"-c lock_timeout={busy_seconds}s -c idle_in_transaction_session_timeout={2 * busy_seconds}s"
    given = {"connect_timeout": _CONNECT_SECONDS, "options": limits, "application_name": "strongroom"}
    given["client_encoding"] = "utf8"  # whatever the environment says
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",
        connect_args={key: value for key, value in given.items() if key not in url.query},
        pool_pre_ping=True,
        max_overflow=20,
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _connect)
    return engine


def _connect(dialect: Any, _record: object, words: list[Any], given: dict[str, Any]) -> Any:
    """Connect, and refuse a database that hands out bytes for text, or has no letter for some names."""
    try:
        connection = dialect.connect(*words, **given)
    except dialect.dbapi.OperationalError as error:
        if (told := _tls_refusal(error)) is None:
            raise
        raise StateUnavailable(f"the state database {told[0]}", hint=told[1]) from None
    # SQL_ASCII would end migrating in a TypeError: SQLAlchemy reads the version as text. In any other one
    # the first name that it has no letter for would end a run, perhaps in a year.
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        connection.close()
        why = "tells no text from bytes" if encoding == "SQL_ASCII" else "cannot hold every name of a secret"
        raise StateError(f"the state database was made with encoding {encoding}, which {why}", hint=_ENCODING)
    return connection


_ENCODING: Final = (
    "Nothing was written. Make one with encoding UTF8, and name it in 'state.url': "
    "CREATE DATABASE strongroom ENCODING 'UTF8' TEMPLATE template0"
)


def _tls_refusal(error: Any) -> tuple[str, str] | None:
    """Say what is wrong with a certificate, theirs or ours, if that is what PostgreSQL's client failed at."""
    said = str(error)
    if error.pgconn is None or _OPEN_KEY in said or not any(mark in said for mark in _UNCLEAR):
        return None
    told = {option.keyword.decode(): (option.val or b"").decode() for option in error.pgconn.info}
    host, port, mode = error.pgconn.host.decode(), error.pgconn.port.decode(), told.get("sslmode", "")
    if host.startswith(("/", "@")) or not port.isdecimal():
        return None
    files = (told.get(key) for key in ("sslrootcert", "sslcert", "sslkey"))
    ca, certificate, key = (Path(path) if path and path != "system" else None for path in files)
    ours = ClientTls(
        section="state",
        ca_file=ca,
        certificate_file=certificate,
        key_file=key,
        verified=mode.startswith("verify"),
        named=mode == "verify-full",
    )
    return ours.refusal(host, int(port), seconds=_CONNECT_SECONDS, begin=_ask_for_tls)


def _ask_for_tls(connection: socket.socket) -> None:
    """Say what PostgreSQL is told before a handshake: the length, and the number that asks for TLS."""
    connection.sendall(struct.pack("!ii", 8, 80877103))
    if connection.recv(1) != b"S":
        raise ConnectionError  # it speaks none, as its client has said


def unavailable(said: str) -> StateUnavailable:
    """Return what it means that PostgreSQL's client could not connect, and said this."""
    why, hint = next((told for mark, told in _CONNECTING.items() if mark in said), ("did not answer", None))
    return StateUnavailable(f"the state database {why}", hint=hint)


_OPEN_KEY: Final = "group or world access"
_UNCLEAR: Final = ("SSL error", "does not match host name", "certificate file", "private key")
"""What its client says of TLS without the reason. What a server says once TLS stands is clear."""

_CERTIFICATE: Final = (
    "Nothing was sent. 'state.url' has to have the name that the certificate is for, 'state.ca_file' its "
    "authority, and the certificate has to be of today."
)
_CONNECTING: Final = {
    "does not support SSL": ("speaks no TLS", "Nothing was sent. Switch 'ssl' on in the server."),
    "does not match host name": ("has a certificate of another host", _CERTIFICATE),
    "certificate verify failed": ("has a certificate that is not believed", _CERTIFICATE),
    "connection requires a valid client certificate": (
        "asks for a client certificate",
        "Name one, and its key, in 'state.certificate_file' and 'state.key_file'.",
    ),
    "certificate authentication failed": (
        "refuses our certificate for this user",
        "Its common name has to be the user of 'state.url', or pg_ident.conf has to map them.",
    ),
    _OPEN_KEY: (
        "was not asked: others on this host can read the key of our certificate",
        "Give the file of 'state.key_file' mode 0600.",
    ),
    "no password supplied": (
        "asks for a password",
        "Name the file that holds it in 'state.password_file'.",
    ),
    "authentication failed": ("refuses the login", "Compare user and password with those of the database."),
    "no pg_hba.conf entry": (
        "lets this user in neither from here nor this way",
        "Look into its pg_hba.conf.",
    ),
    '" does not exist': (
        "has no user or no database of that name",
        "Compare 'state.url' with what stands on the server.",
    ),
}
"""What PostgreSQL's client says while it connects, which has no code of its own. It may be put right while a
run waits."""
