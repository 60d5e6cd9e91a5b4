"""What recovering needs of a machine, each thing red and green, and one that hangs holding up no other."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from msgspec.structs import replace

from strongroom.container.errors import MissingPiece
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.model import Secret, SecretBytes
from strongroom.operations.archive.coverage import BackupPlace
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.checks import machine
from strongroom.operations.checks.backups import (
    Looked,
    TargetBackups,
    Want,
    choose_backups,
    destination,
    escrow,
    newest_of,
    opens,
    signers,
    targets,
)
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import Pinned
from strongroom.operations.errors import NothingOpens
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import CatalogEntry
from strongroom.system.attempts import run_all
from strongroom.system.errors import TargetFull
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.vault.rights import PathRights
from tests.operations.world import POLICY, REGIONS, World, make_world

WANTED = (Want(policy=POLICY, targets=REGIONS, values=True, required=True),)


def states(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(one.check, one.state.value) for one in found]


# -- several at once ---------------------------------------------------------------


def test_one_that_hangs_is_told_and_holds_up_no_other() -> None:
    never = Event()
    found = run_all(0.2, {"dead": never.wait, "alive": lambda: True}, late=lambda _: TargetUnavailable)
    never.set()
    assert list(found) == ["dead", "alive"]
    assert found["alive"] is True
    assert isinstance(found["dead"], TargetUnavailable)


def test_a_typed_error_is_an_outcome_and_any_other_is_raised() -> None:
    def refuse() -> bool:
        raise NothingOpens("no key")

    assert isinstance(run_all(5, {"a": refuse}, late=lambda _: TargetUnavailable)["a"], NothingOpens)
    with pytest.raises(ZeroDivisionError):
        run_all(5, {"a": lambda: 1 / 0}, late=lambda _: TargetUnavailable)


# -- the machine -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.1", ">=2.1.0,<2.2", True),
        ("2.2.0", "<2.2,>=2.1", False),
        ("2.10", ">=2.9", True),
        ("50.0.2", ">=50", True),
        ("49.9", ">=50", False),
        ("1.0rc1", ">=1.0", True),
        ("1", "", True),
    ],
)
def test_versions_are_held_to_their_bounds(version: str, bounds: str, expected: bool) -> None:
    assert machine.fits(version, bounds) is expected


def test_python_and_the_libraries_that_are_needed_are_here_and_one_that_is_not_is_named() -> None:
    assert states([*machine.python(), *machine.libraries(machine.CORE)]) == [
        ("python", "good"),
        ("libraries", "good"),
    ]
    [missing] = machine.libraries(["no-such-library"])
    assert (missing.code, "no-such-library" in missing.what) == ("ConfigError", True)


def test_every_algorithm_works_here_and_one_that_does_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(machine.algorithms()) == [("algorithms", "good")]

    class Lacking:
        @staticmethod
        def generate(**_: object) -> None:
            raise UnsupportedAlgorithm("this OpenSSL has none")

    monkeypatch.setattr(machine, "HpkeIdentity", Lacking)
    found = list(machine.algorithms())
    assert [one.code for one in found] == ["KeyServiceError"] * 2
    assert "ML-KEM-768" in found[0].what


def test_randomness_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(machine.randomness()) == [("randomness", "good")]

    def none_yet(*_: int) -> bytes:
        raise BlockingIOError

    monkeypatch.setattr(machine.os, "urandom", none_yet)
    assert [one.code for one in machine.randomness()] == ["KeyServiceError"]


def test_core_dumps_and_swap_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, swaps = tmp_path / "core_pattern", tmp_path / "swaps"
    head = "Filename Type Size Used Priority\n"
    pattern.write_text("core\n")
    for limit, text, expected in (
        (0, "core", "good"),
        (0, "|/usr/lib/keeper", "remark"),
        (1, "core", "wrong"),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        pattern.write_text(text)
        assert states(machine.cores(pattern)) == [("core-dumps", expected)]
    monkeypatch.setattr(machine.process, "may_lock", lambda: False)
    for area, expected in (
        ("", "good"),
        ("/dev/zram0 partition 1 0 1\n", "good"),
        ("/dev/sda2 p 1 0 1\n", "remark"),
    ):
        swaps.write_text(head + area)
        assert states(machine.swap(swaps)) == [("swap", expected)]
    assert states(machine.swap(tmp_path / "none")) == [("swap", "remark")]
    monkeypatch.setattr(machine.process, "may_lock", lambda: True)
    assert states(machine.swap(swaps)) == [("swap", "good")]  # what is locked is not swapped


def test_a_restore_needs_room(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert states(machine.disk(folder, 1000)) == [("disk", "good")]
    [full] = machine.disk(folder, 2**60)
    assert full.exit_code == TargetFull.exit_code
    assert not folder.parent.exists()


def test_a_backup_of_the_future_tells_of_a_clock_that_is_behind() -> None:
    made = {"old": "2026-01-01T00:00:00Z", "new": "2026-01-02T00:00:00Z", "odd": "CANARY"}
    assert states(machine.clock(made, now=1767312000.0)) == [("clock", "good")]
    [behind] = machine.clock(made, now=1767312000.0 - 301)
    assert (behind.code, "backup new" in behind.what) == ("ConfigError", True)
    assert states(machine.clock({})) == [("clock", "good")]


# -- backups ---------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    made.back_up()
    return made


def chooser(world: World, trusted: frozenset[str] | None = None) -> Chooser:
    known = world.services().signer_fingerprints if trusted is None else trusted
    return Chooser([BackupPlace(name, lambda t=t: t) for name, t in world.targets.items()], trusted=known)  # type: ignore[misc]


def seen(world: World, *, recorded: Mapping[str, str] | None = None) -> dict[str, TargetBackups]:
    looked = choose_backups(chooser(world), [POLICY], recorded=recorded or {})
    return {name: one for name, one in looked.items() if isinstance(one, TargetBackups)}


def dead(*names: str) -> dict[str, TargetUnavailable]:
    return {name: TargetUnavailable("it does not answer") for name in names}


def test_a_target_that_is_away_is_a_remark_as_long_as_another_has_the_newest(world: World) -> None:
    looked: Looked = seen(world) | dead("us")
    found = list(targets(looked, WANTED, {}))
    assert [(one.target, one.state.value) for one in found] == [
        ("eu", "good"),
        ("us", "remark"),
        ("ap", "good"),
        ("", "good"),
    ]


def test_without_any_target_nothing_can_be_recovered(world: World) -> None:
    found = list(targets(dead(*REGIONS), WANTED, {POLICY: "20260101T000000Z-aa"}))
    assert [one.code for one in found] == [*["TargetUnavailable"] * 3, "MissingPiece"]
    assert "strongroom backup" not in found[-1].to_do
    *_, never = targets({}, WANTED, {})
    assert f"strongroom backup --policy {POLICY}" in never.to_do
    offline = Want(policy=POLICY, targets=REGIONS, values=True, required=False)
    assert {one.state.value for one in targets(dead(*REGIONS), [offline], {})} == {"remark"}


def test_a_policy_that_never_selected_anything_is_no_fault_where_another_holds_its_source(
    world: World,
) -> None:
    critical = Want(policy="critical", targets=REGIONS, values=True, required=True, within=(POLICY,))
    looked = seen(world)
    newest = newest_of(looked)[POLICY].backup_id
    [said] = [
        one for one in targets(looked, [*WANTED, critical], {POLICY: newest}) if one.policy == "critical"
    ]
    assert (said.state.value, newest in said.what) == ("remark", True)
    on_record = {"critical": "20260101T000000Z-aa", POLICY: newest}
    [lost] = [one for one in targets(looked, [*WANTED, critical], on_record) if one.policy == "critical"]
    assert lost.code == "MissingPiece"
    [nowhere] = [one for one in targets({}, [critical], {}) if one.policy == "critical"]
    assert nowhere.code == "MissingPiece"


def test_a_target_that_lacks_the_newest_is_named(world: World) -> None:
    looked = seen(world)
    older = replace(looked["ap"].newest[POLICY], backup_id="20200101T000000Z-aa")
    looked["ap"] = replace(looked["ap"], newest={POLICY: older})
    [lacking] = [one for one in targets(looked, WANTED, {}) if one.target == "ap"]
    assert (lacking.state.value, lacking.backup) == ("remark", newest_of(looked)[POLICY].backup_id)
    assert f"strongroom backups repair {lacking.backup}" in lacking.to_do


def test_a_newer_one_on_record_that_no_target_shows_is_wrong(world: World) -> None:
    [rolled_back] = [
        one for one in targets(seen(world), WANTED, {POLICY: "29990101T000000Z-aa"}) if one.policy
    ]
    assert rolled_back.exit_code == MissingPiece.exit_code


def test_one_that_is_older_than_all_that_are_looked_through_is_found_by_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroom.operations.checks.backups.LOOKED", 0)
    [backup] = [entry.backup for entry in world.services().store.backups()]
    assert POLICY not in seen(world)["eu"].newest
    assert seen(world, recorded={POLICY: backup})["eu"].newest[POLICY].backup_id == backup


def test_names_that_a_stranger_puts_there_hide_no_backup(world: World) -> None:
    for number in range(60):
        put(world.targets["eu"], f"manifests/29990101T000000Z-{number:08x}.json", b"junk")
    found = seen(world)["eu"]
    assert (POLICY in found.newest, len(found.refused)) == (True, 60)


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def test_whose_signature_is_believed_decides(world: World) -> None:
    stranger = choose_backups(chooser(world, frozenset()), [POLICY], recorded={})
    assert states(signers(0, stranger)) == [("signers", "wrong")]
    assert states(signers(0, {})) == [("signers", "remark")]
    assert states(signers(2, seen(world))) == [("signers", "good")]
    assert "not believed" in next(targets(stranger, WANTED, {})).what


def opening(world: World, *identities: object, asked: tuple[str, ...] = ()) -> Finding:
    target, trusted = world.targets["eu"], world.services().signer_fingerprints
    manifest = read_manifest(target, trusted=trusted)
    return opens(target, manifest, identities, trusted=trusted, asked=asked)  # type: ignore[arg-type]


def test_a_backup_is_opened_for_real_with_what_is_at_hand(world: World) -> None:
    other = PassphraseIdentity("another one")
    found = opening(world, other, world.identity)
    assert (found.state.value, world.identity.describe() in found.what) == ("good", True)
    nothing = opening(world, other)
    assert (nothing.code, "tried 1 key" in nothing.what) == ("NothingOpens", True)
    assert world.identity.recipient().describe() in nothing.what
    assert opening(world, asked=(reader_of(world),)).state.value == "remark"


def reader_of(world: World) -> str:
    target = world.targets["eu"]
    [reader] = read_manifest(target, trusted=None).recipients
    return reader.name


def test_what_people_bring_opens_once_they_are_asked(tmp_path: Path) -> None:
    words = PassphraseIdentity("CANARY-PASSPHRASE six words")
    world = make_world(tmp_path, pieces=1)
    pin = pin_recipient("words", words.recipient())
    world = world.with_spec(recipients=(pin,))
    pinned = Pinned(spec=world.spec, recipients=(words.recipient(),))
    world.back_up(world.services(pinned=lambda _: pinned, identities=lambda: (words,)))
    found = opening(world)
    assert (found.state.value, "once somebody is asked" in found.what) == ("remark", True)
    assert opening(world, words).state.value == "good"


# -- places ---------------------------------------------------------------------------


class Telling(MemoryStore):
    """A source whose server tells what its credential may do."""

    told: tuple[PathRights, ...] = ()

    def write_rights(self, secrets: Iterable[Secret] | None = None) -> Iterator[PathRights]:  # noqa: ARG002
        yield from self.told


def test_a_destination_has_to_let_itself_be_written_to() -> None:
    source = Telling()
    source.told = (PathRights("secret/data/*", excess=("delete",)), PathRights("secret/metadata/*"))
    [may] = destination(source)
    assert (may.state.value, "each of 2 paths" in may.what) == ("good", True)
    source.told = (PathRights("secret/data/*", missing=("create",)), PathRights("secret/metadata/*"))
    [lacking] = destination(source)
    assert (lacking.code, "create secret/data/*" in lacking.what) == ("RightMissing", True)
    assert states(destination(MemoryStore())) == [("destination", "remark")]


def test_looking_at_a_local_store_makes_none(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert states(destination(LocalStore(state))) == [("destination", "good")]
    assert not state.exists()
    LocalStore(state).set("A", SecretBytes(b"CANARY"))
    (state / "keys" / "store.key").unlink()
    with pytest.raises(Exception, match="master key"):
        list(destination(LocalStore(state)))


def test_an_escrow_is_known_by_the_record() -> None:
    entry = CatalogEntry(
        backup="b",
        policy="(command)",
        source="escrow",
        created_at="2026-01-01T00:00:00Z",
        values=True,
        secrets=1,
        size=1,
        containers=1,
        manifest_sha256="00" * 32,
    )
    assert escrow([entry]).state.value == "good"
    assert escrow([]).state.value == "remark"
