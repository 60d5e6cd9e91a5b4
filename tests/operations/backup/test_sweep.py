"""What a run had to leave is swept by a later one; what a manifest names is never swept."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.manifest import parse_manifest, sign_manifest
from strongroom.container.signing import CertifiedSigner, Signer, certify
from strongroom.errors import StrongroomError
from strongroom.model import ObjectInfo
from strongroom.operations.archive.open import manifest_bytes, open_backup
from strongroom.operations.backup.outcome import sweep_targets
from strongroom.operations.engine.layout import containers_prefix, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.state.records import Run, RunState
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked, TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import REGIONS, World, make_world, names_on


class Keeping(MemoryTarget):
    """A target that gives up nothing while there is a ``reason``."""

    reason: StrongroomError | None = None
    deleted = 0

    def delete(self, name: str) -> None:
        if self.reason is not None:
            raise self.reason
        self.deleted += 1
        super().delete(name)


@pytest.fixture
def us() -> Keeping:
    return Keeping(name="us", region="us")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, pieces=1)


def failing(world: World, us: Keeping) -> Services:
    """Return services under which a run uploads all, and does not commit: its quorum is beyond reach."""
    return world.with_spec(quorum=4).services(targets={**world.targets, "us": us})


def back_up(world: World, services: Services, state: RunState) -> Run:
    run = world.back_up(services)
    assert run.state is state, run.error
    return run


@pytest.mark.parametrize(
    "reason", [TargetLocked("it is locked"), TargetUnavailable("it does not answer")], ids=["locked", "dead"]
)
def test_what_a_failed_run_had_to_leave_is_swept_after_a_later_one(
    world: World, us: Keeping, reason: StrongroomError
) -> None:
    us.reason = reason
    failed = back_up(world, failing(world, us), RunState.FAILED)
    assert failed.facts["report"]["unswept"] == {"us": str(reason)}
    left = names_on(us)
    assert left
    us.reason = None

    good = back_up(world, world.services(targets={**world.targets, "us": us}), RunState.DONE)

    assert good.facts["report"]["swept"] == [failed.id]
    assert not set(left) & set(names_on(us))
    assert all(good.id in name for name in names_on(us))


def test_it_is_not_forgotten_among_the_runs_that_came_later(world: World, us: Keeping) -> None:
    us.reason = TargetLocked("it is locked")
    failed = back_up(world, failing(world, us), RunState.FAILED)
    us.reason = None
    services = world.services(targets={**world.targets, "us": us})
    for _ in range(1_001):
        assert services.store.create(failed.spec, first=()) is not None
    assert back_up(world, services, RunState.DONE).facts["report"]["swept"] == [failed.id]


def test_it_is_swept_once(world: World, us: Keeping) -> None:
    us.reason = TargetLocked("it is locked")
    back_up(world, failing(world, us), RunState.FAILED)
    us.reason = None
    services = world.services(targets={**world.targets, "us": us})
    back_up(world, services, RunState.DONE)
    again = back_up(world, services, RunState.DONE)

    assert again.facts["report"]["swept"] == []
    assert us.deleted == 1


def test_what_is_still_locked_stays_to_be_swept(world: World, us: Keeping) -> None:
    us.reason = TargetLocked("it is locked")
    failed = back_up(world, failing(world, us), RunState.FAILED)
    services = world.services(targets={**world.targets, "us": us})
    assert back_up(world, services, RunState.DONE).facts["report"]["swept"] == []
    us.reason = None
    assert back_up(world, services, RunState.DONE).facts["report"]["swept"] == [failed.id]


# -- what an edited row cannot have removed ------------------------------------------


class Absent(MemoryTarget):
    """A target that can be taken away, with all that lies on it."""

    away = False

    def _asked(self) -> None:
        if self.away:
            raise TargetUnavailable(f"target '{self.name}' does not answer")

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self._asked()
        return super().put(name, chunks, size=size, sha256=sha256)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._asked()
        return super().read(name, offset=offset, length=length)

    def stat(self, name: str) -> ObjectInfo | None:
        self._asked()
        return super().stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._asked()
        return super().list(prefix)

    def delete(self, name: str) -> None:
        self._asked()
        super().delete(name)


def absent_targets() -> dict[str, Absent]:
    return {name: Absent(name=name, region=name) for name in REGIONS}


def say_failed(world: World, run: str, *, targets: Iterable[str] = REGIONS) -> None:
    """Edit the row of a good backup: it failed, left something, and had these targets alone."""
    kept = ",".join(f"'{name}'" for name in targets)
    pins = (
        "(SELECT json_group_array(json(value)) FROM json_each(spec, '$.targets') "
        f"WHERE json_extract(value, '$.name') IN ({kept}))"
    )
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.execute(
            "UPDATE runs SET state = 'failed', remains = 1, error = 'x', "
            f"facts = json_remove(facts, '$.manifest'), spec = json_set(spec, '$.targets', json({pins})) "
            "WHERE id = ?",
            (run,),
        )


def objects_of(targets: dict[str, Absent], run: str) -> dict[str, list[str]]:
    return {name: [one for one in names_on(target) if run in one] for name, target in targets.items()}


AWAY = [gone for count in (0, 1, 2, 3) for gone in combinations(REGIONS, count)]


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("quorum", [1, 2, 3])
@pytest.mark.parametrize("trimmed", [False, True], ids=["all targets in the row", "those away cut out of it"])
def test_no_outage_and_no_edited_row_has_a_good_backup_swept(
    tmp_path: Path, quorum: int, *, trimmed: bool
) -> None:
    """One outage after the other, each of 0 to 3 targets, and the next backup's report each time."""
    targets = absent_targets()
    world = make_world(tmp_path, pieces=1, quorum=quorum, regions=1).with_targets(targets)
    good = world.back_up().id
    before = objects_of(targets, good)
    for gone in AWAY:
        there = [name for name in REGIONS if name not in gone]
        say_failed(world, good, targets=there if trimmed else REGIONS)
        for name in gone:
            targets[name].away = True
        world.back_up()
        for target in targets.values():
            target.away = False
        assert objects_of(targets, good) == before, gone
    for target in targets.values():
        backup = open_backup(target, good, identities=[world.identity], trusted=None)
        assert len(list(backup.secrets())) == 30


