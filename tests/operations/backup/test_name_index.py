"""The index of names: what a backup writes beside it, and how that goes on from the one before."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.document import parse
from strongroom.container.name_index import GONE, INDEX, IndexRow, NameIndex, decode_row
from strongroom.container.ranges import BytesReader
from strongroom.container.signing import CertifiedSigner, Signer, Signers
from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.operations.backup import capture as capture_module
from strongroom.operations.backup import name_index
from strongroom.operations.backup.capture import capture
from strongroom.operations.backup.job import JOB, submit_backup
from strongroom.operations.backup.name_index import vouch
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import INDEXES
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.engine.stage import Stage, kept_head, kept_prefix
from strongroom.sources import SecretChange
from strongroom.state.records import Run, RunState, RunStep, StepKind, StepState, Ticket
from strongroom.system import files
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.errors import TargetUnavailable
from tests.operations.backup.test_crashes import Crash, Fuse, migrated, with_fuse
from tests.operations.test_run_integrity import edit
from tests.operations.world import POLICY, World, made_up, make_world
from tests.seed import drawn


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def indexing(world: World, **changed: object) -> Services:
    recipient = world.identity.recipient()
    pinned = Pinned(spec=world.spec, recipients=(recipient,), index_recipients=(recipient,))
    return world.services(pinned=lambda policy: pinned, **changed)


def back_up(world: World, **changed: object) -> Run:
    run = world.back_up(indexing(world, **changed))
    assert run.state in (RunState.DONE, RunState.DEGRADED), run.error
    return run


def names_on(target: Target) -> list[str]:
    return [info.name for info in target.list(INDEXES)]


def files_on(target: Target) -> list[str]:
    """Return the names of the indexes alone: each has its receipt."""
    names = names_on(target)
    files = [name for name in names if not name.endswith(".json")]
    assert sorted(names) == sorted([*files, *(f"{name}.json" for name in files)])
    return files


def indexes(world: World, target: str = "eu") -> list[NameIndex]:
    """Return the indexes on a target, in the order of their backups."""
    place = world.targets[target]
    return [
        NameIndex.open(
            BytesReader(b"".join(place.read(name))),
            (world.identity,),
            trusted=frozenset({world.installation.fingerprint}),
        )
        for name in sorted(files_on(place), key=lambda name: name.split("/")[2])
    ]


def rows(index: NameIndex) -> Iterator[IndexRow]:
    for number in range(len(index.head.blocks)):
        yield from map(decode_row, index.block(number).lines())


def put(world: World, *names: str) -> None:
    """Give secrets a new version each."""
    heads = world.source.heads(names)
    value = SecretBytes(b"CANARY-NEW")
    world.source.write(
        SecretChange(
            secret=Secret(name=name, versions=(SecretVersion(number=1, value=value),)),
            expected=heads.get(name),
        )
        for name in names
    )


def change(world: World, *, count: int) -> None:
    put(world, *(f"app/{number:04}" for number in range(count)))


def test_the_first_index_of_a_policy_has_every_name_and_lies_on_every_target(world: World) -> None:
    run = back_up(world)
    (first,) = indexes(world)
    found = list(rows(first))
    assert [row.name for row in found] == [f"app/{number:04}" for number in range(30)]
    assert (found[0].version, found[0].tags) == (1, {"parity": "even"})
    assert all(len(row.digest) == 32 for row in found)
    assert (first.about.backup_id, first.about.policy, first.head.source) == (run.id, POLICY, "vault")
    assert first.head.previous is None
    assert names_on(world.targets["eu"]) == names_on(world.targets["us"]) == names_on(world.targets["ap"])


def test_a_late_attempt_at_a_capture_takes_back_all_that_it_staged_and_nothing_else(world: World) -> None:
    services = indexing(world)
    run, tickets = submit_backup(services, policy=POLICY)
    seen: list[tuple[list[str], list[str], list[str]]] = []

    def repeat(ticket: Ticket) -> None:
        if ticket.step.kind is not StepKind.CAPTURE:
            return
        now = services.store.load(run)
        before = [info.name for info in services.stage.list()]
        late = capture(now, ticket.step, services)
        meanwhile = [info.name for info in services.stage.list()]
        JOB.take_back(now, ticket.step, late, services)
        seen.append((before, meanwhile, [info.name for info in services.stage.list()]))

    assert drive(run, tickets, services, processes=1, watch=repeat).state is RunState.DONE
    assert seen
    for before, meanwhile, after in seen:
        assert any("/index/" in name for name in set(meanwhile) - set(before))
        assert after == before


def test_the_receipt_of_an_index_is_the_control_roles_and_twice_the_same(world: World) -> None:
    services = indexing(world)
    run, tickets = submit_backup(services, policy=POLICY)
    signed: list[str] = []

    def again(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.INDEX_RECEIPT:
            signed.append(vouch(services.store.load(run), ticket.step, services).document)

    assert drive(run, tickets, services, processes=1, watch=again).state is RunState.DONE
    for target in world.targets.values():
        [name] = files_on(target)
        content = b"".join(target.read(f"{name}.json"))
        assert [content] == [one.encode() for one in signed]
        receipt = INDEX.parse(content, trusted=frozenset({world.installation.fingerprint}))
        assert (receipt.backup_id, receipt.chain, receipt.previous) == (run, run, None)
        assert receipt.sha256 == sha256(b"".join(target.read(name))).hexdigest()
    assert parse(INDEX, content, trusted=None).certificate.role == "control"


@pytest.mark.parametrize("edited", ["another file", "no receipt", "of another run"])
def test_an_index_that_the_seal_role_did_not_make_gets_no_receipt_and_lies_nowhere(
    world: World, edited: str
) -> None:
    """Whoever holds the state database swaps the row that names the index."""
    other = back_up(world)
    services = indexing(world)
    stolen = services.store.row(other.id, RunStep(StepKind.INDEX)).result
    run, tickets = submit_backup(services, policy=POLICY)

    def swapped(result: dict[str, Any]) -> dict[str, Any]:
        if edited == "another file":
            return {**result, "receipt": {**result["receipt"], "sha256": "00" * 32}}
        return {**result, "receipt": None} if edited == "no receipt" else stolen

    def meanwhile(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.INDEX:
            edit(world, "steps", "result", f"kind = 'index' AND run = '{run}'", swapped)

    ended = drive(run, tickets, services, processes=1, watch=meanwhile)
    row = services.store.row(run, RunStep(StepKind.INDEX_RECEIPT))
    assert (row.state, str(row.error).partition(":")[0]) == (StepState.MISSED, "RecordRefused")
    assert not services.store.rows(run, StepKind.INDEX_UPLOAD)
    assert not any(f"/{run}/" in name for name in names_on(world.targets["eu"]))
    assert ended.state is RunState.DONE, "the backup is whole all the same"


def test_a_target_that_was_away_is_given_the_receipts_it_missed_with_the_next(world: World) -> None:
    back_up(world)
    target = world.targets["us"]
    for name in names_on(target):
        target.delete(name) if name.endswith(".json") else None
    change(world, count=1)
    back_up(world)
    assert len(files_on(target)) == 2, "each with its receipt"


def test_an_index_begins_anew_after_one_whose_receipt_no_target_has(world: World) -> None:
    back_up(world)
    for target in world.targets.values():
        target.delete(f"{files_on(target)[0]}.json")
    change(world, count=1)
    back_up(world)
    change(world, count=2)
    back_up(world)
    names = {info.name for info in world.targets["eu"].list(INDEXES)}
    sound = sorted(name for name in names if f"{name}.json" in names)
    assert len({name.split("/")[1] for name in sound}) == len(sound) == 1


@pytest.mark.parametrize("role", ["control", "seal"])
def test_an_index_begins_anew_once_a_key_of_those_before_it_is_distrusted(world: World, role: str) -> None:
    """Nobody believes these any more, so nobody would believe what continues them."""
    back_up(world)
    leaked = world.signers[role].certificate.key_fingerprint
    renewed = CertifiedSigner.issued(
        Signer.generate(),
        installation=world.installation,
        role=role,
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    world = replace(world, signers={**world.signers, role: renewed})
    trusted = Signers({world.installation.fingerprint}, distrusted={leaked: "2026-11-25T00:00:00Z: leaked"})
    change(world, count=1)
    back_up(world, signer_fingerprints=trusted)
    change(world, count=2)
    back_up(world, signer_fingerprints=trusted)
    continued = [one.head.previous is not None for one in indexes(world)]
    assert continued == [False, False, True]


def test_a_later_index_has_what_changed_came_and_went_alone(world: World) -> None:
    back_up(world)
    change(world, count=2)
    put(world, "new")
    world.source.delete(["app/0009"])
    back_up(world)
    first, second = indexes(world)
    told = {row.name: row.version for row in rows(second)}
    assert told == {"app/0000": 2, "app/0001": 2, "new": 1, "app/0009": GONE}
    assert second.head.previous is not None
    assert second.head.previous.backup_id == first.about.backup_id


def test_the_index_begins_anew_once_what_changed_is_as_much_as_there_was(world: World) -> None:
    for _ in range(3):
        back_up(world)
        change(world, count=20)
    first, second, third = indexes(world)
    assert (first.head.rows, second.head.rows, third.head.rows) == (30, 20, 30)
    assert third.head.previous is None


@pytest.mark.parametrize("lost", ["stage emptied", "work key new", "a chunk damaged"])
def test_an_index_begins_anew_where_what_was_kept_is_lost(world: World, lost: str) -> None:
    run = back_up(world)
    change(world, count=1)
    kept = [info.name for info in world.stage.list(kept_prefix(POLICY))]
    assert kept_head(POLICY, run.id) in kept
    if lost == "stage emptied":
        for name in kept:
            world.stage.delete(name)
    elif lost == "a chunk damaged":
        for name in kept:
            if not name.endswith("head"):
                world.stage.delete(name)
                world.stage.put(name, [b"junk"], size=4, sha256=sha256(b"junk").digest())
    else:
        world = replace(world, work_key=b"\7" * 32)
    back_up(world)
    assert [one.head.previous for one in indexes(world)] == [None, None]


def test_what_the_stage_keeps_does_not_grow_with_the_backups_and_tells_no_name(world: World) -> None:
    back_up(world)
    few = len(list(world.stage.list(INDEXES)))
    for _ in range(2):
        change(world, count=1)
        back_up(world)
    run = back_up(world)
    kept = [info.name for info in world.stage.list(INDEXES)]
    assert len(kept) <= few + 1
    assert {name.split("/")[2] for name in kept} == {run.id}
    assert not any(b"app/" in b"".join(world.stage.read(name)) for name in kept)


def test_another_recipient_begins_an_index_of_its_own(world: World) -> None:
    back_up(world)
    other = make_world(world.folder / "other").identity
    recipient = world.identity.recipient()
    pinned = Pinned(spec=world.spec, recipients=(recipient,), index_recipients=(recipient, other.recipient()))
    world.back_up(world.services(pinned=lambda policy: pinned))
    assert [one.head.previous for one in indexes(world)] == [None, None]


def test_a_target_that_was_away_is_given_the_indexes_it_missed_with_the_next(world: World) -> None:
    away = frozenset({"us"})
    back_up(world, targets={n: _Away(t) if n in away else t for n, t in world.targets.items()})
    assert names_on(world.targets["us"]) == []
    change(world, count=1)
    back_up(world)
    assert len(files_on(world.targets["us"])) == 2
    assert names_on(world.targets["us"]) == names_on(world.targets["eu"])


def test_an_index_begins_anew_after_one_that_no_target_has_any_more(world: World) -> None:
    back_up(world)
    for target in world.targets.values():
        for name in names_on(target):
            target.delete(name)
    change(world, count=1)
    run = back_up(world)
    steps = indexing(world).store.rows(run.id, StepKind.INDEX_UPLOAD)
    assert {row.state for row in steps} == {StepState.MISSED}
    assert run.state is RunState.DONE, "the backup is whole all the same"
    change(world, count=2)
    back_up(world)
    assert [one.head.previous for one in indexes(world)][-1] is None


@pytest.mark.parametrize("earlier", [False, True])
def test_backups_under_way_at_once_end_with_an_index_each(world: World, *, earlier: bool) -> None:
    if earlier:
        back_up(world)
        change(world, count=1)
    services = indexing(world)
    run, tickets = submit_backup(services, policy=POLICY)
    others: list[Run] = []

    def meanwhile(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.INDEX:  # it is made, and lies on no target yet
            others.extend([back_up(world), back_up(world)])

    drive(run, tickets, services, processes=1, watch=meanwhile)
    runs = [run, *(one.id for one in others)]
    steps = [row for each in runs for row in services.store.rows(each, StepKind.INDEX_UPLOAD)]
    assert {row.state for row in steps} == {StepState.DONE}
    for target in world.targets:
        told = [index.about.backup_id for index in indexes(world, target)]
        assert set(told) >= set(runs)
    last = back_up(world)
    assert {name.split("/")[2] for name in (info.name for info in world.stage.list(INDEXES))} == {last.id}


def test_a_policy_without_recipients_of_an_index_writes_none(world: World) -> None:
    world.back_up()
    assert [names_on(target) for target in world.targets.values()] == [[], [], []]
    assert list(world.stage.list()) == []


def test_what_the_stage_kept_goes_once_a_policy_has_no_index_any_more(world: World) -> None:
    back_up(world)
    assert list(world.stage.list(INDEXES))
    world.back_up()
    assert list(world.stage.list()) == []


def test_the_lines_of_many_blocks_come_back_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.container.name_index.FULL_BLOCK", 300)
    back_up(world)
    change(world, count=9)
    back_up(world)
    first, second = indexes(world)
    assert len(first.head.blocks) > 5
    assert all(a.name < b.name for a, b in pairwise(rows(first)))
    assert [row.name for row in rows(second)] == [f"app/{number:04}" for number in range(9)]


@pytest.mark.parametrize("ways", [2, 3])
def test_more_pieces_than_are_merged_at_once_make_the_same_index(
    world: World, monkeypatch: pytest.MonkeyPatch, ways: int
) -> None:
    """Else who makes the index holds a chunk of each piece in memory: of 18,000 if there are 10^9 secrets."""
    monkeypatch.setattr(capture_module, "WAYS", ways)
    monkeypatch.setattr(capture_module, "FULL", 300)
    monkeypatch.setattr(capture_module, "LEAST", 300)
    read = Counter[str]()
    really = Stage.open
    monkeypatch.setattr(
        Stage, "open", lambda self, name, **how: read.update([name]) or really(self, name, **how)
    )
    world = world.with_spec(container_bytes=world.spec.container_bytes // 3)
    back_up(world)
    names = [row.name for [index] in [indexes(world)] for row in rows(index)]
    assert names == [secret.name for secret in world.source.list()]
    pieces = {name.split("/")[3] for name in read if "/index/" in name and name.startswith("runs/")}
    assert len(pieces) > ways
    assert max(count for name, count in read.items() if "/index/" in name) == 1


def test_a_chain_ends_at_its_longest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_index, "LONGEST", 2)
    for _ in range(3):
        back_up(world)
    assert [one.head.previous is None for one in indexes(world)] == [True, False, True]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [97, pytest.param(1, marks=pytest.mark.long)])
def test_a_crash_at_any_call_leaves_indexes_that_tell_of_both_backups(tmp_path: Path, every: int) -> None:
    template = migrated(tmp_path / "template.db")
    for number in itertools.count(drawn("index crash").randint(1, every), every):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(template, folder / "state.db")
        world = make_world(folder, secrets=made_up(6), pieces=2)
        first = back_up(world)
        change(world, count=2)
        fuse = Fuse(number, after=number % 2 == 0)
        services = indexing(world)
        run, tickets = submit_backup(services, policy=POLICY)
        with suppress(Crash):
            drive(run, tickets, with_fuse(services, fuse), processes=1)
        ended = drive(run, [], services, processes=1)
        assert ended.state is RunState.DONE, ended.error
        told = [index.about.backup_id for index in indexes(world)]
        assert (told[0], told[-1]) == (first.id, run), f"after a crash at call {number}"
        newest = {row.name: row.version for row in rows(indexes(world)[-1])}
        assert newest.items() >= {("app/0000", 2), ("app/0001", 2)}
        if not fuse.burnt:
            return


class _Away:
    """A target that does not answer."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __getattr__(self, name: str) -> object:
        if name in ("put", "read", "stat", "list", "delete", "abort_incomplete"):
            raise TargetUnavailable("CANARY-AWAY does not answer")
        return getattr(self._target, name)


def test_what_an_interrupted_put_of_an_index_left_goes_with_the_next_report(tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=made_up(3), pieces=1)
    folders = {name: tmp_path / name for name in world.targets}
    made = {name: DirectoryTarget(folder, name=name, region=name) for name, folder in folders.items()}
    for target in made.values():
        target.prepare()
    targets: dict[str, Target] = {**made}
    world = world.with_targets(targets)
    back_up(world)
    whole, _ = sorted((folders["eu"] / "index").glob("*/*/*"))
    abandoned = whole.with_name(files.provisional_name(whole.name))
    abandoned.write_bytes(b"half")
    back_up(world)
    assert whole.exists()
    assert not abandoned.exists()
