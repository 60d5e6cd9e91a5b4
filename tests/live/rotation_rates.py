"""How fast backups are re-wrapped, beside the bare key operations: ``python -m tests.live.rotation_rates``.

Prints a table in Markdown, of all kinds of keys, or of those whose names contain a word of the command
line; a number there is how many backups there are of each kind, 1,000 if there is none. *Bare* is what
the keys themselves take: one unlocking, one wrapping, one unlocking to prove it, in one process, and
nothing read or written. *Re-wrap* does that for backups of 100 containers on one target in memory, from
the manifest's bytes to the envelope read back. *A run* is the whole rotation with its state database, as
the command line and the workers do it, in one process and over all cores. Each is the best of three
turns, and they take turns, so that a busy moment falls on all of them. The time that the process stood
in line for a processor that others had is left out, but for that over all cores.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from msgspec import Struct

from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.container.signing import Signer, verify
from strongroom.container.wrapping import unlock
from strongroom.operations.archive.envelopes import own_record, wrapping_keys
from strongroom.operations.archive.open import ObjectReader, readable_container
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient, pin_target
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.rotation.job import results, submit_rotation
from strongroom.operations.rotation.rewrap import RewrapOrder, rewrap_backup
from strongroom.state.records import RunState
from tests.live.rotation_kinds import PASSPHRASE, Kind, every_kind
from tests.operations.folders import FoldersTarget
from tests.operations.many import enter, make_backup
from tests.operations.world import POLICY, World, make_world

BACKUPS, CONTAINERS, TURNS = 1000, 100, 3
SLOW = {PASSPHRASE: 20, "KMS (moto)": 200}
"""How many backups there are at most of kinds of which so many would take an hour: a passphrase takes a
quarter of a second, a server in Python some thirtieth."""

SCHEDULED = Path("/proc/thread-self/schedstat")

ROLES = ("control", "recover")


class Rates(Struct, frozen=True, kw_only=True):
    """Wrapping keys a second."""

    kind: str
    bare: float
    rewrap: float
    run: float
    spread: float


class Bench:
    """Backups sealed for one key, to be rotated to another of its kind."""

    def __init__(self, folder: Path, kind: Kind, *, backups: int = BACKUPS) -> None:
        self.name, self.old, self.new = kind
        folder.mkdir()
        world, self.target = make_world(folder), FoldersTarget("eu")
        self.world: World = world.with_spec(targets=(pin_target("eu", self.target),), quorum=1, regions=1)
        self.trusted = frozenset({world.installation.fingerprint})
        signers = (world.signers["control"], world.signers["seal"])
        self.made = [
            make_backup(
                number,
                recipients=[self.old.afresh().recipient],
                spec=self.world.spec,
                signers=signers,
                pieces=CONTAINERS,
            )
            for number in range(backups)
        ]
        enter(self.world.services().store, self.made)

    def lay(self) -> None:
        """Have the backups lie on the target as they were made, and the keys at hand as they are at first."""
        self.target._objects.clear()
        self.target._folders.clear()
        for _, objects in self.made:
            self.target.lay(objects)
        self.old, self.new = self.old.afresh(), self.new.afresh()
        gc.collect()
        gc.freeze()  # what lies on a target in memory is not this program's to look through again

    def prepare(self) -> None:
        """Read the wrapping keys' records, and log in wherever that is needed."""
        self.lay()
        self._records = []
        for manifest, _ in self.made:
            [entry] = wrapping_keys(manifest).values()
            name = readable_container(self.target, manifest.backup_id, entry)
            reader = ObjectReader(self.target, name)
            self._records.append(own_record(reader, entry))
        held = unlock(self._records[0], [self.old.identity]).rewrap([self.new.recipient])
        unlock(held.record, [self.new.identity])

    def bare(self) -> None:
        """Make the key operations alone."""
        for record in self._records:
            made = unlock(record, [self.old.identity]).rewrap([self.new.recipient]).record
            unlock(made, [self.new.identity])

    def rewrap(self) -> None:
        """Re-wrap, and record nothing."""
        rotation = RewrapOrder(
            recipients=[self.new.recipient],
            identities=[self.old.identity, self.new.identity],
            signer=self.world.signers["recover"],
            trusted=self.trusted,
        )
        for manifest, _ in self.made:
            list(rewrap_backup(self._read(manifest), [self.target], rotation))

    def _read(self, manifest: Manifest) -> Manifest:
        content = b"".join(self.target.read(manifest_name(manifest.backup_id)))
        return parse_manifest(content, trusted=self.trusted)

    def run(self, *, processes: int = 1) -> str:
        """Do the same as a run, and return its id."""
        services = self._services()
        run, tickets = submit_rotation(services, policy=POLICY)
        done = drive(run, tickets, services, processes=processes)
        assert done.state is RunState.DONE, done.error
        return run

    def rotated(self, run: str) -> int:
        """Return how many backups a run gave the new key."""
        done = results(self.world.services().store, run)
        return sum(all(key["made"] for key in one["keys"]) for one in done)

    def _services(self) -> Services:
        spec = self.world.with_spec(recipients=(pin_recipient("new", self.new.recipient),)).spec
        pinned = Pinned(spec=spec, recipients=(self.new.recipient,))
        identities = (self.old.identity, self.new.identity)
        return self.world.services(
            targets={"eu": self.target},
            pinned=lambda _: pinned,
            identities=lambda: identities,
            signer_fingerprints=self.trusted,
        )

    def rate(self, work: Callable[[], object]) -> float:
        """Return how many backups a second that does."""
        self.lay()
        started = time.perf_counter() - queued()
        work()
        return len(self.made) / (time.perf_counter() - queued() - started)


