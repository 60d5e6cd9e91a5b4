"""How a large record does: a thousand runs queued, ten million steps ended, ten thousand backups.

``python -m scripts.bench.record [--seed N] [--small] [--steps N] [--postgresql | --url URL]`` makes a record
in a state directory of its own, asks everything of it that asks for the whole, and prints for each, as one
JSON object a line, how long it took, how much processor time, how many statements, how long its longest write
transaction was, and how long a second process that writes a row in a loop had to wait at most.

One real backup is made first. What is made up of it is rows alone: the other runs are its copies, a year
apart, with their events chained as they would be. Their objects lie on no target, so nothing here measures
targets.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import random
import re
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct, structs
from sqlalchemy import Connection, delete, event
from sqlalchemy import select as select_rows

from strongroom.cli.main import main as command_line
from strongroom.config import Settings, load_settings
from strongroom.errors import UsageError
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import Role
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.order import due_checks
from strongroom.operations.backup.verified_share import items_on_record, replicas_on_record, scope_of
from strongroom.operations.backup.verify import verifications
from strongroom.operations.engine import steps as engine_steps
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.jobs import fold_old_steps
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import open_due
from strongroom.operations.judge import facts_on_record, judgement
from strongroom.operations.judge.fact_records import WatchedInstallation
from strongroom.operations.judge.facts import on_record
from strongroom.operations.retention.plan import plan_retention
from strongroom.state import catalog, tables
from strongroom.state import engine as state_engine
from strongroom.state.records import Claim, RunState, RunStep, StepConsequence, StepKind, StepState, Ticket
from strongroom.state.sql import begin_writing
from strongroom.state.store import RunStore
from strongroom.times import rfc3339, stamp
from strongroom.wiring import watching
from strongroom.wiring.calendar import calendar
from strongroom.wiring.services import build_services
from tests.postgres import PostgresServer

POLICIES: Final = 50
BACKUPS: Final = 10_000
OTHERS: Final = 90_000
"""Runs that are no backups, such as checks: a step and a report each."""
QUEUED: Final = 2_000
DEFAULT_STEPS: Final = 300_000
"""What takes a minute or two; ten million take an hour to write."""
PIECES: Final = 65_536
"""Containers of one very large run: the most that a plan makes."""
WINDOW: Final = 64
AT_ONCE: Final = 8
TARGETS: Final = ("region-a", "region-b", "region-c")
YEAR: Final = 365 * 86_400.0
DAY: Final = 86_400.0


# -- An installation with fifty policies, and one real backup ------------------------------------------------


def installation(folder: Path, url: str | None) -> Settings:
    """Lay out an installation whose policies are due every hour."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "secrets.jsonl"
    source.write_text('{"name": "app/one", "value": "CANARY-bench"}\n')
    key = HpkeIdentity.generate().public
    words = [f'[sources.bench]\nkind = "files"\npath = "{source}"\n']
    words += [f'[keys.recovery]\nkind = "hpke"\npublic_key = "{key}"\n']
    if url is not None:
        words += [f'[state]\nurl = "{url}"\n']
    words += [
        f'[targets.{name}]\nkind = "directory"\npath = "targets/{name}"\nregion = "{name}"\ncreate = true\n'
        for name in TARGETS
    ]
    targets = json.dumps(list(TARGETS))
    words += [
        f'[policies.{policy}]\nkind = "full"\nsource = "bench"\nrecipients = ["recovery"]\n'
        f'single_recipient_reason = "a bench"\ntargets = {targets}\nschedule = "0 * * * *"\n'
        for policy in policies()
    ]
    file = folder / "strongroom.toml"
    file.write_text("".join(words))
    os.environ |= {"STRONGROOM_STATE_DIR": str(folder), "STRONGROOM_CONFIG": str(file)}
    return load_settings()


def policies() -> list[str]:
    """Return the names of the policies."""
    return [f"policy-{number:02}" for number in range(POLICIES)]


