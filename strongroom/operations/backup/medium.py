"""The emergency backup: on a medium that lies in a safe, with all that opens it."""

from __future__ import annotations

import hashlib
import re
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice, product
from pathlib import Path

import msgspec
from msgspec import Struct

import strongroom
from strongroom.container.errors import VerificationFailed
from strongroom.container.manifest import Manifest
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, StrongroomError, UsageError
from strongroom.keys import allof
from strongroom.operations.archive.envelopes import envelopes_prefix, wrapping_keys
from strongroom.operations.archive.open import carried_record
from strongroom.operations.backup.recovery_kit import (
    SERVICES,
    KitKey,
    Way,
    asking,
    asks,
    configured,
    named,
    options,
    paths,
    recover,
    recovering,
    restore,
)
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.layout import EMERGENCY, container_name, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.schedule import last_slot, next_slot
from strongroom.targets import Target

# -- What lies beside an emergency backup, so that it can be opened when nothing else is left ---


TOOL = ("recover.py", "recover_extra.py", "requirements.txt", "README.md")
_HERE = Path(strongroom.__file__).parent
_PLACES = (_HERE / "recover", _HERE.parent / "ops" / "recover")
"""Where the recovery program lies: in an installed package, and in the sources."""


def recovery_files() -> dict[str, bytes]:
    """Return the recovery program, what it needs, and the format's description.

    Raises:
        ConfigError: this installation came without them.
    """
    folder = next((path for path in _PLACES if all((path / name).is_file() for name in TOOL)), None)
    if folder is None:
        raise ConfigError(
            "this installation came without the recovery program",
            hint="Take 'ops/recover' from the sources of this version and put it beside the backup.",
        )
    found = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
    return {**found, "FORMAT.md": (_HERE / "container" / "FORMAT.md").read_bytes()}


WHEELS = "wheels"
LOCKED = "wheels.txt"
"""What the recovery program runs with, with the digest of each wheel that counts: pinned as in the lock."""
_WHEEL = re.compile(r"(?P<name>[a-z]+)-[^-]+-(?P<python>[a-z0-9]+)-[^-]+-(?P<platform>[^-]+)\.whl")
_PROCESSOR = re.compile(r"(?P<system>manylinux|musllinux|macosx)\w*?_(?P<processor>x86_64|aarch64|arm64)\b")


class Wheels(Struct, frozen=True, kw_only=True):
    """Wheels for a machine without a package index: the files by name, and for which systems they are whole,
    such as ``Python 3.13 on manylinux x86_64``."""

    files: Mapping[str, bytes]
    systems: tuple[str, ...]


def wheels_of(folder: Path, locked: str) -> Wheels:
    """Read the wheels that the recovery program needs.

    Args:
        locked: the lines of :data:`LOCKED`.

    Raises:
        UsageError: one is not as it is locked, or they are not whole for two systems.
    """
    digests = set(re.findall(r"sha256:([0-9a-f]{64})", locked))
    needed = set(re.findall(r"^([a-z]+)==", locked, re.MULTILINE))
    files: dict[str, bytes] = {}
    found: dict[tuple[str, str], set[str]] = {}
    for file in sorted(folder.glob("*.whl")):
        content, match = file.read_bytes(), _WHEEL.fullmatch(file.name)
        if match is None or match["name"] not in needed:
            continue
        if hashlib.sha256(content).hexdigest() not in digests:
            raise UsageError(
                f"The wheel '{file.name}' is not one of those that are locked.", hint=_GET_WHEELS
            )
        files[file.name] = content
        place = _PROCESSOR.search(match["platform"].rpartition(".")[2] or match["platform"])
        found.setdefault(
            (match["python"], f"{place['system']} {place['processor']}" if place else ""), set()
        ).add(match["name"])
    systems = tuple(
        f"Python {python[2]}.{python[3:]} on {place}"
        for python, place in sorted(found)
        if place and not python.startswith("py") and _whole(python, place, found) >= needed
    )
    if len(systems) < 2:
        named = " and ".join(systems) or "none"
        raise UsageError(
            f"The wheels in {folder} have to be whole for two systems, and are for {named}: "
            f"{', '.join(sorted(needed))}, of one version of Python each.",
            hint=_GET_WHEELS,
        )
    return Wheels(files=files, systems=systems)


