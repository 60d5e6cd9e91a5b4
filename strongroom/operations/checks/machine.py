"""Whether this machine could recover, as far as that depends on no backup: Python, places, leftovers."""

from __future__ import annotations

import hmac
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard
from msgspec import Struct

from strongroom.config.registry import broken_plugins, loaded_plugins
from strongroom.container import cobblestone
from strongroom.errors import ConfigError, KeyServiceError, StrongroomError
from strongroom.keys import Opener
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.operations.engine import process_lock
from strongroom.operations.engine.findings import Finding, good, remark, wrong
from strongroom.operations.keys.trial import diagnose
from strongroom.operations.restore.scratch import FOLDER, dead
from strongroom.system import process
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.system.files import is_being_written
from strongroom.times import rfc3339

if TYPE_CHECKING:
    from strongroom.state.records import Run
    from strongroom.state.store import RunStore


# -- Whether Python and its libraries are what this Strongroom asks for -------------------------


PYTHON, LIBRARIES = "python", "libraries"
CORE = ("cryptography", "msgspec", "zstandard")
"""What restoring from a file needs."""

INSTALL = "Install this Strongroom again, with the libraries that its lock file names."

_DISTRIBUTION = "strongroom"
_REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)(?:;.*extra == ['"](\w+))?""")
_BOUND = re.compile(r"(>=|<=|==|!=|<|>|~=)\s*([0-9][0-9.]*)")


def python() -> Iterator[Finding]:
    """Hold the interpreter to what the package asks for."""
    running = ".".join(map(str, sys.version_info[:3]))
    try:
        asked = metadata.metadata(_DISTRIBUTION)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        yield remark(PYTHON, f"Python {running}; what is required is not on record here", INSTALL)
        return
    if fits(running, asked):
        yield good(PYTHON, f"Python {running} ({asked} is required)")
    else:
        yield wrong(PYTHON, ConfigError(f"Python {running}, and {asked} is required", hint=INSTALL))


def libraries(needed: Iterable[str]) -> Iterator[Finding]:
    """Hold the libraries that are needed here to the versions that the package asks for."""
    asked = _asked()
    versions = {name: _version(name) for name in sorted(set(needed))}
    bad = False
    for name, version in versions.items():
        bounds, extra = asked.get(_normal(name), ("", ""))
        if version is None or not fits(version, bounds):
            there = f"{version} is here" if version else "it is not here"
            hint = f"Install strongroom[{extra}] into the environment of this program." if extra else INSTALL
            yield wrong(LIBRARIES, ConfigError(f"{name}{bounds} is required, and {there}", hint=hint))
            bad = True
    if not bad:
        yield good(LIBRARIES, ", ".join(f"{name} {version}" for name, version in versions.items()))


def fits(version: str, bounds: str) -> bool:
    """Tell whether a version is within bounds such as ``<2.2,>=2.1``; other kinds are passed over."""
    return all(
        _RULES[rule](_numbers(version), _numbers(than))
        for rule, than in _BOUND.findall(bounds)
        if rule in _RULES
    )


_RULES: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": lambda have, than: have >= than,
    "<=": lambda have, than: have <= than,
    ">": lambda have, than: have > than,
    "<": lambda have, than: have < than,
}


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, as many as make 2.1 and 2.1.0 the same."""
    found = [int(number) for number in re.findall(r"\d+", re.split(r"[a-z+-]", version)[0])]
    return tuple([*found, 0, 0, 0, 0][:4])


def _asked() -> dict[str, tuple[str, str]]:
    """Return the bounds of each distribution that Strongroom names, and the extra that brings it."""
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    matched = [_REQUIREMENT.match(line) for line in lines]
    return {_normal(match[1]): (match[2].strip(), match[3] or "") for match in matched if match}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# -- Whether this machine could recover, as far as that depends on no backup and no configuration ---
#
# Light on purpose: asked about a file, nothing here needs a database or the client of a service.


ALGORITHMS, RANDOMNESS, CORES, SWAP = "algorithms", "randomness", "core-dumps", "swap"
DISK, CLOCK, PLUGIN = "disk", "clock", "plug-in"

TIMES = 3
"""A restore takes at most so many times a backup's size: the store, its journal, and the undo file."""
LEAST = 64 * 1024 * 1024
EARLY = 300.0
"""Seconds by which a backup may be of the future: clocks differ."""


# -- what seals and opens --------------------------------------------------------------


def algorithms() -> Iterator[Finding]:
    """Seal and open something with each kind that a backup may use and that is no service's."""
    made: dict[str, Callable[[], Opener]] = {
        "ML-KEM-768 with X25519": lambda: HpkeIdentity.generate(kem=Kem.XWING),
        "X25519": lambda: HpkeIdentity.generate(kem=Kem.X25519),
        "key file": lambda: KeyFileIdentity(os.urandom(32)),
        "passphrase": lambda: PassphraseIdentity(os.urandom(16).hex()),
    }
    problems = {name: why for name, make in made.items() if (why := _tried(make))}
    problems |= {name: why for name, work in _PARTS.items() if (why := _attempted(work))}
    for name, why in problems.items():
        error = KeyServiceError(f"{name} does not work here: {why}", hint=INSTALL)
        yield wrong(ALGORITHMS, error)
    if not problems:
        yield good(ALGORITHMS, f"each sealed and opened something: {', '.join((*made, *_PARTS))}")


def _tried(make: Callable[[], Opener]) -> str:
    def pair() -> None:
        opener = make()
        found = diagnose("trial", "trial", opener.recipient, lambda: [opener])
        if found.problem is not None:
            raise KeyServiceError(found.problem.message)

    return _attempted(pair)


def _attempted(work: Callable[[], object]) -> str:
    """Return why something does not work; nothing if it does."""
    try:
        work()
    except StrongroomError as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - an OpenSSL that lacks something says so in ways of its own
        return type(error).__name__
    return ""


def _sealed() -> None:
    key, content = os.urandom(32), os.urandom(100)
    sealed = cobblestone.seal(key, content, context=b"trial")
    _same(cobblestone.open_(key, sealed, context=b"trial"), content)


def _compressed() -> None:
    content = b"trial" * 100
    frame = zstandard.ZstdCompressor().compress(content)
    _same(zstandard.ZstdDecompressor().decompress(frame), content)


def _same(found: bytes, wanted: bytes) -> None:
    if not hmac.compare_digest(found, wanted):
        raise KeyServiceError("what came back is not what went in")


_PARTS: Mapping[str, Callable[[], None]] = {"AES-256-GCM": _sealed, "zstd": _compressed}


def randomness() -> Iterator[Finding]:
    """Ask the kernel for random bytes, without waiting until it has some."""
    try:
        if hasattr(os, "getrandom"):
            os.getrandom(32, os.GRND_NONBLOCK)
        os.urandom(32)
    except (BlockingIOError, NotImplementedError) as error:
        words = f"the kernel gives no random bytes yet ({type(error).__name__})"
        yield wrong(RANDOMNESS, KeyServiceError(words, hint="Wait until it has collected some, then repeat."))
        return
    yield good(RANDOMNESS, "the kernel gives random bytes")


# -- memory that reaches a disk ----------------------------------------------------------


def cores(pattern: Path = Path("/proc/sys/kernel/core_pattern")) -> Iterator[Finding]:
    """Look whether a core dump, which would hold values, could be written."""
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        words = "a core dump of this program could be written, with keys and values in it"
        yield wrong(CORES, ConfigError(words, hint="Switch core dumps off: ulimit -c 0."))
    elif _read(pattern).startswith("|"):
        words = "off; but this machine hands dumps to a program, which may keep them whatever the limit says"
        yield remark(CORES, words, f"See {pattern}, and what that program keeps.")
    else:
        yield good(CORES, "off")


def plugins() -> Iterator[Finding]:
    """Say which plug-ins the configuration had this process load, and which of them cannot be used."""
    for plugin in loaded_plugins():
        yield good(PLUGIN, f"{plugin}, {plugin.file or 'of no file'}")
    for broken in broken_plugins():
        yield wrong(PLUGIN, broken)


def swap(swaps: Path = Path("/proc/swaps")) -> Iterator[Finding]:
    """Look whether memory may be written to a disk."""
    if process.may_lock():
        yield good(SWAP, "memory is locked, so it is not written to a disk")
        return
    try:
        disks = process.swaps(swaps)
    except OSError:
        yield remark(SWAP, "this system does not tell whether it swaps")
        return
    if disks:
        words = f"keys and values in memory may be written to {', '.join(disks)}"
        yield remark(SWAP, words, _LOCK)
    else:
        yield good(SWAP, "memory is not written to a disk")


_LOCK = (
    "Let Strongroom lock its memory (LimitMEMLOCK=infinity in its unit, or ulimit -l unlimited), turn swap "
    "off (swapoff -a), or see that it is encrypted."
)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# -- room, and time ------------------------------------------------------------------------


def disk(folder: Path, size: int) -> Iterator[Finding]:
    """Look whether a restore of a backup has room, and may write.

    Args:
        folder: where to; it need not be there yet.
        size: the backup's, in bytes.
    """
    path = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), Path("/"))
    free, needed = shutil.disk_usage(path).free, TIMES * size + LEAST
    words = f"{_size(free)} free at {path}; a restore takes up to {_size(needed)}"
    if os.statvfs(path).f_flag & os.ST_RDONLY or not os.access(path, os.W_OK | os.X_OK):
        hint = "Check how it is mounted, and its owner and mode."
        yield wrong(DISK, TargetReadOnly(f"nothing can be written at {path}", hint=hint))
    elif free < needed:
        yield wrong(DISK, TargetFull(words, hint="Free space there, or set STRONGROOM_STATE_DIR."))
    else:
        yield good(DISK, words)


