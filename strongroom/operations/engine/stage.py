"""The stage: where the steps of a run hand sealed bytes to one another, whatever host performs them.

It is a folder of one host, or any target that all hosts reach (``[stages]``), and a run keeps the one that it
began with. Only sealed bytes lie there, under names made of runs, pieces, policies and digests. It is not
believed: what is read back is held to a digest in the record of the run, and other bytes are asked for again.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container import cobblestone
from strongroom.container.errors import FormatError, MissingPiece
from strongroom.errors import StrongroomError
from strongroom.model import Role
from strongroom.operations.engine.services import Services, StageUsage
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, StagePin
from strongroom.system.errors import TargetFull
from strongroom.targets import Target, put_whole
from strongroom.targets.errors import StageDiffers, TargetUnavailable
from strongroom.times import compact

# -- What lies where on a stage -----------------------------------------------------------------

RUNS: Final = "runs/"
"""What the names of all that runs hand on begin with. It goes with its run."""
KEPT_INDEXES: Final = "index/"
"""The newest index of names of each policy: what the next one is held against."""
WAYS_BACK: Final = "undo/"
"""What undoes restores."""
USED: Final = "approvals/"
"""Which approvals were used."""
SNAPSHOTS: Final = "snapshots/"
"""The parts of servers' snapshots."""
PROBES: Final = "probes/"
"""What a probe puts there and removes."""


def staged_prefix(run: str) -> str:
    """Return what the names of all that a run stages begin with."""
    return f"{RUNS}{run}/"


def staged_name(run: str, piece: int, sha256: str) -> str:
    """Return where a piece lies on the stage: by digest, so two attempts never collide."""
    return f"{staged_prefix(run)}sealed/{piece}/{sha256}"


def names_chunk(run: str, sha256: str) -> str:
    """Return where a chunk of the plan's list lies on the stage."""
    return f"{staged_prefix(run)}names/{sha256}"


def index_rows_chunk(run: str, piece: int, sha256: str) -> str:
    """Return where a chunk of the rows lies on the stage that a piece has for the index of names."""
    return f"{staged_prefix(run)}index/{piece}/{sha256}"


def staged_plan(run: str, sha256: str) -> str:
    """Return where a part of a restore plan lies on the stage."""
    return f"{staged_prefix(run)}plan/{sha256}"


def kept_prefix(policy: str, run: str = "") -> str:
    """Return what the names begin with of what the stage keeps of a policy's indexes, or of one of them."""
    return f"{KEPT_INDEXES}{policy}/{run}/" if run else f"{KEPT_INDEXES}{policy}/"


def kept_head(policy: str, run: str) -> str:
    """Return where the stage keeps what says which of it counts."""
    return f"{kept_prefix(policy, run)}head"


# -- A stage ------------------------------------------------------------------------------------

LISTED_EVERY: Final = 20
"""How many times as long as a stage was listed it is not listed again: of a very large run it has 100,000s of
objects, and each step that asks for room would list all of them."""
LISTED_WITHIN: Final = 60.0
SHARE: Final = 8
"""A process takes one part in so many of the room that it saw, then looks again: others, of whom it sees
nothing, take theirs meanwhile."""


