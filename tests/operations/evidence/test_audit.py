"""The audit report: what the record says of a span of time, and that neither of the two changed since."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from strongroom.container.errors import Tampered, Truncated, UntrustedSigner
from strongroom.container.signing import Signers
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence import access_log
from strongroom.operations.evidence.audit import Audit, audit
from strongroom.operations.evidence.audit_page import REPORT
from strongroom.targets.memory import MemoryTarget
from strongroom.times import rfc3339
from tests.certified import certified
from tests.operations.world import World, make_world, names_on

NOW = 4e9


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def services(world: World) -> Services:
    return world.services()


def everything(services: Services) -> Audit:
    return audit(services.store, since=0, until=NOW, now=NOW)


def edit(world: World, statement: str) -> None:
    engine = create_engine(world.database)
    with engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount >= 1
    engine.dispose()


def test_a_backup_is_told_with_what_came_of_it_and_where_it_lies(world: World, services: Services) -> None:
    run = world.back_up(services)
    found = everything(services)
    assert found.outcomes == {"backup": {"done": 1}}
    assert [(one.run, one.policy, one.state, one.error) for one in found.operations] == [
        (run.id, "weekly", "done", None)
    ]
    [held] = found.backups
    assert held.backup.backup == run.id
    assert {(on.target, on.good, on.verified) for on in held.replicas} == {
        ("ap", True, "compared"),
        ("eu", True, "compared"),
        ("us", True, "compared"),
    }
    assert all(on.verified_at and on.verified_at.endswith("Z") for on in held.replicas)
    assert b"CANARY" not in REPORT.sign(found, world.signers["control"])


def test_a_report_from_before_there_were_pages_is_still_one_canonical_document(
    world: World, services: Services
) -> None:
    old = REPORT.sign(everything(services), world.signers["control"])
    assert not any(field in old for field in (b'"drills"', b'"keys"', b'"page_sha256"', b'"csv_sha256"'))
    assert REPORT.parse(old, trusted=services.signer_fingerprints).drills == ()


def test_what_failed_is_told_with_its_reason(world: World, services: Services) -> None:
    full = world.with_targets({name: MemoryTarget(name=name, region=name, capacity=1) for name in "ab"})
    full.back_up(full.services())
    [one] = everything(services).operations
    assert one.state == "failed"
    assert one.error


def test_accesses_keys_and_incidents_are_told_one_by_one(world: World, services: Services) -> None:
    access_log.record_access(world.folder, access_log.OPENED, backup="b1", command="restore", by="ann")
    access_log.take(world.folder, services.store)
    services.store.event("key.failed", key="k1", why="KeyDenied")
    services.store.event("message-refused", reason="unsigned")
    found = everything(services)
    assert [(one.kind, one.detail.get("by")) for one in found.happenings] == [
        ("access.opened", "ann"),
        ("key.failed", None),
        ("message-refused", None),
    ]
    assert found.counted == {"access.opened": 1, "key.failed": 1, "message-refused": 1}


def test_the_span_has_its_first_moment_and_not_its_last(world: World, services: Services) -> None:
    for kind in ("key.proven", "key.failed", "key.checked"):
        services.store.event(kind)
    for number in (1, 2, 3):
        edit(world, f"UPDATE events SET at = {number * 100} WHERE id = {number}")
    found = audit(services.store, since=100, until=300, now=NOW)
    assert [one.kind for one in found.happenings] == ["key.proven", "key.failed"]
    assert (found.first and found.first.id, found.last and found.last.id) == (1, 2)
    assert found.broken == 1, "the times were edited, and that is told"
    assert audit(services.store, since=101, until=300, now=NOW).events == 1


def test_a_run_that_began_before_is_told_in_the_span_in_which_it_ended(
    world: World, services: Services
) -> None:
    world.back_up(services)
    last = services.store.newest_link()
    assert last is not None
    edit(world, f"UPDATE events SET at = 100 WHERE id < {last.id}")
    edit(world, f"UPDATE events SET at = 200 WHERE id = {last.id}")
    before = audit(services.store, since=50, until=150, now=NOW)
    assert [(one.state, one.ended) for one in before.operations] == [("active", "")]
    after = audit(services.store, since=150, until=300, now=NOW)
    assert [(one.state, one.began) for one in after.operations] == [("done", "1970-01-01T00:01:40Z")]
    assert audit(services.store, since=250, until=300, now=NOW).operations == ()


@pytest.mark.parametrize("detail", ["not json", "[1]", "{}", '{"kind": {"a": 1}}'])
def test_a_row_that_somebody_wrote_is_told_and_stops_no_report(
    world: World, services: Services, detail: str
) -> None:
    world.back_up(services)
    edit(world, f"UPDATE events SET detail = '{detail.replace(':', chr(92) + ':')}'")
    found = everything(services)
    assert found.broken == 1
    assert (
        REPORT.parse(REPORT.sign(found, world.signers["control"]), trusted=services.signer_fingerprints)
        == found
    )


def test_a_report_is_believed_as_it_was_signed_alone(world: World, services: Services) -> None:
    world.back_up(services)
    trusted = services.signer_fingerprints
    content = REPORT.sign(everything(services), world.signers["control"])
    assert REPORT.parse(content, trusted=trusted) == everything(services)
    with pytest.raises(Tampered):
        REPORT.parse(content.replace(b'"done"', b'"dune"'), trusted=trusted)
    with pytest.raises(Truncated):
        REPORT.parse(content[:-2], trusted=trusted)
    with pytest.raises(UntrustedSigner):
        REPORT.parse(REPORT.sign(everything(services), certified("control")), trusted=trusted)


def test_a_report_of_a_signer_that_was_rotated_away_counts_until_its_end_and_no_longer(
    world: World, services: Services
) -> None:
    world.back_up(services)
    signer = world.signers["control"]
    before = REPORT.sign(audit(services.store, since=0, until=NOW, now=NOW - 3600), signer)
    after = REPORT.sign(audit(services.store, since=0, until=NOW, now=NOW + 3600), signer)
    trusted = Signers({world.installation.fingerprint}, retired={signer.fingerprint: rfc3339(NOW)})
    assert REPORT.parse(before, trusted=trusted).events
    with pytest.raises(UntrustedSigner, match="Nothing that it signed after"):
        REPORT.parse(after, trusted=trusted)


def test_a_report_changes_nothing_where_backups_lie(world: World, services: Services) -> None:
    world.back_up(services)
    before = {name: names_on(target) for name, target in world.targets.items()}
    everything(services)
    assert {name: names_on(target) for name, target in world.targets.items()} == before
