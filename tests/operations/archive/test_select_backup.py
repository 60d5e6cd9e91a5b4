"""Which backup covers what is asked for, and reading one of which every target has but a part whole."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from strongroom.cli.shared.backup_selection import report_choice
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import Tampered
from strongroom.container.manifest import Manifest, ManifestSelection
from strongroom.container.marks import MAX_NUMBER, QUARANTINE, QuarantineMark
from strongroom.model import Selection
from strongroom.operations.archive.coverage import Asked, BackupPlace, lacks, made_at
from strongroom.operations.archive.deletions import make_mark, write_deletion
from strongroom.operations.archive.inventory import known_backups
from strongroom.operations.archive.quarantine import RecordedQuarantine, why_aside
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.engine.statements import StatementsOn, write_mark
from strongroom.operations.errors import BackupQuarantined, NewestUnseen, NotCovered
from strongroom.operations.evidence.ledger_heads import publish
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.times import rfc3339
from tests.operations.archive.test_damaged_objects import Dead, damage
from tests.operations.world import World, make_world, names_on
from tests.state.test_catalog import entry, replica
from tests.state.test_speed import Work


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def chooser(world: World, *names: str) -> Chooser:
    def of(name: str) -> Target:
        return world.targets[name]

    holders = [BackupPlace(name, lambda name=name: of(name)) for name in names or world.targets]  # type: ignore[misc]
    return Chooser(holders, trusted=world.services().signer_fingerprints)


def containers(target: Target) -> list[str]:
    return [name for name in names_on(target) if name.startswith("containers/")]


def opened(world: World, found: Chooser) -> Replicated:
    trusted = world.services().signer_fingerprints
    return Replicated(found.choose(Asked()), [world.identity], trusted=trusted, told=found.note)


def test_each_container_comes_from_a_target_that_has_it_whole(world: World) -> None:
    world.back_up()
    eu, us, ap = (world.targets[name] for name in ("eu", "us", "ap"))
    names = containers(eu)
    damage(eu, names[0])
    damage(us, names[1])
    ap.delete(names[2])
    found = chooser(world)
    backup = opened(world, found)
    assert len({secret.name for secret in backup.secrets()}) == 30
    assert len([row.name for row in backup.rows()]) == 30
    assert all(backup.find(f"app/{number:04}") for number in range(30))
    assert {name for name, _ in found.damaged} == {"eu", "us", "ap"}


def test_what_is_damaged_everywhere_is_told_as_what_it_is(world: World) -> None:
    world.back_up()
    for target in world.targets.values():
        damage(target, containers(target)[0])
    with pytest.raises(Tampered):
        list(opened(world, chooser(world)).secrets())


def test_a_target_that_goes_away_while_it_is_read_is_left_for_the_next_one(world: World) -> None:
    world.back_up()
    found = chooser(world)
    backup = opened(world, found)
    secrets = backup.secrets()
    seen = [next(secrets).name]
    eu = world.targets["eu"]
    assert isinstance(eu, MemoryTarget)
    eu.__class__ = Dead
    seen += [secret.name for secret in secrets]
    assert len(set(seen)) == len(seen) == 30
    assert "TargetUnavailable" in found.wrong()["eu"]
    assert not found.damaged


def test_a_target_that_is_away_is_told_and_keeps_nobody_waiting_for_the_others(world: World) -> None:
    run = world.back_up()
    away = Dead(name="eu", region="eu")
    holders = [BackupPlace("eu", lambda: away), BackupPlace("us", lambda: world.targets["us"])]
    found = Chooser(holders, trusted=world.services().signer_fingerprints)
    assert found.choose(Asked()).manifest.backup_id == run.id
    assert list(found.wrong()) == ["eu"]


def test_where_every_target_is_away_that_is_the_error(world: World) -> None:
    away = Dead(name="eu", region="eu")
    found = Chooser([BackupPlace("eu", lambda: away)], trusted=frozenset())
    with pytest.raises(TargetUnavailable):
        found.choose(Asked())


def test_a_backup_of_which_a_container_is_nowhere_is_taken_all_the_same_for_what_it_has(
    world: World,
) -> None:
    """What lay in the missing one comes from the backup before, and nothing else does."""
    older = world.back_up()
    newer = world.back_up()
    newest = max(older.id, newer.id)
    lost = next(name for name in containers(world.targets["eu"]) if newest in name)
    for target in world.targets.values():
        target.delete(lost)
    found = chooser(world)
    assert found.choose(Asked()).manifest.backup_id == newest
    assert not found.passed
    assert all("missing" in why for why in found.wrong().values())


def test_a_policy_that_nothing_is_of_is_told_with_what_there_is(world: World) -> None:
    world.back_up()
    with pytest.raises(NotCovered, match="no backup of that policy or time"):
        chooser(world).choose(Asked(policy="monthly"))


# -- what covers what ----------------------------------------------------------

TAGGED = ManifestSelection(tags={"priority": "critical"})
APPS = ManifestSelection(include=("app/*",))
WITHOUT = ManifestSelection(exclude=("tmp/*",))
EVERYTHING = ManifestSelection()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    world = make_world(tmp_path_factory.mktemp("covering"))
    world.back_up()
    return chooser(world).choose(Asked()).manifest


@pytest.mark.parametrize(
    ("made", "asked", "covers"),
    [
        (EVERYTHING, Asked(), True),
        (EVERYTHING, Asked(selection=Selection(tags={"a": "b"}, include=("x*",))), True),
        (TAGGED, Asked(), False),
        (TAGGED, Asked(selection=Selection(tags={"priority": "critical"})), True),
        (TAGGED, Asked(selection=Selection(tags={"priority": "critical", "a": "b"})), True),
        (TAGGED, Asked(selection=Selection(tags={"priority": "low"})), False),
        (TAGGED, Asked(name="any"), True),
        (TAGGED, Asked(partial=True), True),
        (APPS, Asked(), False),
        (APPS, Asked(selection=Selection(include=("app/*",))), True),
        (APPS, Asked(selection=Selection(include=("app/one", "app/two"))), True),
        (APPS, Asked(selection=Selection(include=("app/one", "web/two"))), False),
        (APPS, Asked(selection=Selection(include=("app/?",))), False),
        (APPS, Asked(name="app/one"), True),
        (APPS, Asked(name="web/one"), False),
        (WITHOUT, Asked(), False),
        (WITHOUT, Asked(selection=Selection(exclude=("tmp/*",))), True),
        (WITHOUT, Asked(selection=Selection(include=("app/one",))), True),
        (WITHOUT, Asked(selection=Selection(include=("app/*",))), False),
        (WITHOUT, Asked(name="tmp/one"), False),
    ],
)
def test_a_backup_covers_what_was_meant_when_it_was_made(
    manifest: Manifest, made: ManifestSelection, asked: Asked, *, covers: bool
) -> None:
    assert (lacks(replace(manifest, selection=made), asked) == "") is covers


def test_a_backup_of_names_covers_nothing_that_needs_values(manifest: Manifest) -> None:
    bare = replace(manifest, values=False)
    assert (lacks(bare, Asked()), lacks(bare, Asked(values=False))) == ("it holds no values", "")


# -- quarantine ----------------------------------------------------------------

MARK = QuarantineMark(
    backup_id="x",
    number=1,
    state="quarantined",
    reason="a lost laptop",
    incident="i1",
    by="admin@host",
    at="2026-01-31T00:00:00Z",
)
RELEASED = replace(MARK, state="released", number=2)
EARLIER, LATER = (
    RecordedQuarantine("since incident i1", 1_769_000_000.0),
    RecordedQuarantine("since incident i2", 1_770_000_000.0),
)


@pytest.mark.parametrize(
    ("mark", "recorded", "said"),
    [
        (None, None, ""),
        (None, EARLIER, "since incident i1"),
        (MARK, None, "since 2026-01-31T00:00:00Z by admin@host, incident i1: a lost laptop"),
        (RELEASED, None, ""),
        (RELEASED, EARLIER, ""),
        (RELEASED, LATER, "since incident i2"),
    ],
)
def test_the_younger_of_a_mark_and_the_record_says_whether_a_backup_is_in_quarantine(
    mark: QuarantineMark | None, recorded: RecordedQuarantine | None, said: str
) -> None:
    assert why_aside(mark, recorded) == said


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def litter(target: Target, backup: str, many: int) -> None:
    for number in range(many):
        put(target, QUARANTINE.object_name(backup, MAX_NUMBER - number), b"")


def set_aside(world: World, backup: str, *names: str, state: Literal["quarantined", "released"]) -> None:
    failed = write_mark(
        [world.targets[name] for name in names],
        QUARANTINE,
        replace(MARK, backup_id=backup, state=state),
        signer=world.services().signers("control"),
        trusted=world.services().signer_fingerprints,
    )
    assert failed == {}


def test_junk_among_marks_neither_sets_a_backup_aside_nor_frees_it(world: World) -> None:
    older, newer = sorted(world.back_up().id for _ in range(2))
    litter(world.targets["eu"], newer, 201)
    found = chooser(world, "eu")
    assert found.choose(Asked()).manifest.backup_id == newer
    assert found.wrong() == {
        "eu": f"quarantine/{newer}/: 201 objects pose as marks there and count for nothing: "
        "99999999.json: Truncated: The quarantine mark ends too early"
    }
    set_aside(world, newer, "eu", state="quarantined")
    assert chooser(world, "eu").choose(Asked()).manifest.backup_id == older
    set_aside(world, newer, "eu", state="released")
    assert chooser(world, "eu").choose(Asked()).manifest.backup_id == newer


def test_a_mark_is_written_under_the_next_free_number_whatever_somebody_put_there(world: World) -> None:
    backup, target = world.back_up().id, world.targets["eu"]
    for number in range(1, 42):
        put(target, QUARANTINE.object_name(backup, number), b"junk")
    set_aside(world, backup, "eu", state="quarantined")
    there = StatementsOn(target, QUARANTINE, trusted=world.services().signer_fingerprints)
    mark = there.newest(backup)
    assert (mark and mark.number, there.aside) == (42, {})


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a folder of marks be given up after three objects, not after 100,000."""
    monkeypatch.setattr("strongroom.operations.engine.statements.LOOKED_THROUGH", 3)


