"""Which backup covers what is asked for, and reading one of which every target has but a part whole."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.cli.shared.backup_selection import report_choice
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import Tampered
from strongroom.container.manifest import Manifest, ManifestSelection
from strongroom.container.marks import MAX_NUMBER, QUARANTINE, QuarantineMark
from strongroom.model import Selection
from strongroom.operations.archive.coverage import Asked, lacks
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.marks import MarksThere, write_mark
from strongroom.operations.archive.quarantine_marks import Recorded, why_aside
from strongroom.operations.archive.select_backup import Chooser, Holder
from strongroom.operations.errors import NotCovered
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.archive.test_damaged_objects import Dead, damage
from tests.operations.world import World, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def chooser(world: World, *names: str) -> Chooser:
    def of(name: str) -> Target:
        return world.targets[name]

    holders = [Holder(name, lambda name=name: of(name)) for name in names or world.targets]  # type: ignore[misc]
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
    holders = [Holder("eu", lambda: away), Holder("us", lambda: world.targets["us"])]
    found = Chooser(holders, trusted=world.services().signer_fingerprints)
    assert found.choose(Asked()).manifest.backup_id == run.id
    assert list(found.wrong()) == ["eu"]


def test_where_every_target_is_away_that_is_the_error(world: World) -> None:
    away = Dead(name="eu", region="eu")
    found = Chooser([Holder("eu", lambda: away)], trusted=frozenset())
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
    Recorded("since incident i1", 1_769_000_000.0),
    Recorded("since incident i2", 1_770_000_000.0),
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
    mark: QuarantineMark | None, recorded: Recorded | None, said: str
) -> None:
    assert why_aside(mark, recorded) == said


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


@pytest.mark.parametrize(("junk", "aside"), [(200, False), (201, True)])
def test_a_mark_cannot_be_hidden_behind_junk(world: World, *, junk: int, aside: bool) -> None:
    backup, target = world.back_up().id, world.targets["eu"]
    for number in range(junk):
        put(target, QUARANTINE.object_name(backup, MAX_NUMBER - number), b"junk")
    there = MarksThere(target, QUARANTINE, trusted=world.services().signer_fingerprints)
    mark = there.newest(backup)
    assert (mark is not None and mark.state == "quarantined") is aside
    failed = write_mark(
        [target, world.targets["us"]],
        QUARANTINE,
        replace(MARK, backup_id=backup),
        signer=world.services().signers("control"),
        trusted=world.services().signer_fingerprints,
    )
    assert list(failed) == (["eu"] if aside else [])


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
