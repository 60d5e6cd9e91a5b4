"""A restore into the local store by several processes is what one process does, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.model import Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive import open as opening
from strongroom.operations.archive.coverage import BackupChoice, ShownReplica
from strongroom.operations.archive.open import signed_copy
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.engine.layout import container_name
from strongroom.operations.restore import restore as restoring
from strongroom.operations.restore.batch import present
from strongroom.operations.restore.journal import Journal, RestoreAccount, Restored
from strongroom.operations.restore.record import Recorder, traces_of
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.restore import restore
from strongroom.operations.restore.undo import UndoSealer, seal_record_key
from strongroom.sources import SealedRow
from strongroom.sources.local import LocalStore
from strongroom.system import every_core
from strongroom.system.process import may_fork
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.world import made_up, make_world

pytestmark = pytest.mark.skipif(not may_fork(), reason="forking is not safe on this system")

SECRETS = 60
CORES = (1, 2, 5)
OTHER = SecretVersion(number=1, value=SecretBytes(b"CANARY-OTHER"))
Act = Callable[["Store"], None]


class Store(LocalStore):
    """A local store that does something else at its first sealing in a child, or before its first write."""

    def __init__(
        self,
        folder: Path,
        *,
        in_child: Act | None = None,
        before: Act | None = None,
        after: Act | None = None,
    ) -> None:
        super().__init__(folder)
        self.folder, self.parent = folder, os.getpid()
        self.sealed_in_child = folder / "sealed in a child"
        self._in_child, self._before, self._after = in_child, before, after

    def seal(self, secrets: Iterable[Secret]) -> Iterator[tuple[SealedRow, Secret]]:
        if os.getpid() != self.parent:
            self.sealed_in_child.touch()
            if self._in_child is not None:
                self._in_child(self)
        return super().seal(secrets)

    def write_sealed(self, rows: Sequence[SealedRow]) -> None:
        act, self._before = self._before, None
        if act is not None:
            act(self)
        super().write_sealed(rows)
        act, self._after = self._after, None
        if act is not None:
            act(self)


class Setting:
    """A backup in seven containers on a target, and an account of a restore."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = make_world(folder / "world", secrets=made_up(SECRETS), pieces=7)
        self.id = self.world.back_up().id
        self.target = next(t for t in self.world.targets.values() if isinstance(t, MemoryTarget))
        self.seen = 0
        seal_key = partial(seal_record_key, UndoSealer([self.world.identity], certified("recover")))
        record, journal = folder / "undo", Journal(started_at="", backup=self.id, to="local", goes_on="")
        self.account = RestoreAccount(record, journal, recorder=Recorder(record, seal_key))
        self.account.begin()

    def restore(self, store: LocalStore, progress: Callable[[int], None] | None = None) -> Restored:
        places = {"one": self.target} | self.world.targets
        choice = BackupChoice(
            signed=signed_copy(self.target, self.id, trusted=None),
            replicas=tuple(ShownReplica(name, place) for name, place in places.items()),
        )
        replicated = Replicated(
            choice,
            [self.world.identity],
            trusted=frozenset({self.world.installation.fingerprint}),
            told=lambda *_: None,
        )
        backup = Restorable("it", [self.world.identity], Salvaged(replicated))
        return restore(
            partial(backup.select, Selection()),
            store,
            account=self.account,
            progress=progress or self._see,
            by_container=backup.by_container(Selection()),
        )

    def _see(self, secrets: int) -> None:
        self.seen += secrets

    def in_flight(self) -> list[str]:
        return [name for name, trace in traces_of([self.folder / "undo"]).items() if trace.in_flight]


@pytest.fixture
def on_cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    monkeypatch.setattr(opening, "WORTH", 0)
    monkeypatch.setattr(restoring, "SEALED_AT_ONCE", 4)
    return lambda number: monkeypatch.setattr(every_core, "cores", lambda: number)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def all_there(store: LocalStore) -> bool:
    there = present(store, [secret.name for secret in made_up(SECRETS)])
    return all(there[secret.name].versions == secret.versions for secret in made_up(SECRETS))


def die(store: Store) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_somebody_elses(store: Store) -> None:
    LocalStore(store.folder).import_([replace(made_up(SECRETS)[0], versions=(OTHER,))])


def alter(store: Store) -> None:
    with sqlite3.connect(store.folder / "store/secrets.db") as connection:
        connection.execute("UPDATE secrets SET sealed = x'00' WHERE id = 1")


