"""How far one backup goes: a billion secrets on a thousand workers, by the product's own decisions.

``python -m tests.simulation.fleet`` prints the tables of ``docs/explanation/fleet.md``. What follows from a
step, what is given out, in which order and how much at once is the product's own code over the store in
memory. What each step costs is measured (:class:`Costs` says where), and who waits for whom is played: the
queues, the workers of each pool, the lock on the run's row, the database's processors, the broker, the links.
``--measure`` measures the database again, with a PostgreSQL of its own.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from strongroom.container.manifest import MAX_CONTAINERS, Counts
from strongroom.model import Depth
from strongroom.operations.backup.capture import WAYS
from strongroom.operations.backup.commit import Committed, Uploaded
from strongroom.operations.backup.name_index import Indexed
from strongroom.operations.backup.plan import (
    DIGITS,
    FINE,
    GATHERED,
    MAX_PIECES,
    NAMED,
    PARTS,
    BackupPlan,
    ListedPieces,
)
from strongroom.operations.backup.verify import Verified
from strongroom.operations.engine.jobs import decide
from strongroom.operations.engine.steps import Report, pools
from strongroom.state.records import (
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepState,
    Tally,
    TargetPin,
    Ticket,
)
from strongroom.state.store import RunStore
from strongroom.targets.reading import MOST_BYTES
from tests.postgres import PostgresServer
from tests.simulation.jobs import CAPTURED
from tests.simulation.thin_store import Row, ThinStore

MIB = 2**20
REGIONS = ("eu", "us", "ap")
SECRETS = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
WORKERS = (10, 100, 1_000)
SHORT = 0.1
"""Seconds of any other step."""
WINDOW_A_WORKER = 4
"""Containers on the stage for each sealing process: the window is a setting, and grows with the fleet."""


class Costs(Struct, frozen=True, kw_only=True):
    """What each thing takes, in seconds of the one who does it, unless it says otherwise.

    Of secrets: 1,000,000 of 620 bytes by ``scripts/bench/gen.py``, in JSONL, one core of the machine that the
    page names. Of the database: ``--measure``. Of Celery: its throughput on Redis, in ``celery.md``.
    """

    secret_bytes: int = 620
    sealed_share: float = 0.27
    """Bytes of a container for a byte of the source."""
    container_bytes: int = 32 * MIB
    plan_a_secret: float = 5.7e-6
    part_a_secret: float = 1.0e-6
    """To part the list again, each time."""
    listed_bytes: int = 88
    """Of the plan's list on the stage, a secret."""
    open_a_byte: float = 1.5e-9
    """Of that list, of which a capture opens the parts that its range touches."""
    capture_a_secret: float = 12e-6
    index_a_secret: float = 8.5e-6
    merge_a_secret: float = 1.2e-6
    """To make fewer lists of its rows of many, each time."""
    verify_a_secret: float = 4.5e-6
    carry_a_byte: float = 4e-9
    """An upload's or a read-back's processor: digest, TLS, copies."""
    receipt: float = 0.35e-3
    """Checking one signature of a container's receipt."""
    link_bytes: float = 1.25e9
    """Bytes a second of each target's and the stage's link: 10 Gbit/s."""
    message: float = 1 / 1_000
    """Of the broker and those who talk to it, one at a time."""
    statement: float = 0.12e-3
    """Of the database's processors, for each of a step's 8 statements."""
    tally_a_row: float = 0.16e-6
    due_a_row: float = 0.45e-6
    fact_byte: float = 12e-9
    """Reading and decoding the run's facts, twice a step: they name chunks of the list, up to a bound."""
    fact_bytes_a_chunk: int = 120
    commit: float = 1.0e-3
    """Until the database's disk has a transaction."""
    database_cores: int = 16


class Resource:
    """Something that does so many things at a time, in the order in which they come."""

    def __init__(self, name: str, many: int = 1) -> None:
        self.name, self.many, self.busy = name, many, 0.0
        self._free = [0.0] * many

    def use(self, now: float, seconds: float) -> float:
        """Take a turn; return when it is over."""
        began = max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, began + seconds)
        self.busy += seconds
        return began + seconds

    def share(self, over: float) -> float:
        return self.busy / (self.many * over)


class CountedRow(Row):
    """A row that tells its store of each change: a fleet's run has a hundred thousand of them."""

    __slots__ = ("_now", "told")

    def __init__(self, step: RunStep, told: Callable[[RunStep, StepState | None, StepState], None]) -> None:
        self._now: StepState | None = None
        self.told = told
        super().__init__(step)

    @property
    def state(self) -> StepState:
        assert self._now is not None
        return self._now

    @state.setter
    def state(self, new: StepState) -> None:
        self.told(self.step, self._now, new)
        self._now = new


