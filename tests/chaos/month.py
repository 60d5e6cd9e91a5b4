"""A month on a live cluster, in minutes: the whole calendar, with kills, a region that is away, and damage.

``python -m tests.chaos.month SEED FOLDER`` moves the time of day of all its processes on by some hours, waits
until the machine is quiet again, and goes on: what is due at each hour of a month is done by real workers.
It needs root, since it has a mount namespace and a clock of its own. Prints what came of it.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from strongroom.config import load_settings
from strongroom.container.manifest import parse_manifest
from strongroom.errors import StrongroomError
from strongroom.model import Secret
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.layout import INDEXES, container_name, manifest_name
from strongroom.state.records import Run, RunKind, RunState
from strongroom.state.store import RunStore
from strongroom.targets.directory import MARKER
from strongroom.wiring.calendar import calendar
from tests.chaos.errands import Approvers, Errands
from tests.chaos.log import Say, begin
from tests.chaos.place import (
    REGIONS,
    Place,
    files_of_backups,
    files_under,
    made_up,
    make_place,
    odd_indexes,
)
from tests.chaos.series import OWN_MOUNTS
from tests.chaos.site import Site
from tests.chaos.storm import Storm
from tests.chaos.wall_clock import WallClock
from tests.chaos.weather import Action, Undo
from tests.chaos.weather import begin as act
from tests.process import ROOT, free_port
from tests.redis_server import RedisServer
from tests.workers.cluster import RunningCluster
from workers import names

START: Final = datetime(2027, 3, 20, 1, 0, tzinfo=UTC)
"""So that the month has a change of the clocks, the first of a month, and the drills of a quarter."""
STEP: Final = timedelta(hours=6)
KILLS: Final = (
    "child killed",
    "main killed",
    "beat killed",
    "supervisor killed",
    "broker restarted",
    "broker emptied",
)
OFTEN: Final = 0.25
"""The part of the steps in which something is killed while what is due is done."""
AWAY: Final = range(32, 44)
"""The steps in which a region does not answer: three days."""
FLIPPED: Final = 20
"""The step before which a container of the newest backup is damaged in a region."""
DELETED: Final = 64
"""The step before which one is deleted."""
POLICIES: Final = ("daily-metadata", "weekly-critical", "monthly-full")
OLD: Final = timedelta(days=14)
"""After these there is something to delete."""
PRUNED: Final = "backup.pruned"
REPAIRED: Final = "replica.repaired"
MANY: Final = 100_000
KEPT: Final = (
    "deletion/",
    "drills/",
    "heads/",
    "holds/",
    "quarantine/",
    "ledger/",
    "reports/",
    "reviews/",
    "trust/",
)

_POLICIES: Final = """
[calendar]
time_zone = "Europe/Berlin"
[verification]
span_days = 10
[prune]
grace_days = 2

[policies.daily-metadata]
kind = "metadata"
source = "local"
targets = {regions}
schedule = "0 2 * * *"
quorum = 2
regions = 2
minimum_retention_days = 3
minimum_retention_count = 3
keep = {{ daily = 7, weekly = 2 }}

[policies.weekly-critical]
kind = "full"
source = "local"
tags = {{ priority = "critical" }}
targets = {regions}
recipients = ["recovery"]
schedule = "0 3 * * 0,3"
quorum = 2
regions = 2
verify = "compared"
minimum_retention_days = 3
minimum_retention_count = 2
short_retention_reason = "a month in minutes"
single_recipient_reason = "a test"
keep = {{ last = 2, monthly = 1 }}

