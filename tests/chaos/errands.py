"""What else a storm's cluster has to do: prune, repair, restore with people's approval, and undo that.

Each is drawn by the seed. Backups of earlier days are made first, on a clock that is put back: they are what
is pruned, repaired and restored. What came of it is judged from outside, by what lies there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.archive.open import open_backup
from strongroom.operations.engine.layout import manifest_name
from strongroom.sources import SecretChange
from strongroom.sources.local import LocalStore
from strongroom.state.records import Run, RunKind, RunState, StepKind, StepState
from tests.chaos.place import REGIONS, Place
from tests.ssh_people import allow, person

if TYPE_CHECKING:
    from tests.chaos.site import Site

DAY: Final = 86_400
SPARE: Final = "spare"
PEOPLE: Final = ("alice", "bob")
OWN: Final = {"app/00000": b"CANARY-theirs-0", "app/00003": b"CANARY-theirs-3", "own/1": b"CANARY-own"}
"""What the destination of the restores holds: two secrets of the backup's names, and one of its own."""
DELETED: Final = "deletion/"
LONGEST_WAIT: Final = 12.0
"""Seconds that people take, at most, until they approve."""

_KEEP: Final = """minimum_retention_days = 1
short_retention_reason = "a storm"
minimum_retention_count = 1
keep = { last = 1 }
"""
_PRUNE: Final = "\n[prune]\ngrace_days = 0\n"
_DESTINATION: Final = '\n[sources.spare]\nkind = "local"\npath = "{path}"\n'
_APPROVALS: Final = """
[approvals]
allowed_signers = "{signers}"
[approvals.rules.spare]
actions = ["restore", "undo"]
destinations = ["spare"]
k = 2
people = ["alice@example.org", "bob@example.org"]
"""

Values = Mapping[str, bytes]