_GET_WHEELS = "docs/how-to/make-an-emergency-backup.md says how to get them. Nothing was captured."


def _whole(python: str, place: str, found: Mapping[tuple[str, str], set[str]]) -> set[str]:
    """Return which packages a Python on a system has: with them those for newer ones, and for every one."""
    names: set[str] = set()
    for (other, where), packages in found.items():
        # cryptography's wheels are for their Python and all newer ones.
        usable = packages if other == python else packages & {"cryptography", "pycparser"}
        names |= usable if where in (place, "") else set()
    return names


def runbook(
    *,
    backup: str,
    medium: str,
    signers: tuple[str, ...],
    opens_for: tuple[str, ...],
    quorums: tuple[str, ...] = (),
    configured: bool = False,
    part: bool = False,
    systems: tuple[str, ...] = (),
) -> bytes:
    """Return the runbook for one backup on a medium: what to type, in order.

    What opens it stands there as a mark, until :func:`completed` puts it in, off the backup itself.

    Args:
        signers: the installation's fingerprint, which is to be pinned.
        quorums: the names of the quorums' files beside the backup.
        configured: whether a strongroom.toml that names the HSM's and key services' keys lies there too.
        part: the backup was made of some secrets only, and restores what it holds.
        systems: for which the wheels of the two packages lie there, too.
    """
    folder = f"emergency/{backup}"
    text = _RUNBOOK.format(
        backup=backup,
        medium=medium,
        marks=MARKS,
        wheels=_FROM_WHEELS.format(folder=folder, systems=", ".join(systems)) if systems else "",
        signers="\n".join(f"       {signer}" for signer in signers),
        opens_for="\n".join(f"   - {words}" for words in opens_for),
        beside=f"\n\n   Beside it: {', '.join(f'`{folder}/{name}`' for name in quorums)}." if quorums else "",
        configured=f"       export STRONGROOM_CONFIG=$PWD/{folder}/strongroom.toml\n" if configured else "",
        restore="\n".join(
            _indented(
                restore(f"--from-target . --backup {backup}" + (" --partial" if part else ""), (), signers)
            )
        ),
        recover=f"       {recover(f'{folder}/recover.py', f'. --backup {backup}', (), signers)}",
    )
    return text.encode()


def completed(text: bytes, backup: str, ways: Sequence[Way]) -> bytes:
    """Put into a runbook what the backup opens with, as far as it has the marks for it."""
    folder = f"emergency/{backup}"
    found = text.decode()
    for mark, put in {
        f"{PATHS}\n": "".join(f"{line}\n" for line in _indented(paths(ways, quorums=folder))),
        CHOICE: " Any one of the ways is enough." if len(ways) > 1 else "",
        CORRECT: "".join(_correct(backup, ways)),
        ASKS: f" It asks for {said}." if (said := asks(ways)) else "",
        WITHOUT: "".join(f" {said}" for said in _without(ways)),
    }.items():
        found = found.replace(mark, put)
    # Repeat the commands between marks, once a way.
    parts = found.split(f"{EACH}\n")
    parts[1::2] = [
        "".join(_command(part, way, ways, backup, folder) for way in ways or ((),)) for part in parts[1::2]
    ]
    return "".join(parts).encode()