[policies.monthly-full]
kind = "full"
source = "local"
targets = {regions}
recipients = ["recovery"]
schedule = "0 4 1,15 * *"
quorum = 2
regions = 2
verify = "compared"
minimum_retention_days = 3
minimum_retention_count = 1
short_retention_reason = "a month in minutes"
single_recipient_reason = "a test"
keep = {{ last = 2 }}
"""


class Month:
    """The machine, its clock, and what was seen of it."""

    def __init__(self, at: Site, clock: WallClock, seed: int, say: Say) -> None:
        self.site, self.clock, self.say = at, clock, say
        self.settings = load_settings({**os.environ, **at.place.environment})
        self.storm = Storm(at, [], [], Approvers(at, Errands()))
        self.draw = random.Random(seed)
        self.looked: list[float] = []
        self.killed: Counter[str] = Counter()
        self.damaged: list[tuple[str, str]] = []

    @property
    def now(self) -> float:
        """The time of day of the machine, in seconds since the epoch."""
        return time.time() + self.clock.moved

    def live(self, steps: int) -> list[str]:
        """Live so many steps; return what was not as promised."""
        back: Undo | None = None
        for step in range(steps):
            if step == AWAY.start:
                back = act(self.site, Action(name="target away", at=0.0, lasts=0.0, pick=1))
            if step == AWAY.stop and back is not None:
                back()
            if step in (FLIPPED, DELETED):
                self._damage(step)
            if not self._live_step(step):
                return [f"step {step}: the machine does not come to rest: {self._under_way()}"]
        return []

    def _live_step(self, step: int) -> bool:
        """Move the clock on, have what is due begun, perhaps kill something, and wait until all is quiet."""
        self.clock.advance(int(STEP.total_seconds()))
        self._tick()
        kills = self.draw.random() < OFTEN
        pause = time.monotonic() + self.draw.uniform(0.5, 4.0)
        quiet = True
        if any(self._overdue(self.now)):
            claimed = self._slots_claimed()
            quiet = self.storm.wait(lambda: self._slots_claimed() > claimed)
        if kills and quiet:
            time.sleep(max(0.0, pause - time.monotonic()))  # anywhere in what is being done
            self._kill()
        quiet = self.storm.wait(self._is_quiet)
        self.looked.append(self.now)
        moment = datetime.fromtimestamp(self.now, UTC)
        self.say(f"{step:>4}  {moment:%Y-%m-%d %H:%M}  {self._slots_claimed()} slots")
        return quiet

    def _tick(self) -> None:
        """Have what is due looked at now: beat itself looks every half minute."""
        environment = {**os.environ, **self.site.place.environment, "STRONGROOM_ROLE": names.BEAT}
        asked = f"from workers.app import app; app.send_task({names.TICK!r}, queue={names.CONTROL!r})"
        subprocess.run([sys.executable, "-c", asked], cwd=ROOT, env=environment, check=False)

    def _kill(self) -> None:
        victim = self.draw.choice(KILLS)
        if act(self.site, Action(name=victim, at=0.0, lasts=0.0, pick=self.draw.randrange(1 << 16))):
            self.killed[victim] += 1

    def _damage(self, step: int) -> None:
        """Flip a bit of a container of the newest backup in one region, or delete one there."""
        region = self.site.place.region(REGIONS[step % len(REGIONS)])
        victim = max(region.glob("containers/*/*"))
        self.damaged.append((victim.parent.name, region.name))
        if step == DELETED:
            victim.unlink()
            return
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.chmod(0o600)
        victim.write_bytes(content)

    def _is_quiet(self) -> bool:
        """Tell whether what was due is begun and ended."""
        return not self.site.store.active() and not list(self._overdue(self.now))

    def _overdue(self, moment: float) -> Iterator[Scheduled]:
        for entry in calendar(self.settings):
            if entry.needs or entry.offline or entry.kind in MAYBE:
                continue
            due = entry.last(moment)
            if due is not None and due > START.timestamp() and entry_slot(self.site, entry, due) is None:
                yield entry

    def _slots_claimed(self) -> int:
        return len(slots(self.site))

    def _under_way(self) -> str:
        active = ", ".join(f"{run.spec.kind} {run.id}" for run in self.site.store.active())
        return active or "overdue: " + ", ".join(entry.name for entry in self._overdue(self.now))


MAYBE: Final = frozenset({RunKind.REPAIR, RunKind.ROTATE})
"""Entries that often have nothing to do."""


def slots(at: Site) -> list[tuple[str, float, str]]:
    """Return every slot that was claimed: its entry, when it was due, and its run."""
    with closing(sqlite3.connect(f"file:{at.place.state / 'state.db'}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT policy, due_at, run FROM slots").fetchall()


def entry_slot(at: Site, entry: Scheduled, due: float) -> str | None:
    """Return the run of an entry's slot; entries for several subjects have a slot for each."""
    for name, at_time, run in slots(at):
        if at_time >= due and (name == entry.name or name.startswith(f"{entry.name} ")):
            return run
    return None


