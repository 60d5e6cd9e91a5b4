"""The plan signs the whole run: whoever writes to the state database has nothing else signed."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine import integrity
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import manifest_name
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, StepKind, StepState, Ticket
from strongroom.times import stamp
from tests.operations.world import POLICY, World, make_world, names_on

STAGES = {
    "after the plan": "AFTER INSERT ON steps WHEN new.kind = 'capture'",
    "at the first upload": "AFTER INSERT ON steps WHEN new.kind = 'upload'",
    "at the commit": "AFTER INSERT ON steps WHEN new.kind = 'commit'",
    "before the verification": "AFTER INSERT ON steps WHEN new.kind = 'verify'",
    "before the report": "AFTER INSERT ON steps WHEN new.kind = 'report'",
}
SIGNED_BY_THEN = ("before the verification", "before the report")


def spec(path: str, value: str) -> str:
    return f"spec = json_set(spec, '$.{path}', {value})"


EVIL = '{"name":"evil","type":"hpke","fingerprint":"hpke:ff","post_quantum":true,"describes":"nobody"}'

EDITS = {
    "values": spec("values", "json(CASE json_extract(spec, '$.values') WHEN 1 THEN 'false' ELSE 'true' END)"),
    "sealed": spec("sealed", "json(CASE json_extract(spec, '$.sealed') WHEN 1 THEN 'false' ELSE 'true' END)"),
    "kind": spec("kind", "'repair'"),
    "policy": spec("policy", "'other'"),
    "source": spec("source", "'other'"),
    "selection": spec("selection.include", "json('[\"nothing\"]')"),
    "targets": spec("targets[0].address", "'/mallory'"),
    "quorum": spec("quorum", "1"),
    "regions": spec("regions", "1"),
    "providers": spec("providers", "2"),
    "minimum_retention_days": spec("minimum_retention_days", "1"),
    "depth": spec("depth", "'present'"),
    "container_bytes": spec("container_bytes", "7"),
    "backup": spec("backup", "'20200101T000000Z-00000000'"),
    "options": spec("options.more", "1"),
    "recipients": spec("recipients[#]", f"json('{EVIL}')"),
    "created_at": "created_at = 946684800",
    "previous": f"facts = json_set(facts, '$.previous', '{'ab' * 32}')",
    "plan": "facts = json_set(facts, '$.plan.secrets', 1)",
}
RECIPIENT = {
    "fingerprint": spec("recipients[0].fingerprint", "'hpke:ff'"),
    "describes": spec("recipients[0].describes", "'the holder of nothing'"),
    "post_quantum": spec("recipients[0].post_quantum", "json('false')"),
}


def metadata_only(world: World) -> World:
    return world.with_spec(values=False, sealed=False, recipients=())


KINDS: dict[str, Callable[[World], World]] = {"sealed": lambda world: world, "metadata only": metadata_only}


def arrange(world: World, stage: str, change: str) -> None:
    """Have the database change the run's row at a stage, as whoever owns it could."""
    world.services().store.check()
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.execute(
            f"CREATE TRIGGER edited {STAGES[stage]} BEGIN UPDATE runs SET {change} WHERE id = new.run; END"
        )


def manifests(world: World, run: Run) -> dict[str, Manifest]:
    there = {name for name, target in world.targets.items() if manifest_name(run.id) in names_on(target)}
    return {
        name: parse_manifest(manifest_bytes(world.targets[name], run.id, trusted=None), trusted=None)
        for name in there
    }


def assert_refused(world: World, run: Run, field: str, *, stage: str) -> None:
    assert run.state is RunState.FAILED
    assert f"RecordRefused: run {run.id} was changed in the state database, in '{field}'" in str(run.error)
    told = [event.detail["error"] for event in world.services().store.events(run=run.id, kind="step.failed")]
    assert any("RecordRefused" in str(error) for error in told), told
    signed = manifests(world, run)
    assert bool(signed) == (stage in SIGNED_BY_THEN)
    for manifest in signed.values():
        assert (manifest.values, manifest.sealed) == (world.spec.values, world.spec.sealed)
        assert (manifest.policy, manifest.source) == (POLICY, "vault")
        assert manifest.selection.include == ()
        assert [one.fingerprint for one in manifest.recipients] == [
            pin.fingerprint for pin in world.spec.recipients
        ]
        assert manifest.created_at[:4] == run.id[:4]
        assert manifest.previous is None


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("field", EDITS)
def test_a_field_that_was_edited_is_named_refused_and_never_signed(
    tmp_path: Path, field: str, stage: str, kind: str
) -> None:
    world = KINDS[kind](make_world(tmp_path, pieces=1, regions=2))
    arrange(world, stage, EDITS[field])
    assert_refused(world, world.back_up(), field, stage=stage)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("part", RECIPIENT)
