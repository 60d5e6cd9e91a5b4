"""A process reads a target's manifest once a run: a backup of many containers costs no square of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece, UntrustedSigner
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.operations.backup import verify
from strongroom.operations.backup.verify import recorded_manifest
from strongroom.operations.engine.layout import manifest_name
from strongroom.state.records import RunState
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import REGIONS, World, make_world


class Counted(MemoryTarget):
    """A target that counts how often each object was read."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, region=name)
        self.reads: Counter[str] = Counter()

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.reads[name] += 1
        return super().read(name, offset=offset, length=length)


def backed_up(folder: Path, pieces: int) -> tuple[World, dict[str, Counted], str]:
    world = make_world(folder, pieces=pieces)
    targets = {name: Counted(name) for name in REGIONS}
    run = world.back_up(world.services(targets=targets))
    assert run.state is RunState.DONE
    return world, targets, run.id


def test_a_backup_of_more_containers_reads_its_manifest_no_more_often(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    many.mkdir()
    reads = []
    for folder, pieces in ((few, 2), (many, 10)):
        _, targets, run = backed_up(folder, pieces)
        reads.append([target.reads[manifest_name(run)] for target in targets.values()])
    assert reads[0] == reads[1]
    assert min(reads[0]) > 0


def test_it_is_read_again_by_another_process_and_once_others_count(tmp_path: Path) -> None:
    world, targets, name = backed_up(tmp_path, 2)
    services = world.services(targets=targets)
    run, target = services.store.load(name), targets[REGIONS[0]]
    manifest = recorded_manifest(run, target, services)
    target.delete(manifest_name(name))
    assert recorded_manifest(run, target, services) is manifest
    with pytest.raises(StrongroomError):
        recorded_manifest(run, target, world.services(targets=targets))
    nobody = replace(services, signer_fingerprints=Signers())
    other = targets[REGIONS[1]]
    recorded_manifest(run, other, services)
    with pytest.raises(UntrustedSigner):
        recorded_manifest(run, other, nobody)


def test_what_a_target_had_a_while_ago_is_no_proof_of_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be retried days later, in a worker that has been up all the time."""
    world, targets, name = backed_up(tmp_path, 2)
    services = world.services(targets=targets)
    run, target = services.store.load(name), targets[REGIONS[0]]
    recorded_manifest(run, target, services)
    target.delete(manifest_name(name))
    monkeypatch.setattr(verify, "HOLDS_SECONDS", 0.0)
    with pytest.raises(MissingPiece):
        recorded_manifest(run, target, services)


def test_the_same_bytes_are_parsed_once_for_all_targets_and_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each process checks as many signatures as there are containers, a target and minute."""
    world, targets, name = backed_up(tmp_path, 2)
    services = world.services(targets=targets)
    run, parsed = services.store.load(name), Counter[int]()
    really = verify.parse_manifest
    monkeypatch.setattr(
        verify, "parse_manifest", lambda content, **how: parsed.update([0]) or really(content, **how)
    )
    monkeypatch.setattr(verify, "HOLDS_SECONDS", 0.0)
    before = Counter({name: target.reads[manifest_name(run.id)] for name, target in targets.items()})
    found = [recorded_manifest(run, target, services) for target in targets.values() for _ in range(3)]
    assert parsed.total() == 1
    assert all(manifest is found[0] for manifest in found)
    assert all(target.reads[manifest_name(run.id)] >= before[name] + 3 for name, target in targets.items())
