"""Restores as runs: by a signed plan, in pieces, killed at any moment, and undone."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec.structs import replace

from strongroom.api.client import Submission
from strongroom.cli.shared.runs import lack_of
from strongroom.container.errors import MissingPiece
from strongroom.errors import SourceError, UsageError
from strongroom.model import ObjectInfo, Secret, Selection
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import Submitted, retry
from strongroom.operations.errors import RunDegraded
from strongroom.operations.restore import staged
from strongroom.operations.restore.job import progress_of, submit_restore
from strongroom.operations.restore.journal import DONE, journals
from strongroom.operations.restore.plan import Relocation
from strongroom.operations.restore.restore import plan_restore, restore
from strongroom.operations.restore.staged import RestoreOptions, UndoOptions, facts_of
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunKind, RunState, StepKind, StepRow, Ticket
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.archive.test_shortfall import Nights
from tests.operations.restore.test_take_back import Dying, current, heads, in_a_process
from tests.operations.world import World, made_up, make_world

OVER = RestoreOptions(destination="there", overwrite=True)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "LEAST", 5)
    monkeypatch.setattr(staged, "PIECES", 8)


def world_on_disk(folder: Path, count: int) -> World:
    """Make a world whose stage outlives a process, and back up so many secrets."""
    stage = DirectoryTarget(folder / "stage", name="stage", region="local")
    stage.prepare()
    return make_world(folder, secrets=made_up(count), pieces=3).with_stage(stage)


def fill(folder: Path, count: int) -> LocalStore:
    """Fill a store in which every third secret has another value than in the backup."""
    store = LocalStore(folder, name="there")
    store.import_([secret for secret in made_up(count, size=99) if int(secret.name[-1]) % 3 == 0])
    return store


def told_of(run: Run, rows: list[StepRow]) -> Sequence[tuple[str, object]]:
    return job_of(run.spec.kind).account(run, rows).pairs


def finish(submitted: Submitted, services: Services) -> Run:
    return drive(*submitted, services, processes=1)


# -- killed at any moment ----------------------------------------------------------


def killed_often(world: World, run: str, folder: Path, moments: Iterable[int]) -> None:
    """Have processes perform a run that die at these writes, one after another; then one that does not."""
    for at in moments:
        in_a_process(lambda at=at: _perform(world, run, Dying(folder, at=at)))  # type: ignore[misc]
    _perform(world, run, LocalStore(folder))


def _perform(world: World, run: str, there: LocalStore) -> None:
    services = world.services(destinations={"there": there})
    if services.store.load(run).state is RunState.FAILED:  # a step whose process died five times
        retry(services, run)
    drive(run, services.store.take_ready(run, window=8), services, processes=1)


@pytest.mark.parametrize(
    ("count", "kills"), [(120, 3), pytest.param(2_000, 30, marks=pytest.mark.long)], ids=str
)
def test_a_run_killed_at_random_moments_ends_as_planned_and_its_undo_gives_the_former_state(
    tmp_path: Path, count: int, kills: int
) -> None:
    world, folder, random = world_on_disk(tmp_path, count), tmp_path / "there", Random(count)
    backup = world.back_up().id
    fill(folder, count)
    before, numbers = current(folder), heads(folder)
    services = world.services(hands_out=False)

    restore, _ = submit_restore(services, backup=backup, options=OVER)
    killed_often(world, restore, folder, [random.randrange(4) for _ in range(kills)])
    run = services.store.load(restore)
    plan, done, compared = (facts_of(run).restore_plan, facts_of(run).restore, facts_of(run).restore_compare)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert plan is not None
    assert done is not None
    assert compared is not None
    assert (done.created, done.changed) == (plan.counts.created, plan.counts.changed)
    assert (done.created, done.changed) == (count - len(before), len(before))
    assert (compared.same, compared.differ) == (count, 0)
    assert heads(folder) == {one.name: numbers.get(one.name, 0) + 1 for one in made_up(count)}

    told = dict(journals(tmp_path / "undo"))[tmp_path / "undo" / restore]
    assert (told.ended, told.counts.created, told.counts.changed) == (DONE, done.created, done.changed)

    undo, _ = submit_undo(services, options=UndoOptions(undoes=restore))
    killed_often(world, undo, folder, [random.randrange(4) for _ in range(max(2, kills // 3))])
    undone = services.store.load(undo)
    did = facts_of(undone).restore
    assert undone.state is RunState.DONE
    assert did is not None
    assert (did.changed, did.removed, did.created) == (len(before), count - len(before), 0)
    assert current(folder) == before
    assert heads(folder) == {name: number + 2 for name, number in numbers.items()}


def test_a_run_restores_what_lies_below_a_prefix_below_another_and_its_undo_removes_it_there(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path, secrets=made_up(20), pieces=3)
    backup = world.back_up().id
    there = MemoryStore([replace(made_up(1)[0], name="copy/0000")], name="there")
    services = world.services(destinations={"there": there})
    options = RestoreOptions(destination="there", relocation=Relocation(source="app/000", to="copy/000"))
    run = finish(submit_restore(services, backup=backup, options=options), services)
    facts = facts_of(run)
    assert facts.restore is not None
    assert facts.restore_compare is not None
    assert (facts.restore.created, facts.restore.unchanged) == (9, 1)
    assert (facts.restore_compare.same, facts.restore_compare.differ) == (10, 0)
    assert sorted(entry.name for entry in there.list()) == [f"copy/000{number}" for number in range(10)]
    finish(submit_undo(services, options=UndoOptions(undoes=run.id)), services)
    assert [entry.name for entry in there.list()] == ["copy/0000"]


# -- in what order ------------------------------------------------------------------


class Noting(MemoryStore):
    """A store that notes in which order it is written to, in which some secrets rest on others."""

    def __init__(self) -> None:
        super().__init__(name="there")
        self.order: list[str] = []

    def layers(self) -> tuple[str, ...]:
        return ("namespace", "mount")

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        changes = list(changes)
        self.order += (change.secret.type + "/" + change.secret.tags["rank"] for change in changes)
        return super().write(changes, refuse=refuse)


def ranked() -> list[Secret]:
    kinds = ["api_key", "mount", "api_key", "namespace"]
    ranks = ["", "", "critical", "critical"]
    return [
        replace(secret, type=kinds[number % 4], tags={"rank": ranks[number % 4]})
        for number, secret in enumerate(made_up(40))
    ]


def test_what_others_rest_on_comes_first_then_what_is_critical_then_the_rest(tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=ranked())
    there = Noting()
    services = world.services(destinations={"there": there})
    options = replace(OVER, first=("rank=critical",))
    run = finish(submit_restore(services, backup=world.back_up().id, options=options), services)
    assert run.state is RunState.DONE
    assert there.order == [
        *["namespace/critical"] * 10,
        *["mount/"] * 10,
        *["api_key/critical"] * 10,
        *["api_key/"] * 10,
    ]
    assert facts_of(run).restore_plan.waves == (1, 2, 2)  # type: ignore[union-attr]


def test_a_restore_without_a_cluster_keeps_the_same_order_and_so_does_its_plan(tmp_path: Path) -> None:
    there, entries = Noting(), []
    secrets = [
        replace(one, tags={"rank": one.tags["rank"], "priority": one.tags["rank"]}) for one in ranked()
    ]
    plan_restore(lambda: iter(secrets), there, overwrite=True, note=lambda entry: entries.append(entry.to))
    restore(lambda: iter(secrets), there, overwrite=True)
    assert there.order == [
        *["namespace/critical"] * 10,
        *["mount/"] * 10,
        *["api_key/critical"] * 10,
        *["api_key/"] * 10,
    ]
    kinds = {one.name: f"{one.type}/{one.tags['rank']}" for one in secrets}
    assert [kinds[name] for name in entries] == there.order


def test_pieces_of_one_wave_are_handed_out_together_and_the_next_wave_after_them(tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=ranked())
    services = world.services(destinations={"there": Noting()})
    options = replace(OVER, first=("rank=critical",))
    _, due = submit_restore(services, backup=world.back_up().id, options=options)
    handed_out = []
    while due:
        handed_out.append([ticket.step.piece for ticket in due if ticket.step.kind is StepKind.RESTORE])
        due = [following for ticket in due for following in perform(ticket, services)]
    assert [pieces for pieces in handed_out if pieces] == [[0], [1, 2], [3, 4]]


# -- what is believed ---------------------------------------------------------------


def edit_plan(world: World, run: str, **changes: object) -> None:
    """Change the plan of a run in the state database behind the product's back."""
    with sqlite3.connect(world.folder / "state.db") as database:
        for field, value in changes.items():
            database.execute(
                "UPDATE runs SET facts = json_set(facts, ?, json(?)) WHERE id = ?",
                (f"$.restore_plan.{field}", msgspec.json.encode(value).decode(), run),
            )


