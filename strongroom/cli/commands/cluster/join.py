"""cluster join: this host becomes one of several, by a token."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from strongroom.cli.commands.cluster.arguments import JoinCluster
from strongroom.cli.errors import CertificateAwaited
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.config.checks.stores import secret_files
from strongroom.config.schema import ConfigProblems, dotted
from strongroom.errors import UsageError
from strongroom.keys import hostlist, joining, rolelist, roles
from strongroom.keys.errors import TokenRefused
from strongroom.operations.engine import membership
from strongroom.operations.engine.membership import JoinUnderway
from strongroom.sheet import Lines, Part, Sheet
from strongroom.state.store import RunStore
from strongroom.system import files
from strongroom.wiring.database import database_url
from strongroom.wiring.keys import absent_files

LOOK_SECONDS: Final = 1.0
REQUEST: Final = "join-request.json"
"""The request, for whoever has the installation key offline; nothing in it is secret."""


def join_cluster(given: JoinCluster, output: Output) -> Answer:
    found = place.find()
    folder = found.role_keys
    begun = _begin(given, folder)
    token = begun.token
    store = RunStore(_database(token.database))
    with _on_record(begun, store):
        written = _use(begun, folder, store)
        if given.answer is not None:
            membership.take_answer(folder, given.answer.read_bytes())
    if written is not None:
        output.note(f"The configuration is written: {written}")
    _await_certificates(begun, folder, store, output, wait=not given.no_wait and given.answer is None)
    membership.end_join(folder, begun, store)
    membership.exchange(folder, store)
    name, granted = begun.request.host, tuple(sorted(begun.request.keys))
    store.event("cluster.joined", host=name, roles=list(granted), token=token.id)
    (found.state_dir / REQUEST).unlink(missing_ok=True)
    return Answer(
        record={"host": name, "roles": granted, "installation": token.installation, "configuration": written},
        sheet=Sheet(
            verdict=f"This host has joined as '{name}', with the roles {', '.join(granted)}.",
            about=f"Installation: {token.installation}",
            parts=list(_next(granted)),
        ),
    )


def _begin(given: JoinCluster, folder: Path) -> JoinUnderway:
    text = sys.stdin.readline() if given.token == "-" else given.token  # noqa: S105 - the word for stdin
    begun = membership.underway(folder)
    if not text:
        if begun is None:
            raise UsageError(
                "Which token?", hint="'strongroom cluster token' prints one, where the cluster was begun."
            )
        return begun
    token = joining.parse(text)  # whether it is over is told by the database, which puts it on record
    name = given.name or rolelist.this_host(folder) or socket.gethostname()
    return membership.begin_join(folder, token, host=hostlist.check_name(name))


def _database(address: str) -> str:
    """Return where the database is: as this host's own settings say, else as the token does."""
    state = place.find().tables.get("state")
    own = isinstance(state, Mapping) and "url" in state
    given = {} if own else {"STRONGROOM_STATE__URL": address}
    return database_url(load_settings({**given, **os.environ}))


@contextmanager
def _on_record(begun: JoinUnderway, store: RunStore) -> Iterator[None]:
    try:
        yield
    except TokenRefused as error:
        store.event("cluster.refused", host=begun.request.host, token=begun.token.id, why=error.message)
        raise


def _use(begun: JoinUnderway, folder: Path, store: RunStore) -> Path | None:
    """Use the token up, and take over what it brings; return the configuration's file if one was written."""
    try:
        record = membership.use_token(begun, store)
    except TokenRefused:
        if not roles.installation_fingerprint(folder):  # nothing was brought, so another token can begin
            membership.give_up(folder)
        raise
    if record.parcel is None:  # it was taken over, and the join was about to end
        return None
    parcel = membership.unpack(folder, begun, record.sealed)
    found = place.find()
    if not parcel.configuration or (found.file is not None and found.file.exists()):
        return None
    file = found.file or found.state_dir / place.FILE_NAME
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write_whole(file, parcel.configuration.encode())
    file.chmod(0o644)
    return file


def _await_certificates(
    begun: JoinUnderway, folder: Path, store: RunStore, output: Output, *, wait: bool
) -> None:
    """Return once every key that was asked for is certified. Raises CertificateAwaited without waiting."""
    said = False
    while not membership.certified(folder, begun):
        membership.exchange(folder, store)
        if membership.certified(folder, begun):
            return
        file = folder.parent.parent / REQUEST
        if not said:
            files.write_whole(file, membership.request_file(folder, begun), replace=True)
        if not wait:
            digits = joining.check_digits(begun.request)
            raise CertificateAwaited(
                f"The request is in the state database, and in {file} (check digits {digits})."
            )
        if not said:
            output.note(f"Waiting for the certificates. The request is in the state database, and in {file}.")
            output.note("Where the installation key is, unless a process of the cluster runs there:")
            output.note("  strongroom cluster certify")
            said = True
        for refused in store.events(kind="cluster.refused"):
            if refused.detail.get("token") == begun.token.id and refused.detail.get("by"):
                raise TokenRefused(f"The installation refused it: {refused.detail.get('why')}.")
        time.sleep(LOOK_SECONDS)


def _missing() -> Iterator[str]:
    """Yield each file that the configuration names and this host lacks: a token brings none of them. Without
    some of them no command reads the configuration, and this host has joined all the same."""
    try:
        settings = load_settings()
    except ConfigProblems as error:
        yield from map(str, error.problems)
        return
    yield from absent_files(settings)
    for key, path in secret_files(settings).items():
        if not path.exists() and key[0] != "keys":
            yield f"{dotted(key)}: {path} is not there."


def _next(granted: tuple[str, ...]) -> Iterator[Part]:
    if missing := list(_missing()):
        yield Lines(missing, heading="This host must have, of its own, what its roles need of these")
    units = ["strongroom-beat" if role == "beat" else f"strongroom-worker@{role}" for role in granted]
    steps = [
        "strongroom check config",
        "strongroom up",
        f"or, with systemd: systemctl enable --now {' '.join(units)}",
    ]
    yield Lines([f"  {step}" for step in steps], heading="What to type next")