class FleetStore(ThinStore):
    """The store in memory, which keeps its counts as it goes. One run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.counted: Counter[tuple[StepKind, str, StepState]] = Counter()
        self.ready: dict[bool, OrderedDict[RunStep, None]] = {True: OrderedDict(), False: OrderedDict()}
        """READY steps by whether they are captures."""
        self._open: Counter[int] = Counter()

    def make_row(self, step: RunStep) -> Row:
        return CountedRow(step, self._told)

    def _told(self, step: RunStep, old: StepState | None, new: StepState) -> None:
        capture = step.kind is StepKind.CAPTURE
        if old is not None:
            self.counted[step.kind, step.target, old] -= 1
            self.ready[capture].pop(step, None)
        self.counted[step.kind, step.target, new] += 1
        if new is StepState.READY:
            self.ready[capture][step] = None
        if capture or step.kind is StepKind.UPLOAD:
            more = _is_open(step, new) - _is_open(step, old)
            self._open[step.piece] += more
            if not self._open[step.piece]:
                del self._open[step.piece]

    def tally(self, run: str) -> Tally:
        return Tally({key: many for key, many in self.counted.items() if many})

    def _due(self, run: str, now: float) -> list[Row]:
        rows = self._steps[run]
        room = max(0, self._room)
        captures = [step for step, _ in zip(self.ready[True], range(room), strict=False)]
        return [rows[step] for step in (*self.ready[False], *captures)]

    def take_ready(self, run: str, *, window: int) -> list[Ticket]:
        self._room = window - len(self._open)
        return super().take_ready(run, window=window)

    def _open_pieces(self, run: str) -> int:
        return len(self._open)


def _is_open(step: RunStep, state: StepState | None) -> int:
    in_flight = (StepState.SENT, StepState.RUNNING)
    return int(state in ((StepState.READY, *in_flight) if step.kind is StepKind.UPLOAD else in_flight))


def parted(secrets: int, costs: Costs) -> int:
    """Return by how many digits the plan parts a list."""
    digits = 1
    while digits < DIGITS and secrets * costs.listed_bytes / PARTS**digits > FINE:
        digits += 1
    return digits


def opened_share(secrets: int, pieces: int, costs: Costs) -> float:
    """Return how much of the plan's list a capture opens: the parts that its range touches."""
    return min(1.0, 1 / PARTS ** parted(secrets, costs) + 1 / pieces)