@pytest.mark.usefixtures("few")
def test_where_marks_cannot_be_looked_through_the_other_places_decide(world: World) -> None:
    older, newer = sorted(world.back_up().id for _ in range(2))
    set_aside(world, newer, "us", state="quarantined")
    litter(world.targets["eu"], newer, 4)
    found = chooser(world, "eu", "us")
    assert found.choose(Asked()).manifest.backup_id == older
    assert "4 objects pose as marks there, too many" in found.wrong()["eu"]
    set_aside(world, newer, "us", state="released")
    assert chooser(world, "eu", "us").choose(Asked()).manifest.backup_id == newer


@pytest.mark.usefixtures("few")
def test_where_no_place_can_be_looked_through_the_record_decides_or_nobody(world: World) -> None:
    older, newer = sorted(world.back_up().id for _ in range(2))
    litter(world.targets["eu"], newer, 4)
    with pytest.raises(BackupQuarantined, match="Nobody can tell") as caught:
        chooser(world, "eu").choose(Asked())
    assert "--use-quarantined" in caught.value.hint
    assert chooser(world, "eu").choose(Asked(use_quarantined=True)).manifest.backup_id == newer
    recorded = {newer: RecordedQuarantine("since incident i1", 1.0)}
    assert with_record(world, quarantined=recorded).choose(Asked()).manifest.backup_id == older
    known = known_backups(world.services().store)
    assert with_record(world, known=known).choose(Asked()).manifest.backup_id == newer