def queued() -> float:
    """Return how many seconds this thread has stood in line for a processor that others had."""
    try:
        return int(SCHEDULED.read_text().split()[1]) / 1e9
    except FileNotFoundError:  # not Linux
        return 0.0


def measure(bench: Bench) -> Rates:
    """Return the rates of one kind of recipient."""
    runs: list[str] = []
    bench.prepare()
    ways = (
        bench.bare,
        bench.rewrap,
        lambda: runs.append(bench.run()),
        lambda: runs.append(bench.run(processes=0)),
    )
    turns = [[bench.rate(way) for way in ways] for _ in range(TURNS)]
    assert {bench.rotated(run) for run in runs} == {len(bench.made)}
    bare, rewrap, run, spread = map(max, zip(*turns, strict=True))
    return Rates(kind=bench.name, bare=bare, rewrap=rewrap, run=run, spread=spread)


def signatures(bench: Bench) -> tuple[float, float]:
    """Return for how many backups a second there is time, if the signatures were all that takes any: the
    manifest's and the container's are checked, the envelope's is made. In one process, and in as many as
    there are cores: how much more that is, no program here can do better."""
    signer, content = Signer.generate(), bench.made[0][1][manifest_name(bench.made[0][0].backup_id)]
    small = content[:512]
    signed = [(message, signer.sign(b"test", message)) for message in (content, small)]

    def check() -> None:
        for _ in bench.made:
            for message, signature in signed:
                verify(signer.public, b"test", message, signature)
            signer.sign(b"test", small)

    cores = os.cpu_count() or 1
    turns = [(bench.rate(check), cores * bench.rate(lambda: at_once(check, cores))) for _ in range(TURNS)]
    alone, together = map(max, zip(*turns, strict=True))
    return alone, together


def at_once(work: Callable[[], object], times: int) -> None:
    """Do something in several processes at once."""
    children = [get_context("fork").Process(target=work) for _ in range(times)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def table(rates: list[Rates]) -> list[str]:
    """Return the table's lines."""
    cores = f"run/s, {os.cpu_count()} cores"
    lines = [
        f"| key | bare/s | re-wrap/s | of bare | run/s, 1 process | of bare | {cores} | of bare |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in rates:
        ways = (one.rewrap, one.run, one.spread)
        shares = " | ".join(f"{way:,.0f} | {way / one.bare:.0%}" for way in ways)
        lines.append(f"| {one.kind} | {one.bare:,.0f} | {shares} |")
    return lines


def main(given: list[str]) -> None:
    backups = max((int(word) for word in given if word.isdecimal()), default=BACKUPS)
    wanted = [word for word in given if not word.isdecimal()]
    found, floors = [], []
    with tempfile.TemporaryDirectory() as name, every_kind(Path(name)) as kinds:
        for number, kind in enumerate(kinds):
            if wanted and not any(word in kind[0] for word in wanted):
                continue
            bench = Bench(Path(name) / str(number), kind, backups=min(backups, SLOW.get(kind[0], backups)))
            floors.append(signatures(bench))
            found.append(measure(bench))
            sys.stderr.write(f"{found[-1]}\n")
    alone, together = map(max, zip(*floors, strict=True))
    floor = f"Signatures alone: {alone:,.0f}/s; {together:,.0f}/s over {os.cpu_count()} cores"
    sys.stdout.write("\n".join([*table(found), "", floor, ""]))


if __name__ == "__main__":
    main(sys.argv[1:])
