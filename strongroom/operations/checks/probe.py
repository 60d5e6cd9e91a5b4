"""probe: prove with real requests that targets and sources work, and that refusals refuse."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import ListedSecret, Role
from strongroom.operations.rights.needs import ON_TARGETS, TargetAction
from strongroom.sources import Source
from strongroom.targets import ProbeCheck, ProbeResult, Target, put_whole
from strongroom.targets.errors import TargetLocked
from strongroom.targets.probing import DESTROYS, of_mode
from strongroom.targets.resilient import bare
from strongroom.times import rfc3339
from strongroom.words import plural

# -- probe: prove with real requests that targets and sources work, and that refusals refuse ----
#
# A target is probed with an object of the probe's own under ``probes/``, a source by reading one
# secret whose value is dropped at once. Nothing that belongs to a backup is touched. What a
# server cannot show is said not to be shown.


PREFIX = "probes/"
BYTES = 64 * 1024
STALE = timedelta(hours=1)
"""An older probe's object is nobody's any more."""
PARALLEL = 8


class Probe(Struct, frozen=True, kw_only=True):
    """What was found of one target or source."""

    kind: str
    name: str
    place: str
    checks: tuple[ProbeCheck, ...]

    def of(self, outcome: ProbeResult) -> tuple[ProbeCheck, ...]:
        """Return the checks of one outcome."""
        return tuple(check for check in self.checks if check.outcome is outcome)


def probe_all(work: Sequence[Callable[[], Probe]]) -> list[Probe]:
    """Probe several at once: one that is dead must not hold up the others."""
    with ThreadPoolExecutor(PARALLEL) as threads:
        return list(threads.map(lambda trial: trial(), work))


# -- storage -------------------------------------------------------------------


def probe_storage(target: Target, *, now: datetime | None = None) -> Probe:
    """Write, read back, read a range, list, overwrite (must fail), delete (must fail under a lock).

    An object that is locked stays until its lock ends; the next probe after that removes it.
    """
    return _probe("target", target, now, _of_target)


def _of_target(target: Target, own: _Own) -> Iterator[ProbeCheck]:
    yield from _guarded(target.refusals, own.name)
    yield from target.settings()
    yield from own.remove()


def _probe(
    kind: str,
    place: Target,
    now: datetime | None,
    beside: Callable[[Target, _Own], Iterator[ProbeCheck]],
) -> Probe:
    """Put an object into a place, and try what each allows and refuses, and what its kind does."""
    inner, at = bare(place), now or datetime.now(UTC)

    def checks() -> Iterator[ProbeCheck]:
        own = _Own(inner, at)
        put = works("write an object", own.put)
        yield put
        if put.failed:
            return
        yield works("read it back", own.read)
        yield works("read a range of it", own.read_range)
        yield works("list it", own.list)
        yield own.overwrite()
        yield from beside(inner, own)
        yield works("remove what earlier probes left", lambda: sweep(inner, at))

    return Probe(kind=kind, name=inner.name, place=inner.address, checks=tuple(checks()))


def works(what: str, attempt: Callable[[], object]) -> ProbeCheck:
    """Try what has to work."""
    try:
        attempt()
    except StrongroomError as error:
        return _failed(what, error)
    return ProbeCheck(what=what)


def _failed(what: str, error: StrongroomError) -> ProbeCheck:
    return ProbeCheck(what=what, outcome=ProbeResult.MISSING, detail=describe_error(error), error=error.code)


def describe_error(error: StrongroomError) -> str:
    """Return what happened and what to do, in one line."""
    return f"{error.message.rstrip('.')}. {error.hint}".strip()


def _guarded(checks: Callable[[str], Iterator[ProbeCheck]], name: str) -> Iterator[ProbeCheck]:
    """Yield checks; one that cannot go on is itself a finding."""
    try:
        yield from checks(name)
    except StrongroomError as error:
        yield ProbeCheck(what="further refusals", outcome=ProbeResult.NOT_SHOWN, detail=error.message)


def probe_stage(stage: Target, *, now: datetime | None = None) -> Probe:
    """Do with a stage what runs do, and look whether anything locks or keeps what is removed from it."""

    def beside(place: Target, own: _Own) -> Iterator[ProbeCheck]:
        yield _unlocked(place, own.name)
        yield from own.remove()
        yield _forgets(place, own.name)

    return _probe("stage", stage, now, beside)


def _unlocked(stage: Target, name: str) -> ProbeCheck:
    what = "nothing locks what is put there"
    try:
        until = stage.locked_until(name)
    except StrongroomError as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
    if until is None:
        return ProbeCheck(what=what)
    detail = f"the place locks each object by itself, this one until {rfc3339(until)}: {_NO_STAGE}"
    return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=detail)


_NO_STAGE = "it is no stage, for a run removes its objects at its end; give the stage a place without a lock"


def _forgets(stage: Target, name: str) -> ProbeCheck:
    what = "nothing stays of what is removed"
    try:
        hidden = stage.hidden(name)
    except StrongroomError as error:
        return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
    if any(version.locked_until for version in hidden):
        return ProbeCheck(
            what=what, outcome=ProbeResult.EXCESS, detail=f"old versions are locked: {_NO_STAGE}"
        )
    if hidden and any(version.expires is None for version in hidden):
        return ProbeCheck(what=what, outcome=ProbeResult.ADVICE, detail=_VERSIONS)
    return ProbeCheck(what=what)


_VERSIONS = "the place keeps old versions, which take up space: give it a rule that removes them after a day"


class _Own:
    """The probe's own object on a target."""

    def __init__(self, target: Target, now: datetime) -> None:
        self._target = target
        self._content = os.urandom(BYTES)
        self.name = own_name(now)

    def put(self) -> bool:
        return put_whole(self._target, self.name, self._content)

    def read(self) -> None:
        _same(b"".join(self._target.read(self.name)), self._content)

    def read_range(self) -> None:
        _same(b"".join(self._target.read(self.name, offset=1000, length=100)), self._content[1000:1100])

    def list(self) -> None:
        if [info.size for info in self._target.list(self.name)] != [BYTES]:
            raise MissingPiece(f"target '{self._target.name}' does not list an object that was just put")

    def overwrite(self) -> ProbeCheck:
        """Put other content under the same name; the first has to stay."""
        what = "put other content under its name"
        try:
            created = put_whole(self._target, self.name, bytes(BYTES))
            self.read()
        except TargetError as error:
            return ProbeCheck(what=what, outcome=ProbeResult.NOT_SHOWN, detail=error.message)
        except StrongroomError as error:
            return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=error.message)
        return ProbeCheck(what=what, outcome=ProbeResult.EXCESS if created else ProbeResult.FINE)

    def remove(self) -> Iterator[ProbeCheck]:
        """Delete it: impossible while it is locked, else it has to be gone."""
        what = "delete a locked object" if self._locks else "delete an object"
        if not _is_there(self._target, self.name):
            yield ProbeCheck(
                what=what, outcome=ProbeResult.NOT_SHOWN, detail="an earlier check has removed it"
            )
            return
        try:
            self._target.delete(self.name)
        except TargetLocked as error:
            yield ProbeCheck(what=what, detail=f"it stays: {error.message}" if self._locks else error.message)
            return
        except StrongroomError as error:
            outcome = ProbeResult.FINE if self._locks else ProbeResult.MISSING
            yield ProbeCheck(what=what, outcome=outcome, detail=error.message)
            return
        if self._locks:
            yield ProbeCheck(
                what=what, outcome=ProbeResult.EXCESS, detail="it was deleted in spite of its lock"
            )
        else:
            yield works(what, self._gone)

    @property
    def _locks(self) -> bool:
        return self._target.locks

    def _gone(self) -> None:
        if self._target.stat(self.name) is not None:
            raise TargetError(f"target '{self._target.name}' still shows an object that it has deleted")