@pytest.mark.parametrize(
    "change",
    [{"pieces": []}, {"digest": "0" * 64}, {"signature": "00"}, {"waves": [9]}, {"backup": "another"}],
    ids=lambda change: next(iter(change)),
)
def test_a_plan_that_was_changed_since_it_was_signed_restores_nothing(
    tmp_path: Path, change: dict[str, object]
) -> None:
    world = make_world(tmp_path)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE_PLAN:
            edit_plan(world, run, **change)

    ended = drive(run, due, services, processes=1, watch=watch)
    assert ended.state is RunState.FAILED
    assert "RecordRefused: the restore plan of run" in str(ended.error)
    assert list(there.list()) == []


def test_a_piece_of_another_plan_on_the_stage_is_refused(tmp_path: Path) -> None:
    """Who can write to the stage, and knows no key, can only put one sealed piece in the place of another."""
    world = world_on_disk(tmp_path, 40)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE_PLAN:
            staged_pieces = sorted((tmp_path / "stage" / "runs" / run / "plan").iterdir())
            contents = [piece.read_bytes() for piece in staged_pieces]
            for piece, content in zip(staged_pieces, contents[1:] + contents[:1], strict=True):
                piece.chmod(0o600)
                piece.write_bytes(content)

    ended = drive(run, due, services, processes=1, watch=watch)
    assert ended.state is RunState.FAILED
    assert list(there.list()) == []