class Errands(Struct, frozen=True, kw_only=True):
    """What is asked for besides a backup. ``older`` is how many backups there are before."""

    older: int = 0
    prune: bool = False
    repair: bool = False
    restore: bool = False
    approval: bool = False
    patience: float = 0.0
    pick: int = 0

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that it takes besides those of a backup."""
        return ("prune",) * self.prune + ("recover",) * self.restore

    @property
    def names(self) -> tuple[str, ...]:
        """What is asked for, in words."""
        asked = {"prune": self.prune, "repair": self.repair, "restore": self.restore}
        return tuple(name for name, wanted in (asked | {"approval": self.approval}).items() if wanted)


NAMES: Final = ("prune", "repair", "restore", "undo", "approval")


def plan(seed: int, *, clock: bool) -> Errands:
    """Return what is asked for in a storm; what is to be pruned takes a clock that can be put back."""
    draw = random.Random(f"errands {seed}")
    prune, repair, restore = draw.random() < 0.5, draw.random() < 0.35, draw.random() < 0.5
    approval, older = draw.random() < 0.6, draw.randint(1, 2)
    patience, pick = draw.uniform(0.0, LONGEST_WAIT), draw.randrange(1 << 16)
    prune = prune and clock
    return Errands(
        older=older if prune or repair or restore else 0,
        prune=prune,
        repair=repair,
        restore=restore,
        approval=restore and approval,
        patience=patience,
        pick=pick,
    )


# -- before the storm -----------------------------------------------------------------


def arrange(place: Place, errands: Errands) -> None:
    """Have the machine configured for it, with a destination that holds something of its own."""
    text = place.config.read_text()
    if errands.prune:
        text = text.replace("quorum = 2\n", f"quorum = 2\n{_KEEP}") + _PRUNE
    if errands.restore:
        text += _DESTINATION.format(path=place.root / SPARE)
        LocalStore(place.root / SPARE, name=SPARE).write(_own())
    if errands.approval:
        people = [person(place.root / "people", f"{name}@example.org") for name in PEOPLE]
        text += _APPROVALS.format(signers=allow(place.root / "allowed_signers", *people))
    place.config.write_text(text)


def _own() -> Iterator[SecretChange]:
    for name, value in OWN.items():
        versions = (SecretVersion(number=1, value=SecretBytes(value)),)
        yield SecretChange(secret=Secret(name=name, versions=versions), expected=None)


def in_spare(place: Place) -> dict[str, bytes]:
    """Return what the destination holds now."""
    store = LocalStore(place.root / SPARE, name=SPARE)
    return values_of(one for one in store.read([*store.list()]) if one is not None)


def values_of(secrets: Iterable[Secret]) -> dict[str, bytes]:
    """Return the newest value of each secret, by name."""
    return {one.name: bytes(one.current.value.reveal()) for one in secrets if one.current.value is not None}


def damage(at: Site, errands: Errands) -> None:
    """Take a manifest and a container of an earlier backup away from one target."""
    backup = at.older[errands.pick % len(at.older)]
    region = at.place.region(REGIONS[errands.pick % len(REGIONS)])
    (region / manifest_name(backup)).unlink()
    next(path for path in (region / "containers" / backup).iterdir()).unlink()


# -- in the storm ---------------------------------------------------------------------


class Errand:
    """Something that is asked for until it is accepted; no sooner than runs of some kinds have ended."""

    def __init__(self, name: str, *words: str, after: Collection[RunKind] = ()) -> None:
        self.name, self._words, self._after = name, words, after
        self.run = ""

    def ask(self, at: Site) -> bool:
        """Ask for it; tell whether it was accepted."""
        try:
            if any(run.spec.kind in self._after for run in at.store.active()):
                return False
        except StrongroomError:
            return False
        code, document, _ = at.cli(*self._words)
        self.run = str(document.get("run", ""))
        return code == 0


def asked(at: Site, errands: Errands) -> list[Errand]:
    """Return what is asked for while the storm lasts."""
    backup = at.older[-1] if at.older else ""
    found = []
    if errands.restore:
        words = ("restore", "--cluster", "--full-restore", "--backup", backup, "--to", SPARE)
        words += ("--overwrite-existing",)
        found.append(Errand("restore", *words))
    if errands.repair:
        older = at.older[errands.pick % len(at.older)]
        found.append(Errand("repair", "backups", "repair", older, "--cluster"))
    if errands.prune:  # one marks, and the next deletes, once there is what replaces
        after = (RunKind.BACKUP, RunKind.PRUNE)
        found += [Errand("prune", "schedule", "run", "prune", after=after) for _ in range(2)]
    return found


class Approvers:
    """Approve what waits for them, in their own time; until then nothing may be written."""

    def __init__(self, at: Site, errands: Errands) -> None:
        self._site, self._patience = at, errands.patience
        self._seen: dict[str, float] = {}
        self._signed: set[tuple[str, str]] = set()
        self._before = in_spare(at.place) if errands.approval else {}
        self._next = 0.0
        self.broken: list[str] = []

    def look(self) -> None:
        """Have one of them approve, if something waits for long enough."""
        if not self._before or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1.0
        try:
            waiting = [run for run in self._site.store.active() if self._waits(run)]
        except StrongroomError:
            return
        for run in waiting:
            since = self._seen.setdefault(run.id, time.monotonic())
            if time.monotonic() - since >= self._patience:
                self._approve(run)

    def _waits(self, run: Run) -> bool:
        if run.spec.kind not in (RunKind.RESTORE, RunKind.UNDO):
            return False
        rows = self._site.store.rows(run.id, StepKind.APPROVE)
        return any(row.state is StepState.READY for row in rows)

    def _approve(self, run: Run) -> None:
        name = next((one for one in PEOPLE if (run.id, one) not in self._signed), None)
        if name is None:
            return
        now = in_spare(self._site.place)
        if run.spec.kind is RunKind.RESTORE and not self._signed and now != self._before:
            self.broken.append(f"{run.id} wrote before {name} approved: {sorted(now)[:4]}")
        key = str(self._site.place.root / "people" / name)
        code, _, _ = self._site.cli("approvals", "approve", run.id, "--key", key, "--force")
        if code == 0:
            self._signed.add((run.id, name))


# -- afterwards -----------------------------------------------------------------------


def expected(at: Site) -> Values:
    """Return what the destination holds after a restore of everything."""
    return OWN | values_of(at.secrets)


def restores(at: Site) -> list[Run]:
    """Return the restores on record, the newest first."""
    return [run for run in at.store.runs(1_000) if run.spec.kind is RunKind.RESTORE]


def judge_restore(at: Site) -> Iterator[str]:
    """Yield what is wrong with what the restores left."""
    for run in restores(at):
        if run.state in (RunState.FAILED, RunState.DEGRADED) and not run.error:
            yield f"{run.id} ended {run.state} and does not say why"
    found, whole = in_spare(at.place), expected(at)
    if any(run.state is RunState.DONE for run in restores(at)):
        yield from _differing(found, whole, "a restore that is done")
    for name, value in found.items():
        if value not in (OWN.get(name), whole.get(name)):
            yield f"{name} has a value that it never had"
    if found.get("own/1") != OWN["own/1"]:
        yield "a restore changed a secret that its backup does not have"


def judge_undo(at: Site) -> Iterator[str]:
    """Yield what an undo that is done did not put back."""
    yield from _differing(in_spare(at.place), OWN, "an undo that is done")


def _differing(found: Values, wanted: Values, after: str) -> Iterator[str]:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if names:
        yield f"after {after} {len(names)} secrets are not as they have to be: {names[:4]}"


def judge_older(at: Site) -> Iterator[str]:
    """Yield which backup of an earlier day is neither whole where it lies nor was replaced there."""
    for backup in at.older:
        for region in REGIONS:
            if (at.place.region(region) / manifest_name(backup)).exists():
                yield from _opens(at, region, backup)
            elif not _is_replaced(at, region, backup):
                yield f"{backup} is gone from {region}, where nothing newer is whole"


def pruned(at: Site) -> int:
    """Return how many replicas of earlier backups were deleted."""
    gone = [(at.place.region(region) / DELETED / backup) for backup in at.older for region in REGIONS]
    return sum(folder.exists() and not _has_manifest(folder) for folder in gone)


def _has_manifest(tombs: Path) -> bool:
    return (tombs.parent.parent / manifest_name(tombs.name)).exists()


def _is_replaced(at: Site, region: str, backup: str) -> bool:
    folder = at.place.region(region)
    newer = sorted(path.stem for path in (folder / "manifests").glob("*.json") if path.stem > backup)
    told = (folder / DELETED / backup).exists()
    return told and any(not list(_opens(at, region, one)) for one in reversed(newer))


def _opens(at: Site, region: str, backup: str) -> Iterator[str]:
    try:
        found = open_backup(at.place.target(region), backup, identities=[at.place.identity], trusted=None)
        values = {secret.name: secret.current.value for secret in found.secrets()}
    except StrongroomError as error:
        yield f"{backup} does not open from {region}: {error}"
        return
    if values != {secret.name: secret.current.value for secret in at.secrets}:
        yield f"{backup} gives other values back from {region} than were put in"