def own_name(now: datetime) -> str:
    """Return a name for an object that is to be put and removed, which nothing takes for a backup's."""
    return f"{PREFIX}{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def sweep(target: Target, now: datetime) -> None:
    """Remove the objects of those that ended long ago, those apart that are still locked."""
    before = f"{PREFIX}{now - STALE:%Y%m%dT%H%M%SZ}"
    for name in [info.name for info in target.list(PREFIX)]:
        if name < before:
            _delete_unless_locked(target, name)


def _delete_unless_locked(target: Target, name: str) -> None:
    try:
        target.delete(name)
    except TargetLocked:
        return


def _same(read: bytes, put: bytes) -> None:
    if read != put:
        raise MissingPiece("what was read back is not what was put", hint="Do not use this target.")


# -- rights --------------------------------------------------------------------


def probe_rights(target: Target, *, role: Role, now: datetime | None = None) -> Probe:
    """Compare what a target's credential may do with what the pool of ``role`` needs.

    What it does not need is tried on an object of the probe's own; where the credential may not
    even put one, there is nothing to try it on.
    """
    inner = bare(target)
    checks = tuple(_rights(inner, ON_TARGETS[role], now or datetime.now(UTC)))
    return Probe(kind="target", name=inner.name, place=inner.address, checks=checks)


def _rights(target: Target, needs: frozenset[TargetAction], now: datetime) -> Iterator[ProbeCheck]:
    own = _Own(target, now)
    yield works("list", lambda: list(target.list(PREFIX)))
    if TargetAction.VERSIONS in needs:
        yield from target.telling()
    put = _expected("put", own.put, needed=bool({TargetAction.PUT, TargetAction.MARK} & needs))
    yield put
    if not _is_there(target, own.name):
        yield _reads_something(target)
        yield ProbeCheck(
            what="remove or unlock", outcome=ProbeResult.NOT_SHOWN, detail="there is no object of our own"
        )
        return
    yield works("read", own.read)
    checks = _guarded(target.excess, own.name)
    yield from map(_destroying, checks) if TargetAction.DESTROY in needs else checks
    yield from _deletes(own, needs)