def _command(command: str, way: Way, ways: Sequence[Way], backup: str, folder: str) -> str:
    program = f"{folder}/recover.py"
    signers = re.findall(r"--signer (\S+)", command)
    asked = asking(program, f". --backup {backup}", way, signers) if program in command else ()
    head = "".join(f"       {line}\n" for line in (*_headed(way, ways), *asked))
    typed = "".join(f"           {option} \\\n" for option in options(way, quorums=folder))
    command = command.replace("--full-restore \\\n", f"--full-restore \\\n{typed}")
    words = f"recover.py . --backup {backup} "
    return head + command.replace(words, words + "".join(f"{word} " for word in recovering(way)), 1)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"       {line}".rstrip() for line in lines)


MARKS = tuple(f"\x02{number}\x02" for number in range(6))
"""Marks in a runbook. They cannot be printed, so no name of a key has one."""
PATHS, CHOICE, CORRECT, ASKS, WITHOUT, EACH = MARKS


def _headed(way: Way, ways: Sequence[Way]) -> Iterator[str]:
    if len(ways) > 1:
        yield f"# with {named(way)}:"


def _without(ways: Sequence[Way]) -> Iterator[str]:
    """Yield what else is to be known of opening without Strongroom, by the kinds of keys."""
    kinds = {key.kind for way in ways for key in way}
    if "pkcs11" in kinds:
        yield "The HSM needs a third package, `python-pkcs11`."
    if kinds & SERVICES:
        yield "Afterwards remove what Vault or KMS answered: `rm ~/ask-* ~/answers-*`."


def _correct(backup: str, ways: Sequence[Way]) -> Iterator[str]:
    """Yield what may have to be put right in the strongroom.toml that comes along."""
    kinds = {key.kind for way in ways for key in way}
    toml = f"copy\n   `emergency/{backup}/strongroom.toml`, correct the copy, and name that."
    if "pkcs11" in kinds:
        yield f" The HSM's module may lie elsewhere there; then {toml}"
    elif kinds & SERVICES:
        yield f" Log in to Vault or AWS first. Where they are reached elsewhere now, {toml}"


_RUNBOOK = """# Recovering from this medium

Backup {backup}, target `{medium}`. Plain words, in the order in which to do it. Nobody should do it alone.

1. **Check the medium.** From its top folder:

       sha256sum --check emergency/{backup}/SHA256SUMS

   One line that is not `OK`: stop, take another copy, and keep this one as evidence.

2. **Bring together who can open it.** Needed:

{opens_for}{beside}

3. **Compare the installation's fingerprint.** On the printed recovery kit and here must stand the same:

{signers}

   If they differ, somebody else made this backup: do not restore it.

4. **With Strongroom**, installed on a clean machine.{marks[1]}{marks[2]}
   From the medium's top folder:

{marks[0]}
{configured}{marks[5]}
{restore}
{marks[5]}

   It restores, reads back and compares.{marks[3]}

5. **Without Strongroom**, with Python 3.11 or newer and what `requirements.txt` names.{marks[4]}{wheels}

{marks[5]}
{recover}
{marks[5]}

   That lists; `--out recovered` in place of `--list` writes what it holds. It checks the whole backup,
   rotations included. What is lost it names, and then it does not end with 0. `CONTENTS.json` says how many
   secrets must come out.

6. **Afterwards**: change every secret that may have been seen, make a new emergency backup, put the medium
   back.
"""


_FROM_WHEELS = """
   They are in `{folder}/wheels`, for {systems}, and for no other Python. Without a network:

       python3 -m pip install --target ~/recovery --no-index --find-links {folder}/wheels \\
           cryptography zstandard
       export PYTHONPATH=~/recovery"""


# -- The emergency backup: on a medium that lies in a safe, and is here once a month ------------
#
# Nothing is captured while the medium is away: a run that waited would keep secrets on the stage
# for weeks, and bring old ones. So the slot waits. It is opened when the medium is there, with
# what the source holds then; until then people are reminded, and overdue is an alarm.


DAY = 86_400.0
GRACE = 7 * DAY
"""How long after its slot an emergency backup is waited for before it is overdue."""

NOTICE = 3 * DAY
"""How long before its slot people are reminded to fetch the medium."""