@pytest.mark.parametrize("cores", CORES)
def test_any_number_of_cores_restores_the_same(
    on_cores: Callable[[int], None], setting: Setting, cores: int
) -> None:
    on_cores(cores)
    store = Store(setting.folder)
    done = setting.restore(store)
    assert (done.created, done.compared, done.total) == (SECRETS, SECRETS, SECRETS)
    assert store.sealed_in_child.exists() == (cores > 1)
    assert all_there(store)
    assert setting.seen == SECRETS
    assert len(traces_of([setting.folder / "undo"])) == SECRETS
    assert setting.in_flight() == []


def test_what_killed_children_were_at_is_restored_by_their_parent(
    on_cores: Callable[[int], None], setting: Setting
) -> None:
    on_cores(2)
    store = Store(setting.folder, in_child=die)
    done = setting.restore(store)
    assert store.sealed_in_child.exists()
    assert (done.created, done.compared, done.total) == (SECRETS, SECRETS, SECRETS)
    assert all_there(store)
    assert setting.in_flight() == []


def test_a_child_that_is_killed_half_way_through_a_container_leaves_the_rest_of_it(
    on_cores: Callable[[int], None], setting: Setting
) -> None:
    on_cores(2)
    begun = []

    def die_at_the_second(store: Store) -> None:
        begun.append(1)
        if len(begun) == 2:
            die(store)

    store = Store(setting.folder, in_child=die_at_the_second)
    done = setting.restore(store)
    assert store.sealed_in_child.exists()
    assert (done.created, done.compared, done.total) == (SECRETS, SECRETS, SECRETS)
    assert setting.in_flight() == []


def test_what_is_there_already_is_left_by_children_and_compared_by_the_parent(
    on_cores: Callable[[int], None], setting: Setting
) -> None:
    on_cores(2)
    store = Store(setting.folder)
    kept, same = made_up(SECRETS)[:2]
    store.import_([replace(kept, versions=(OTHER,)), same])
    done = setting.restore(store)
    assert store.sealed_in_child.exists()
    assert (done.created, done.unchanged, done.left) == (SECRETS - 2, 1, 1)
    assert store.get(kept.name).current.value == OTHER.value


@pytest.mark.parametrize("cores", CORES)
def test_what_somebody_writes_meanwhile_is_not_written_over(
    on_cores: Callable[[int], None], setting: Setting, cores: int
) -> None:
    on_cores(cores)
    store = Store(setting.folder, before=write_somebody_elses)
    done = setting.restore(store)
    assert (done.created, done.left, done.total) == (SECRETS - 1, 1, SECRETS)
    assert store.get(made_up(SECRETS)[0].name).current.value == OTHER.value


@pytest.mark.parametrize("cores", CORES)
def test_a_row_that_does_not_read_back_as_it_was_sealed_is_told(
    on_cores: Callable[[int], None], setting: Setting, cores: int
) -> None:
    on_cores(cores)
    done = setting.restore(Store(setting.folder, after=alter))
    assert (done.created, done.not_done) == (SECRETS - 1, 1)
    assert setting.account.by_code == {"VerificationFailed": 1}
    assert len(setting.in_flight()) == 1


def test_damage_that_a_child_meets_is_read_around_by_its_parent(
    on_cores: Callable[[int], None], setting: Setting
) -> None:
    on_cores(2)
    manifest = signed_copy(setting.target, setting.id, trusted=None).manifest
    name = container_name(setting.id, manifest.containers[3].sha256)
    content = bytearray(setting.target._objects[name])
    content[len(content) // 3] ^= 1
    setting.target._objects[name] = bytes(content)
    store = Store(setting.folder)
    assert setting.restore(store).created == SECRETS
    assert store.sealed_in_child.exists()
    assert all_there(store)


def children() -> set[str]:
    """Return the process ids of what this process started, and other tests in it."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # it has ended
            found.update((thread / "children").read_text().split())
    return found


def test_a_restore_that_is_interrupted_leaves_no_child_and_counts_what_is_there(
    on_cores: Callable[[int], None], setting: Setting
) -> None:
    on_cores(2)

    def interrupt(store: Store) -> None:
        raise KeyboardInterrupt

    store, before = Store(setting.folder, after=interrupt), children()
    with pytest.raises(KeyboardInterrupt):
        setting.restore(store)
    there = len(present(store, [secret.name for secret in made_up(SECRETS)]))
    assert setting.account.counts.created == there > 0
    assert setting.in_flight() == []
    assert children() <= before
    again = setting.restore(Store(setting.folder))
    assert (again.created, again.unchanged) == (SECRETS, there)
