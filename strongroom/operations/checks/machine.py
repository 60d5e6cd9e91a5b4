"""Whether this machine could recover, as far as that depends on no backup and no configuration.

Light on purpose: asked about a file, nothing here needs a database or the client of a service.
"""

from __future__ import annotations

import hmac
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import zstandard

from strongroom.container import cobblestone
from strongroom.errors import ConfigError, KeyServiceError, StrongroomError
from strongroom.keys import Opener
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.key_management.diagnose import diagnose
from strongroom.operations.readiness.libraries import INSTALL
from strongroom.system import secrecy
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.timestamps import rfc3339

ALGORITHMS, RANDOMNESS, CORES, SWAP = "algorithms", "randomness", "core-dumps", "swap"
DISK, CLOCK = "disk", "clock"

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


def swap(swaps: Path = Path("/proc/swaps")) -> Iterator[Finding]:
    """Look whether memory may be written to a disk."""
    if secrecy.may_lock():
        yield good(SWAP, "memory is locked, so it is not written to a disk")
        return
    try:
        disks = secrecy.swaps(swaps)
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