def test_the_plan_on_the_stage_shows_no_name(tmp_path: Path) -> None:
    world = world_on_disk(tmp_path, 40)
    services = world.services(destinations={"there": MemoryStore(name="there")})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)
    seen: list[bytes] = []

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE_PLAN:
            seen.extend(path.read_bytes() for path in (tmp_path / "stage" / "runs" / run).rglob("*/*"))

    ended = drive(run, due, services, processes=1, watch=watch)
    assert len(seen) > 5
    assert not any(b"app/" in content for content in seen)
    assert "app/" not in str(ended.facts)
    assert list((tmp_path / "stage" / "runs").rglob("*")) in ([], [tmp_path / "stage" / "runs" / run])


# -- what somebody else does meanwhile -------------------------------------------------


def test_a_secret_that_changed_after_the_plan_is_left_and_told_as_moved(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    there = MemoryStore(made_up(3, size=99), name="there")
    services = world.services(destinations={"there": there})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)
    theirs = made_up(1, size=50)[0]

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE_PLAN:
            there.write([SecretChange(secret=theirs, expected=1)])

    ended = drive(run, due, services, processes=1, watch=watch)
    assert ended.state is RunState.DEGRADED
    assert "changed since the plan was made, and was left as it is" in str(ended.error)
    assert there.heads([theirs.name]) == {theirs.name: 2}
    assert (ended.facts["restore"]["moved"], ended.facts["restore"]["changed"]) == (1, 2)