# -- what must be true at the end ------------------------------------------------------------------


def broken(month: Month) -> Iterator[str]:
    """Yield what was not as promised."""
    yield from _calendar(month)
    yield from _runs(month)
    yield from _covered(month)
    yield from _pruned(month)
    yield from _damage_mended(month)
    yield from _places(month)


def _calendar(month: Month) -> Iterator[str]:
    """Every slot that came has a run, and no slot has two."""
    claimed = slots(month.site)
    for (name, due), count in Counter((name, due) for name, due, _ in claimed).items():
        if count > 1:
            yield f"{name} has {count} runs for its slot {due}"
    for entry in calendar(month.settings):
        if entry.needs or entry.offline or entry.kind in MAYBE:
            continue
        mine = [due for name, due, _ in claimed if name == entry.name or name.startswith(f"{entry.name} ")]
        for moment in month.looked:
            due = entry.last(moment)
            if due is not None and due > START.timestamp() and not any(due <= one <= moment for one in mine):
                yield f"{entry.name}: no run for the slot of {datetime.fromtimestamp(due, UTC)}"


def _runs(month: Month) -> Iterator[str]:
    """Every run ended, and one that failed says that the region was away."""
    for run in all_runs(month.site.store):
        if not run.state.final:
            yield f"{run.spec.kind} {run.id} has not ended"
        elif run.state is RunState.FAILED and REGIONS[1] not in (run.error or ""):
            yield f"{run.spec.kind} {run.id} of '{run.spec.policy}' failed: {run.error}"


def all_runs(store: RunStore) -> list[Run]:
    """Return every run on record."""
    return store.runs(limit=MANY)


def _covered(month: Month) -> Iterator[str]:
    code, document, said = month.site.cli("runs")
    month.say(f"status ended with {code}: {document.get('verification')} {said[-300:]}")
    if not document.get("verification"):
        yield "status does not tell how much was verified"


def _pruned(month: Month) -> Iterator[str]:
    """Old backups went from every region, and each policy still has backups."""
    gone = Counter(str(event.detail["target"]) for event in month.site.store.events(kind=PRUNED, limit=MANY))
    month.say(f"backups deleted: {dict(gone)}")
    old_enough = len(month.looked) * STEP > OLD
    if len(set(gone.values())) > 1 or (old_enough and len(gone) < len(REGIONS)):
        yield f"the regions lost different numbers of backups: {dict(gone)}"
    left = Counter(entry.policy for entry in month.site.store.backups())
    yield from (f"no backup of {policy} is left" for policy in POLICIES if not left[policy])


def _damage_mended(month: Month) -> Iterator[str]:
    """What was damaged was found by verification, and repaired."""
    repaired = month.site.store.events(kind=REPAIRED, limit=MANY)
    for backup, region in month.damaged:
        if not any(one.detail["backup"] == backup and one.detail["target"] == region for one in repaired):
            yield f"the damage of {backup} on {region} was not repaired"


def _places(month: Month) -> Iterator[str]:
    """Each region has the same backups, whole, and nothing that belongs to none."""
    place = month.site.place
    backups = {region: set(_manifests(place, region)) for region in REGIONS}
    for region in REGIONS:
        if backups[region] != backups[REGIONS[0]]:
            yield f"{region} differs from {REGIONS[0]}: {sorted(backups[region] ^ backups[REGIONS[0]])[:4]}"
        expected = {MARKER}
        for backup in backups[region]:
            expected |= _named(place, region, backup)
        there = {name for name in files_of_backups(place.region(region)) if not name.startswith(KEPT)}
        if there != expected:
            more, less = sorted(there - expected)[:4], sorted(expected - there)[:4]
            yield f"{region} has {more} that belongs to no backup, and lacks {less}"
        if odd := odd_indexes(place.region(region)):
            yield f"{region} has odd indexes of names: {sorted(odd)[:4]}"
    if left := {name for name in files_under(place.stage) - {MARKER} if not name.startswith(INDEXES)}:
        yield f"left on the stage: {sorted(left)[:5]}"