def with_record(world: World, **record: Any) -> Chooser:
    holder = BackupPlace("eu", lambda: world.targets["eu"])
    return Chooser([holder], trusted=world.services().signer_fingerprints, **record)


# -- what the signed heads know ----------------------------------------------------------------


def take_away(target: Target, prefix: str) -> None:
    for name in [name for name in names_on(target) if name.startswith(prefix)]:
        target.delete(name)


@pytest.fixture
def known(world: World) -> tuple[str, str]:
    """Two backups that the heads on all targets know; the first is older."""
    older, newer = sorted(world.back_up().id for _ in range(2))
    publish(world.services(), list(world.targets))
    return older, newer


def missed(found: Chooser, asked: Asked) -> tuple[str, str]:
    """Return which backup is taken, and which newer one is missed."""
    manifest = found.choose(asked).manifest
    lost = found.lost(asked, manifest)
    return manifest.backup_id, lost.known.backup if lost is not None else ""


def test_a_newer_backup_that_the_head_on_a_lone_target_knows_is_missed(
    world: World, known: tuple[str, str]
) -> None:
    older, newer = known
    assert missed(chooser(world, "eu"), Asked()) == (newer, "")
    take_away(world.targets["eu"], f"manifests/{newer}")
    assert missed(chooser(world, "eu"), Asked()) == (older, newer)
    assert missed(chooser(world, "eu"), Asked(policy="weekly")) == (older, newer)
    found = chooser(world, "eu")
    manifest = found.choose(Asked()).manifest
    assert found.lost(Asked(until=made_at(manifest) - 10), manifest) is None
    assert missed(chooser(world, "eu", "us"), Asked()) == (newer, "")