def _destroying(check: ProbeCheck) -> ProbeCheck:
    """Judge a credential that is there to remove versions; without that it frees nothing for a while."""
    if not check.what.startswith(DESTROYS):
        return check
    if check.outcome is ProbeResult.EXCESS:
        return ProbeCheck(what=check.what)
    return ProbeCheck(what=check.what, outcome=ProbeResult.ADVICE, detail=_HIDES)


def _deletes(own: _Own, needs: frozenset[TargetAction]) -> Iterator[ProbeCheck]:
    for check in own.remove():
        if check.what != "delete an object" or TargetAction.DELETE in needs:
            yield check
        elif check.outcome is ProbeResult.FINE:
            yield ProbeCheck(what="delete", outcome=ProbeResult.EXCESS, detail=_NO_NEED)
        else:
            yield ProbeCheck(what="delete", detail=f"refused, as it should be: {check.detail}")


def _expected(what: str, attempt: Callable[[], object], *, needed: bool) -> ProbeCheck:
    check = works(what, attempt)
    if needed:
        return check
    if check.outcome is ProbeResult.FINE:
        return ProbeCheck(what=what, outcome=ProbeResult.EXCESS, detail=_NO_NEED)
    return ProbeCheck(what=what, detail=f"refused, as it should be: {check.detail}")


def _is_there(target: Target, name: str) -> bool:
    try:
        return target.stat(name) is not None
    except StrongroomError:
        return False


def _reads_something(target: Target) -> ProbeCheck:
    """Read a byte of whatever lies there, where there is nothing of our own to read."""
    try:
        first = next(iter(target.list()), None)
    except StrongroomError as error:
        return ProbeCheck(what="read", outcome=ProbeResult.NOT_SHOWN, detail=error.message)
    if first is None:
        return ProbeCheck(what="read", outcome=ProbeResult.NOT_SHOWN, detail="there is nothing to read yet")
    return works("read", lambda: list(target.read(first.name, length=1)))


_HIDES = "what is deleted stays hidden, and takes up space, until a rule of the store removes it"
_NO_NEED = "a process of this role has no need of it; 'strongroom cluster rules' leaves it out"


# -- Proving that a source can be read, and that its credential can do no more than that --------


def probe_source(source: Source, *, path: Path | None = None, writing: bool = False) -> Probe:
    """List a source and read one secret; compare its credential's rights where its server tells them.

    Args:
        path: the file or directory that the source is, if it is one.
        writing: whether secrets are restored into it, so that its credential has to be able to write.
    """
    checks = tuple(_source(source, path, writing=writing))
    return Probe(kind="source", name=source.name, place=str(path or ""), checks=checks)


def _source(source: Source, path: Path | None, *, writing: bool) -> Iterator[ProbeCheck]:
    try:
        count, entry = _listed(source)
    except StrongroomError as error:
        yield _failed("list", error)
        return
    nothing = "it holds no secret that this credential may list"
    yield ProbeCheck(what="list", detail=f"{plural(count, 'name')}, to the end" if entry else nothing)
    if entry is None:
        yield ProbeCheck(what="read one", outcome=ProbeResult.NOT_SHOWN, detail="there is nothing to read")
    else:
        yield works("read one", lambda: any(secret is not None for secret in source.read([entry])))
    if path is not None:
        yield of_mode(path)
    else:
        yield from _rights_of_source(source, writing=writing)


def _listed(source: Source) -> tuple[int, ListedSecret | None]:
    """List to the end, since a right may lack at the last folder only; return how many, and the last.

    The last, because a Vault server lists its settings before its secrets.
    """
    count, last = 0, None
    for count, last in enumerate(source.list(), 1):  # noqa: B007
        pass
    return count, last


def _rights_of_source(source: Source, *, writing: bool) -> Iterator[ProbeCheck]:
    try:
        told = source.write_rights() if writing else None
        told = source.rights() if told is None else told
        rights = None if told is None else list(told)
    except StrongroomError as error:
        yield ProbeCheck(what="rights of the credential", outcome=ProbeResult.NOT_SHOWN, detail=error.message)
        return
    if rights is None:
        yield ProbeCheck(what="rights of the credential", outcome=ProbeResult.NOT_SHOWN, detail=_UNTOLD)
        return
    for right in rights:
        if right.missing:
            yield ProbeCheck(what=right.path, outcome=ProbeResult.MISSING, detail=", ".join(right.missing))
        if right.excess:
            yield ProbeCheck(what=right.path, outcome=ProbeResult.EXCESS, detail=", ".join(right.excess))
    if not any(right.missing or right.excess for right in rights):
        yield ProbeCheck(
            what="rights of the credential", detail=f"each of {plural(len(rights), 'path')} fits"
        )


_UNTOLD = "its server does not tell what a credential may do; compare it with 'strongroom cluster rules'"
