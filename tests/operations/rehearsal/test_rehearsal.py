"""A rehearsed recovery in one process: what turns it red, and what is left of a scratch store."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import ListedSecret, Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.archive.reading import InOnePlace
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import LoneDrill, drill_alone, submit_drill
from strongroom.operations.drills.work import AttendedDrill, SecretCount
from strongroom.operations.engine.drive import drive
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore import scratch as scratches
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.scratch import PREFIX, scratch
from strongroom.sources import Destination, SealedRow, SecretChange
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunState, RunStep, StepKind
from strongroom.system.errors import TargetFull
from tests.cli.program import ROOT
from tests.operations.world import World, made_up, make_world
from tests.patience import PATIENCE

HISTORY = Secret(
    name="app/history",
    versions=tuple(SecretVersion(number=n, value=SecretBytes(b"CANARY-OLD-%d" % n)) for n in (1, 2, 5)),
)
ALL = SecretCount(secrets=31, versions=33)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("world"), secrets=[*made_up(30), HISTORY])
    made.back_up()
    return made


@pytest.fixture
def backup(world: World) -> Backup:
    return open_backup(
        world.targets["eu"], identities=(world.identity,), trusted=world.services().signer_fingerprints
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "rehearsals"


Watch = Callable[[RunStep], object]


def rehearse(
    backup: Backup,
    folder: Path,
    watch: Watch = lambda _: None,
    *,
    into: Destination | None = None,
    only_open: bool = False,
    **more: Any,
) -> tuple[LoneDrill, AttendedDrill]:
    opened = Restorable("the backup", [], Salvaged(InOnePlace(backup)))
    drill = AttendedDrill(lambda: opened, folder, into or MemoryStore(), **more)
    asked = DrillOptions(objective_seconds=3600.0, only_open=only_open)
    return drill_alone(drill, asked, state_dir=folder.parent, watch=watch), drill


def failed(lone: LoneDrill) -> StrongroomError:
    """Return what a rehearsal failed of, whatever of it raised."""
    assert (lone.run.state, lone.report.outcome) == (RunState.FAILED, "failed")
    assert isinstance(lone.error, StrongroomError)
    return lone.error


def at(kind: StepKind, then: Callable[[], object]) -> Watch:
    """Do something before a step of a kind."""
    return lambda step: then() if step.kind is kind else None


def steps_of(lone: LoneDrill) -> list[str]:
    return [step.step for step in lone.report.steps if step.began]


ALL_STEPS = ["plan", "drill-prove", "drill-restore", "drill-compare", "drill-teardown"]


def test_every_version_comes_back_and_the_store_is_gone(backup: Backup, folder: Path) -> None:
    lone, drill = rehearse(backup, folder)
    report = lone.report
    assert (lone.run.state, lone.error, report.outcome) == (RunState.DONE, None, "passed")
    assert (report.secrets, report.compared, drill.count) == (31, 33, ALL)
    assert steps_of(lone) == ALL_STEPS
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_while_it_lasts_no_value_lies_there_and_nobody_else_may_look(backup: Backup, folder: Path) -> None:
    looked = []

    def look() -> None:
        [place] = folder.iterdir()
        looked.append(place.stat().st_mode & 0o777)
        assert not [p for p in place.rglob("*") if p.is_file() and b"CANARY" in p.read_bytes()]

    rehearse(backup, folder, at(StepKind.DRILL_TEARDOWN, look))
    assert looked == [0o700]


class Altered(LocalStore):
    """A store that gives everything back right until it is compared: then one old version is another."""

    comparing = False

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        for secret in super().read(entries):
            if secret is not None and secret.name == HISTORY.name and self.comparing:
                other = SecretVersion(number=1, value=SecretBytes(b"CANARY-ELSE"))
                yield Secret(name=secret.name, versions=(other, *secret.versions[1:]))
            else:
                yield secret


def test_an_old_version_that_is_another_now_is_found_and_named_without_its_value(
    backup: Backup, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alter = at(StepKind.DRILL_COMPARE, lambda: monkeypatch.setattr(Altered, "comparing", True))
    error = failed(rehearse(backup, folder, alter, store_at=Altered)[0])
    assert isinstance(error, VerificationFailed)
    assert "1 secret did not come back" in error.message
    assert "'app/history'" in error.message
    assert "CANARY" not in str(error)
    assert list(folder.iterdir()) == []


def test_a_value_altered_on_disk_between_writing_and_comparing_is_found(backup: Backup, folder: Path) -> None:
    def tamper() -> None:
        [place] = folder.iterdir()
        LocalStore(place).set("app/0007", SecretBytes(b"CANARY-SLIPPED-IN"))

    lone, _ = rehearse(backup, folder, at(StepKind.DRILL_COMPARE, tamper))
    assert "'app/0007'" in failed(lone).message
    assert "app/0007" not in msgspec.json.encode(lone.report).decode()


@pytest.mark.parametrize("more", [True, False])
def test_a_secret_too_many_or_too_few_in_the_store_is_found(backup: Backup, folder: Path, more: bool) -> None:
    def tamper() -> None:
        [place] = folder.iterdir()
        store = LocalStore(place)
        if more:
            store.set("app/more", SecretBytes(b"CANARY-MORE"))
        else:
            store.delete(["app/0001"])

    lone, _ = rehearse(backup, folder, at(StepKind.DRILL_COMPARE, tamper))
    assert isinstance(failed(lone), VerificationFailed)


class Full(LocalStore):
    """A store whose disk fills up at the first write, which leaves a part of it."""

    def write_sealed(self, rows: Sequence[SealedRow]) -> None:
        super().write_sealed(rows[:3])
        raise TargetFull("the local store has no room left", hint="What was written before this is kept.")


def test_a_full_disk_is_told_by_what_is_done_about_it_and_nothing_is_left(
    backup: Backup, folder: Path
) -> None:
    error = failed(rehearse(backup, folder, store_at=Full)[0])
    assert isinstance(error, TargetFull)
    assert "--scratch" in error.hint
    assert "kept" not in error.hint
    assert list(folder.iterdir()) == []


def test_of_very_many_a_few_are_named(backup: Backup, folder: Path) -> None:
    def lose() -> None:
        [place] = folder.iterdir()
        LocalStore(place).delete([secret.name for secret in made_up(30)])

    error = failed(rehearse(backup, folder, at(StepKind.DRILL_COMPARE, lose))[0])
    assert re.search(r"30 secrets .* and 25 more$", error.message)


@pytest.mark.parametrize("only_open", [False, True])
def test_a_backup_that_gives_less_than_its_manifest_says_is_found_whatever_is_filtered(
    backup: Backup, folder: Path, monkeypatch: pytest.MonkeyPatch, only_open: bool
) -> None:
    secrets = Salvaged.secrets
    monkeypatch.setattr(Salvaged, "secrets", lambda self: (s for s in secrets(self) if s.name != "app/0000"))
    odd = Selection(tags={"parity": "odd"})
    error = failed(rehearse(backup, folder, selection=odd, only_open=only_open)[0])
    assert "its manifest says 31 secrets" in error.message


def test_a_category_is_counted_apart_from_all_that_is_read(backup: Backup, folder: Path) -> None:
    lone, drill = rehearse(backup, folder, selection=Selection(tags={"parity": "odd"}))
    assert (lone.report.secrets, lone.report.tags) == (15, {"parity": "odd"})
    assert drill.count == SecretCount(secrets=15, versions=15)


@pytest.mark.parametrize("only_open", [False, True])
def test_a_filter_that_means_nothing_is_no_success(backup: Backup, folder: Path, only_open: bool) -> None:
    lone, _ = rehearse(backup, folder, selection=Selection(include=("nowhere/*",)), only_open=only_open)
    assert isinstance(failed(lone), NothingSelected)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_look_tells_what_is_there_already_from_what_is_not_and_writes_nothing(
    backup: Backup, folder: Path
) -> None:
    live = MemoryStore([*made_up(2), *made_up(4, size=41)[2:]])
    lone, drill = rehearse(backup, folder, into=live, only_open=True)
    would = lone.report.would
    assert would is not None
    assert (would.created, would.changed, would.unchanged) == (27, 2, 2)
    assert (lone.report.outcome, drill.count, len(list(live.list()))) == ("passed", ALL, 4)
    assert steps_of(lone) == ["plan", "drill-prove", "drill-restore"]
    assert not folder.exists()


def test_a_run_of_the_cluster_that_is_to_rehearse_less_is_refused(world: World) -> None:
    for less in ({"only_open": True}, {"live": False}):
        asked = DrillOptions(objective_seconds=3600.0, **less)
        services = world.services()
        run = drive(*submit_drill(services, policy="nightly", options=asked), services)
        assert run.state is RunState.FAILED
        assert "is to rehearse less than a recovery" in (run.error or "")


# -- who lives and who is dead ---------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from strongroom.operations.restore.scratch import scratch
with scratch(Path(sys.argv[1])) as place:
    (place / "keys").mkdir()
    (place / "keys" / "store.key").write_bytes(b"CANARY-KEY")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_in(folder: Path) -> Path:
    before = set(folder.iterdir()) if folder.exists() else set()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, timeout=PATIENCE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    [left] = set(folder.iterdir()) - before
    return left


def test_what_a_killed_one_left_is_removed_by_the_next_and_a_living_ones_stays(folder: Path) -> None:
    with scratch(folder) as living:
        dead = killed_in(folder)
        assert (dead / "keys" / "store.key").exists()
        assert scratches.dead(folder) == [dead]
        assert dead in folder.iterdir()
        with scratch(folder) as own:
            assert set(folder.iterdir()) == {living, own}
        assert set(folder.iterdir()) == {living}
    assert list(folder.iterdir()) == []


def test_several_at_once_neither_trip_over_nor_remove_each_other(folder: Path) -> None:
    def use(number: int) -> bool:
        with scratch(folder) as own:
            (own / "keys").mkdir()
            (own / "keys" / "store.key").write_bytes(b"%d" % number)
            scratches.dead(folder)
            return (own / "keys" / "store.key").read_bytes() == b"%d" % number

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(200)))
    assert list(folder.iterdir()) == []


def test_one_that_died_before_it_wrote_anything_is_removed_too(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / f"{PREFIX}{'0' * 16}").mkdir(mode=0o700)
    with scratch(folder) as own:
        assert list(folder.iterdir()) == [own]


def test_what_is_not_provably_a_scratch_store_stays(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    foreign = folder / f"{PREFIX}{'1' * 16}"
    (foreign / "diary").mkdir(parents=True)
    kept = {
        foreign,
        folder / f"{PREFIX}{'2' * 16}",
        folder / f"{PREFIX}3",
        folder / "mine",
    }
    (folder / f"{PREFIX}{'2' * 16}").symlink_to(elsewhere)
    (folder / f"{PREFIX}3").mkdir()
    (folder / "mine").write_text("kept")
    with scratch(folder):
        pass
    assert set(folder.iterdir()) == kept
    assert (foreign / "diary").is_dir()


def test_a_folder_that_others_may_write_into_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(UsageError, match="Others may write"), scratch(folder):
        pass
    assert list(folder.iterdir()) == []


def test_an_interruption_while_it_is_removed_removes_it_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    rmtree = shutil.rmtree

    def interrupted(path: Path) -> None:
        if not asked:
            asked.append(path)
            raise KeyboardInterrupt
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch(folder) as place:
        LocalStore(place).write([SecretChange(secret=HISTORY, expected=None)])
    assert asked
    assert list(folder.iterdir()) == []


def test_a_failure_counts_for_more_than_a_store_that_cannot_be_removed(
    backup: Backup, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    nothing = Selection(include=("nowhere/*",))
    prevent = at(StepKind.DRILL_RESTORE, lambda: monkeypatch.setattr(shutil, "rmtree", refused))
    lone, _ = rehearse(backup, folder, prevent, selection=nothing)
    error = failed(lone)
    assert isinstance(error, NothingSelected)
    assert steps_of(lone) == ["plan", "drill-prove", "drill-restore", "drill-teardown"]
    assert "could not be removed: Permission denied" in error.__notes__[0]
    monkeypatch.undo()
    assert list(folder.iterdir()) != []
    with scratch(folder) as own:
        assert list(folder.iterdir()) == [own]
