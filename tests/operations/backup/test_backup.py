"""A backup through the in-process driver: what it leaves, and what it refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.container.signing import CertifiedSigner
from strongroom.errors import SourceError, StrongroomError, UsageError
from strongroom.keys.errors import RoleNotHere
from strongroom.model import ListedSecret, Role, Secret, Selection
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup import plan
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.submit import retry
from strongroom.operations.errors import NothingSelected, NothingSelectedYet
from strongroom.sources import SecretChange
from strongroom.sources.errors import EmptySource, EmptySourceYet
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunState, StepKind, Ticket
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, REGIONS, World, made_up, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_every_secret_comes_back_equal_from_each_target_alone(world: World) -> None:
    run = world.back_up()
    assert run.state is RunState.DONE
    wanted = {secret.name: secret for secret in made_up(30)}
    for target in world.targets.values():
        backup = open_backup(
            target, identities=[world.identity], trusted=frozenset({world.installation.fingerprint})
        )
        assert {secret.name: secret for secret in backup.secrets()} == wanted


def test_a_step_of_a_host_that_is_thrown_out_as_it_seals_is_done_by_another(world: World) -> None:
    services = world.services()
    thrown_out: list[Role] = []

    def signer(role: Role) -> CertifiedSigner:
        if role is Role.SEAL and not thrown_out:
            thrown_out.append(role)
            raise RoleNotHere("this host was removed from the installation")
        return world.signers[role]

    run, tickets = submit_backup(services, policy=POLICY)
    ended = drive(run, tickets, replace(services, signers=signer), processes=1)
    assert thrown_out
    assert ended.state is RunState.DONE, ended.error


def test_a_run_leaves_nothing_on_the_stage_and_only_its_manifests_objects_on_targets(world: World) -> None:
    run = world.back_up()
    assert names_on(world.stage) == []
    for target in world.targets.values():
        manifests = [name for name in names_on(target) if name.startswith("manifests/")]
        assert manifests == [f"manifests/{run.id}.json"]
        assert len(names_on(target)) == 1 + run.facts["plan"]["pieces"]


def test_one_secret_is_found_by_name_and_a_missing_one_is_not(world: World) -> None:
    world.back_up()
    backup = open_backup(world.targets["eu"], identities=[world.identity], trusted=None)
    found = backup.find("app/0007")
    assert found is not None
    assert found.current.value is not None
    assert found.current.value.reveal().startswith(b"CANARY-0007")
    assert backup.find("app/9999") is None


def test_more_pieces_than_secrets_still_make_a_whole_backup(tmp_path: Path) -> None:
    world = make_world(tmp_path, secrets=made_up(5), pieces=50)
    run = world.back_up()
    assert run.state is RunState.DONE
    assert run.facts["counts"]["secrets"] == 5


def test_many_tiny_secrets_are_cut_by_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PIECE_SECRETS", 8)
    world = make_world(tmp_path, secrets=made_up(30), pieces=1)
    run = world.back_up()
    assert run.state is RunState.DONE
    assert run.facts["plan"]["pieces"] == 4
    assert run.facts["counts"]["secrets"] == 30


def test_a_target_that_is_down_makes_the_backup_degraded_not_failed(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    broken = {**world.targets, "us": _Down(name="us", region="us")}
    services = world.services(targets=broken)
    run = world.back_up(services)
    assert run.state is RunState.DEGRADED
    assert "us" in (run.error or "")
    assert {r.target for r in services.store.replicas(run.id) if r.good} == {"eu", "ap"}


def test_too_few_targets_fail_the_run_and_leave_no_object_anywhere(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    broken = {name: _Down(name=name, region=name) for name in ("us", "ap")}
    run = world.back_up(world.services(targets={**world.targets, **broken}))
    assert run.state is RunState.FAILED
    assert "QuorumNotMet" in (run.error or "")
    assert f"it is not on 'us', 'ap': 'strongroom runs show {run.id}' says why" in (run.error or "")
    assert names_on(world.targets["eu"]) == []
    assert names_on(world.stage) == []


def test_an_unexpected_error_is_on_record_with_its_place_and_without_its_words(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    services = world.services(targets={**world.targets, "us": _Odd(name="us", region="us")})
    run = world.back_up(services)
    errors = [row.error or "" for row in services.store.rows(run.id) if row.error]
    assert any("ValueError: unexpected, at test_backup.py:" in error for error in errors)
    assert "CANARY" not in "".join(errors)


def test_two_targets_in_one_region_do_not_satisfy_a_policy_of_two_regions(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    same = {name: MemoryTarget(name=name, region="eu") for name in REGIONS}
    elsewhere = world.with_spec(targets=tuple(pin_target(name, target) for name, target in same.items()))
    run = elsewhere.back_up(elsewhere.services(targets=same))
    assert run.state is RunState.FAILED
    assert "regions" in (run.error or "")


def test_an_empty_source_is_an_error_of_its_own(tmp_path: Path) -> None:
    run = make_world(tmp_path, secrets=[]).back_up()
    assert run.state is RunState.FAILED
    assert isinstance(run_log.parse_error(run.error), EmptySource)


def test_an_empty_source_is_a_loss_only_where_the_policy_had_a_backup(world: World) -> None:
    names = list(world.source.heads([f"app/{number:04}" for number in range(30)]))
    held = [
        secret for secret in world.source.read([ListedSecret(name, 1, (), None) for name in names]) if secret
    ]
    world.source.delete(names)
    assert type(run_log.parse_error(world.back_up().error)) is EmptySourceYet
    world.source.write(SecretChange(secret=secret, expected=None) for secret in held)
    assert world.back_up().state is RunState.DONE
    world.source.delete(names)
    assert type(run_log.parse_error(world.back_up().error)) is EmptySource


def test_a_filter_that_matches_nothing_is_another_error_once_it_had_matched_something(world: World) -> None:
    def refused() -> StrongroomError | None:
        run = world.with_spec(selection=Selection(tags={"parity": "none"})).back_up()
        assert run.state is RunState.FAILED
        return run_log.parse_error(run.error)

    first = refused()
    assert type(first) is NothingSelectedYet
    assert "source 'vault' has no secret tagged parity=none" in first.message
    world.back_up()
    assert type(refused()) is NothingSelected


def test_a_tag_filter_backs_up_those_secrets_and_no_others(world: World) -> None:
    selected = world.with_spec(selection=Selection(tags={"parity": "even"}))
    run = selected.back_up()
    backup = open_backup(world.targets["eu"], identities=[world.identity], trusted=None)
    assert run.state is RunState.DONE
    assert sorted(row.name for row in backup.rows()) == [f"app/{n:04}" for n in range(0, 30, 2)]


def test_two_secrets_of_one_name_fail_the_run(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = world.back_up(world.services(sources={"vault": _Twice(made_up(3), name="vault")}))
    assert run.state is RunState.FAILED
    assert "DuplicateSecret" in (run.error or "")
    assert all(names_on(target) == [] for target in world.targets.values())


def test_a_failed_run_leaves_the_last_good_backup_untouched(world: World) -> None:
    good = world.back_up()
    before = {name: names_on(target) for name, target in world.targets.items()}
    bad = world.back_up(world.services(sources={"vault": _Twice(made_up(3), name="vault")}))
    assert bad.state is RunState.FAILED
    assert {name: names_on(target) for name, target in world.targets.items()} == before
    assert f"manifests/{good.id}.json" in before["eu"]


def test_a_cancelled_run_removes_what_it_had_placed(world: World) -> None:
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)

    def cancel_after_first_upload(ticket: Ticket) -> None:
        if ticket.step.kind is StepKind.UPLOAD:
            services.store.cancel(run)

    ended = drive(run, tickets, services, processes=1, watch=cancel_after_first_upload)
    assert ended.state is RunState.CANCELLED
    assert all(names_on(target) == [] for target in world.targets.values())
    assert names_on(world.stage) == []


def test_a_retried_run_finishes_once_what_stopped_it_is_gone(world: World) -> None:
    broken = {name: _Down(name=name, region=name) for name in ("us", "ap")}
    failed = world.back_up(world.services(targets={**world.targets, **broken}))
    services = world.services()
    retry(services, failed.id)
    assert drive(failed.id, [], services, processes=1).state is RunState.DONE


def test_a_failed_run_that_made_a_backup_is_not_started_over(world: World) -> None:
    made = world.back_up()
    services = world.services()
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.execute("UPDATE runs SET state = 'failed'")
    with pytest.raises(UsageError, match="did make a backup"):
        retry(services, made.id)


def test_much_fewer_secrets_than_the_backup_before_are_called_degraded(world: World) -> None:
    assert world.back_up().state is RunState.DONE
    world.source.delete([f"app/{number:04}" for number in range(10)])
    run = world.back_up()
    assert run.state is RunState.DEGRADED
    assert "holds 20 secrets where 30 were expected" in (run.error or "")


def test_much_fewer_secrets_are_an_alarm_in_each_backup_until_they_are_back(world: World) -> None:
    assert world.back_up().state is RunState.DONE
    world.source.delete([f"app/{number:04}" for number in range(10)])
    assert [world.back_up().state for _ in range(2)] == [RunState.DEGRADED] * 2
    world.source.write([SecretChange(secret=secret, expected=None) for secret in made_up(10)])
    assert world.back_up().state is RunState.DONE


def test_a_source_that_loses_secrets_between_listing_and_reading_is_called_degraded(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = world.back_up(world.services(sources={"vault": _Losing(made_up(30), name="vault")}))
    assert run.state is RunState.DEGRADED
    assert "holds 15 secrets where 30 were expected" in (run.error or "")


def test_what_a_failed_run_says_to_do_is_what_the_source_said(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = world.back_up(world.services(sources={"vault": _Refusing(made_up(3), name="vault")}))
    assert run_log.apart(run.error) == ("plan: SourceError: it is sealed", "Unseal it.")
    error = run_log.parse_error(run.error)
    assert isinstance(error, SourceError)
    assert (error.message, error.hint) == ("it is sealed", "Unseal it.")


class _Refusing(MemoryStore):
    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:  # noqa: ARG002
        raise SourceError("it is sealed", hint="Unseal it.")


class _Losing(MemoryStore):
    """A source that lists every secret and gives every second one."""

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        for entry, secret in zip(entries, super().read(entries), strict=True):
            yield secret if int(entry.name[-4:]) % 2 == 0 else None


def test_a_target_that_takes_the_manifest_and_loses_it_makes_the_backup_degraded(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    lying = {**world.targets, "us": _Forgetful(name="us", region="us")}
    run = world.back_up(world.services(targets=lying))
    assert run.state is RunState.DEGRADED
    assert "us" in (run.error or "")


class _Forgetful(MemoryTarget):
    """A target that says it took a manifest, and has none."""

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        return name.startswith("manifests/") or super().put(name, chunks, size=size, sha256=sha256)


class _Odd(MemoryTarget):
    """Fails as nobody foresaw."""

    def put(self, *args: object, **kwargs: object) -> bool:  # noqa: ARG002
        raise ValueError("CANARY-words")


class _Down(MemoryTarget):
    """A target that answers nothing."""

    def put(self, *args: object, **kwargs: object) -> bool:  # noqa: ARG002
        raise TargetUnavailable(f"target '{self.name}' does not answer")


class _Twice(MemoryStore):
    """A source that lists its first secret twice."""

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        yield next(super().list(with_tags=with_tags))
        yield from super().list(with_tags=with_tags)
