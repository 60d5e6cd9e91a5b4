"""Rotation from each kind of key to another of its kind, on live key services."""

from __future__ import annotations

from pathlib import Path

from strongroom.container.errors import WrongKey
from strongroom.errors import KeyServiceError
from strongroom.keys import Identity
from strongroom.operations.archive.open import Backup
from tests.live.rotation_kinds import every_kind
from tests.live.rotation_rates import Bench

BACKUPS = 2


def opens(bench: Bench, identity: Identity) -> int:
    """Count the backups that a key opens."""
    found = 0
    for manifest, _ in bench.made:
        backup = Backup(bench.target, manifest, [identity], trusted=bench.trusted)
        try:
            found += sum(1 for _ in backup.container(manifest.containers[0]).secrets())
        except (WrongKey, KeyServiceError):
            continue
    return found


def test_every_kind_of_key_can_be_rotated_to_another_of_its_kind(tmp_path: Path) -> None:
    done = []
    with every_kind(tmp_path) as kinds:
        for number, kind in enumerate(kinds):
            bench = Bench(tmp_path / str(number), kind, backups=BACKUPS)
            bench.lay()
            assert opens(bench, bench.old.identity) == BACKUPS, bench.name
            assert bench.rotated(bench.run()) == BACKUPS
            assert opens(bench, bench.new.identity) == BACKUPS, bench.name
            assert opens(bench, bench.old.identity) == 0, bench.name
            done.append(bench.name)
    assert len(done) == 13
