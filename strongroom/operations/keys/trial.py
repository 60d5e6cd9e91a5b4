"""Whether keys do what they are configured for: a real wrap and unwrap, and where they lie."""

from __future__ import annotations

import hmac
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.cobblestone import KEY_SIZE
from strongroom.errors import KeyServiceError, StrongroomError, TargetError
from strongroom.keys import Identity, Recipient
from strongroom.system.files import BEGINNING, LIMIT, begins_a_key
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import bare

# -- Whether keys do what they are configured for: a real wrap and unwrap with each, and what stands out
#
# Nothing is stored and no backup is touched: what is wrapped is a random key that nothing was sealed with.


T = TypeVar("T")

_CONTEXT = b"strongroom/v1/diagnose/"


class KeyProblem(Struct, frozen=True, kw_only=True):
    """What went wrong with a key. ``code`` names the class of failure, ``exit_code`` is its own."""

    code: str
    exit_code: int
    message: str
    hint: str


class Diagnosed(Struct, frozen=True, kw_only=True):
    """One key.

    Args:
        wrap_ms, unwrap_ms: how long each took, a first login included; ``None`` if it was not done.
        opens_here: whether this host opened what it had sealed.
    """

    name: str
    kind: str
    describes: str = ""
    fingerprint: str = ""
    post_quantum: bool | None = None
    wrap_ms: float | None = None
    unwrap_ms: float | None = None
    opens_here: bool = False
    problem: KeyProblem | None = None


class Remark(Struct, frozen=True, kw_only=True):
    """Something about keys or policies that a person should know. ``wrong``: it has to be put right."""

    about: str
    text: str
    wrong: bool = False


class Use(Struct, frozen=True, kw_only=True):
    """For whom a policy seals."""

    policy: str
    recipients: tuple[str, ...]


def diagnose(
    name: str,
    kind: str,
    recipient: Callable[[], Recipient],
    identities: Callable[[], Sequence[Identity]],
) -> Diagnosed:
    """Try one key.

    Args:
        recipient: makes its sealing side.
        identities: makes what this host may open with for it; empty where it may only seal.
    """
    found = Diagnosed(name=name, kind=kind)
    try:
        made = recipient()
        found = replace(found, describes=made.describe(), post_quantum=made.post_quantum)
        found = replace(found, fingerprint=made.fingerprint)
        return _tried(found, made, identities)
    except StrongroomError as error:
        return replace(found, problem=_problem(error))


def remarks(keys: Sequence[Diagnosed], policies: Sequence[Use]) -> list[Remark]:
    """Say what stands out about keys that each work, and about those who use them."""
    known = {key.name: key for key in keys}
    return [*_twice(keys), *_unused(keys, policies), *(r for use in policies for r in _of(use, known))]


def _tried(found: Diagnosed, recipient: Recipient, identities: Callable[[], Sequence[Identity]]) -> Diagnosed:
    key, context = os.urandom(KEY_SIZE), _CONTEXT + os.urandom(16)
    stanza, wrap_ms = _timed(lambda: recipient.wrap(key, context=context))
    found = replace(found, wrap_ms=wrap_ms)
    try:
        held = identities()
        opened, unwrap_ms = _timed(lambda: [each.unwrap(stanza, context=context) for each in held])
    except StrongroomError as error:
        return replace(found, problem=_problem(error))
    if not held:
        return found
    if any(each is not None and hmac.compare_digest(each, key) for each in opened):
        return replace(found, unwrap_ms=unwrap_ms, opens_here=True)
    return replace(found, unwrap_ms=unwrap_ms, problem=_does_not_fit(found))


def _does_not_fit(found: Diagnosed) -> KeyProblem:
    return _problem(
        KeyServiceError(
            f"what is sealed to keys.{found.name} does not open with what this host has for it",
            hint="The two halves are of different keys. Do not rely on it: correct the configuration.",
        )
    )


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    result = work()
    return result, round(1000 * (time.perf_counter() - begun), 2)


def _problem(error: StrongroomError) -> KeyProblem:
    return KeyProblem(
        code=error.code, exit_code=error.exit_code, message=error.message, hint=error.hint or ""
    )


def _twice(keys: Sequence[Diagnosed]) -> Iterator[Remark]:
    """One key under two names is one way in, however many it looks like."""
    first: dict[str, str] = {}
    for key in keys:
        # Of a passphrase the fingerprint is its label alone: it says nothing of the words.
        if not key.fingerprint or key.kind == "passphrase":
            continue
        if key.fingerprint in first:
            text = f"is the same key as keys.{first[key.fingerprint]}: losing it loses both"
            yield Remark(about=f"keys.{key.name}", text=text, wrong=True)
        first.setdefault(key.fingerprint, key.name)


def _unused(keys: Sequence[Diagnosed], policies: Sequence[Use]) -> Iterator[Remark]:
    used = {name for use in policies for name in use.recipients}
    for key in keys:
        if policies and key.name not in used and key.kind != "all-of":
            yield Remark(about=f"keys.{key.name}", text="no policy seals to it by itself")


def _of(use: Use, known: Mapping[str, Diagnosed]) -> Iterator[Remark]:
    about, found = f"policies.{use.policy}", [known[name] for name in use.recipients if name in known]
    failed = [key.name for key in found if key.problem is not None]
    if failed and len(failed) == len(found):
        yield Remark(about=about, text=f"none of its keys works now: {', '.join(failed)}", wrong=True)
    elif failed:
        yield Remark(about=about, text=f"seals to keys that do not work now: {', '.join(failed)}", wrong=True)
    classic = [key.name for key in found if key.post_quantum is False]
    if classic:
        text = f"any one key opens, and {', '.join(classic)} would fall to a quantum computer"
        yield Remark(about=about, text=text)
    if open_here := [key.name for key in found if key.opens_here]:
        yield Remark(about=about, text=f"this host can open its backups, with {', '.join(open_here)}")


# -- Keys that lie where backups lie: whoever gets that place has both --------------------------
#
# Strongroom puts no key there. A person may, for a moment, or a script that copies a folder.


_OURS = re.compile(r"(containers|ledger|manifests|probes)/|keys/[0-9a-f]{32}/")
"""What Strongroom itself names so is read by nobody here: of a large target it is nearly all."""


def keys_on(target: Target) -> list[str]:
    """Return the names of what is a private key on a target. Raises TargetError."""
    place = bare(target)
    if isinstance(place, DirectoryTarget):
        return list(keys_under(Path(place.address)))
    small = [info.name for info in target.list() if 0 < info.size <= LIMIT and not _OURS.match(info.name)]
    return [name for name in small if begins_a_key(b"".join(target.read(name, length=BEGINNING)))]


def keys_under(folder: Path, *, deep: bool = True) -> Iterator[str]:
    """Yield the private keys in a folder, whatever they are called; of links, those that lead to one.

    Raises:
        TargetError: the folder cannot be looked through.
    """
    for place, folders, files in os.walk(folder, onerror=_refuse):
        for name in sorted(files):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if not _OURS.match(relative) and begins_a_key(_beginning(path)):
                yield relative
        if not deep:
            folders.clear()


def _beginning(path: Path) -> bytes:
    try:
        # Non-blocking: a pipe would hang here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(BEGINNING) or b""
    except OSError:  # it is gone, or nobody may read it: then nothing of it is lost to whoever gets the place
        return b""


def _refuse(error: OSError) -> None:
    raise TargetError(f"'{error.filename}' cannot be looked through for keys: {error.strerror}") from None
