"""A rehearsed recovery in one process: what turns it red, and what is left of a scratch store."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from strongroom.container.errors import VerificationFailed
from strongroom.errors import UsageError
from strongroom.model import ListedSecret, Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive.open import Backup, open_backup
from strongroom.operations.drills.local import Count, Phase, Phases, RehearsedPart, look_through, rehearse
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore import scratch as scratches
from strongroom.operations.restore.scratch import PREFIX, scratch
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.system.errors import TargetFull
from tests.cli.program import ROOT
from tests.operations.world import World, made_up, make_world

HISTORY = Secret(
    name="app/history",
    versions=tuple(SecretVersion(number=n, value=SecretBytes(b"CANARY-OLD-%d" % n)) for n in (1, 2, 5)),
)
ALL = Count(secrets=31, versions=33)


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


class Altered(LocalStore):
    """A store that gives everything back right until it is compared: then one old version is another."""

    phase: Phase | None = None

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        for secret in super().read(entries):
            if secret is not None and secret.name == HISTORY.name and self.phase is Phase.COMPARE:
                yield HISTORY.__class__(
                    name=secret.name,
                    versions=(
                        SecretVersion(number=1, value=SecretBytes(b"CANARY-ELSE")),
                        *secret.versions[1:],
                    ),
                )
            else:
                yield secret


def test_every_version_comes_back_and_the_store_is_gone(backup: Backup, folder: Path) -> None:
    part, phases = RehearsedPart(backup.secrets, whole=ALL), Phases()
    done = rehearse(part, folder, phases)
    assert (done.created, done.versions, part.count) == (31, 33, ALL)
    assert list(phases.seconds) == ["restore", "compare", "teardown"]
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_while_it_lasts_no_value_lies_there_and_nobody_else_may_look(backup: Backup, folder: Path) -> None:
    looked = []

    def look(phase: Phase) -> None:
        if phase is Phase.TEARDOWN:
            [place] = folder.iterdir()
            looked.append(place.stat().st_mode & 0o777)
            assert not [p for p in place.rglob("*") if p.is_file() and b"CANARY" in p.read_bytes()]

    rehearse(RehearsedPart(backup.secrets), folder, Phases(look))
    assert looked == [0o700]


def test_an_old_version_that_is_another_now_is_found_and_named_without_its_value(
    backup: Backup, folder: Path
) -> None:
    def at(phase: Phase) -> None:
        Altered.phase = phase

    with pytest.raises(VerificationFailed) as caught:
        rehearse(RehearsedPart(backup.secrets), folder, Phases(at), store_at=Altered)
    assert "1 secret did not come back" in caught.value.message
    assert "'app/history'" in caught.value.message
    assert "CANARY" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_value_altered_on_disk_between_writing_and_comparing_is_found(backup: Backup, folder: Path) -> None:
    def tamper(phase: Phase) -> None:
        if phase is Phase.COMPARE:
            [place] = folder.iterdir()
            LocalStore(place).set("app/0007", SecretBytes(b"CANARY-SLIPPED-IN"))

    with pytest.raises(VerificationFailed, match="'app/0007'"):
        rehearse(RehearsedPart(backup.secrets), folder, Phases(tamper))


@pytest.mark.parametrize("more", [True, False])
def test_a_secret_too_many_or_too_few_in_the_store_is_found(backup: Backup, folder: Path, more: bool) -> None:
    def tamper(phase: Phase) -> None:
        if phase is Phase.COMPARE:
            [place] = folder.iterdir()
            store = LocalStore(place)
            if more:
                store.set("app/more", SecretBytes(b"CANARY-MORE"))
            else:
                store.delete(["app/0001"])

    with pytest.raises(VerificationFailed):
        rehearse(RehearsedPart(backup.secrets), folder, Phases(tamper))


class Full(LocalStore):
    """A store whose disk fills up at the first write, which leaves a part of it."""

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        super().write(list(changes)[:3], refuse=refuse)
        raise TargetFull("the local store has no room left", hint="What was written before this is kept.")


def test_a_full_disk_is_told_by_what_is_done_about_it_and_nothing_is_left(
    backup: Backup, folder: Path
) -> None:
    with pytest.raises(TargetFull) as caught:
        rehearse(RehearsedPart(backup.secrets), folder, Phases(), store_at=Full)
    assert "--scratch" in caught.value.hint
    assert "kept" not in caught.value.hint
    assert list(folder.iterdir()) == []


def test_of_very_many_a_few_are_named(backup: Backup, folder: Path) -> None:
    def lose(phase: Phase) -> None:
        if phase is Phase.COMPARE:
            [place] = folder.iterdir()
            LocalStore(place).delete([secret.name for secret in made_up(30)])

    with pytest.raises(VerificationFailed, match=r"30 secrets .* and 25 more$"):
        rehearse(RehearsedPart(backup.secrets), folder, Phases(lose))


def test_a_backup_that_gives_less_than_its_manifest_says_is_found_whatever_is_filtered(
    backup: Backup, folder: Path
) -> None:
    def short() -> Iterator[Secret]:
        return (secret for secret in backup.secrets() if secret.name != "app/0000")

    odd = Selection(tags={"parity": "odd"})
    with pytest.raises(VerificationFailed, match="its manifest says 31 secrets"):
        rehearse(RehearsedPart(short, selection=odd, whole=ALL), folder, Phases())
    with pytest.raises(VerificationFailed, match="its manifest says 31 secrets"):
        look_through(RehearsedPart(short, selection=odd, whole=ALL), MemoryStore())


def test_a_category_is_counted_apart_from_all_that_is_read(backup: Backup, folder: Path) -> None:
    part = RehearsedPart(backup.secrets, selection=Selection(tags={"parity": "odd"}), whole=ALL)
    assert rehearse(part, folder, Phases()).created == 15
    assert part.count == Count(secrets=15, versions=15)


def test_a_filter_that_means_nothing_is_no_success(backup: Backup, folder: Path) -> None:
    nothing = Selection(include=("nowhere/*",))
    for attempt in (
        lambda: rehearse(RehearsedPart(backup.secrets, selection=nothing), folder, Phases()),
        lambda: look_through(RehearsedPart(backup.secrets, selection=nothing), MemoryStore()),
    ):
        with pytest.raises(NothingSelected):
            attempt()
    assert list(folder.iterdir()) == []


def test_a_look_tells_what_is_there_already_from_what_is_not(backup: Backup) -> None:
    live = MemoryStore([*made_up(2), *made_up(4, size=41)[2:]])
    done = look_through(RehearsedPart(backup.secrets, whole=ALL), live)
    assert (done.created, done.changed, done.unchanged) == (27, 2, 2)
    assert len(list(live.list())) == 4


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
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, timeout=60, check=False)
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

    monkeypatch.setattr(shutil, "rmtree", refused)
    phases = Phases()
    with pytest.raises(VerificationFailed, match="its manifest says") as caught:
        rehearse(RehearsedPart(backup.secrets, whole=Count(1, 1)), folder, phases)
    assert list(phases.seconds) == ["restore", "teardown"]
    assert "could not be removed: Permission denied" in caught.value.__notes__[0]
    monkeypatch.undo()
    assert list(folder.iterdir()) != []
    with scratch(folder) as own:
        assert list(folder.iterdir()) == [own]
