"""Probing targets and sources: what works, what refuses, and what lies."""

# ruff: noqa: ARG002 - targets that refuse have no use for what they are given

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret
from strongroom.operations.checks.probe import (
    Probe,
    probe_all,
    probe_rights,
    probe_source,
    probe_storage,
)
from strongroom.operations.rights.needs import ON_TARGETS
from strongroom.plugins.conformance.targets import put
from strongroom.sources.memory import MemoryStore
from strongroom.system.errors import TargetReadOnly
from strongroom.targets import ProbeCheck, ProbeResult
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.resilient import Resilient
from tests.operations.world import made_up, names_on
from tests.targets.flaky import FlakyTarget, LockingTarget, gone

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def outcomes(probe: Probe) -> dict[str, ProbeResult]:
    return {check.what: check.outcome for check in probe.checks}


def failed(probe: Probe) -> list[str]:
    return [check.what for check in probe.checks if check.failed]


class ReadOnly(MemoryTarget):
    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        raise TargetReadOnly("no right to write")

    def delete(self, name: str) -> None:
        raise TargetReadOnly("no right to delete")


class PutOnly(MemoryTarget):
    def delete(self, name: str) -> None:
        raise TargetReadOnly("no right to delete")


# -- storage -----------------------------------------------------------------------------


def test_a_target_that_works_is_shown_to_work_and_is_left_empty(tmp_path: Path) -> None:
    target = DirectoryTarget(tmp_path / "t", name="eu", region="eu")
    target.prepare()

    probe = probe_storage(target, now=NOW)

    assert set(outcomes(probe).values()) == {ProbeResult.FINE}
    assert len(probe.checks) >= 6
    assert (probe.kind, probe.name, probe.place) == ("target", "eu", str(tmp_path / "t"))
    assert names_on(target) == []


def test_a_target_that_is_not_there_says_so_and_nothing_else_is_claimed(tmp_path: Path) -> None:
    [check] = probe_storage(DirectoryTarget(tmp_path / "gone", name="eu", region="eu"), now=NOW).checks

    assert check.outcome is ProbeResult.MISSING
    assert check.detail


def test_a_locked_object_must_not_be_deletable_and_stays_until_its_lock_ends() -> None:
    class Locking(LockingTarget):
        def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
            created = super().put(name, chunks, size=size, sha256=sha256)
            self._locks.setdefault(name, self.now + timedelta(days=1))
            return created

    target = Locking(now=NOW)
    probe = probe_storage(target, now=NOW)
    assert failed(probe) == []
    assert outcomes(probe)["delete a locked object"] is ProbeResult.FINE
    [left] = names_on(target)
    assert left.startswith("probes/20261125T090000Z-")

    target.now = NOW + timedelta(days=2)
    probe_storage(target, now=target.now)
    assert left not in names_on(target)


def test_a_lock_that_does_not_hold_is_found() -> None:
    class Pretending(MemoryTarget):
        locks = True

        def extend_lock(self, name: str, until: datetime) -> datetime:
            return until

        def locked_until(self, name: str) -> datetime | None:
            return NOW + timedelta(days=1)

    assert failed(probe_storage(Pretending(), now=NOW)) == ["delete a locked object"]


def test_a_target_that_replaces_objects_is_found() -> None:
    class Replacing(MemoryTarget):
        def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
            self._objects.pop(name, None)
            return super().put(name, chunks, size=size, sha256=sha256)

    assert failed(probe_storage(Replacing(), now=NOW)) == ["put other content under its name"]


def test_a_target_that_gives_back_other_bytes_is_found() -> None:
    class Wrong(MemoryTarget):
        def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            for chunk in super().read(name, offset=offset, length=length):
                yield bytes([chunk[0] ^ 1]) + chunk[1:]

    assert failed(probe_storage(Wrong(), now=NOW))[:2] == ["read it back", "read a range of it"]


def test_a_target_that_deletes_in_words_only_is_found() -> None:
    class Keeping(MemoryTarget):
        def delete(self, name: str) -> None:
            return None

    assert failed(probe_storage(Keeping(), now=NOW)) == ["delete an object"]


def test_a_target_that_lists_nothing_is_found() -> None:
    class Blind(MemoryTarget):
        def list(self, prefix: str = "") -> Iterator[object]:  # type: ignore[override]
            return iter(())

    assert failed(probe_storage(Blind(), now=NOW)) == ["list it"]


def test_only_objects_of_old_probes_are_swept() -> None:
    target = MemoryTarget()
    for name in ("probes/20261125T070000Z-aa", "probes/20261125T085500Z-bb", "containers/r/a", "probes.txt"):
        put(target, name, b"x")

    probe_storage(target, now=NOW)

    assert names_on(target) == ["containers/r/a", "probes.txt", "probes/20261125T085500Z-bb"]


def test_a_resilient_target_is_probed_without_its_patience() -> None:
    flaky = FlakyTarget(gone(), gone())

    assert failed(probe_storage(Resilient(flaky), now=NOW)) == ["write an object"]
    assert flaky.calls == 1


def test_a_dead_target_does_not_keep_the_others_from_being_probed() -> None:
    dead, fine = FlakyTarget(*[gone()] * 99), MemoryTarget(name="fine")

    probes = probe_all([lambda: probe_storage(dead, now=NOW), lambda: probe_storage(fine, now=NOW)])

    assert [bool(failed(probe)) for probe in probes] == [True, False]


# -- rights ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["transfer", "recover"])
def test_a_credential_that_may_put_and_not_delete_fits_who_transfers(role: str) -> None:
    assert failed(probe_rights(PutOnly(), role=role, now=NOW)) == []


def test_a_credential_that_may_not_delete_lacks_that_for_who_sweeps() -> None:
    assert failed(probe_rights(PutOnly(), role="control", now=NOW)) == ["delete an object"]