def test_a_secret_that_somebody_changes_after_it_was_restored_is_told_by_the_comparison(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE and there.heads(["app/0000"]) == {"app/0000": 1}:
            there.write([SecretChange(secret=made_up(1, size=50)[0], expected=1)])

    ended = drive(run, due, services, processes=1, watch=watch)
    assert ended.state is RunState.DEGRADED
    assert "differs from the backup again" in str(ended.error)
    assert (ended.facts["restore_compare"]["same"], ended.facts["restore_compare"]["differ"]) == (29, 1)


# -- undoing -------------------------------------------------------------------------


def test_an_undo_run_leaves_what_was_changed_since_and_is_undone_itself(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    there = MemoryStore(made_up(3, size=99), name="there")
    services = world.services(destinations={"there": there})
    restore = finish(submit_restore(services, backup=world.back_up().id, options=OVER), services)
    theirs = made_up(6, size=50)[5]
    there.write([SecretChange(secret=theirs, expected=1)])
    undo = finish(submit_undo(services, options=UndoOptions(undoes=restore.id)), services)
    assert undo.state is RunState.DEGRADED
    assert "was changed since the restore, and was left as it is" in str(undo.error)
    assert {key: undo.facts["restore"][key] for key in ("changed", "removed", "left")} == {
        "changed": 3,
        "removed": 26,
        "left": 1,
    }
    again = finish(submit_undo(services, options=UndoOptions(undoes=undo.id)), services)
    assert again.state is RunState.DONE
    assert len(list(there.list())) == 30


def test_a_restore_of_which_another_host_did_a_part_is_not_undone_by_halves(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    restore = finish(submit_restore(services, backup=world.back_up().id, options=OVER), services)
    elsewhere = min((services.state_dir / "undo" / restore.id).glob("*-00001"))
    elsewhere.rename(tmp_path / "the state directory of another host")
    undo = finish(submit_undo(services, options=UndoOptions(undoes=restore.id)), services)
    assert undo.state is RunState.FAILED
    assert "not on record on this host" in str(undo.error)
    assert len(list(there.list())) == 30
    (tmp_path / "the state directory of another host").rename(elsewhere)
    retry(services, undo.id)
    assert drive(undo.id, (), services, processes=1).state is RunState.DONE
    assert list(there.list()) == []


def test_a_piece_that_had_nothing_to_write_keeps_nobody_from_undoing_the_others(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    backup = world.back_up().id
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    first = finish(submit_restore(services, backup=backup, options=OVER), services)
    assert first.state is RunState.DONE
    there.delete([made_up(30)[0].name])  # of one piece alone something is written
    second = finish(submit_restore(services, backup=backup, options=OVER), services)
    undo = finish(submit_undo(services, options=UndoOptions(undoes=second.id)), services)
    assert undo.state is RunState.DONE, undo.error
    assert len(list(there.list())) == 29


def test_a_run_that_is_no_restore_or_still_at_work_is_not_undone(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    services = world.services(destinations={"there": MemoryStore(name="there")})
    backup = world.back_up()
    with pytest.raises(UsageError, match="is a backup, which there is no undoing"):
        submit_undo(services, options=UndoOptions(undoes=backup.id))
    begun, _ = submit_restore(services, backup=backup.id, options=OVER)
    with pytest.raises(UsageError, match="still at work"):
        submit_undo(services, options=UndoOptions(undoes=begun))
    assert [run.spec.kind for run in services.store.active()] == [RunKind.RESTORE]


# -- how long it may take --------------------------------------------------------------


def test_a_run_records_how_long_it_took_and_the_objective_of_its_scope(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    services = world.services(destinations={"there": MemoryStore(name="there")})
    backup, found = world.back_up().id, []
    for names, selection in [
        ((), Selection()),
        (("app/0001",), Selection()),
        ((), Selection(tags={"parity": "odd"})),
    ]:
        options = replace(OVER, names=names)
        made = submit_restore(services, backup=backup, options=options, selection=selection)
        compared = facts_of(finish(made, services)).restore_compare
        assert compared is not None
        assert 0 < compared.seconds < 60
        found.append((compared.objective, compared.same))
    assert found == [(7200, 30), (900, 1), (1800, 15)]


def test_a_run_in_the_middle_tells_how_far_it_is_how_fast_and_what_is_left_of_its_objective(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path, secrets=made_up(40))
    services = world.services(destinations={"there": MemoryStore(name="there")})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)
    seen, needs = [], []
    while due:
        due = [following for ticket in due[:1] for following in perform(ticket, services)] + due[1:]
        if services.store.rows(run, StepKind.RESTORE_PLAN) and not seen:
            needs.append(dict(told_of(services.store.load(run), services.store.rows(run))).get("needs"))
        now, rows = services.store.load(run), services.store.rows(run)
        if (progress := progress_of(now, rows, now=now.created_at + 3600)) is not None:
            seen.append((progress, dict(told_of(now, rows))))
    assert needs[0] == "the recover workers, which normally do not run: 'strongroom up --with-recover'"
    assert set(needs[1:]) == {None}
    assert [progress.done for progress, _ in seen] == [0, *range(0, 41, 5), 40, 40]
    half, shown = seen[5]
    assert (half.total, half.seconds, half.objective_seconds) == (40, 3600, 7200)
    assert half.rate > 0
    assert half.left_seconds == pytest.approx(20 / half.rate)
    assert (shown["progress"], shown["so far"]) == ("20 of 40 secrets (50%)", "20 created")
    assert str(shown["objective"]).startswith("2 hours; ")
    _, ended = seen[-1]
    assert (ended["did"], ended["compared"]) == ("40 created", "40 secrets equal to the backup")
    assert str(ended["objective"]).endswith("s: met")


# -- when targets fail ------------------------------------------------------------------


class CutOff(MemoryTarget):
    """A target whose region is gone after so many reads, once the count is on."""

    left: int | None = None

    def _check(self) -> None:
        if self.left is not None and self.left <= 0:
            raise TargetUnavailable("the region is cut off")

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._check()
        if self.left is not None:
            self.left -= 1
        return super().read(name, offset=offset, length=length)

    def stat(self, name: str) -> ObjectInfo | None:
        self._check()
        return super().stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._check()
        return super().list(prefix)


@pytest.mark.parametrize("reads", [0, 7, 30])
def test_a_region_cut_off_midway_and_a_damaged_container_elsewhere_cost_nothing_and_are_told(
    tmp_path: Path, reads: int
) -> None:
    first = CutOff(name="eu", region="eu")
    targets = {"eu": first, **{name: MemoryTarget(name=name, region=name) for name in ("us", "ap")}}
    world = make_world(tmp_path, secrets=made_up(40)).with_targets(targets)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    backup = world.back_up().id
    damaged = next(info.name for info in targets["us"].list("containers/"))
    targets["us"]._objects[damaged] = bytes(reversed(targets["us"]._objects[damaged]))
    run, due = submit_restore(services, backup=backup, options=OVER)

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE_PLAN:
            first.left = reads

    ended = drive(run, due, services, processes=1, watch=watch)
    assert (ended.state, ended.error) == (RunState.DONE, None)
    wanted = {secret.name: secret for secret in made_up(40)}
    assert {one.name: one for one in there.read(list(there.list())) if one} == wanted
    told = {key: str(why) for key, why in told_of(ended, services.store.rows(run)) if key[:4] == "not "}
    assert told["not from eu"].startswith("TargetUnavailable: the region is cut off")
    assert told["not from us"].partition(":")[0] in {"Tampered", "Truncated", "NotABackup", "Malformed"}
    assert [replica.target for replica in services.store.replicas(backup) if not replica.good] == ["us"]


# -- ended early ------------------------------------------------------------------------


class Breaking(MemoryStore):
    """A store whose server refuses everything after so many writes."""

    left = 3

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        self.left -= 1
        if self.left < 0:
            raise SourceError("the server is gone for good")
        return super().write(changes, refuse=refuse)


def test_a_failed_run_is_taken_up_again_counts_all_that_it_wrote_and_is_undone_whole(tmp_path: Path) -> None:
    world = world_on_disk(tmp_path, 40)
    there = Breaking(made_up(3, size=99), name="there")
    before = {one.name: one.current.value for one in there.read(list(there.list())) if one}
    services = world.services(destinations={"there": there})
    failed = finish(submit_restore(services, backup=world.back_up().id, options=OVER), services)
    wrote = failed.facts["restore"]["created"] + failed.facts["restore"]["changed"]
    assert (failed.state, wrote) == (RunState.FAILED, 15)
    there.left = 99
    retry(services, failed.id)
    run = finish((failed.id, services.store.take_ready(failed.id, window=8)), services)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert (run.facts["restore"]["created"], run.facts["restore"]["changed"]) == (37, 3)
    undo = finish(submit_undo(services, options=UndoOptions(undoes=run.id)), services)
    assert undo.state is RunState.DONE
    assert {one.name: one.current.value for one in there.read(list(there.list())) if one} == before


def test_a_run_that_was_cancelled_in_the_middle_can_be_undone(tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=made_up(40))
    there = MemoryStore(made_up(3, size=99), name="there")
    before = {one.name: one.current.value for one in there.read(list(there.list())) if one}
    services = world.services(destinations={"there": there})
    run, due = submit_restore(services, backup=world.back_up().id, options=OVER)

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE and not services.store.load(run).closing:
            services.store.cancel(run)

    ended = drive(run, due, services, processes=1, watch=watch)
    assert ended.state is RunState.CANCELLED
    assert 3 < len(list(there.list())) < 40
    undo = finish(submit_undo(services, options=UndoOptions(undoes=run)), services)
    assert undo.state is RunState.DONE
    assert {one.name: one.current.value for one in there.read(list(there.list())) if one} == before


def test_a_run_that_restores_a_shrunken_backup_is_degraded_and_names_no_secret(tmp_path: Path) -> None:
    nights = Nights(tmp_path, index=True)
    first = nights.night()
    nights.lose(*(f"app/{number:03}" for number in range(20)))
    backup = nights.night()
    there = MemoryStore([], name="vault")
    services = nights.world.services(destinations={"vault": there})
    run = finish(
        submit_restore(services, backup=backup, options=RestoreOptions(destination="vault")), services
    )
    assert run.state is RunState.DEGRADED
    assert "it holds 10 secrets where 30 were expected" in (run.error or "")
    assert "20 secrets of earlier ones are not in it" in (run.error or "")
    assert "app/" not in (run.error or "")
    with pytest.raises(RunDegraded) as degraded:
        Submission(id="asked", run=run.id, store=services.store).wait()
    found = degraded.value.shortfall
    assert found is not None
    assert (found.backup, found.holds, found.missing, found.names) == (backup, 10, 20, ())
    assert (found.sound, [(one.backup, one.secrets) for one in found.groups]) == (first, [(first, 20)])


def test_a_run_that_restores_all_but_what_was_deleted_ends_well_and_says_so(tmp_path: Path) -> None:
    nights = Nights(tmp_path, index=False)
    nights.night()
    nights.lose("app/000")
    backup = nights.night()
    there = MemoryStore([], name="vault")
    services = nights.world.services(destinations={"vault": there})
    asked = submit_restore(services, backup=backup, options=RestoreOptions(destination="vault"))
    run = finish(asked, services)
    outcome = Submission(id="asked", run=run.id, store=services.store).wait()
    assert (outcome.state, outcome.backup) == ("done", backup)
    assert outcome.shortfall is not None
    assert (outcome.shortfall.missing, outcome.shortfall.findings) == (1, ())


# -- of a damaged backup ------------------------------------------------------------------


def two_nights(folder: Path) -> tuple[World, list[str]]:
    """Back up 40 secrets, give all of them another value, and back up again; return the backups' ids."""
    world = make_world(folder, secrets=made_up(40), pieces=3)
    first = world.back_up().id
    world.source.write([SecretChange(secret=secret, expected=1) for secret in made_up(40, size=60)])
    return world, [first, world.back_up().id]


def lose_a_container(world: World, backup: str) -> None:
    """Lose the largest: which secrets are together is chance, and in another one may be alone."""
    for target in world.targets.values():
        largest = max(target.list(f"containers/{backup}/"), key=lambda info: (info.size, info.name))
        target.delete(largest.name)


def sizes(there: MemoryStore) -> Counter[int]:
    """Count the secrets by the length of their value, which tells the night."""
    return Counter(
        len(one.current.value) for one in there.read(list(there.list())) if one and one.current.value
    )


def test_a_run_brings_what_is_sound_and_the_rest_from_the_backup_before_and_ends_by_the_loss(
    tmp_path: Path,
) -> None:
    world, (older, newest) = two_nights(tmp_path)
    lose_a_container(world, newest)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    run = finish(submit_restore(services, backup=newest, options=OVER), services)
    plan, compared = facts_of(run).restore_plan, facts_of(run).restore_compare
    assert plan is not None
    assert plan.lost is not None
    assert compared is not None
    lost = plan.lost.secrets
    assert [(one.backup, one.secrets) for one in plan.lost.taken] == [(older, lost)]
    assert sizes(there) == {52: lost, 72: 40 - lost}
    assert (compared.same, compared.differ) == (40, 0)
    assert run.state is RunState.DEGRADED
    assert f"{lost} secrets of backup {newest} cannot be read" in str(run.error)
    assert f"as in backup {older}, made" in str(run.error)
    assert b"app/" not in msgspec.json.encode(run.facts)
    assert isinstance(lack_of(run), MissingPiece)
    with pytest.raises(MissingPiece):
        Submission(id="asked", run=run.id, store=services.store).wait()


def test_what_rots_after_a_run_was_planned_is_left_out_and_not_replaced_by_something_older(
    tmp_path: Path,
) -> None:
    world, (_, newest) = two_nights(tmp_path)
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    run, due = submit_restore(services, backup=newest, options=OVER)

    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.RESTORE_PLAN:
            lose_a_container(world, newest)

    ended = drive(run, due, services, processes=1, watch=watch)
    assert ended.state is RunState.DEGRADED
    assert set(sizes(there)) == {72}
    assert ended.facts["restore"]["not_done_by"] == {"MissingPiece": 40 - sizes(there).total()}
    assert "was damaged after the plan was made" in str(ended.error)
    assert isinstance(lack_of(ended), MissingPiece)


@pytest.mark.parametrize("without", [{"planned": False}, {"compare": False}, {"only_plan": True}], ids=str)
def test_a_cluster_does_without_no_plan_and_no_comparison_though_the_run_says_so(
    tmp_path: Path, without: dict[str, bool]
) -> None:
    world = make_world(tmp_path, secrets=made_up(5))
    there = MemoryStore(name="there")
    services = world.services(destinations={"there": there})
    backup = world.back_up().id
    run = finish(submit_restore(services, backup=backup, options=replace(OVER, **without)), services)
    assert run.state is RunState.FAILED
    assert "RecordRefused" in (run.error or "")
    assert list(there.list()) == []


def test_nor_is_an_undo_done_that_is_to_undo_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=made_up(5))
    services = world.services(destinations={"there": MemoryStore(name="there")})
    restored = finish(submit_restore(services, backup=world.back_up().id, options=OVER), services)
    run = finish(submit_undo(services, options=UndoOptions(undoes=restored.id, only_plan=True)), services)
    assert (run.state, "RecordRefused" in (run.error or "")) == (RunState.FAILED, True)