def test_one_target_that_is_away_keeps_everything_everywhere_until_it_is_back(tmp_path: Path) -> None:
    targets = absent_targets()
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    failed = back_up(world, world.with_spec(quorum=4).services(), RunState.FAILED)
    assert objects_of(targets, failed.id) == {name: [] for name in REGIONS}

    services = world.services()
    left = f"{containers_prefix(failed.id)}{'ab' * 32}"
    for target in targets.values():
        put(target, left, b"what it left")
    targets["ap"].away = True
    assert set(sweep_targets(failed, services)) == {"ap"}
    targets["ap"].away = False
    assert objects_of(targets, failed.id) == {name: [left] for name in REGIONS}

    assert sweep_targets(failed, services) == {}
    assert objects_of(targets, failed.id) == {name: [] for name in REGIONS}


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def test_one_manifest_on_one_target_keeps_what_it_names_everywhere(tmp_path: Path) -> None:
    """Fewer than the quorum: whoever could remove two manifests would have the third replica swept too."""
    targets = absent_targets()
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    good = world.back_up().id
    for name in ("eu", "us"):
        targets[name].delete(manifest_name(good))
    before = objects_of(targets, good)
    say_failed(world, good)
    world.back_up()
    assert objects_of(targets, good) == before


@pytest.mark.parametrize("away", [True, False], ids=["away", "there"])
def test_a_target_that_was_cut_out_of_the_row_is_looked_at_all_the_same(
    tmp_path: Path, *, away: bool
) -> None:
    """Only it still shows the manifest: the others' containers can make their replicas whole again."""
    targets = absent_targets()
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    good = world.back_up().id
    for name in ("eu", "us"):
        targets[name].delete(manifest_name(good))
    before = objects_of(targets, good)
    say_failed(world, good, targets=["eu", "us"])
    targets["ap"].away = away
    world.back_up()
    targets["ap"].away = False
    assert objects_of(targets, good) == before


def certified(signer: Signer) -> CertifiedSigner:
    """Return a key that certifies itself: that of an installation which nobody here knows."""
    certificate = certify(signer, role="control", public=signer.public, issued_at=datetime.now(UTC))
    return CertifiedSigner.of(signer, certificate)


JUNK: dict[str, Callable[[bytes], bytes]] = {
    "junk": lambda content: b"no manifest",
    "a stranger's": lambda content: sign_manifest(
        parse_manifest(content, trusted=None), certified(Signer.generate())
    ),
    "cut off": lambda content: content[:-100],
}


@pytest.mark.parametrize("kind", JUNK)
def test_a_manifest_that_cannot_be_believed_keeps_its_own_target_alone_and_is_told(
    tmp_path: Path, kind: str
) -> None:
    targets = absent_targets()
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    good = world.back_up()
    content = JUNK[kind](manifest_bytes(targets["eu"], good.id, trusted=None))
    for target in targets.values():
        target.delete(manifest_name(good.id))
    put(targets["eu"], manifest_name(good.id), content)
    kept = objects_of(targets, good.id)["eu"]
    ended = structs.replace(good, facts={})

    left = sweep_targets(ended, world.services())

    assert objects_of(targets, good.id) == {"eu": kept, "us": [], "ap": []}
    assert list(left) == ["eu"]
    assert "cannot be believed" in left["eu"]


class Late(Absent):
    """A target on which a manifest appears right before the first container is removed."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, region=name)
        self.content = b""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        found = super().list(prefix)
        if prefix.startswith("containers/") and self.content:
            put(self, manifest_name(prefix.split("/")[1]), self.content)
        return found


def test_who_removes_looks_again_right_before(tmp_path: Path) -> None:
    targets = absent_targets() | {"eu": Late("eu")}
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    good = world.back_up()
    late = targets["eu"]
    assert isinstance(late, Late)
    late.content = manifest_bytes(late, good.id, trusted=None)
    for target in targets.values():
        target.delete(manifest_name(good.id))

    left = sweep_targets(structs.replace(good, facts={}), world.services())

    assert "another manifest" in left["eu"]
    assert len(objects_of(targets, good.id)["eu"]) == 2