def test_a_credential_that_may_delete_is_too_much_for_who_transfers() -> None:
    probe = probe_rights(MemoryTarget(), role="transfer", now=NOW)

    assert [(check.what, check.outcome) for check in probe.checks if check.failed] == [
        ("delete", ProbeResult.EXCESS)
    ]


@pytest.mark.parametrize("role", ["verify", "drill"])
def test_a_credential_that_may_only_read_fits_who_verifies_and_is_read_with(role: str) -> None:
    target = ReadOnly()
    target._objects["containers/r/a"] = b"x"

    probe = probe_rights(target, role=role, now=NOW)

    assert failed(probe) == []
    assert outcomes(probe)["read"] is ProbeResult.FINE


def test_a_credential_that_may_put_is_too_much_for_who_verifies() -> None:
    target = MemoryTarget()

    assert set(failed(probe_rights(target, role="verify", now=NOW))) == {"put", "delete"}
    assert names_on(target) == []


def test_a_credential_that_may_only_read_lacks_the_right_to_put_for_who_transfers() -> None:
    probe = probe_rights(ReadOnly(), role="transfer", now=NOW)

    assert failed(probe) == ["put"]
    assert outcomes(probe)["read"] is ProbeResult.NOT_SHOWN  # there is nothing to read yet


@pytest.mark.parametrize(
    ("mode", "words"), [(0o700, ""), (0o750, ""), (0o755, "read"), (0o707, "write"), (0o770, "group")]
)
def test_a_directory_that_others_may_use_is_too_many(tmp_path: Path, mode: int, words: str) -> None:
    target = DirectoryTarget(tmp_path / "t", name="eu", region="eu")
    target.prepare()
    (tmp_path / "t").chmod(mode)

    found = [check for check in probe_rights(target, role="operator", now=NOW).checks if check.failed]

    assert [check.outcome for check in found] == ([ProbeResult.EXCESS] if words else [])
    assert all(words in check.detail for check in found)


def test_every_role_that_touches_targets_has_needs() -> None:
    pools = {"operator", "control", "transfer", "recover", "verify", "drill", "prune"}
    assert set(ON_TARGETS) == pools | {"metrics", "page"}


# -- sources -----------------------------------------------------------------------------


class Right(Struct, frozen=True):
    path: str
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    beside: bool = False


class Telling(MemoryStore):
    told: tuple[Right, ...] = ()

    def rights(self) -> tuple[Right, ...]:
        return self.told


def test_a_source_is_listed_and_one_secret_read_whose_value_is_dropped() -> None:
    probe = probe_source(MemoryStore(made_up(3), name="vault"))

    assert outcomes(probe) == {
        "list": ProbeResult.FINE,
        "read one": ProbeResult.FINE,
        "rights of the credential": ProbeResult.NOT_SHOWN,
    }
    assert "CANARY" not in repr(probe)


def test_what_a_source_tells_of_its_rights_is_told_path_by_path() -> None:
    source = Telling(made_up(1), name="vault")
    source.told = (
        Right("secret/data/*", missing=("read",)),
        Right("other/data/*", excess=("create", "delete")),
        Right("sys/mounts"),
    )

    assert "rights of the credential" not in outcomes(probe_source(source)), "nothing is fine as a whole"
    assert [check for check in probe_source(source).checks if check.failed] == [
        ProbeCheck(what="secret/data/*", outcome=ProbeResult.MISSING, detail="read"),
        ProbeCheck(what="other/data/*", outcome=ProbeResult.EXCESS, detail="create, delete"),
    ]


def test_rights_that_all_fit_are_counted() -> None:
    source = Telling(made_up(1), name="vault")
    source.told = (Right("sys/mounts"), Right("secret/*"))
    assert probe_source(source).checks[-1].detail == "each of 2 paths fits"


def test_a_listing_that_fails_at_its_last_folder_is_no_fine_listing() -> None:
    class HalfListed(MemoryStore):
        def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
            yield from super().list(with_tags=with_tags)
            raise SourceError("no right to list 'team-z/'")

    [check] = probe_source(HalfListed(made_up(3), name="vault")).checks
    assert (check.what, check.outcome) == ("list", ProbeResult.MISSING)
    assert "team-z/" in check.detail


def test_what_is_read_is_the_last_of_the_listing_which_is_counted() -> None:
    class OnlyTheLast(MemoryStore):
        def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
            assert [entry.name for entry in entries] == ["app/0002"]
            return super().read(entries)

    listed, read, _ = probe_source(OnlyTheLast(made_up(3), name="vault")).checks
    assert (listed.detail, read.outcome) == ("3 names, to the end", ProbeResult.FINE)


def test_a_source_that_cannot_be_listed_or_read_is_found() -> None:
    class NoList(MemoryStore):
        def list(self, *, with_tags: bool = False) -> Iterator[object]:  # type: ignore[override]
            raise SourceError("no right to list")

    class NoRead(MemoryStore):
        def read(self, entries: object) -> Iterator[object]:  # type: ignore[override]
            raise SourceError("no right to read")

    assert failed(probe_source(NoList(name="vault"))) == ["list"]
    assert failed(probe_source(NoRead(made_up(1), name="vault"))) == ["read one"]


def test_an_empty_source_shows_nothing_of_reading() -> None:
    assert outcomes(probe_source(MemoryStore(name="vault")))["read one"] is ProbeResult.NOT_SHOWN


def test_a_folder_of_secrets_that_everybody_may_read_is_too_many(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o755)
    (tmp_path / "secrets").chmod(0o755)
    probe = probe_source(MemoryStore(made_up(1), name="files"), path=tmp_path / "secrets")

    assert failed(probe) == ["others may not use it"]
