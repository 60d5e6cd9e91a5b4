"""What the user of each role is granted in PostgreSQL. Nobody but the owner makes or changes a table."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from strongroom.model import Role
from strongroom.operations.rights.needs import METRICS, PAGE
from strongroom.state.tables import metadata

READ, ADD, CHANGE, REMOVE = "SELECT", "INSERT", "UPDATE", "DELETE"
ALL: Final = (READ, ADD, CHANGE, REMOVE)

_WORKS: Final[dict[str, tuple[str, ...]]] = {
    "runs": (READ, ADD, CHANGE),
    "steps": ALL,
    "folded_steps": ALL,
    "counters": (READ, CHANGE),
    "events": (READ, ADD),  # what has happened is changed by nobody
    "catalog": ALL,
    "replicas": ALL,
    "container_checks": ALL,
    "heartbeats": (READ, ADD, CHANGE),
    "leases": ALL,
    "processes": ALL,
    "signed_lists": (READ, ADD),
}
"""What performing steps takes, whichever they are: the run record is one for all pools."""

_REPORTS: Final[dict[str, tuple[str, ...]]] = {
    name: _WORKS[name] for name in ("events", "processes", "signed_lists")
}
"""What any process does: say that it runs, what it refused, and which signed lists it has."""

_BESIDE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    Role.CONTROL: _WORKS | {"slots": (READ, ADD, REMOVE), "alerts": ALL},
    Role.SEAL: _WORKS,
    Role.TRANSFER: _WORKS,
    Role.VERIFY: _WORKS | {"access_marks": ALL},
    Role.DRILL: _WORKS,
    Role.PRUNE: _WORKS,
    Role.RECOVER: _WORKS | {"secret_rotations": ALL},
    Role.BEAT: _REPORTS | {"leases": ALL, "heartbeats": (READ, ADD, CHANGE)},
    Role.WATCH: _REPORTS,
    Role.SUBMIT: {
        "runs": (READ, ADD),
        "steps": (READ, ADD),
        "counters": (READ, CHANGE),
        "slots": (READ, ADD, REMOVE),
        "events": (READ, ADD),
    },
    Role.OPERATOR: {
        **_WORKS,
        **dict.fromkeys(("slots", "pauses", "alerts", "access_marks", "secret_rotations", "joins"), ALL),
    },
    METRICS: _REPORTS,
    PAGE: _REPORTS,
}
"""What each may do beside reading."""


class DatabaseUser(Struct, frozen=True, kw_only=True):
    """What the database has to grant to the user of a role, table by table."""

    role: str
    tables: dict[str, tuple[str, ...]]


def database_users() -> Iterator[DatabaseUser]:
    """Yield the user of each role, and of what only reads."""
    known = (*metadata.tables, "alembic_version")
    for role, more in _BESIDE.items():
        yield DatabaseUser(role=role, tables={name: more.get(name, (READ,)) for name in sorted(known)})


def database_script(url: str, users: Mapping[str, DatabaseUser], passwords: Mapping[str, str]) -> str:
    """Return what ``psql`` runs as the owner of the database: all of it, or nothing.

    Args:
        users: by the name of each.
        passwords: of those who have one, by the same name. What is written is a verifier: it lets nobody in.
    """
    database = unquote(urlsplit(url).path.lstrip("/")) or "strongroom"
    return "".join(f"{line}\n" for line in _lines(database, users, passwords))


def _lines(database: str, users: Mapping[str, DatabaseUser], passwords: Mapping[str, str]) -> Iterator[str]:
    yield "\\set ON_ERROR_STOP on"
    yield "BEGIN;"
    yield _TABLES_FIRST
    yield f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC;"
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC;"
    for name, user in users.items():
        yield ""
        yield _MADE_ONCE.format(name=quoted(name), text=literal(name))
        if name in passwords:
            yield f"ALTER ROLE {quoted(name)} PASSWORD {literal(verifier(passwords[name]))};"
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted(name)};"
        yield f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(name)};"
        yield f"GRANT USAGE ON SCHEMA public TO {quoted(name)};"
        for verbs in dict.fromkeys(user.tables.values()):
            granted = [table for table, granting in user.tables.items() if granting == verbs]
            yield f"GRANT {', '.join(verbs)} ON {', '.join(map(quoted, granted))} TO {quoted(name)};"
        if ADD in user.tables.get("events", ()):
            yield f'GRANT USAGE ON SEQUENCE "events_id_seq" TO {quoted(name)};'
    yield "COMMIT;"


_TABLES_FIRST: Final = """\
DO $strongroom$ BEGIN IF to_regclass('public.alembic_version') IS NULL THEN RAISE EXCEPTION
  'there are no tables yet: run one command, such as strongroom runs, with state.url of the owner';
END IF; END $strongroom$;"""
_MADE_ONCE: Final = """\
DO $strongroom$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN
  CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
END IF; END $strongroom$;"""


def quoted(name: str) -> str:
    """Return a name as SQL takes any name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string as SQL takes any."""
    return "'" + text.replace("'", "''") + "'"


def verifier(password: str, *, salt: bytes | None = None) -> str:
    """Return what PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 7677): it is not the password, and lets
    in nobody who has it."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    served = hmac.digest(salted, b"Server Key", "sha256")
    told = (base64.b64encode(part).decode() for part in (salt, stored, served))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ROUNDS, *told)


_ROUNDS: Final = 4096
"""PostgreSQL's own number. The passwords that are made for this are random."""