SUMS = "SHA256SUMS"
RUNBOOK = "RUNBOOK.md"
MOST = 4
"""Ways through the spares of one all-of that are written out: more would hide the first."""


class MediumState(StrEnum):
    """How an emergency policy stands."""

    DONE = "done"
    COMING = "coming"
    """It is due within :data:`NOTICE`: whoever fetches the medium is reminded."""
    WAITING = "waiting"
    OVERDUE = "overdue"


class MediumStatus(Struct, frozen=True, kw_only=True):
    """An emergency policy: when its newest slot was due, or is if it is coming (epoch seconds; ``None``: no
    slot yet), its newest backup (empty: none), and the targets that do not answer, with why."""

    policy: str
    state: MediumState
    due_at: float | None
    backup: str
    absent: Mapping[str, str]

    @property
    def can_run(self) -> bool:
        """Whether a backup is due and every medium is there."""
        return self.state in (MediumState.WAITING, MediumState.OVERDUE) and not self.absent


def medium_status(
    services: Services,
    *,
    policy: str,
    schedule: str | None,
    time_zone: str = "UTC",
    now: float | None = None,
    grace: float = GRACE,
) -> MediumStatus:
    """Say how an emergency policy stands. ``schedule`` is a cron expression."""
    moment = time.time() if now is None else now
    due = last_slot(schedule, moment, time_zone) if schedule else None
    newest = next(iter(services.store.backups(policy=policy, limit=1)), None)
    made = datetime.fromisoformat(newest.created_at).timestamp() if newest else None
    state = _state(due, made, moment, grace)
    coming = next_slot(schedule, moment, time_zone) if schedule else None
    if state is MediumState.DONE and coming is not None and coming - moment <= NOTICE:
        state, due = MediumState.COMING, coming
    return MediumStatus(
        policy=policy,
        state=state,
        due_at=due,
        backup=newest.backup if newest else "",
        absent=absent(services, policy),
    )


def _state(due: float | None, made: float | None, now: float, grace: float) -> MediumState:
    if due is None or (made is not None and made >= due):
        return MediumState.DONE
    return MediumState.OVERDUE if now - due > grace else MediumState.WAITING


def absent(services: Services, policy: str) -> dict[str, str]:
    """Return the policy's targets that do not answer, and what each said."""
    away: dict[str, str] = {}
    for pin in services.pinned(policy).spec.targets:
        try:
            next(iter(services.target(pin.name).list("manifests/")), None)
        except StrongroomError as error:
            away[pin.name] = error.message
    return away


def remind(services: Services, found: MediumStatus) -> bool:
    """Leave an event that a medium is waited for, or soon will be, once a day; tell whether it did.

    Kinds are ``emergency.coming``, ``emergency.waiting`` and, as an alarm, ``emergency.overdue``.
    """
    name = f"reminder emergency {found.policy}"
    if found.state is MediumState.DONE or services.store.heartbeats().get(name, DAY) < DAY:
        return False
    services.store.event(
        f"emergency.{found.state.value}",
        policy=found.policy,
        absent=sorted(found.absent),
        due_at=found.due_at,
    )
    services.store.heartbeat(name)
    return True


def remind_all(services: Services, scheduled: Iterable[Scheduled]) -> list[str]:
    """Remind of every offline policy that waits for its medium or soon will; return their names."""
    found = [
        medium_status(services, policy=entry.policy, schedule=entry.schedule, time_zone=entry.time_zone)
        for entry in scheduled
        if entry.offline and not entry.needs
    ]
    return [medium.policy for medium in found if remind(services, medium)]


# -- beside the backup ---------------------------------------------------------