def merges(pieces: int) -> int:
    """Return how often fewer lists are made of the rows of all pieces before they are one."""
    passes = 0
    while pieces > WAYS:
        pieces, passes = -(-pieces // WAYS), passes + 1
    return passes


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one backup."""

    secrets: int
    workers: int
    pieces: int
    steps: int
    seconds: float
    kinds: Mapping[str, float]
    """Seconds from the first begin to the last end of each kind of step."""
    shares: Mapping[str, float]
    """How busy each resource was, of the whole time."""
    deepest: Mapping[str, int]


class Fleet:
    """One backup of so many secrets on so many workers."""

    def __init__(self, secrets: int, workers: int, costs: Costs) -> None:
        self.secrets, self.workers, self.costs = secrets, workers, costs
        self.now = 0.0
        self.pieces = min(MAX_PIECES, max(1, -(-secrets * costs.secret_bytes // costs.container_bytes)))
        self.named = min(NAMED, 1 + secrets * costs.listed_bytes * PARTS // GATHERED)
        self.window = WINDOW_A_WORKER * workers
        self.store = FleetStore(lambda: self.now)
        third = max(1, workers // 3)
        many = {"control": 2, "seal": third, "transfer": 4 * third, "verify": third}
        self.pools = {name: Resource(f"workers: {name}", size) for name, size in many.items()}
        self.lock, self.broker = Resource("the run's row"), Resource("the broker")
        self.database = Resource("the database's processors", costs.database_cores)
        self.links = {name: Resource(f"link: {name}") for name in (*REGIONS, "stage")}
        self._waiting: dict[str, deque[Ticket]] = defaultdict(deque)
        self._idle = dict(many)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._begun: dict[StepKind, float] = {}
        self._ended: dict[StepKind, float] = {}
        self._deepest: Counter[str] = Counter()

    def live(self) -> Outcome:
        """Perform the backup."""
        spec = Spec(kind=RunKind.BACKUP, policy="fleet", source="files", targets=_targets(), quorum=3)
        run = self.store.create(spec, first=(RunStep(StepKind.PLAN),))
        assert run is not None
        self.run = run.id
        self._send(self.store.take_ready(run.id, window=self.window))
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
        ended = self.store.load(run.id)
        assert ended.state is RunState.DONE, ended
        resources = [*self.pools.values(), self.lock, self.broker, self.database, *self.links.values()]
        return Outcome(
            secrets=self.secrets,
            workers=self.workers,
            pieces=self.pieces,
            steps=sum(self.store.counted.values()),
            seconds=self.now,
            kinds={kind.value: self._ended[kind] - self._begun[kind] for kind in self._begun},
            shares={one.name: one.share(self.now) for one in resources},
            deepest=dict(self._deepest),
        )

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment, self._number, act))

    def _send(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self._at(self.broker.use(self.now, self.costs.message), lambda one=ticket: self._arrive(one))  # type: ignore[misc]

    def _arrive(self, ticket: Ticket) -> None:
        pool = pools()[ticket.step.kind].value
        self._waiting[pool].append(ticket)
        self._deepest[pool] = max(self._deepest[pool], len(self._waiting[pool]))
        self._go_on(pool)

    def _go_on(self, pool: str) -> None:
        while self._idle[pool] and self._waiting[pool]:
            self._idle[pool] -= 1
            self._begin(pool, self._waiting[pool].popleft())

    def _begin(self, pool: str, ticket: Ticket) -> None:
        costs, began, step = self.costs, self.now, ticket.step
        claim = self.store.claim(ticket, owner="fleet", lease=3600.0)
        assert claim is not None
        self._begun.setdefault(step.kind, began)
        claimed = self.database.use(began, 3 * costs.statement + self._facts) + costs.commit
        worked = claimed + self._work(step, claimed)

        def record() -> None:
            """Wait for the run's row, and hold it until the outcome and what follows are on disk."""
            rows, ready = sum(self.store.counted.values()), sum(map(len, self.store.ready.values()))
            reads = rows * costs.tally_a_row + ready * costs.due_a_row
            spent = 5 * costs.statement + self._facts + reads
            self.database.busy += spent
            self._at(self.lock.use(self.now, spent + costs.commit), end)

        def end() -> None:
            result = self._result(step)
            _, due = self.store.finish(
                claim, result, lambda run, tally, one: decide(run, tally, one, result), window=self.window
            )
            self._ended[step.kind] = self.now
            self._send(due)
            self.pools[pool].busy += self.now - began
            self._idle[pool] += 1
            self._go_on(pool)

        self._at(worked, record)

    @property
    def _facts(self) -> float:
        """Seconds to read the run's row."""
        planned = self.store.counted[StepKind.PLAN, "", StepState.DONE]
        return planned * self.named * self.costs.fact_bytes_a_chunk * self.costs.fact_byte

    def _work(self, step: RunStep, now: float) -> float:
        """Return how long a step's own work takes from now on."""
        costs, each, took = self.costs, self.secrets / self.pieces, SHORT
        sealed = each * costs.secret_bytes * costs.sealed_share
        listed = self.secrets * costs.listed_bytes
        match step.kind:
            case StepKind.PLAN:
                again = parted(self.secrets, costs) - 1
                listing = costs.plan_a_secret + again * costs.part_a_secret
                took = max(self.secrets * listing, self._carried("stage", now, (1 + 2 * again) * listed))
            case StepKind.CAPTURE:
                own = listed * opened_share(self.secrets, self.pieces, costs)
                opened = max(own * costs.open_a_byte, self._carried("stage", now, own))
                took = opened + each * costs.capture_a_secret + self._carried("stage", now, sealed)
            case StepKind.UPLOAD:  # it is read back
                links = self._carried("stage", now, sealed), self._carried(step.target, now, 2 * sealed)
                took = max(2 * sealed * costs.carry_a_byte, *links)
            case StepKind.VERIFY:
                took = max(each * costs.verify_a_secret, self._carried(step.target, now, sealed))
            case StepKind.COMMIT:
                took = 2 * self.pieces * costs.receipt
            case StepKind.INDEX:
                took = self.secrets * (costs.index_a_secret + merges(self.pieces) * costs.merge_a_secret)
        return took

    def _carried(self, link: str, now: float, size: float) -> float:
        return self.links[link].use(now, size / self.costs.link_bytes) - now

    def _result(self, step: RunStep) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self._record(step))
        return found

    def _record(self, step: RunStep) -> Struct:
        plan = ListedPieces(pieces=self.pieces, secrets=self.secrets, size=1, chunks=(), name_key="")
        counts = Counts(secrets=self.secrets, versions=self.secrets, size=1)
        placed: dict[str, Any] = {"manifest": "", "unplaced": {}, "unlocked": {}, "left_out": ()}
        swept: dict[str, Any] = {"unswept": {}, "kept": (), "swept": (), "started": ()}
        return {
            StepKind.PLAN: BackupPlan(plan=plan, previous=None, trust=0),
            StepKind.CAPTURE: CAPTURED,
            StepKind.UPLOAD: Uploaded(created=True),
            StepKind.COMMIT: Committed(targets=REGIONS, created=REGIONS, counts=counts, **placed),
            StepKind.VERIFY: Verified(
                depth=Depth.OPENED, secrets=1, changed=0, missing=0, name_key="", aside=()
            ),
            StepKind.INDEX: Indexed(),
            StepKind.REPORT: Report(state=RunState.DONE, error=None, good=REGIONS, fewer=0, **swept),
        }[step.kind]