class Stage:
    """A place for sealed bytes.

    Args:
        place: where it is.
        key: the cluster's work key, 32 bytes.
        most: how many bytes runs may keep there; 0 for as many as there is room for.
        usage: what this process last saw of all stages, by address.
    """

    def __init__(
        self, place: Target, *, key: bytes, most: int = 0, usage: dict[str, StageUsage] | None = None
    ) -> None:
        self.place = place
        self._key = key
        self._most = most
        self._usage = {} if usage is None else usage

    def seal(self, content: bytes, *, name: Callable[[str], str], context: bytes) -> str:
        """Seal something under the work key, put it where its digest says, and return that digest."""
        sealed = cobblestone.seal(self._key, content, context=context)
        digest = hashlib.sha256(sealed)
        self.place.put(name(digest.hexdigest()), [sealed], size=len(sealed), sha256=digest.digest())
        return digest.hexdigest()

    def open(self, name: str, *, sha256: str, context: bytes) -> bytes:
        """Return what was sealed, refusing anything but the bytes of this digest. Raises StageDiffers."""
        return cobblestone.open_(self._key, b"".join(self.chunks(name, sha256)), context=context)

    def seal_as(self, name: str, content: bytes, *, context: bytes) -> bool:
        """Seal something under a name of its own; return whether it was not there yet."""
        sealed = cobblestone.seal(self._key, content, context=context)
        return put_whole(self.place, name, sealed)

    def open_as(self, name: str, *, context: bytes) -> bytes | None:
        """Return what was sealed under a name, or ``None``. Raises StageDiffers if it was not."""
        try:
            return cobblestone.open_(self._key, b"".join(self.place.read(name)), context=context)
        except MissingPiece:
            return None
        except FormatError:
            raise self._differs(name) from None

    def chunks(self, name: str, sha256: str) -> Iterator[bytes]:
        """Yield an object, to its end only if it has this digest. Raises StageDiffers."""
        digest, held = hashlib.sha256(), b""
        try:
            for chunk in self.place.read(name):
                digest.update(chunk)
                if held:
                    yield held
                held = chunk
        except MissingPiece:
            raise StageDiffers(
                f"{self._title} does not hold {name}, which an earlier step put there", hint=_ELSEWHERE
            ) from None
        if digest.hexdigest() != sha256:
            raise self._differs(name)
        yield held

    # -- containers on their way to the targets: sealed already, but for lists of names alone

    def put_container(
        self, run: str, piece: int, sha256: str, content: bytearray | bytes, *, sealed: bool
    ) -> str:
        """Keep a container, or a document that is not sealed, for its uploads; return its name."""
        name = staged_name(run, piece, sha256)
        if sealed:
            digest = bytes.fromhex(sha256)
            self.place.put(name, [memoryview(content)], size=len(content), sha256=digest)
        else:
            self.seal_as(name, bytes(content), context=_of_document(name))
        return name

    def container(self, run: str, piece: int, sha256: str, *, sealed: bool) -> Iterator[bytes]:
        """Yield what was kept, to its end only if it has this digest. Raises StageDiffers."""
        name = staged_name(run, piece, sha256)
        if sealed:
            yield from self.chunks(name, sha256)
            return
        content = self.open_as(name, context=_of_document(name))
        if content is None or hashlib.sha256(content).hexdigest() != sha256:
            raise self._differs(name)
        yield content

    # -- room, and what is removed

    def require_room(self, size: int) -> None:
        """Raise :class:`~strongroom.system.errors.TargetFull` if so many bytes do not fit now."""
        self.place.require_room(size)
        if not self._most:
            return
        began = time.monotonic()
        usage = self._usage.get(self.place.address)
        if usage is None or began >= usage.until or usage.taken + size > usage.up_to:
            taken = sum(info.size for info in self.place.list(RUNS))
            now = time.monotonic()
            usage = StageUsage(
                taken=taken,
                up_to=taken + (self._most - taken) // SHARE,
                until=now + min(LISTED_EVERY * (now - began), LISTED_WITHIN),
            )
        if usage.taken + size > self._most:
            raise TargetFull(
                f"{self._title} holds {usage.taken:,} bytes of runs, and {size:,} more would be above "
                f"limits.stage_bytes, {self._most:,}",
                hint="It goes on as containers leave the stage. If runs often wait, raise the limit.",
            )
        self._usage[self.place.address] = replace(usage, taken=usage.taken + size)

    def forget(self, prefix: str) -> None:
        """Remove all that lies under a prefix, and what interrupted puts left there."""
        self.place.abort_incomplete(prefix)
        for name in [info.name for info in self.place.list(prefix)]:
            self.place.delete(name)

    @property
    def _title(self) -> str:
        return f"the stage '{self.place.name}' ({self.place.address})"

    def _differs(self, name: str) -> StageDiffers:
        return StageDiffers(f"{self._title} gave other bytes of {name} than were put there")


def _of_document(name: str) -> bytes:
    return b"strongroom/v1/staged-document/" + name.encode()


_ELSEWHERE = (
    "Hosts that share runs need a stage that each of them reaches: name one in [stages.default]. "
    "Else somebody removed it; the run is done again with 'strongroom runs retry RUN'."
)


def stage_of(run: Run, services: Services) -> Stage:
    """Return the stage that a run began with, be it renamed since, or another one its policy's by now.

    Raises:
        TargetUnavailable: this host's configuration does not name it any more.
    """
    return _stage(run.spec.stage, services)


def shared_stage(services: Services) -> Stage | None:
    """Return the stage of what belongs to no policy: the default one, else the first by name; ``None`` on a
    single host, which needs none."""
    name = DEFAULT if DEFAULT in services.stages else min(services.stages, default="")
    return _made(services.stages[name], services) if name else None


def _stage(pin: StagePin | None, services: Services) -> Stage:
    if pin is None:
        return _made(services.stage, services)
    named = services.stages.get(pin.name)
    places = [place for place in (named, *services.stages.values()) if place is not None]
    place = next((place for place in places if place.address == pin.address), None)
    if place is None:
        raise TargetUnavailable(
            f"this run began with the stage '{pin.name}' ({pin.address}), which this host does not have",
            hint=f"Name it in [stages.{pin.name}] again until the run has ended, or cancel the run.",
        )
    return _made(place, services)


def _made(place: Target, services: Services) -> Stage:
    return Stage(place, key=services.work_key, most=services.limits.stage_bytes, usage=services.stage_usage)


def pin_stage(name: str, place: Target) -> StagePin:
    """Return a stage as a run freezes it."""
    return StagePin(name=name, address=place.address)


DEFAULT: Final = "default"
"""The stage of every policy that names no other; without it, a folder in the state directory."""