def furnish(target: Target, manifest: Manifest, files: Mapping[str, bytes]) -> list[str]:
    """Put what opens and explains a backup beside it on its medium; return the names.

    Under ``emergency/<backup>/``: the files given, a list of contents, and the SHA-256 of all of
    it and of the backup's own objects, as ``sha256sum --check`` reads it from the medium's top.

    Raises:
        VerificationFailed: the medium gave other bytes back.
    """
    folder = f"{EMERGENCY}{manifest.backup_id}/"
    made = {**files, "CONTENTS.json": contents(manifest)}
    if RUNBOOK in made:
        ways = ways_into(target, manifest, files)
        made[RUNBOOK] = completed(made[RUNBOOK], manifest.backup_id, ways)
    placed = {f"{folder}{name}": content for name, content in sorted(made.items())}
    sums = "".join(f"{digest}  {name}\n" for name, digest in _sums(target, manifest, placed))
    for name, content in {**placed, f"{folder}{SUMS}": sums.encode()}.items():
        _place(target, name, content)
    return [*placed, f"{folder}{SUMS}"]


def ways_into(target: Target, manifest: Manifest, files: Mapping[str, bytes]) -> list[Way]:
    """Return what opens a backup, as its own envelope says: each with the keys that are needed together.

    Args:
        files: what lies beside it; ``strongroom.toml`` says where the HSM's keys are.
    """
    tables = tomllib.loads(files.get("strongroom.toml", b"").decode())
    found: dict[Way, None] = {}
    for entry in wrapping_keys(manifest).values():
        for stanza in carried_record(target, manifest.backup_id, entry).stanzas:
            legs = allof.inner(stanza) if stanza.type == allof.TYPE else ((stanza,),)
            ways = islice(product(*legs), MOST)
            found |= dict.fromkeys(tuple(_key(way_in, tables) for way_in in way) for way in ways)
    return list(found)


def _key(stanza: Stanza, tables: Mapping[str, Mapping[str, Mapping[str, str]]]) -> KitKey:
    name = stanza.label or str(stanza.args.get("key", stanza.kind))[:16]
    return configured(name, stanza.kind.partition("-")[0], tables)


def contents(manifest: Manifest) -> bytes:
    """Return what a medium holds, in plain JSON: counts and dates, no name of a secret."""
    listed = {
        "backup": manifest.backup_id,
        "policy": manifest.policy,
        "source": manifest.source,
        "created_at": manifest.created_at,
        "secrets": manifest.counts.secrets,
        "versions": manifest.counts.versions,
        "bytes": manifest.counts.size,
        "opens_for": [recipient.describes for recipient in manifest.recipients],
        "withstands_quantum_computers": all(recipient.post_quantum for recipient in manifest.recipients),
        "not_contained": list(manifest.not_contained),
        "containers": [container_name(manifest.backup_id, entry.sha256) for entry in manifest.containers],
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return msgspec.json.format(msgspec.json.encode(listed), indent=2) + b"\n"


def _sums(target: Target, manifest: Manifest, placed: Mapping[str, bytes]) -> Iterable[tuple[str, str]]:
    own = [container_name(manifest.backup_id, entry.sha256) for entry in manifest.containers]
    own.append(manifest_name(manifest.backup_id))
    for key in wrapping_keys(manifest):
        own += [info.name for info in target.list(envelopes_prefix(key))]
    for name in own:
        yield name, _digest(target, name)
    for name, content in placed.items():
        yield name, hashlib.sha256(content).hexdigest()


def _digest(target: Target, name: str) -> str:
    digest = hashlib.sha256()
    for block in target.read(name):
        digest.update(block)
    return digest.hexdigest()


def _place(target: Target, name: str, content: bytes) -> None:
    """Put a file; one of an earlier attempt, whose dates are older, is replaced."""
    size, sha256 = len(content), hashlib.sha256(content).digest()
    if not target.put(name, [content], size=size, sha256=sha256) and _digest(target, name) != sha256.hex():
        target.delete(name)
        target.put(name, [content], size=size, sha256=sha256)
    if _digest(target, name) != sha256.hex():
        raise VerificationFailed(f"'{target.name}' did not give {name} back as it was written")