def _size(number: int) -> str:
    return f"{number / 1024**3:,.1f} GiB" if number >= 1024**3 else f"{number / 1024**2:,.1f} MiB"


def clock(made: Mapping[str, str], *, now: float | None = None) -> Iterator[Finding]:
    """Hold this machine's clock to the newest of some backups.

    Args:
        made: when each was made (RFC 3339).
    """
    ours = time.time() if now is None else now
    times = {backup: moment for backup, text in made.items() if (moment := _moment(text)) is not None}
    newest = max(times, key=times.__getitem__, default=None)
    words = f"it is {rfc3339(ours)} here"
    if newest is not None and times[newest] > ours + EARLY:
        words += (
            f", and backup {newest} is of {made[newest]}: this clock is behind, or the one of then was ahead"
        )
        hint = "Set the clock (NTP) before anything is restored: it decides what has expired."
        yield wrong(CLOCK, ConfigError(words, hint=hint))
    else:
        yield good(CLOCK, words + (f"; the newest backup is of {made[newest]}" if newest else ""))


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:  # a manifest holds what its signer wrote
        return None


# -- What an earlier recovery left half-made, in the place where the next one works -------------
#
# Whole undo files are no such thing: they are the way back of a restore that is over, and are counted apart.


UNDO, DRILLS, TEMPORARY = "undo", "drills", "tmp"


