"""The local store: the suites, its own calls, and what happens to those who touch its files."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import DuplicateSecret, Tampered, UnsupportedVersion, WrongKey
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion
from strongroom.plugins.conformance.sources import RICH, DestinationConformance, in_a_child, secret, versions
from strongroom.sources import SecretChange, batches, database, local
from strongroom.sources.errors import SecretNotFound, SourceUnavailable
from strongroom.sources.local import LocalStore
from strongroom.system.errors import WouldOverwrite
from tests.chaos.series import OWN_MOUNTS, may_mount
from tests.files import child_has_a_lock, locked_by
from tests.patience import PATIENCE
from tests.process import ROOT

pytestmark = pytest.mark.durable


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path)
    yield store
    store.close()


class TestLocalStore(DestinationConformance):
    @pytest.fixture
    def destination(self, store: LocalStore) -> LocalStore:
        return store


def canary(text: str = "CANARY") -> SecretBytes:
    return SecretBytes(text.encode())


def revealed(held: Secret) -> list[bytes]:
    return [version.value.reveal() for version in held.versions if version.value]


def edit(tmp_path: Path, statement: str, *values: object) -> None:
    """Change the database behind the store's back."""
    connection = sqlite3.connect(tmp_path / "store" / "secrets.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


# -- its own calls -----------------------------------------------------------


def test_set_makes_a_secret_and_get_returns_it(store: LocalStore) -> None:
    number = store.set(
        "API_KEY",
        canary(),
        type="api_key",
        tags={"priority": "critical"},
        expires_at="2027-01-01",
        rotation=RotationSchedule(days=90),
        metadata={"note": 1},
    )
    found = store.get("API_KEY")
    assert number == 1
    assert revealed(found) == [b"CANARY"]
    assert (found.type, found.tags) == ("api_key", {"priority": "critical"})
    assert (found.expires_at, found.rotation) == ("2027-01-01", RotationSchedule(days=90))
    assert found.metadata == {"note": 1}
    assert found.created_at == found.updated_at == found.current.created_at
    assert found.created_at is not None
    assert found.created_at.endswith("Z")


def test_set_again_adds_a_version_and_leaves_the_rest_as_it_was(store: LocalStore) -> None:
    store.set("A", canary("CANARY-1"), type="api_key", tags={"k": "v"}, expires_at="2027")
    assert store.set("A", canary("CANARY-2"), expires_at="2028") == 2
    found = store.get("A")
    assert revealed(found) == [b"CANARY-1", b"CANARY-2"]
    assert [version.number for version in found.versions] == [1, 2]
    assert (found.type, found.tags, found.expires_at) == ("api_key", {"k": "v"}, "2028")


def test_set_tells_text_from_binary_unless_told(store: LocalStore) -> None:
    store.set("TEXT", canary())
    store.set("BINARY", SecretBytes(b"\xff"))
    store.set("JSON", SecretBytes(b"{}"), media=Media.JSON)
    found = [store.get(name).current.media for name in ("TEXT", "BINARY", "JSON")]
    assert found == [Media.TEXT, Media.BINARY, Media.JSON]


def test_many_processes_that_set_one_secret_lose_no_version(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(set_ten, [(tmp_path, worker) for worker in range(2)])
    store = LocalStore(tmp_path)
    assert [version.number for version in store.get("A").versions] == list(range(1, 21))
    store.close()


def set_ten(state_dir: Path, worker: int) -> None:
    store = LocalStore(state_dir)
    for number in range(10):
        store.set("A", canary(f"CANARY-{worker}-{number}"))


def test_get_of_a_missing_secret_names_it(store: LocalStore) -> None:
    with pytest.raises(SecretNotFound, match="'MISSING'"):
        store.get("MISSING")


@pytest.mark.parametrize("name", ["", "a\x00b", "\udcff"])
def test_set_refuses_a_name_it_cannot_keep(store: LocalStore, name: str) -> None:
    with pytest.raises(SourceError):
        store.set(name, canary())


def test_import_writes_everything(store: LocalStore) -> None:
    assert store.import_(iter([RICH, secret("A")])) == 2
    assert store.get(RICH.name) == RICH


def test_import_over_an_existing_secret_changes_nothing_at_all(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 1)
    store.set("B", canary())
    with pytest.raises(WouldOverwrite, match="'B'"):
        store.import_([secret("A"), secret("B")])
    assert store.heads(["A", "B"]) == {"B": 1}


def test_import_with_overwrite_adds_versions(store: LocalStore) -> None:
    store.set("A", canary("CANARY-old"))
    store.import_([secret("A", "CANARY-new")], overwrite=True)
    assert revealed(store.get("A")) == [b"CANARY-old", b"CANARY-new"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("batch", [1, 100])
def test_import_of_two_secrets_of_one_name_changes_nothing_at_all(
    store: LocalStore, overwrite: bool, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", batch)
    with pytest.raises(DuplicateSecret, match="'A'"):
        store.import_([secret("A"), secret("B"), secret("A")], overwrite=overwrite)
    assert store.heads(["A", "B"]) == {}


def test_earlier_batches_stay_when_a_later_one_conflicts(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 2)
    changes = [SecretChange(secret=secret(name), expected=9 if name == "D" else None) for name in "ABCD"]
    with pytest.raises(StrongroomError):
        store.write(changes)
    assert store.heads(list("ABCD")) == {"A": 1, "B": 1}


@pytest.mark.parametrize("limit", [1, 1000, 1 << 30])
def test_windows_of_any_size_read_the_same(
    store: LocalStore, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [Secret(name=f"{number}", versions=versions(1, number + 2)) for number in range(50)]
    store.import_(many)
    monkeypatch.setattr(batches, "WINDOW_BYTES", limit)
    entries = sorted(store.list(), key=lambda entry: int(entry.name))
    assert list(store.read(entries)) == many


# -- the key -----------------------------------------------------------------


def test_key_and_database_are_for_their_owner_alone(store: LocalStore, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store.set("A", canary())
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes.pop("keys") == modes.pop("store") == 0o700
    assert set(modes) >= {"store.key", "secrets.db", "secrets.db-wal"}
    assert set(modes.values()) == {0o600}
    assert store.master_key_path.stat().st_size == 32


def test_first_users_in_a_race_agree_on_one_key(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}" / "store.key"
        start = threading.Barrier(8)
        found: list[bytes] = []

        def first(path: Path = path, start: threading.Barrier = start, found: list[bytes] = found) -> None:
            start.wait()
            found.append(local.load_or_create(path))

        run_threads(first, 8)
        assert len(found) == 8
        assert set(found) == {path.read_bytes()}
        assert [kept.name for kept in path.parent.iterdir()] == ["store.key"]


def test_first_users_of_a_store_in_a_race_all_succeed(tmp_path: Path) -> None:
    for attempt in range(5):
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.starmap(set_one, [(tmp_path / f"{attempt}", worker) for worker in range(4)])
        store = LocalStore(tmp_path / f"{attempt}")
        assert len(list(store.read(list(store.list())))) == 4
        store.close()


def set_one(state_dir: Path, worker: int) -> None:
    LocalStore(state_dir).set(f"{worker}", canary())


def run_threads(target: object, count: int) -> None:
    threads = [threading.Thread(target=target) for _ in range(count)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_another_master_key_is_refused_for_reading_and_writing(store: LocalStore, tmp_path: Path) -> None:
    store.set("A", canary())
    store.master_key_path.write_bytes(os.urandom(32))
    other = LocalStore(tmp_path)
    for use in (
        lambda: other.get("A"),
        lambda: list(other.list()),
        lambda: other.set("B", canary()),
        lambda: other.write([SecretChange(secret=secret("B"), expected=None)]),
        lambda: other.import_([secret("B")]),
        lambda: other.delete(["A"]),
    ):
        with pytest.raises(WrongKey, match=r"store\.key"):
            use()
    other.close()
    assert store.heads(["A", "B"]) == {"A": 1}


def test_a_lost_master_key_is_not_replaced_by_a_new_one(store: LocalStore, tmp_path: Path) -> None:
    store.set("A", canary())
    store.master_key_path.unlink()
    other = LocalStore(tmp_path)
    with pytest.raises(WrongKey, match="is gone"):
        other.set("A", canary())
    assert not store.master_key_path.exists()
    other.close()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(store: LocalStore, tmp_path: Path, size: int) -> None:
    store.set("A", canary())
    store.master_key_path.write_bytes(b"x" * size)
    other = LocalStore(tmp_path)
    with pytest.raises(WrongKey, match="32 bytes"):
        other.get("A")
    other.close()


def test_a_key_that_others_may_read_is_refused(store: LocalStore, tmp_path: Path) -> None:
    store.set("A", canary())
    store.master_key_path.chmod(0o640)
    other = LocalStore(tmp_path)
    with pytest.raises(SourceError, match="others may read"):
        other.get("A")
    other.close()


# -- what an attacker or a bad disk can do ------------------------------------


def test_no_changed_byte_of_a_sealed_value_goes_unnoticed(store: LocalStore, tmp_path: Path) -> None:
    store.set("A", canary())
    edit(tmp_path, "CREATE TABLE kept AS SELECT sealed FROM secrets")
    connection = sqlite3.connect(tmp_path / "store" / "secrets.db")
    (sealed,) = connection.execute("SELECT sealed FROM kept").fetchone()
    connection.close()
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        edit(tmp_path, "UPDATE secrets SET sealed = ?", bytes(changed))
        with pytest.raises(Tampered, match="'A'"):
            store.get("A")
    for length in (0, 31, 43, 44, 59, len(sealed) - 1):
        edit(tmp_path, "UPDATE secrets SET sealed = ?", sealed[:length])
        with pytest.raises(Tampered, match="'A'"):
            store.get("A")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE secrets SET name = CASE name WHEN 'A' THEN 'X' ELSE 'A' END",
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'B')",
        "UPDATE secrets SET head = 1 WHERE name = 'A'",
        "UPDATE secrets SET older = 0 WHERE name = 'A'",
        "UPDATE secrets SET older = older - 1 WHERE name = 'A'",
        "UPDATE secrets SET (sealed, head, older) = (SELECT sealed, 1, 0 FROM history) WHERE name = 'A'",
        "DELETE FROM history WHERE number = 1",
        "DELETE FROM history",
        "UPDATE history SET number = 7 WHERE number = 1",
        "UPDATE history SET sealed = (SELECT sealed FROM history WHERE number = 1)",
        "UPDATE history SET sealed = (SELECT sealed FROM secrets WHERE name = 'A')",
        "INSERT INTO history SELECT id, 0, sealed FROM history WHERE number = 1",
    ],
)
def test_no_row_can_be_put_in_another_ones_place(store: LocalStore, tmp_path: Path, statement: str) -> None:
    for number in range(3):
        store.set("A", canary(f"CANARY-{number}"))
    store.set("B", canary())
    edit(tmp_path, statement)
    with pytest.raises(Tampered, match="'A'"):
        store.get("A")


def test_a_tampered_secret_cannot_be_overwritten_unnoticed(store: LocalStore, tmp_path: Path) -> None:
    store.set("A", canary())
    edit(tmp_path, "UPDATE secrets SET sealed = zeroblob(200)")
    with pytest.raises(Tampered):
        store.set("A", canary("CANARY-new"))
    with pytest.raises(Tampered):
        list(store.list(with_tags=True))


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 40, b"SQLite format 3\x00" + b"x" * 200]
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "secrets.db").write_bytes(content)
    with pytest.raises(SourceError, match=r"secrets\.db"):
        LocalStore(tmp_path).get("A")


def test_a_schema_of_the_future_is_refused(store: LocalStore, tmp_path: Path) -> None:
    store.set("A", canary())
    edit(tmp_path, "PRAGMA user_version = 2")
    with pytest.raises(UnsupportedVersion, match="schema 2"):
        LocalStore(tmp_path).get("A")


def test_a_store_whose_maker_died_halfway_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "secrets.db").touch()
    store = LocalStore(tmp_path)
    assert store.set("A", canary()) == 1
    store.close()


def test_a_store_that_stays_locked_can_be_tried_again(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set("A", canary())
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(tmp_path / "store" / "secrets.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    other = LocalStore(tmp_path)
    with pytest.raises(SourceUnavailable) as caught:
        other.set("A", canary())
    assert caught.value.transient
    holder.close()
    assert other.set("A", canary()) == 2
    other.close()


READ_ON_A_FULL_DISK = """
import subprocess, sys
from pathlib import Path
from strongroom.errors import StrongroomError
from strongroom.model import SecretBytes
from strongroom.sources.local import LocalStore
from tests.chaos.weather import fill
folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "full", folder], check=True)
store = LocalStore(folder)
store.set("A", SecretBytes(b"CANARY"))
store.close()
fill(folder)
try:
    list(LocalStore(folder).list())
except StrongroomError as error:
    print(error.code)
"""


@pytest.mark.skipif(not may_mount(), reason="a disk of its own takes root, and 'unshare'")
def test_a_store_on_a_full_disk_says_so_to_a_reader_too(tmp_path: Path) -> None:
    """A plan then waits for room; it does not fail."""
    words = [*OWN_MOUNTS, sys.executable, "-c", READ_ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "TargetFull\n"


def test_no_value_reaches_the_disk_in_the_clear(store: LocalStore, tmp_path: Path) -> None:
    value, note = "CANARY-" + "v" * 50, "CANARY-note"
    for _ in range(3):
        store.set("A", canary(value), metadata={"note": note}, tags={"tag": "CANARY-tag"})
    store.import_([secret(f"{number}", value) for number in range(2_000)])
    list(store.read(list(store.list())))
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"SQLite format 3" in content
    assert b"CANARY" not in content


def test_what_was_deleted_is_overwritten_on_disk(store: LocalStore, tmp_path: Path) -> None:
    store.set("UNMISTAKABLE_NAME", canary())
    assert b"UNMISTAKABLE_NAME" in files_of(tmp_path)
    store.delete(["UNMISTAKABLE_NAME"])
    assert b"UNMISTAKABLE_NAME" not in files_of(tmp_path)


def files_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (path / "store").iterdir())


def test_every_batch_seals_under_a_key_of_its_own(store: LocalStore, tmp_path: Path) -> None:
    store.import_([secret(f"{number}") for number in range(3)])
    store.set("A", canary())
    connection = sqlite3.connect(tmp_path / "store" / "secrets.db")
    sealed = [row[0] for row in connection.execute("SELECT sealed FROM secrets")]
    connection.close()
    salts = {blob[: database.SALT] for blob in sealed}
    nonces = {blob[database.SALT : database.SALT + database.NONCE] for blob in sealed}
    assert len(salts) == 2
    assert len(nonces) == 4


def test_a_batch_key_is_changed_before_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LIMIT", 3)
    seals = database.Seals(os.urandom(32))
    seal = seals.batch()
    sealed = [seal(b"CANARY", b"bound") for _ in range(7)]
    assert len({blob[: database.SALT] for blob in sealed}) == 3
    assert {seals.open(blob, b"bound", "A") for blob in sealed} == {b"CANARY"}


def test_deleting_does_not_wait_for_whoever_reads(store: LocalStore) -> None:
    """The reader is this thread itself, so that whoever waited would wait in vain, and say so."""
    store.import_([secret(f"{number}") for number in range(1_000)])
    listing = store.list()
    next(listing)
    store.delete(["5"])
    listing.close()  # type: ignore[attr-defined]


def test_a_listing_sees_one_moment(store: LocalStore) -> None:
    store.import_([secret(f"{number:04}") for number in range(1_000)])
    listing = store.list()
    first = next(listing)
    store.import_([secret("NEW")])
    store.delete(["0999"])
    assert sorted([first.name, *(entry.name for entry in listing)]) == [f"{n:04}" for n in range(1_000)]


def test_a_child_never_uses_its_parents_connection(tmp_path: Path) -> None:
    base = database.StoreDatabase(tmp_path / "store" / "secrets.db", key_check=lambda: b"check")
    inherited = base.connection()
    assert base.connection() is inherited
    assert in_a_child(lambda: base.connection() is not inherited)
    base.close()


def test_a_store_carried_elsewhere_opens_with_its_key(
    store: LocalStore, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store.import_([RICH])
    store.close()
    elsewhere = tmp_path_factory.mktemp("carried") / "elsewhere"
    shutil.copytree(tmp_path, elsewhere)
    moved = LocalStore(elsewhere)
    assert moved.get(RICH.name) == RICH
    moved.close()


def test_a_deleted_version_without_value_is_kept_apart_from_an_empty_one(store: LocalStore) -> None:
    held = Secret(
        name="A",
        versions=(
            SecretVersion(number=1, value=SecretBytes(b"")),
            SecretVersion(number=2, state=RICH.versions[1].state),
        ),
    )
    store.import_([held])
    assert store.get("A") == held


@pytest.mark.parametrize("use", ["another", "threads", "child"])
def test_no_use_of_the_file_in_a_process_takes_away_its_lock(tmp_path: Path, use: str) -> None:
    store, file = LocalStore(tmp_path), tmp_path / "store" / "secrets.db"
    store.set("app/a", canary())

    def another() -> None:
        other = LocalStore(tmp_path)
        other.set("app/b", canary())
        other.close()
        database.StoreDatabase(file, key_check=bytes)._create()  # as one does that saw it half made

    if use == "threads":
        threads = [threading.Thread(target=another) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif use == "child":
        child = multiprocessing.get_context("fork").Process(target=another)
        child.start()
        child.join(PATIENCE)
        assert child.exitcode == 0
    else:
        another()
    assert revealed(store.get("app/b")) in ([b"CANARY"], [b"CANARY"] * 4)
    assert os.getpid() in locked_by(file)
    store.close()


def test_a_forked_child_has_a_lock_of_its_own_on_the_store(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), tmp_path / "store" / "secrets.db"
    store.set("app/a", canary())
    assert child_has_a_lock(file, lambda: store.get("app/a"))
    store.close()