def _manifests(place: Place, region: str) -> Iterator[str]:
    for path in (place.region(region) / "manifests").glob("*.json"):
        yield path.stem


def _named(place: Place, region: str, backup: str) -> set[str]:
    try:
        manifest = parse_manifest(manifest_bytes(place.target(region), backup, trusted=None), trusted=None)
    except StrongroomError as error:
        return {f"{manifest_name(backup)}: {error.message}"}
    return {manifest_name(backup)} | {container_name(backup, one.sha256) for one in manifest.containers}


# -- the machine -----------------------------------------------------------------------------------


def tagged(secrets: list[Secret]) -> list[Secret]:
    """Return the secrets, every second one of them critical."""
    return [
        replace(secret, tags={"priority": "critical"} if number % 2 else {"priority": "low"})
        for number, secret in enumerate(secrets)
    ]


def configure(place: Place, broker: RedisServer) -> None:
    """Write the configuration: three policies with keep rules, and the calendar that there is by default."""
    text = place.config.read_text()
    head, rest = text.split("[policies.", maxsplit=1)
    limits = rest[rest.index("[limits]") :]
    policies = _POLICIES.format(regions=list(REGIONS))
    patience = limits + "\nlease_seconds = 5\npatience_seconds = 3\n"
    place.config.write_text(f'{head}{policies}\n{patience}\n[broker]\nurl = "{broker.broker_url}"\n')
    for name in REGIONS:
        place.region(name).mkdir(parents=True, exist_ok=True)
        (place.region(name) / MARKER).write_text(
            "Strongroom keeps backups in this directory. Do not change it by hand.\n"
        )


def run(seed: int, root: Path, *, days: int, say: Say) -> list[str]:
    """Live through a month under ``root``, which must not exist; return what was not as promised."""
    root.mkdir(parents=True)
    clock = WallClock(root)
    clock.advance(int(START.timestamp() - time.time()))
    with ExitStack() as undo:
        broker = undo.enter_context(RedisServer(port=free_port()))
        secrets = tagged(made_up(6, seed))
        place = make_place(root / "machine", secrets, opens=True)
        configure(place, broker)
        store = undo.enter_context(closing(RunStore(place.database)))
        cluster = RunningCluster(place.state, "--started", environment=place.environment)
        undo.callback(cluster.close)
        cluster.start()
        site = Site(
            place=place,
            secrets=secrets,
            cluster=cluster,
            store=store,
            redis=broker,
            postgres=None,
            mounts=False,
        )
        month = Month(site, clock, seed, say)
        wrong = month.live(int(timedelta(days=days) / STEP)) or list(broken(month))
        tell(month, say)
        return wrong


def tell(month: Month, say: Say) -> None:
    """Say what the month was like: runs by kind and how they ended, kills, and what is left."""
    found = Counter((run.spec.kind, run.state) for run in all_runs(month.site.store))
    for (kind, state), count in sorted(found.items()):
        say(f"{kind:<12} {state:<10} {count:>5}")
    say(f"killed: {dict(month.killed)}")
    for run in all_runs(month.site.store):
        if run.spec.kind is RunKind.DRILL or run.state is RunState.FAILED:
            say(f"{run.spec.kind} {run.id} {run.spec.policy} {run.state}: {run.error or 'good'}")


def main() -> int:
    """Run one month; outside of a mount namespace of its own, begin again in one."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.month", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("root", type=Path)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--own-mounts", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.own_mounts:
        words = [*OWN_MOUNTS, sys.executable, "-m", "tests.chaos.month", *sys.argv[1:], "--own-mounts"]
        return subprocess.run(words, cwd=ROOT, check=False).returncode
    say = begin("month.log")
    wrong = run(given.seed, given.root, days=given.days, say=say)
    for words in wrong:
        say(f"BROKEN: {words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
