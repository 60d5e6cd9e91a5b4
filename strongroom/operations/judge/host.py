"""What one host alone shows: file systems, certificates, who may use its files, its clock, its local stores
and its database; and the rules on that."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from strongroom.alert_kinds import CLOCKS_FAR_APART, CLOCKS_MAY_DIFFER
from strongroom.errors import CannotOpen, Damaged, StrongroomError
from strongroom.operations.engine.findings import Finding
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    Dated,
    ExposedFile,
    HostFacts,
    InstallationFacts,
    LocalStoreFacts,
    Policy,
    Room,
    WatchedInstallation,
    WatchedRoom,
)
from strongroom.operations.judge.kinds import good, moment, remark, wrong
from strongroom.sources.local import LocalStore
from strongroom.state.errors import StateError, StateUnavailable
from strongroom.state.migrations import HEAD
from strongroom.state.store import RunStore
from strongroom.system.files import is_exposed
from strongroom.times import about
from strongroom.words import name_first_few, plural, size

LEAST: Final = 64 * 1024 * 1024
"""Bytes without which nothing goes on, whatever is written."""
MOST_BYTES: Final = 1024 * 1024
BUNDLE: Final = 10
"""A file of more certificates is a bundle of public authorities, of which some have always ended."""
OTHERS_WRITE: Final = 0o022
"""What others may not do with the folder that secrets lie in, which they may look into."""


def host_facts(watched: WatchedInstallation, store: RunStore | None) -> HostFacts:
    """Look at this host; without a store that can be read, at all but the database and its clock."""
    exposed, private = exposed_files(watched.state_dir, watched.secret_files)
    return HostFacts(
        name=watched.host,
        private=private,
        exposed=exposed,
        ahead=time.time() - store.clock() if store else None,
        unsound=_unsound(store) if store else None,
        stores=tuple(map(_local_store, watched.local_stores)),
    )


def rooms(watched: Iterable[WatchedRoom], policies: Sequence[Policy] = ()) -> tuple[Room, ...]:
    """Return how much room there is, once for each file system; what is not mounted has none to tell of.

    Args:
        policies: the next backup takes about as much as the newest one did.
    """
    found: dict[int, Room] = {}
    for watched_room in watched:
        with suppress(OSError):
            usage, device = shutil.disk_usage(watched_room.path), watched_room.path.stat().st_dev
            read_only = os.statvfs(watched_room.path).f_flag & os.ST_RDONLY or not os.access(
                watched_room.path, os.W_OK
            )
            before = found.get(device)
            found[device] = Room(
                name=before.name if before else watched_room.name,
                free=usage.free,
                total=usage.total,
                least=max(
                    before.least if before else 0,
                    LEAST + watched_room.least,
                    LEAST + _size_on(watched_room.target, policies),
                ),
                writable=not read_only and (before is None or before.writable),
            )
    return tuple(found.values())


def _size_on(target: str, policies: Sequence[Policy]) -> int:
    return max(
        (policy.held[0].size for policy in policies if policy.held and target in policy.targets), default=0
    )


def certificates(paths: Mapping[str, Path]) -> tuple[Dated, ...]:
    """Return when the first certificate of each file ends. A file that cannot be read is another's alarm."""
    return tuple(Dated(name=name, at=end) for name, path in paths.items() for end in _ends(path))


def _ends(path: Path) -> Iterator[float]:
    from cryptography import x509

    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(MOST_BYTES))
        if len(found) <= BUNDLE:
            yield min(certificate.not_valid_after_utc.timestamp() for certificate in found)


def exposed_files(state_dir: Path | None, secrets: Iterable[Path]) -> tuple[tuple[ExposedFile, ...], int]:
    """Return which files others may use that are this installation's own, and how many there are.

    Args:
        secrets: further files that hold a key, a PIN or a password.
    """
    own = [*secrets]
    if state_dir is not None:
        own += [*sorted((state_dir / "keys").rglob("*.key")), state_dir / "state.db"]
        own += [state_dir / "store" / "secrets.db"]
    statuses: dict[Path, os.stat_result] = {}
    for path in dict.fromkeys(own):
        with suppress(OSError):  # it is not there, or its folder is another's
            statuses[path] = path.stat()
    found = [
        ExposedFile(path=str(path), mode="600") for path, status in statuses.items() if is_exposed(status)
    ]
    with suppress(OSError):
        if state_dir is not None and state_dir.stat().st_mode & OTHERS_WRITE:
            found.append(ExposedFile(path=str(state_dir), mode="700"))
    return tuple(found), len(statuses)