def test_a_newer_backup_is_missed_though_nothing_is_left_to_take(
    world: World, known: tuple[str, str]
) -> None:
    for target in world.targets.values():
        take_away(target, "manifests/")
    with pytest.raises(NewestUnseen, match=known[1]):
        chooser(world).choose(Asked())


def test_a_tombstone_tells_why_a_backup_that_a_head_knows_is_gone(
    world: World, known: tuple[str, str]
) -> None:
    older, newer = known
    take_away(world.targets["eu"], f"manifests/{newer}")
    write_deletion(world.services(), [world.targets["eu"]], make_mark(newer, "deleted", reason="prune"))
    assert missed(chooser(world, "eu"), Asked()) == (older, "")


def test_a_mark_that_a_head_knows_and_that_is_gone_is_told_and_no_older_backup_is_taken(
    world: World, known: tuple[str, str]
) -> None:
    older, newer = known
    set_aside(world, newer, *world.targets, state="quarantined")
    world.services().store.event("key.proven", key="k")
    publish(world.services(), list(world.targets))
    assert chooser(world, "eu").choose(Asked()).manifest.backup_id == older
    take_away(world.targets["eu"], f"quarantine/{newer}")
    with pytest.raises(BackupQuarantined, match="mark 1 was set there, and is not to be seen"):
        chooser(world, "eu").choose(Asked())
    both = chooser(world, "eu", "us")
    assert both.choose(Asked()).manifest.backup_id == older
    assert "mark 1 was set there, and is not to be seen" in both.wrong()["eu"]


def test_a_mark_that_another_target_shows_is_told_where_it_is_gone(world: World) -> None:
    older, newer = sorted(world.back_up().id for _ in range(2))
    set_aside(world, newer, *world.targets, state="quarantined")
    take_away(world.targets["eu"], f"quarantine/{newer}")
    found = chooser(world)
    assert found.choose(Asked()).manifest.backup_id == older
    assert list(found.wrong()) == ["eu"]


def test_junk_in_every_folder_is_read_through_and_told_once(world: World, known: tuple[str, str]) -> None:
    older, newer = known
    eu = world.targets["eu"]
    take_away(eu, f"manifests/{newer}")
    head = next(info.name for info in eu.list() if info.name.startswith("ledger/"))
    for number in range(3_000):
        put(eu, f"manifests/{newer[:-8]}{number:08x}.json", b"")
        put(eu, QUARANTINE.object_name(older, number + 1), b"")
        put(eu, f"deletion/{newer}/{number + 1:08}.json", b"")
        put(eu, head.rpartition("/")[0] + f"/{10**11 + number}-{'0' * 16}.json", b"junk")
    found = chooser(world, "eu")
    assert missed(found, Asked()) == (older, newer)
    assert len(found.wrong()["eu"]) < 300


def test_a_backup_that_is_dated_ahead_of_the_clock_is_taken_and_told(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.back_up()
    found = chooser(world)
    choice = found.choose(Asked())
    report_choice(choice, found, Asked(), Output())
    assert "ahead of this host's clock" not in capsys.readouterr().err

    made = datetime.fromisoformat(choice.manifest.created_at).timestamp()
    monkeypatch.setattr("strongroom.cli.shared.backup_selection.time.time", lambda: made - 3600)
    report_choice(choice, found, Asked(), Output())
    assert "ahead of this host's clock" in " ".join(capsys.readouterr().err.split())


def test_what_is_missed_is_looked_for_among_the_newest_and_no_others_are_read(tmp_path: Path) -> None:
    store = RunStore(f"sqlite:///{tmp_path}/state.db")
    work = Work(store)

    def cost(backups: range) -> int:
        for number in backups:
            name = f"{number:04}"
            made_at = rfc3339(1_800_000_000.0 + number)
            store.put_backup(entry(name, created_at=made_at), [replica(name, "eu")])
        return work.of(lambda: known_backups(store))

    few = cost(range(250))
    assert cost(range(250, 1000)) <= few + 100