# -- Ten years of rows ---------------------------------------------------------------------------------------

Row = tuple[Any, ...]


class Rows(NamedTuple):
    """How to write many rows of a table quickly."""

    write: Callable[[str, Sequence[str], Iterable[Row]], None]
    run: Callable[[str], list[Row]]


@contextmanager
def bulk(store: RunStore, url: str) -> Iterator[Rows]:
    """Give the database without what makes a row safe; indexes are made again at the end."""
    if url.startswith("sqlite"):
        with _bulk_sqlite(url.removeprefix("sqlite:///")) as rows:
            yield rows
    else:
        with _bulk_postgresql(url) as rows:
            yield rows
    store.close()


@contextmanager
def _bulk_sqlite(path: str) -> Iterator[Rows]:
    conn = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous=OFF", "cache_size=-200000", "foreign_keys=OFF", "locking_mode=NORMAL"):
        conn.execute(f"PRAGMA {pragma}")
    found = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    indexes = dict(found.fetchall())

    def write(table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" * len(columns))
        conn.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', rows)  # noqa: S608  # our own names

    conn.execute("BEGIN IMMEDIATE")
    for name in indexes:
        conn.execute(f'DROP INDEX "{name}"')
    yield Rows(write, lambda statement: conn.execute(statement).fetchall())
    for statement in indexes.values():
        conn.execute(statement)
    conn.execute("COMMIT")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


@contextmanager
def _bulk_postgresql(url: str) -> Iterator[Rows]:
    import psycopg  # noqa: PLC0415  # an extra, and needed only for that database

    with psycopg.connect(url, autocommit=True) as conn:
        found = conn.execute(
            "SELECT i.indexname, i.indexdef FROM pg_indexes i LEFT JOIN pg_constraint c"
            " ON c.conname = i.indexname WHERE i.schemaname = 'public' AND c.conname IS NULL"
        ).fetchall()
        for name, _ in found:
            conn.execute(f'DROP INDEX "{name}"'.encode())

        def write(table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
            names = ", ".join(f'"{name}"' for name in columns)
            with conn.cursor().copy(f'COPY "{table}" ({names}) FROM STDIN'.encode()) as copy:
                for row in rows:
                    copy.write_row(row)

        def run(statement: str) -> list[Row]:
            cursor = conn.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

        yield Rows(write, run)
        run("SELECT setval(pg_get_serial_sequence('events', 'id'), (SELECT max(id) FROM events))")
        for _, statement in found:
            conn.execute(statement.encode())
        conn.execute(b"ANALYZE")


class Template(Struct, frozen=True, kw_only=True):
    """The rows of one real backup: columns and values."""

    run: dict[str, Any]
    steps: list[dict[str, Any]]
    catalog: dict[str, Any]
    replicas: list[dict[str, Any]]


def template(rows: Rows, run: str) -> Template:
    """Read the rows of the one backup there is."""

    def all_of(table: Any, key: str) -> list[dict[str, Any]]:
        columns = [column.name for column in table.columns]
        names = ", ".join(f'"{name}"' for name in columns)
        found = rows.run(f"SELECT {names} FROM {table.name} WHERE {key} = '{run}'")  # noqa: S608  # our own names
        return [dict(zip(columns, row, strict=True)) for row in found]

    return Template(
        run=all_of(tables.runs, "id")[0],
        steps=all_of(tables.steps, "run"),
        catalog=all_of(tables.catalog, "backup")[0],
        replicas=all_of(tables.replicas, "backup"),
    )


class MadeUp(Struct, frozen=True, kw_only=True):
    """A run that is made up: its id, policy, when it began, and whether it is a backup."""

    id: str
    policy: str
    at: float
    backup: bool


def made_up(now: float, *, seed: int, backups: int, others: int) -> list[MadeUp]:
    """Return the runs of a year up to yesterday, oldest first."""
    chance, names = random.Random(seed), policies()
    every = backups + others
    step = YEAR / every
    chosen = set(chance.sample(range(every), backups))
    runs = []
    for number in range(every):
        at = now - DAY - (every - number) * step
        mark = f"{chance.getrandbits(32):08x}"
        runs.append(
            MadeUp(id=f"{stamp(at)}-{mark}", policy=names[number % POLICIES], at=at, backup=number in chosen)
        )
    return runs


def fill(rows: Rows, shape: Template, runs: Sequence[MadeUp], pieces: int) -> None:
    """Write the rows of all runs."""
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr)

    _write(rows, "runs", (_run(shape, made) for made in runs))
    tell("runs")
    _fill_steps(rows, shape, pieces)
    tell("steps")
    backups = [made for made in runs if made.backup]
    _write(rows, "catalog", (shape.catalog | _entry(made, pieces) for made in backups))
    _write(rows, "replicas", (r | {"backup": made.id} for made in backups for r in shape.replicas))
    _write(rows, "container_checks", _checks(backups, min(pieces, 10)))
    _write(rows, "events", _events(rows, runs))
    tell("catalog and events")


def _write(rows: Rows, table: str, values: Iterable[dict[str, Any]]) -> None:
    first = next(iterator := iter(values), None)
    if first is None:
        return
    columns = list(first)
    rows.write(
        table,
        columns,
        (tuple(value[name] for name in columns) for part in ([first], iterator) for value in part),
    )


def _run(shape: Template, made: MadeUp) -> dict[str, Any]:
    text = shape.run["spec"].replace(shape.run["policy"], made.policy)
    own = {"id": made.id, "policy": made.policy, "created_at": made.at, "finished_at": made.at + 30.0}
    if made.backup:
        return shape.run | own | {"spec": text}
    spec = json.loads(text) | {"kind": "check", "policy": "live"}
    return (
        shape.run
        | own
        | {
            "kind": "check",
            "policy": "live",
            "spec": json.dumps(spec),
            "facts": '{"report":{"state":"done","error":null}}',
        }
    )


def _fill_steps(rows: Rows, shape: Template, pieces: int) -> None:
    """Write the steps of all runs but the first, each a copy of its: the database makes them, for that is
    several times as fast as to send it ten million rows."""
    columns = [column.name for column in tables.steps.columns]
    for row in shape.steps:
        every, check = row["piece"] >= 0, row["kind"] in _OF_CHECK
        values = {name: _literal(row[name]) for name in columns} | {"run": "r.id"}
        for name in ("started_at", "finished_at", "sent_at"):
            if row[name]:
                values[name] = f"r.created_at + {row[name] - shape.run['created_at']!r}"
        source = "runs r"
        if every:
            up = f"SELECT 0 UNION ALL SELECT piece + 1 FROM n WHERE piece < {pieces - 1}"  # noqa: S608  # our own
            numbers = f"WITH RECURSIVE n(piece) AS ({up}) SELECT piece FROM n"  # noqa: S608  # our own
            source = f"runs r CROSS JOIN ({numbers}) p"  # in the order of the primary key
            values["piece"] = "p.piece"
        _insert_steps(rows, values, f"{source} WHERE r.kind = 'backup' AND r.id <> '{row['run']}'")
        if check:
            if row["kind"] == "plan":
                values["result"] = _literal('{"bad":[],"do":""}')
            _insert_steps(
                rows, values | {"kind": _literal(_OF_CHECK[row["kind"]])}, f"{source} WHERE r.kind = 'check'"
            )


_OF_CHECK: Final = {"plan": "check", "report": "report"}


def _insert_steps(rows: Rows, values: Mapping[str, str], source: str) -> None:
    names, given = ", ".join(f'"{name}"' for name in values), ", ".join(values.values())
    rows.run(f"INSERT INTO steps ({names}) SELECT {given} FROM {source}")  # noqa: S608  # our own names


def _literal(value: object) -> str:
    if value is None or isinstance(value, int | float):
        return "NULL" if value is None else repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def _entry(made: MadeUp, pieces: int) -> dict[str, Any]:
    return {
        "backup": made.id,
        "policy": made.policy,
        "created_at": rfc3339(made.at),
        "containers": min(pieces, 10),
    }


def _checks(backups: Iterable[MadeUp], pieces: int) -> Iterator[dict[str, Any]]:
    for made in backups:
        for target in TARGETS:
            for piece in range(-1, pieces):
                at = {"depth": "digest", "checked_at": made.at + 20.0}
                yield {"backup": made.id, "target": target, "piece": piece} | at


def _events(rows: Rows, runs: Sequence[MadeUp]) -> Iterator[dict[str, Any]]:
    """Yield two events a run, chained to those that are there."""
    number, chain = rows.run("SELECT id, chain FROM events ORDER BY id DESC LIMIT 1")[0]
    for made in runs:
        kind = "backup" if made.backup else "check"
        for at, name, detail in (
            (made.at, "run.created", {"kind": kind, "policy": made.policy}),
            (made.at + 30.0, "run.finished", {"state": "done", "error": None}),
        ):
            number += 1
            own = {"at": at, "kind": name, "run": made.id, "detail": (text := json.dumps(detail))}
            chain = catalog.digest(chain, at=at, kind=name, run=made.id, detail=text)
            yield {"id": number} | own | {"chain": chain}


# -- Asking -------------------------------------------------------------------------------------------------


class Asked(Struct, frozen=True, kw_only=True):
    """What one question cost. Times in seconds; ``longest`` is its longest write transaction, and ``waited``
    how long the other process's write took at most meanwhile."""

    seconds: float
    processor: float
    statements: int
    longest: float
    waited: float
    error: str = ""


class Question(NamedTuple):
    """Something that is asked of the record. ``before`` is done each time and not measured; ``once``: it
    changes what it asks, and is asked once."""

    ask: Callable[[], object]
    before: Callable[[], object] = lambda: None
    once: bool = False


class OtherWriter:
    """A second process that appends to the record's events in a loop, as each worker does for each step."""

    PAUSE: Final = 0.01

    def __init__(self, url: str) -> None:
        words = [sys.executable, "-m", __spec__.name, "--write-beside", url]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.longest()

    def longest(self) -> float:
        """Return how long its longest write took since this was last asked, one that is going on included."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("?", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_beside(url: str) -> None:
    """Be the other writer, until standard input ends."""
    store, longest = RunStore(url), 0.0
    store.event("bench.wrote")
    while True:
        asked, _, _ = select.select([sys.stdin], [], [], OtherWriter.PAUSE)
        if asked:
            if not sys.stdin.readline():
                return
            print(longest, flush=True)
            longest = 0.0
        began = time.monotonic()
        store.event("bench.wrote")
        longest = max(longest, time.monotonic() - began)


class Counters:
    """Statements and write transactions of this process."""

    def __init__(self) -> None:
        self.statements, self.longest = 0, 0.0
        begin = begin_writing

        @contextmanager
        def timed(engine: Any) -> Iterator[Connection]:
            with begin(engine) as conn:
                began = time.monotonic()
                yield conn
            self.longest = max(self.longest, time.monotonic() - began)  # with its commit

        vars(state_engine)["begin_writing"] = timed

    def watch(self, store: RunStore) -> None:
        """Count the statements of a store's engine."""

        def count(*_: Any) -> None:
            self.statements += 1

        event.listen(store._database.engine, "before_cursor_execute", count)  # noqa: SLF001

    def ask(self, question: Question, other: OtherWriter) -> Asked:
        """Ask it twice, unless it can be asked once; the second time counts, for the first one imports. Of
        the other writer both count."""
        error, waited, took, used, many = "", 0.0, 0.0, 0.0, 0
        for _ in range(1 if question.once else 2):
            question.before()
            self.statements, self.longest = 0, 0.0
            other.longest()
            began, before = time.monotonic(), _processor()
            try:
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    question.ask()
            except Exception as raised:  # noqa: BLE001  # it is told, and the others are asked
                error = f"{type(raised).__name__}: {raised}"
            took, used, many = time.monotonic() - began, _processor() - before, self.statements
            waited = max(waited, other.longest())
        return Asked(
            seconds=took,
            processor=used,
            statements=many,
            longest=self.longest,
            waited=waited,
            error=error,
        )


def _processor() -> float:
    spent = os.times()
    return spent.user + spent.system


def questions(
    settings: Settings, services: Services, newest: str, large: LargeRun
) -> dict[str, Question | Callable[[], object]]:
    """Return everything that is asked of the whole record."""
    store, now = services.store, time.time()
    watched, limits = watching.watched(settings), watching.limits(settings)
    looked = partial(on_record, watched, limits, store)
    tick = partial(open_due, services, calendar(settings), refused=lambda *_: None)
    return {
        "nothing, for two seconds": lambda: time.sleep(2.0),
        "tick": tick,
        f"tick, {POLICIES} policies due": Question(tick, before=partial(_forget_slots, store)),
        "reconcile": lambda: engine_steps.reconcile(services),
        "take up a step": partial(_take_up, services),
        "status": lambda: _type("runs"),
        "list": lambda: _type("backups", "list"),
        "alerts, as typed": lambda: _type("alerts"),
        "runs show": lambda: _type("runs", "show", newest),
        "check": lambda: _type("check"),
        "metrics and page: the record": lambda: looked(now=now),
        "alerts": lambda: judgement.alerts(looked(now=now), limits),
        "signs, with the chain": lambda: facts_on_record.signs(store, watched, now=now),
        "verification": lambda: facts_on_record.verification(store, watched, now=now),
        "what is verified next": partial(_choose_next, services, watched, now=now),
        "counts of runs": store.counts,
        "page of runs": lambda: store.runs(51),
        "page of backups": lambda: store.replicas_of([e.backup for e in store.backups(limit=51)]),
        "odd rows": store.unreadable,
        "prune's plan": lambda: plan_retention(services, now=now),
        f"plan {large.pieces:,} pieces": Question(large.plan, once=True),
        "reconcile beside them": lambda: engine_steps.reconcile(services),
        "end one of its steps": large.capture,
        f"begin {3 * large.pieces:,} readings": Question(large.read_back, once=True),
        "end one of those": large.verify,
        "fail that run": Question(large.fail, once=True),
        "end that run": Question(large.end, once=True),
        "retry that run": Question(large.retry, once=True),
        "cancel that run": Question(large.cancel, once=True),
        "end that run again": Question(large.end, once=True),
        "fold for ten seconds": Question(lambda: fold_old_steps(services, seconds=10.0), once=True),
    }


def _choose_next(services: Services, watched: WatchedInstallation, *, now: float) -> None:
    """Choose what the next slice of verification reads, as if every target showed all that is on record."""
    assert watched.verification is not None
    items = items_on_record(services.store, replicas_on_record(services.store), now=now)
    due_checks(items, scope_of(watched.verification, now), now=now, draw=random.random)


def _forget_slots(store: RunStore) -> None:
    with store._database.writing() as conn:  # noqa: SLF001
        conn.execute(delete(tables.slots))


class LargeRun:
    """A backup of very many containers, as the record sees it: its steps' results are made up."""

    def __init__(self, services: Services, pieces: int) -> None:
        self.pieces, self._services, self._run = pieces, services, ""

    def plan(self) -> None:
        """Put it on record, and what its plan leads to."""
        store = self._services.store
        run = store.create(self._services.pinned("policy-00").spec, first=(RunStep(StepKind.PLAN),))
        assert run is not None
        self._run = run.id
        captures = tuple(RunStep(StepKind.CAPTURE, piece) for piece in range(self.pieces))
        facts = {"plan": {"pieces": self.pieces}}
        (ticket,) = store.take_ready(self._run, window=WINDOW)
        self._finish(ticket, StepConsequence(follow=captures, facts=facts))

    def capture(self) -> None:
        """End a capture: its uploads follow, and the next capture goes out."""
        ticket = self._out(StepKind.CAPTURE)
        uploads = tuple(RunStep(StepKind.UPLOAD, ticket.step.piece, target) for target in TARGETS)
        self._finish(ticket, StepConsequence(follow=uploads))

    def read_back(self) -> None:
        """End an upload as if it were what commits: all replicas are to be read back."""
        self._finish(self._out(StepKind.UPLOAD), StepConsequence(follow=verifications(self.pieces, TARGETS)))

    def verify(self) -> None:
        """End the reading of one container."""
        self._finish(self._out(StepKind.VERIFY), StepConsequence())

    def fail(self) -> None:
        """Give one of its steps up without which it cannot go on."""
        claim = self._claim(self._out(StepKind.VERIFY))
        self._services.store.fail(
            claim, "bench", settle=StepState.POISONED, decide=lambda *_: StepConsequence()
        )

    def cancel(self) -> None:
        """End it early."""
        self._services.store.cancel(self._run)

    def end(self) -> None:
        """Perform the report with which it ends."""
        engine_steps.reconcile(self._services)
        self._services.store.take_ready(self._run, window=WINDOW)
        self._finish(self._out(StepKind.REPORT), StepConsequence(state=RunState.FAILED, error="bench"))

    def retry(self) -> None:
        """Take it up again, from its plan on."""
        self._services.store.retry(self._run, lambda *_: StepConsequence(), first=(RunStep(StepKind.PLAN),))

    def _out(self, kind: StepKind) -> Ticket:
        store = self._services.store
        store.take_ready(self._run, window=WINDOW)
        with store._database.reading() as conn:  # noqa: SLF001
            step = tables.steps.c
            query = select_rows(tables.steps).where(step.run == self._run, tables.UNSETTLED)
            row = conn.execute(query.where(step.kind == kind.value, step.state == "sent").limit(1)).one()
        return Ticket(self._run, RunStep(kind, row.piece, row.target), row.dispatch)

    def _finish(self, ticket: Ticket, follows: StepConsequence) -> None:
        claim = self._claim(ticket)
        self._services.store.finish(claim, {}, lambda *_: follows, window=WINDOW)

    def _claim(self, ticket: Ticket) -> Claim:
        claim = self._services.store.claim(ticket, owner="bench", lease=60.0)
        assert claim is not None
        return claim


def _type(*words: str) -> None:
    """Perform a command. Raises ValueError with what it said if it was put together wrongly."""
    code = command_line(words)
    if code == UsageError.exit_code:
        raise ValueError(f"'{' '.join(words)}' ended with {code}")


def _take_up(services: Services) -> None:
    """Put a run on record, give its step out, claim it, and end it as refused."""
    spec = services.pinned("policy-00").spec
    run = services.store.create(spec, first=(RunStep(StepKind.PLAN),))
    assert run is not None
    (ticket,) = services.store.take_ready(run.id, window=8)
    assert services.store.claim(ticket, owner="bench", lease=15.0) is not None
    services.store.cancel(run.id)


def queue(services: Services, many: int) -> None:
    """Put runs on record that wait."""
    names = policies()
    specs = [services.pinned(name).spec for name in names]
    for number in range(many):
        services.store.create(specs[number % len(specs)], first=(RunStep(StepKind.PLAN),), queued=True)


# -- The whole ----------------------------------------------------------------------------------------------


class Made(Struct, frozen=True, kw_only=True):
    """A record that was made: its one real run, and how large it is."""

    run: str
    facts: dict[str, float]


def make(folder: Path, services: Services, address: str, *, steps: int, queued: int, seed: int) -> Made:
    """Make a record, unless it was made in that folder before."""
    known = folder / "made.json"
    if known.exists():
        return msgspec.json.decode(known.read_bytes(), type=Made)
    services.store.check()
    run, tickets = submit_backup(services, policy="policy-00")
    ended = drive(run, tickets, services, processes=1)
    assert ended.error is None, ended.error
    backups, others = min(BACKUPS, steps // 100), min(OTHERS, steps // 10)
    with bulk(services.store, address) as rows:
        shape = template(rows, run)
        apiece = sum(row["piece"] >= 0 for row in shape.steps)
        containers = max(1, (steps // backups - len(shape.steps) + apiece) // apiece)
        fill(rows, shape, made_up(time.time(), seed=seed, backups=backups, others=others), containers)
    queue(services, queued)
    facts: dict[str, float] = {
        "ended steps": backups * (len(shape.steps) - apiece + containers * apiece) + others * 2,
        "runs": backups + others + queued + 1,
        "database MiB": round(_size(services.store, address) / 2**20, 1),
    }
    made = Made(run=run, facts=facts)
    known.write_bytes(msgspec.json.encode(made))
    return made


def measure(
    folder: Path, *, steps: int, url: str | None, queued: int, pieces: int, seed: int, only: str
) -> Iterator[dict[str, Any]]:
    """Make a record, ask everything of it, and yield a row for each question."""
    counters = Counters()
    settings = installation(folder, url)
    services = build_services(settings, role=Role.OPERATOR)
    store, address = services.store, settings.database_url
    # A cluster's, whose queues nobody serves here.
    cluster = dataclasses.replace(services, limits=structs.replace(services.limits, at_once=AT_ONCE))
    made = make(folder, services, address, steps=steps, queued=queued, seed=seed)
    counters.watch(store)
    store.counts()
    other = OtherWriter(address)
    for name, question in questions(settings, cluster, made.run, LargeRun(cluster, pieces)).items():
        if not re.search(only, name):
            continue
        asked = counters.ask(question if isinstance(question, Question) else Question(question), other)
        yield {
            "what": f"record: {name}",
            "who": "strongroom, PostgreSQL" if url else "strongroom",
            "seconds": round(asked.seconds, 4),
            "cpu_seconds": round(asked.processor, 4),
            "facts": made.facts
            | {
                "statements": asked.statements,
                "longest write s": round(asked.longest, 4),
                "longest wait of another writer s": round(asked.waited, 4),
            },
        }
        if asked.error:
            print(f"{name}: {asked.error}", file=sys.stderr)
    other.close()


def _size(store: RunStore, url: str) -> int:
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).stat().st_size
    with store._database.reading() as conn:  # noqa: SLF001
        return int(conn.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--queued", type=int, default=QUEUED)
    parser.add_argument("--pieces", type=int, default=PIECES, help="of the very large run")
    parser.add_argument("--url", help="an empty PostgreSQL database; without it SQLite")
    parser.add_argument("--postgresql", action="store_true", help="start one that keeps what it commits")
    parser.add_argument("--seed", type=int, default=26)
    parser.add_argument("--small", action="store_true", help="seconds, to see that it works")
    parser.add_argument("--folder", type=Path, help="where the record is kept; one that is there is asked")
    parser.add_argument("--only", default="", help="a regular expression: the questions to ask, by name")
    parser.add_argument("--write-beside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write_beside:
        write_beside(given.write_beside)
        return 0
    steps, queued, pieces = (5_000, 10, 200) if given.small else (given.steps, given.queued, given.pieces)
    with ExitStack() as stack:
        url = given.url or (_postgresql(stack) if given.postgresql else None)
        state = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "state"
        sized = {"steps": steps, "queued": queued, "pieces": pieces, "only": given.only}
        for row in measure(state, url=url, seed=given.seed, **sized):
            print(json.dumps(row), flush=True)
    return 0


def _postgresql(stack: ExitStack) -> str:
    return stack.enter_context(PostgresServer(fsync=True)).new_database()


if __name__ == "__main__":
    raise SystemExit(main())