def _unsound(store: RunStore) -> tuple[str, ...]:
    """Read all of the database, and say what of it cannot be read."""
    try:
        store.examine()
    except StateUnavailable:
        raise
    except StateError as error:
        return (error.message,)
    return tuple(store.unreadable())


def _local_store(store: LocalStore) -> LocalStoreFacts:
    """Open a store and one name in it, which shows whether its master key is the right one. One that is lost
    is told from one that never was: its master key is made with it, and stays."""
    made, trouble, code, to_do = True, "", "", ""
    try:
        made = store.made
        if not made and store.master_key_path.exists():
            trouble = "it is gone, and its master key is here"
        next(iter(store.list()), None)
    except StrongroomError as error:
        trouble, code = error.message, error.code
        if not isinstance(error, (CannotOpen, Damaged)):  # a full disk, another's file: nothing is lost
            to_do = error.hint
    return LocalStoreFacts(name=store.name, made=made, trouble=trouble, code=code, to_do=to_do)


# -- the rules -------------------------------------------------------------------------


def host(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge where the room runs out, which certificates end, and what this host stands on."""
    for room in facts.rooms:
        percent = 100.0 * room.free / room.total if room.total else 100.0
        what = f"{room.name}: {percent:.0f} % is free, {size(room.free)}"
        if not room.writable:
            yield wrong("space.low", room.name, what=f"{room.name}: nothing can be written there", grave=True)
        elif room.free < room.least:
            yield wrong("space.low", room.name, what=f"{what}; it takes {size(room.least)}", grave=True)
        elif percent < limits.free_percent:
            yield wrong("space.low", room.name, what=what)
        else:
            yield good("space.low", room.name, what=what)
    for dated in facts.certificates:
        left = dated.at - facts.now
        ends = f"ends in {about(left)}" if left > 0 else f"ended {about(-left)} ago"
        what = f"a certificate in {dated.name} {ends}"
        if left < limits.notice:
            yield wrong("certificate.ending", dated.name, what=what, weight=int(left <= 0))
        else:
            when = f"the certificates in {dated.name} hold until {moment(dated.at)}"
            yield good("certificate.ending", dated.name, what=when)
    if facts.host is not None:
        yield from files(facts.host)
        yield from _database(facts.host)
        yield from _stores(facts.host)


def files(shown: HostFacts) -> Iterator[Finding]:
    """Judge who else may use what is this installation's own."""
    for file in shown.exposed:
        what = f"others on {shown.name} may use '{file.path}'; to end that: chmod {file.mode} '{file.path}'"
        yield wrong("file.exposed", f"{file.path} on {shown.name}", what=what)
    if not shown.exposed:
        what = f"{plural(shown.private, 'file')} of keys and state: their owner's alone"
        yield good("file.exposed", what=what)


def _database(shown: HostFacts) -> Iterator[Finding]:
    if shown.unsound:
        yield wrong("state.damaged", what=name_first_few(shown.unsound), weight=len(shown.unsound))
    elif shown.unsound is not None:
        yield good("state.damaged", what=f"the state database can be read whole; schema {HEAD}")
    if shown.ahead is not None:
        kind, subject, apart = "clock.apart", f"clock on {shown.name}", abs(shown.ahead)
        words = f"the clocks of {shown.name} and the database are {apart:.0f} s apart"
        if apart > CLOCKS_FAR_APART:
            yield wrong(kind, subject, what=words)
        elif apart > CLOCKS_MAY_DIFFER:
            yield remark(kind, subject, what=words)
        else:
            yield good(kind, subject, what=f"the clock of {shown.name} agrees with the database's")


def _stores(shown: HostFacts) -> Iterator[Finding]:
    for store in shown.stores:
        subject = f"{store.name} on {shown.name}"
        if store.trouble:
            what = f"local store '{store.name}': {store.trouble}"
            finding = wrong("store.unusable", subject, what=what, code=store.code)
            yield replace(finding, to_do=store.to_do or finding.to_do)
        elif store.made:
            what = f"local store '{store.name}' opens, and its master key is the right one"
            yield good("store.unusable", subject, what=what)
        else:
            what = f"there is no local store '{store.name}': 'strongroom set' makes one"
            yield remark("store.unusable", subject, what=what, hint=False)