class Leftover(Struct, frozen=True, kw_only=True):
    """One thing that was left, in words: what it is, and what to do with it. Names no secret."""

    what: str
    where: str
    to_do: str


def on_disk(state_dir: Path, *, active: Sequence[str] = ()) -> Iterator[Leftover]:
    """Yield what lies under a state directory. Creates nothing, and changes nothing.

    Args:
        active: runs on record that have not ended: a drill's scratch store is still in use by one.
    """
    for path in _matching(state_dir / UNDO, "*/.*.part"):
        if not is_being_written(path):
            yield Leftover(what="an undo file that is not whole", where=str(path), to_do=_UNLINK)
    for path in _matching(state_dir / DRILLS, "*"):
        if path.name not in active and not process_lock.status(state_dir, path.name).alive:
            yield Leftover(
                what="the scratch store of a drill that was killed", where=str(path), to_do=_REMOVE
            )
    for path in dead(state_dir / FOLDER):
        yield Leftover(what="the scratch store of a rehearsal that was killed", where=str(path), to_do=_NEXT)
    for path in _matching(state_dir / TEMPORARY, "snapshot-*"):
        yield Leftover(what="a snapshot that was being put together", where=str(path), to_do=_IN_USE)


def in_runs(store: RunStore, state_dir: Path) -> Iterator[Leftover]:
    """Yield the runs on record that died, and the restores and drills that have not ended."""
    from strongroom.operations.engine.drive import is_abandoned

    for run in store.active():
        if is_abandoned(run, store, state_dir):
            yield _of(
                run,
                "whose process was killed",
                f"'strongroom runs cancel {run.id}', or 'strongroom runs retry {run.id}'",
            )
        elif run.spec.kind in ("restore", "drill"):
            yield _of(run, "that has not ended", f"wait for it: 'strongroom runs show {run.id} --follow'")


def ways_back(state_dir: Path) -> int:
    """Count the folders that hold what earlier restores overwrote."""
    return len({path.parent for path in _matching(state_dir / UNDO, "*/*.strongroom")})


def _of(run: Run, what: str, to_do: str) -> Leftover:
    return Leftover(what=f"a {run.spec.kind.value} {what}", where=f"run {run.id}", to_do=to_do)


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


_UNLINK = "delete it: it is not whole, and nothing can be restored from it"
_REMOVE = "remove it: its secrets are those of a backup, sealed under a key that lies in it"
_NEXT = "the next 'strongroom drill local' without --dry-run removes it"
_IN_USE = "remove it, unless 'strongroom restore snapshot' is at work just now"