def test_what_is_said_of_a_recipient_is_signed_too(tmp_path: Path, part: str, stage: str) -> None:
    world = make_world(tmp_path, pieces=1)
    arrange(world, stage, RECIPIENT[part])
    assert_refused(world, world.back_up(), "recipients", stage=stage)


def test_a_record_of_another_run_is_not_this_run_s(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    world.back_up()
    stolen = "(SELECT json_extract(facts, '$.{0}') FROM runs o WHERE o.id <> new.run LIMIT 1)"
    change = (
        f"facts = json_set(facts, '$.record', json({stolen.format('record')}), "
        f"'$.record_signature', {stolen.format('record_signature')})"
    )
    arrange(world, "at the commit", change)
    run = world.back_up()
    assert run.state is RunState.FAILED
    assert "is not the one that the control role signed" in str(run.error)
    assert manifests(world, run) == {}


@pytest.mark.parametrize("year", ["2099-01-01", "2000-01-01"])
def test_a_date_that_is_not_the_one_in_the_run_s_id_is_not_planned(tmp_path: Path, year: str) -> None:
    world = make_world(tmp_path, pieces=1)
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE runs SET created_at = unixepoch(?)", (year,))
    ended = drive(run, tickets, services, processes=1)
    assert ended.state is RunState.FAILED
    assert "'created_at'" in str(ended.error)


@pytest.mark.parametrize(
    ("days", "said"), [(365, "dated ahead"), (-8, "older than a week")], ids=["ahead", "old"]
)
def test_a_run_whose_id_is_dated_otherwise_too_is_not_planned(tmp_path: Path, days: int, said: str) -> None:
    """Whoever writes whole rows can choose both. What is locked counts from that date."""
    services = make_world(tmp_path).services()
    run, _ = submit_backup(services, policy=POLICY)
    moment = time.time() + days * 86_400
    forged = msgspec.structs.replace(
        services.store.load(run), id=f"{stamp(moment)}-00000000", created_at=moment
    )
    with pytest.raises(RecordRefused, match=said):
        integrity.check_time(forged)


def test_a_run_of_long_ago_is_not_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the record and the stage can put a run back that was planned, signed and never ended."""
    world = make_world(tmp_path, pieces=1)
    services = world.services()
    sign = integrity.sign_record

    def sign_and_wait(*args: Any) -> dict[str, Any]:
        signed = sign(*args)
        monkeypatch.setattr(integrity, "OLDEST", -1.0)  # more than a week goes by
        return signed

    monkeypatch.setattr(integrity, "sign_record", sign_and_wait)
    run, tickets = submit_backup(services, policy=POLICY)
    ended = drive(run, tickets, services, processes=1)
    assert (ended.state, "older than a week" in str(ended.error)) == (RunState.FAILED, True)
    assert manifests(world, ended) == {}


def test_the_previous_manifest_is_taken_from_a_target_and_not_from_the_catalog_s_row(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    first = world.back_up()
    digest = hashlib.sha256(manifest_bytes(world.targets["eu"], first.id, trusted=None)).hexdigest()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE catalog SET manifest_sha256 = ?", ("ab" * 32,))
    second = world.back_up()
    assert {manifest.previous for manifest in manifests(world, second).values()} == {digest}


ABOUT = {
    "minimum_retention_days": spec("minimum_retention_days", "30000"),
    "targets": spec("targets[0].address", "'/mallory'"),
}


@pytest.mark.parametrize("field", ABOUT)
@pytest.mark.parametrize("submit", [submit_verify, submit_repair], ids=["verify", "repair"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_verification_and_a_repair_are_held_to_what_was_signed(
    tmp_path: Path, field: str, submit: Callable[..., tuple[str, list[Ticket]]], when: str
) -> None:
    world = make_world(tmp_path, pieces=1)
    backup = world.back_up().id
    services = world.services()
    run, tickets = submit(services, backup=backup)
    if when == "before":
        with sqlite3.connect(tmp_path / "state.db") as connection:
            connection.execute(f"UPDATE runs SET {ABOUT[field]} WHERE id = ?", (run,))
    else:
        arrange(
            world, "at the commit" if submit is submit_repair else "before the verification", ABOUT[field]
        )
    ended = drive(run, tickets, services, processes=1)
    assert (ended.state, f"'{field}'" in str(ended.error)) == (RunState.FAILED, True)
    done = {row.step.kind for row in services.store.rows(run) if row.state is StepState.DONE}
    assert done <= {StepKind.PLAN, StepKind.REPORT}
