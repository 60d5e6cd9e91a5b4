"""A thousand backups of a hundred containers are re-wrapped: what is moved, and what is called."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from strongroom.model import ObjectInfo
from strongroom.operations.drive import drive
from strongroom.operations.pins import pin_target
from strongroom.operations.rotation import submit_rotation
from strongroom.state.records import RunState
from tests.operations.many import enter, make_backup
from tests.operations.rotating import CountingIdentity, CountingTarget, Rotated
from tests.operations.world import POLICY

BACKUPS, CONTAINERS = 1000, 100


class FoldersTarget(CountingTarget):
    """Lists a folder without looking at a hundred thousand other names."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._folders: dict[str, list[str]] = defaultdict(list)

    def lay(self, objects: Mapping[str, bytes]) -> None:
        """Have objects lie there, without the time that a hundred thousand puts take."""
        self._objects |= objects
        for name in objects:
            self._enter(name)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        created = super().put(name, chunks, size=size, sha256=sha256)
        if created:
            self._enter(name)
        return created

    def _enter(self, name: str) -> None:
        insort(self._folders[name.rpartition("/")[0]], name)

    def _check_room(self, size: int) -> None:
        """Let everything in: adding up what lies here takes longer than what is measured."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = self._folders.get(prefix.rpartition("/")[0], [])
        for name in islice(folder, bisect_left(folder, prefix), None):
            if not name.startswith(prefix):
                return
            yield ObjectInfo(name=name, size=len(self._objects[name]))


def test_a_hundred_thousand_containers_stay_where_they_are(tmp_path: Path) -> None:
    at, target = Rotated(tmp_path), FoldersTarget("eu")
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