def _targets() -> tuple[TargetPin, ...]:
    return tuple(TargetPin(name=name, address=name, region=name, provider="any") for name in REGIONS)


# -- the tables ----------------------------------------------------------------------------------


def limits(costs: Costs) -> Iterator[tuple[str, str, str]]:
    """Yield what a billion secrets come to, and what the product takes."""
    secrets, most = SECRETS[-1], min(MAX_PIECES, MAX_CONTAINERS)
    pieces = -(-secrets * costs.secret_bytes // costs.container_bytes)
    opened = pieces * secrets * costs.listed_bytes * opened_share(secrets, pieces, costs) / 1e12
    yield "containers of a backup", f"{pieces:,}", f"{most:,}"
    yield "its manifest", f"{pieces * MANIFEST_ENTRY / MIB:.0f} MiB", f"{MOST_BYTES / MIB:.0f} MiB"
    named = f"{NAMED * costs.fact_bytes_a_chunk / 1024:.1f} KiB"
    yield "chunks of its list in its run's row, which each step reads twice", named, named
    yield "what its captures open of the list of names", f"{opened:,.1f} TB", "no limit"


MANIFEST_ENTRY = 720
"""Bytes of a container's entry in a manifest."""


def tables(costs: Costs, sizes: Sequence[int], fleets: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the page's table."""
    yield "| secrets | workers | containers | steps | time | busiest | next | then |"
    yield "|---:|---:|---:|---:|---:|---|---|---|"
    for secrets in sizes:
        for workers in fleets:
            lived = Fleet(secrets, workers, costs).live()
            kinds = ", ".join(f"{kind} {took:,.0f} s" for kind, took in lived.kinds.items())
            _say(f"{secrets:,} on {workers:,}: {kinds}")
            busiest = sorted(lived.shares.items(), key=lambda share: -share[1])[:3]
            numbers = (f"{number:,}" for number in (secrets, workers, lived.pieces, lived.steps))
            shares = (f"{name} {share:.0%}" for name, share in busiest)
            yield f"| {' | '.join((*numbers, _time(lived.seconds), *shares))} |"


def _time(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


# -- what the database costs ----------------------------------------------------------------------


def measure(rows: int) -> str:
    """Measure a step of a run of so many rows on a PostgreSQL of its own: processor, not time."""
    captures = [RunStep(StepKind.CAPTURE, piece) for piece in range(rows)]
    spec = Spec(kind=RunKind.BACKUP, policy="fleet", source="files", targets=_targets())
    with PostgresServer(fsync=True) as server:
        store = RunStore(server.new_database())
        run = store.create(spec, first=captures)
        assert run is not None
        due = store.take_ready(run.id, window=60)
        before, began = _processor(server.pid), time.process_time()
        for ticket in due[:50]:
            claim = store.claim(ticket, owner="fleet")
            assert claim is not None
            store.finish(claim, {}, lambda *_: StepConsequence(), window=60)
        spent, own = _processor(server.pid) - before, time.process_time() - began
        before = _processor(server.pid)
        for _ in range(50):
            store.tally(run.id)
        tallies = _processor(server.pid) - before
        store.close()
    each = [f"{seconds / 50 * 1e3:.2f} ms" for seconds in (spent, tallies, own)]
    return f"{rows:,} rows: PostgreSQL {each[0]} a step, of which a tally {each[1]}; the worker {each[2]}"


def _processor(server: int) -> float:
    """Return the seconds that a server and its processes have used."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, NotADirectoryError):
            continue
        if entry.name == str(server):
            total += sum(map(int, fields[11:15]))
        elif fields[1] == str(server):
            total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure what the database costs")
    parser.add_argument(
        "--secrets", type=int, nargs="*", default=SECRETS, help="of the backups (%(default)s)"
    )
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS, help="of the fleets (%(default)s)")
    given = parser.parse_args()
    if given.measure:
        for rows in (100, 1_000, 10_000, 100_000):
            sys.stdout.write(f"{measure(rows)}\n")
        return 0
    costs = Costs()
    for line in tables(costs, given.secrets, given.workers):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.stdout.write("\n| of a billion secrets | comes to | at most |\n|---|---:|---:|\n")
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in limits(costs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
