"""How fast backups are re-wrapped, beside the bare key operations: ``python -m tests.live.rotation_rates``.

Prints a table in Markdown. *Bare* is what the keys themselves take: one unlocking, one wrapping, one
unlocking to prove it, and nothing read or written. *Re-wrap* does that for backups of 100 containers on
one target in memory, from the manifest's bytes to the envelope read back; *run* records every step
in the state database besides, as the workers do.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.container.wrapping import WrappingKey, unlock
from strongroom.operations.drive import drive
from strongroom.operations.layout import manifest_name
from strongroom.operations.pins import pin_recipient, pin_target
from strongroom.operations.rewrap import Rotation, rewrap_backup
from strongroom.operations.rotation import submit_rotation
from strongroom.operations.services import Pinned
from strongroom.state.records import RunState
from tests.live.rotation_kinds import Kind, every_kind
from tests.operations.many import enter, make_backup
from tests.operations.test_rotation_large import FoldersTarget
from tests.operations.world import POLICY, World, make_world

BACKUPS, CONTAINERS = 100, 100
ROLES = ("control", "recover")


class Rates(Struct, frozen=True, kw_only=True):
    """Wrapping keys a second."""

    kind: str
    bare: float
    rewrap: float
    run: float


class Bench:
    """Backups sealed for one key, to be rotated to another of its kind."""

    def __init__(self, folder: Path, kind: Kind, *, backups: int = BACKUPS) -> None:
        self.name, self.old, self.new = kind
        folder.mkdir()
        world, self.target = make_world(folder), FoldersTarget("eu")
        self.world: World = world.with_spec(targets=(pin_target("eu", self.target),), quorum=1, regions=1)
        self.trusted = frozenset(world.signers[role].fingerprint for role in ROLES)
        signers = (world.signers["control"], world.signers["seal"])
        self.made = [
            make_backup(
                number,
                recipients=[self.old.recipient],
                spec=self.world.spec,
                signers=signers,
                pieces=CONTAINERS,
            )
            for number in range(backups)
        ]

    def lay(self) -> None:
        """Have the backups lie on the target as they were made, unrotated."""
        self.target._objects.clear()
        self.target._folders.clear()
        for _, objects in self.made:
            self.target.lay(objects)

    def bare(self) -> int:
        """Make the key operations alone."""
        for _ in self.made:
            held = self._key.rewrap([self.new.recipient]).record
            unlock(held, [self.new.identity])
            unlock(self._key.record, [self.old.identity])
        return len(self.made)

    def prepare(self) -> None:
        """Make a wrapping key, and log in wherever that is needed."""
        gc.collect()
        gc.freeze()  # what lies on a target in memory is not this program's to look through again
        self._key = WrappingKey.create([self.old.recipient])
        unlock(self._key.record, [self.old.identity])
        unlock(self._key.rewrap([self.new.recipient]).record, [self.new.identity])

    def rewrap(self) -> int:
        rotation = Rotation(
            recipients=[self.new.recipient],
            identities=[self.old.identity, self.new.identity],
            signer=self.world.signers["recover"],
            trusted=self.trusted,
        )
        return sum(len(list(rewrap_backup(self._read(m), [self.target], rotation))) for m, _ in self.made)

    def _read(self, manifest: Manifest) -> Manifest:
        content = b"".join(self.target.read(manifest_name(manifest.backup_id)))
        return parse_manifest(content, trusted=self.trusted)

    def run(self) -> int:
        """Do the same as a run."""
        spec = self.world.with_spec(recipients=(pin_recipient("new", self.new.recipient),)).spec
        pinned = Pinned(spec=spec, recipients=(self.new.recipient,))
        services = self.world.services(
            targets={"eu": self.target},
            pinned=lambda _: pinned,
            identities=lambda: (self.old.identity, self.new.identity),
            signer_fingerprints=self.trusted,
        )
        enter(services.store, self.made)
        run, tickets = submit_rotation(services, policy=POLICY)
        done = drive(run, tickets, services, processes=1)
        assert done.state is RunState.DONE, done.error
        return len(self.made)


def measure(bench: Bench) -> Rates:
    """Return the rates of one kind of recipient, each the better of two turns."""
    bench.prepare()
    turns = [(_rate(bench, bench.bare), _rate(bench, bench.rewrap)) for _ in range(2)]
    return Rates(
        kind=bench.name,
        bare=max(bare for bare, _ in turns),
        rewrap=max(rewrap for _, rewrap in turns),
        run=_rate(bench, bench.run),
    )


def _rate(bench: Bench, work: Callable[[], int]) -> float:
    bench.lay()
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def table(rates: list[Rates]) -> list[str]:
    """Return the table's lines."""
    lines = [
        "| recipient | bare/s | re-wrap/s | of bare | as a run/s | of bare |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for one in rates:
        shares = f"{one.rewrap / one.bare:.0%} | {one.run:,.0f} | {one.run / one.bare:.0%}"
        lines.append(f"| {one.kind} | {one.bare:,.0f} | {one.rewrap:,.0f} | {shares} |")
    return lines


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with every_kind(folder) as kinds:
            found = []
            for number, kind in enumerate(kinds):
                found.append(measure(Bench(folder / str(number), kind)))
                sys.stderr.write(f"{found[-1]}\n")
        sys.stdout.write("\n".join([*table(found), ""]))


if __name__ == "__main__":
    main()