# -- Sweeping: a run's own things with the run, and what nobody takes up any more by its age -----

LATE: Final = 3600.0
"""Seconds after the end of a run for which a worker that was taken for dead may still put something."""
ABANDONED: Final = 8 * 86_400.0
"""Seconds after which what belongs to no run on record goes: a run of a week ago goes on no more."""
UNDOABLE: Final = 365 * 86_400.0
"""Seconds for which a stage keeps what undoes a restore, for any host."""
SWEPT_EVERY: Final = 86_400.0


def sweep_stage(run: Run, services: Services) -> bool:
    """Remove all that a run staged; tell whether the stage was reached."""
    try:
        stage_of(run, services).forget(staged_prefix(run.id))
    except StrongroomError:
        return False
    return True


def sweep_stages(run: Run, services: Services) -> None:
    """Once a day, remove what processes left that were killed. Best effort: the next day tries again."""
    for name, place in services.stages.items():
        if services.store.take_lease(f"sweep stage {name}", run.id, seconds=SWEPT_EVERY) == run.id:
            try:
                remove_left(_made(place, services), services, now=time.time())
            except StrongroomError as error:
                services.store.event("stage.unswept", run.id, stage=name, error=error.code)


def remove_left(stage: Stage, services: Services, *, now: float) -> int:
    """Remove what nobody takes up any more; return of how many runs, restores, approvals and indexes."""
    removed = 0
    for prefix, depth, seconds in _AGES:
        names = {"/".join(info.name.split("/")[:depth]) for info in stage.place.list(prefix)}
        for name in sorted(names):
            run = name.rpartition("/")[2]
            if _is_over(run, services, now=now, seconds=seconds, ends=prefix == RUNS):
                stage.forget(f"{name}/")
                removed += 1
    return removed


_AGES: Final = (
    (RUNS, 2, ABANDONED),
    (KEPT_INDEXES, 3, UNDOABLE),
    (WAYS_BACK, 2, UNDOABLE),
    (USED, 2, 32 * 86_400.0),
    (SNAPSHOTS, 3, ABANDONED),
)
"""How many segments of a name tell what it is of, the last of them since when; and after how many seconds it
goes. An approval holds for 30 days at most."""


def _is_over(run: str, services: Services, *, now: float, seconds: float, ends: bool) -> bool:
    """Tell whether nobody takes something up any more: by the run that it is of, else by the date in its
    name."""
    if ends:
        try:
            known = services.store.load(run)
            return known.state.final and known.finished_at is not None and known.finished_at < now - LATE
        except RunNotFound:
            pass
    return is_dated(run) and run < compact(now - seconds)


def is_dated(name: str) -> bool:
    """Tell whether a name begins with a date, as those of runs do."""
    return _DATED.match(name) is not None


_DATED: Final = re.compile(r"[0-9]{8}T[0-9]{6}")


# -- What each role does on a stage: whoever grants rights asks here ---------------------------------


class StageRight(Struct, frozen=True, kw_only=True):
    """What may be done under a prefix of a stage. Putting is into a new name alone; a listing is of it."""

    prefix: str
    put: bool = False
    get: bool = False
    delete: bool = False
    list: bool = False

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(verb for verb in ("put", "get", "delete", "list") if getattr(self, verb))


def rights_on_stage(role: str) -> Sequence[StageRight]:
    """Return what a role needs on every stage, by prefix; nothing if it has no business there."""
    return _RIGHTS.get(role, ())


def verbs_on_stage(role: str) -> frozenset[str]:
    """Return all that a role does on a stage, for stores that know no prefixes: of put, get, delete, list."""
    return frozenset(verb for right in rights_on_stage(role) for verb in right.verbs)


def _all(prefix: str) -> StageRight:
    return StageRight(prefix=prefix, put=True, get=True, delete=True, list=True)


_EVERYWHERE: Final = (RUNS, KEPT_INDEXES, WAYS_BACK, USED, SNAPSHOTS)
_APPROVING: Final = StageRight(prefix=USED, put=True, get=True)
_RIGHTS: Final[Mapping[str, tuple[StageRight, ...]]] = {
    # It lists names, takes snapshots, and sweeps.
    Role.CONTROL: tuple(map(_all, _EVERYWHERE)),
    Role.SEAL: (_all(RUNS), _all(KEPT_INDEXES), StageRight(prefix=SNAPSHOTS, get=True), _APPROVING),
    Role.TRANSFER: (
        StageRight(prefix=RUNS, get=True, delete=True),
        StageRight(prefix=KEPT_INDEXES, get=True, delete=True),
    ),
    Role.RECOVER: (
        StageRight(prefix=RUNS, put=True, get=True),
        StageRight(prefix=WAYS_BACK, put=True, get=True, list=True),
        _APPROVING,
    ),
    Role.PRUNE: (_APPROVING,),
    Role.OPERATOR: tuple(map(_all, (*_EVERYWHERE, PROBES))),
}
