"""Two hundred backups of a hundred containers are re-wrapped: what is moved, and what is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.rotation.job import submit_rotation
from strongroom.state.records import RunState
from tests.operations.folders import FoldersTarget
from tests.operations.many import enter, make_backup
from tests.operations.rotation.rotating import CountingIdentity, CountingTarget, Rotated
from tests.operations.world import POLICY

BACKUPS, CONTAINERS = 200, 100


class CountingFolders(FoldersTarget, CountingTarget):
    """Counts what goes in and out of the folders."""


def test_twenty_thousand_containers_stay_where_they_are(tmp_path: Path) -> None:
    at, target = Rotated(tmp_path), CountingFolders("eu")
    world = replace(at.world, targets={"eu": target}).with_spec(
        targets=(pin_target("eu", target),), quorum=1, regions=1
    )
    at.world, old = world, CountingIdentity(at.old._key.reveal())
    signers = (world.signers["control"], world.signers["seal"])
    made = [
        make_backup(number, recipients=[old.recipient()], spec=world.spec, signers=signers, pieces=CONTAINERS)
        for number in range(BACKUPS)
    ]
    for _, objects in made:
        target.lay(objects)
    services = at.services(old, at.new)
    enter(services.store, made)
    target.forget()

    run, tickets = submit_rotation(services, policy=POLICY)
    assert drive(run, tickets, services, processes=1).state is RunState.DONE

    assert set(target.written) == {"keys"}
    assert sum(name.startswith("keys/") for name in target._objects) == BACKUPS
    touched = {name for name, _, _ in target.spans if name.startswith("containers/")}
    assert len(touched) == BACKUPS
    # Of a container: its head, and its tail from the directory on. In between lie the segments.
    [segments] = {_segments(objects[name]) for _, objects in made[:1] for name in objects if name in touched}
    between = [span for span in target.spans if span[0] in touched and 80 <= span[1] < segments]
    assert between == []
    assert (old.opened, at.recipient.wraps, at.new.opened) == (BACKUPS, BACKUPS, BACKUPS)


def _segments(content: bytes) -> int:
    """Return where a container's segments end, by its trailer (FORMAT.md, section 1)."""
    lengths = [int.from_bytes(content[at : at + 4], "big") for at in (-28, -24, -20)]
    return len(content) - 28 - 96 - sum(lengths)
