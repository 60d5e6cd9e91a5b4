"""Facts gathered from a real installation, and told by a real mail server: the record is not the truth."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace as replace_entry
from sqlalchemy import text

from strongroom.config.live import SettingsChange
from strongroom.container.manifest import parse_manifest, sign_manifest
from strongroom.container.signing import Signer
from strongroom.model import Depth, ObjectInfo
from strongroom.operations.archive.cases import STEPS, Suspicion
from strongroom.operations.archive.recoveries import RecoveryEntry, RecoveryEntryKind
from strongroom.operations.engine import noted
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.hooks import FAILED
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import ConfiguredPolicy
from strongroom.operations.errors import MailUnavailable
from strongroom.operations.evidence.ledger_heads import compare_with_heads, publish
from strongroom.operations.judge.fact_records import AlertLimits, WatchedInstallation
from strongroom.operations.judge.facts_on_record import BEAT, FAILED_OWN, REFUSED
from strongroom.operations.keys import health
from strongroom.operations.keys.health import answer_challenge, confirm, make_challenge
from strongroom.operations.keys.health import check as check_keys
from strongroom.operations.keys.usage import pinned_key
from strongroom.operations.notify.channels import Mail
from strongroom.operations.notify.channels import MailServer as Server
from strongroom.operations.notify.message import Route
from strongroom.operations.notify.notify import Delivery, JudgedFacts, Sending, gather_and_judge, tell_people
from strongroom.operations.procedures.incident import close, waive
from strongroom.operations.procedures.incident_opening import open_case
from strongroom.operations.procedures.recovery_report import RecordPlaces
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Pause, Replica, RunKind, RunStep, Spec, StepKind
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.times import rfc3339
from tests.operations.alerts.mail_server import MailServer
from tests.operations.world import POLICY, REGIONS, World, made_up, make_world
from tests.patience import PATIENCE
from tests.slots import monthly
from workers import names

DAY = 86_400.0
PEOPLE = ("one@example.org", "two@example.org")
LIMITS = AlertLimits()
PLAN = RunStep(StepKind.PLAN)


class Dead(MemoryTarget):
    """A target that answers nothing."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: ARG002
        raise TargetUnavailable(f"target '{self.name}' does not answer")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def watching(world: World, **changed: object) -> WatchedInstallation:
    own = WatchedInstallation(
        store=lambda: RunStore(world.database),
        targets=world.targets,
        trusted=frozenset({world.installation.fingerprint}),
        state_dir=world.folder / "state",
        recovery_objective=4 * 3600.0,
        policies=(ConfiguredPolicy(spec=world.spec, schedule="0 * * * *"),),
    )
    return replace(own, **changed)  # type: ignore[arg-type]


def keys(world: World, *, later: float = 0.0, **changed: object) -> list[str]:
    found = gather_and_judge(watching(world, **changed), LIMITS, now=time.time() + later)
    return [alert.key for alert in found.alerts]


def by_mail(server: MailServer, recipients: tuple[str, ...] = PEOPLE, *, name: str = "mail") -> Route:
    reached = Server(
        host="127.0.0.1", port=server.port, security="none", sender="strongroom@example.org", timeout=PATIENCE
    )
    mail = Mail(name=name, server=reached, recipients=recipients)
    return Route(name=name, audience=recipients, channels=(mail,), repeat=DAY)


def sending(server: MailServer, recipients: tuple[str, ...] = PEOPLE, **options: object) -> Sending:
    return Sending(**{"routes": (by_mail(server, recipients),), **options})  # type: ignore[arg-type]


# -- facts ---------------------------------------------------------------------


def test_a_policy_that_was_backed_up_is_well_until_its_time_has_passed(world: World) -> None:
    assert keys(world) == [f"backup.overdue:{POLICY}"], "there is none yet"
    world.back_up()
    assert keys(world) == []
    assert keys(world, later=2 * DAY) == [f"backup.overdue:{POLICY}"]


def test_a_row_whose_manifest_is_on_no_target_is_no_backup(world: World) -> None:
    run = world.back_up().id
    for target in world.targets.values():
        target.delete(manifest_name(run))
    found = keys(world)
    assert found[:2] == [f"backup.overdue:{POLICY}", "backup.lost"]
    assert found[2:] == [f"replica.bad:{name}" for name in sorted(REGIONS)]


def test_a_row_that_was_edited_makes_an_old_backup_no_younger(world: World) -> None:
    run = world.back_up().id
    store = RunStore(world.database)
    entry = store.backup(run)
    assert entry is not None
    lately = rfc3339(time.time() + 2 * DAY - 60)
    store.put_backup(msgspec.structs.replace(entry, created_at=lately))
    assert keys(world, later=2 * DAY) == [f"backup.overdue:{POLICY}"]


def test_a_backup_of_a_clock_that_was_ahead_hides_neither_a_newer_one_nor_what_fails(world: World) -> None:
    ahead = world.back_up().id
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text(f"UPDATE runs SET created_at = created_at + {900 * DAY}"))
        conn.execute(text("UPDATE catalog SET created_at = '2036-01-01T00:00:00Z'"))
    for target in world.targets:
        dated(world, target, ahead, "2036-01-01T00:00:00Z")
    assert keys(world) == [f"backup.overdue:{POLICY}", f"backup.ahead:{POLICY}"]
    world.back_up()
    assert keys(world) == [f"backup.ahead:{POLICY}"]
    world.back_up(world.services(sources={}))
    assert keys(world) == [f"backup.failed:{POLICY}", f"backup.ahead:{POLICY}"]
    (world.folder / "state.db").unlink()
    assert keys(world, later=2 * DAY) == [f"backup.overdue:{POLICY}"], "nor where there is no record"


def dated(world: World, target: str, backup: str, created_at: str) -> None:
    """Let a backup have been made at another time."""
    name, signer = manifest_name(backup), world.signers["control"]
    content = b"".join(world.targets[target].read(name))
    made = parse_manifest(content, trusted=frozenset({world.installation.fingerprint}))
    world.targets[target].delete(name)
    put(
        world,
        target,
        name,
        sign_manifest(msgspec.structs.replace(made, created_at=created_at), signer),
    )


def test_a_replica_that_the_record_was_made_to_forget_is_missed(world: World) -> None:
    world.back_up()
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text("DELETE FROM replicas WHERE target = 'us'"))
    for name in [info.name for info in world.targets["us"].list()]:
        world.targets["us"].delete(name)
    by_hand = ConfiguredPolicy(spec=world.spec)
    found = gather_and_judge(watching(world, policies=(by_hand,)), LIMITS, now=time.time() + 2 * DAY)
    assert [alert.key for alert in found.alerts] == [f"replica.unverified:{POLICY}"]
    assert found.alerts[0].what.endswith("on us")
    left = tuple(pin for pin in world.spec.targets if pin.name != "us")
    fewer = ConfiguredPolicy(spec=world.with_spec(targets=left).spec)
    assert keys(world, policies=(fewer,), later=2 * DAY) == [], "a target that was taken away owes nothing"


def test_a_row_that_names_a_target_of_nobodys_proves_nothing(world: World) -> None:
    run = world.back_up().id
    for target in world.targets.values():
        target.delete(manifest_name(run))
    good = Replica(backup=run, target="elsewhere", good=True, verified=Depth.LIVE, verified_at=time.time())
    RunStore(world.database).set_replica(good)
    assert f"backup.overdue:{POLICY}" in keys(world)


def test_a_database_that_was_lost_hides_neither_a_backup_nor_that_one_is_missing(world: World) -> None:
    world.back_up()
    (world.folder / "state.db").unlink()
    assert keys(world) == [], "a host without a record goes by the targets"
    assert keys(world, later=2 * DAY) == [f"backup.overdue:{POLICY}"]
    RunStore(world.database).heartbeat(names.BEAT)  # it runs backups, and its record is gone
    assert keys(world) == [f"catalog.lacks:{name}" for name in sorted(REGIONS)]


def test_an_incident_that_another_host_opened_is_told_until_one_of_them_closes_it(
    world: World, tmp_path: Path
) -> None:
    backup = world.back_up().id
    elsewhere = replace(world, database=f"sqlite:///{tmp_path / 'elsewhere.db'}").services()
    entry = world.services().store.backup(backup)
    assert entry is not None
    elsewhere.store.put_backup(entry)
    suspicion = Suspicion(backups=(backup,))
    opened = open_case(elsewhere, suspicion, by="ops@there", reason="copied", due=3600)
    incident = opened.incident
    assert keys(world) == [f"incident.open:{incident.id}"]
    assert keys(world, later=7200)[0] == f"incident.open:{incident.id}"
    (world.folder / "state.db").unlink()
    assert keys(world) == [f"incident.open:{incident.id}"], "also without a record"
    for step in STEPS:
        incident = waive(elsewhere, incident, step, reason="a false alarm", by="ops@there").incident
    close(elsewhere, incident, reason="", by="ops@there")
    assert keys(world) == []


def test_a_recovery_that_another_host_began_is_told_until_it_is_over(world: World, tmp_path: Path) -> None:
    world.back_up()
    services = world.services()
    there = RecordPlaces(
        tmp_path / "elsewhere",
        services.targets,
        trusted=services.signer_fingerprints,
        signer=services.signers("recover"),
    )
    opened = RecoveryEntry(
        case="r1", number=1, at=rfc3339(time.time()), by="ops@there", about=RecoveryEntryKind.OPENED
    )
    there.add(opened)
    assert keys(world) == ["recovery.open:r1"]
    assert keys(world, later=2 * 4 * 3600)[0] == "recovery.open:r1"
    there.add(replace_entry(opened, about=RecoveryEntryKind.CLOSED))
    assert keys(world) == []


def test_a_manifest_of_a_stranger_is_no_backup_and_is_told(world: World) -> None:
    run = world.back_up().id
    stranger = replace(watching(world), trusted=frozenset({Signer.generate().fingerprint}))
    found = [alert.key for alert in gather_and_judge(stranger, LIMITS).alerts]
    assert f"backup.overdue:{POLICY}" in found
    assert "manifest.refused:eu" in found
    # An old backup under a new name would pass for a new one.
    content = b"".join(world.targets["eu"].read(manifest_name(run)))
    put(world, "eu", manifest_name("20990101T000000Z-00000000"), content)
    assert keys(world) == ["manifest.refused:eu"]


@pytest.mark.parametrize("name", REGIONS)
def test_an_altered_manifest_of_the_newest_backup_is_told_of_any_target(world: World, name: str) -> None:
    manifest = manifest_name(world.back_up().id)
    content = bytearray(b"".join(world.targets[name].read(manifest)))
    content[len(content) // 2] ^= 1
    world.targets[name].delete(manifest)
    put(world, name, manifest, bytes(content))
    assert keys(world) == [f"manifest.refused:{name}"]


def put(world: World, target: str, name: str, content: bytes) -> None:
    world.targets[target].put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


class Late(MemoryTarget):
    """A target that shows nothing at first, as one to which a backup is being copied."""

    def __init__(self, behind: Target) -> None:
        super().__init__(name=behind.name, region=behind.region)
        self._behind, self._asked = behind, 0

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._asked += 1
        return iter(()) if self._asked == 1 else self._behind.list(prefix)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self._behind.read(name, offset=offset, length=length)


def test_a_backup_that_is_made_while_it_is_looked_is_not_called_lost(world: World) -> None:
    world.back_up()
    late = {name: Late(target) for name, target in world.targets.items()}
    assert keys(world, targets=late) == []


def test_a_backup_that_is_being_made_is_not_called_unknown(world: World) -> None:
    world.back_up()
    run = world.back_up().id
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text(f"DELETE FROM replicas WHERE backup = '{run}'"))
        conn.execute(text(f"DELETE FROM catalog WHERE backup = '{run}'"))
    assert keys(world) == [f"catalog.lacks:{name}" for name in sorted(REGIONS)]
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text(f"UPDATE runs SET state = 'active' WHERE id = '{run}'"))
    assert keys(world) == []


def test_a_target_that_does_not_answer_is_told_and_hides_no_other(world: World) -> None:
    world.back_up()
    targets = {**world.targets, "us": Dead(name="us", region="us")}
    assert keys(world, targets=targets) == ["target.away:us"]
    assert keys(world, targets=targets, later=2 * DAY) == [f"backup.overdue:{POLICY}", "target.away:us"]
    away = {name: Dead(name=name, region=name) for name in REGIONS}
    pins = (replace_entry(world.spec.targets[0], name="west"),)
    elsewhere = replace_entry(world.spec, policy="other", targets=pins)
    two = (ConfiguredPolicy(spec=world.spec), ConfiguredPolicy(spec=elsewhere))
    west = {**away, "west": MemoryTarget(name="west", region="west")}
    told = [key for key in keys(world, targets=west, policies=two) if "all-away" in key]
    assert told == [f"target.all-away:{POLICY}"], "its own, and not all"
    each = [f"target.away:{name}" for name in sorted(REGIONS)]
    assert keys(world, targets=away) == ["target.all-away", *each], "by the record"


def test_a_damaged_replica_and_one_that_never_came_are_told_apart(world: World) -> None:
    run = world.back_up().id
    bad = Replica(backup=run, target="eu", good=False, verified=None, verified_at=None)
    RunStore(world.database).set_replica(bad)
    assert keys(world) == ["replica.bad:eu"]
    world.targets["eu"].delete(manifest_name(run))
    assert keys(world) == ["replica.bad:eu"]


def test_a_state_that_does_not_answer_is_an_alarm_and_the_targets_are_judged(world: World) -> None:
    world.back_up()

    def away() -> RunStore:
        raise StateUnavailable("the state database did not answer")

    assert keys(world, store=away) == ["state.unreachable"]
    assert keys(world, store=away, later=2 * DAY) == ["state.unreachable", f"backup.overdue:{POLICY}"]


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_state_whose_file_is_damaged_keeps_no_alarm_from_being_told(world: World, content: bytes) -> None:
    world.back_up()
    (world.folder / "state.db").write_bytes(content)
    assert f"backup.overdue:{POLICY}" in keys(world, later=2 * DAY)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE runs SET created_at = 'CANARY'",
        "UPDATE runs SET spec = 'CANARY'",
        "UPDATE events SET at = 'CANARY'",
        "UPDATE catalog SET secrets = 'CANARY'",
        "UPDATE replicas SET verified = 'CANARY'",
        "UPDATE heartbeats SET at = 'CANARY'",
    ],
)
def test_a_row_that_was_edited_keeps_no_alarm_from_being_told(edit: str, world: World) -> None:
    world.back_up()
    store = RunStore(world.database)
    store.heartbeat("beat")
    with store._database.writing() as conn:
        conn.execute(text(edit))
    found = gather_and_judge(watching(world), LIMITS, now=time.time() + 2 * DAY)
    assert f"backup.overdue:{POLICY}" in [alert.key for alert in found.alerts]
    assert "CANARY" not in str(found.alerts)


def test_a_record_that_a_signed_head_on_a_target_contradicts_is_told(world: World) -> None:
    world.back_up()
    services = world.services()
    assert not publish(services, REGIONS).missed
    hold = partial(compare_with_heads, services, REGIONS)
    assert keys(world, hold_ledger=hold) == []
    with services.store._database.writing() as conn:
        conn.execute(text("DELETE FROM events WHERE id > 1"))
    assert keys(world, hold_ledger=hold) == ["ledger.broken"]


def test_media_in_a_safe_are_judged_by_the_record_and_never_called_away(world: World) -> None:
    offline = ConfiguredPolicy(spec=world.spec, schedule=monthly(), offline=True)
    away: dict[str, Target] = {name: Dead(name=name, region=name) for name in REGIONS}
    assert keys(world, policies=(offline,), targets=away, later=40 * DAY) == [f"emergency.due:{POLICY}"]
    world.back_up()
    assert keys(world, policies=(offline,), targets=away) == []


def test_a_run_that_failed_is_told_by_its_class_alone(world: World) -> None:
    world.back_up()
    broken = world.services(sources={})
    for _ in range(3):
        world.back_up(broken)
    found = gather_and_judge(watching(world), LIMITS)
    assert [alert.key for alert in found.alerts] == [f"backup.failed:{POLICY}"]
    assert "3 runs failed" in found.alerts[0].what
    assert "CANARY" not in str(found)
    assert "app/" not in str(found), "nor the name of a secret"


def test_marks_of_strangers_in_the_record_are_told(world: World) -> None:
    world.back_up()
    store = RunStore(world.database)
    store.event(REFUSED, reason="unsigned", count=4, pool="seal")
    store.event(FAILED_OWN, reason="a message of ours", count=1, pool="control")
    store.event(REFUSED, reason="unsigned", count="many", pool=["x"])  # as if somebody edited it
    store.event("shred.intent", intent={}, signer="", signature="")
    run = store.runs()[0].id
    store.event("step.failed", run, step="plan", attempt=1, error="RecordRefused: not as configured")
    with store._database.writing() as conn:
        conn.execute(text("UPDATE events SET detail = '{}' WHERE id = 1"))
    found = keys(world)
    assert found == [
        "ledger.broken",
        "record.refused",
        "record.refused:shredding",
        "message.refused:['x']",
        "message.refused:seal",
        "message.failed:control",
    ]
    later = keys(world, later=2 * DAY)
    assert "record.refused" not in later
    assert "ledger.broken" in later


def test_a_run_that_nobody_performs_is_told(world: World) -> None:
    world.back_up()
    spec = msgspec.structs.replace(world.spec, kind=RunKind.RESTORE)
    assert RunStore(world.database).create(spec, first=[job_of(RunKind.RESTORE).first]) is not None
    assert keys(world) == []
    assert "run.waiting" in keys(world, later=2 * DAY)


def test_a_key_that_nobody_tried_yet_is_told_two_weeks_before_it_has_to_be(world: World) -> None:
    world.back_up()
    services, name = world.services(identities=tuple), world.spec.recipients[0].name
    assert check_keys(services).bad == []

    def told(after: float) -> list[str]:
        return [key for key in keys(world, later=after) if key.startswith("key.")]

    assert [told(0.0), told(health.QUARTER - health.WARNING - DAY)] == [[], []]
    assert told(health.QUARTER - health.WARNING + DAY) == [f"key.unproven:{name}"]
    assert told(health.QUARTER + DAY) == [f"key.unproven:{name}"]
    services.store.event(health.RETIRED, key=pinned_key(world.spec.recipients[0]), name=name)
    assert told(health.QUARTER + DAY) == []


def test_keys_that_fail_or_that_nobody_answers_for_are_told(world: World) -> None:
    world.back_up()
    services, key = world.services(), pinned_key(world.spec.recipients[0])
    name = world.spec.recipients[0].name
    services.store.event(health.FAILED, key=key, why="WrongKey: CANARY-NAME", backup="b1")
    [told] = gather_and_judge(watching(world), LIMITS).alerts
    assert (told.key, told.what) == (
        f"key.unproven:{name}",
        f"{name}: did not open when it was tried (WrongKey)",
    )
    services.store.event(health.PROVEN, key=key, how="opened", backup="b1")
    question = make_challenge(services, world.identity.recipient(), name="board", created_at="")
    assert keys(world) == []
    services.store.event("key.checked", bad=["b1"], unread=["b1"], keys=[])
    assert keys(world) == ["key.unchecked"]
    assert "custodian.silent:board" in keys(world, later=8 * DAY)
    _, code = answer_challenge(question, [world.identity])
    confirm(services, name="board", code=code)
    assert "custodian.silent:board" not in keys(world, later=8 * DAY)


@pytest.mark.parametrize("kind", ["transit", "keyfile"])
def test_a_key_that_has_versions_grows_old_until_a_rotation_renews_it(world: World, kind: str) -> None:
    world.back_up()
    store = RunStore(world.database)
    with store._database.writing() as conn:
        conn.execute(text(f"UPDATE runs SET created_at = created_at - {340 * DAY}"))
        conn.execute(text(f"UPDATE runs SET spec = replace(spec, '\"keyfile\"', '\"{kind}\"')"))
    assert "key.aging:recovery" in keys(world)
    for renew in (False, True):
        spec = msgspec.structs.replace(world.spec, kind=RunKind.ROTATE, options={"renew": renew})
        assert store.create(spec, first=[job_of(RunKind.ROTATE).first]) is not None
        with store._database.writing() as conn:
            conn.execute(
                text("UPDATE runs SET state = 'done', finished_at = created_at WHERE kind = 'rotate'")
            )
        is_new = renew and kind == "transit"  # a file's key stays the same, however often it is wrapped for
        assert ("key.aging:recovery" in keys(world)) is not is_new


def test_a_file_that_its_host_did_not_take_on_is_told_until_it_is(world: World) -> None:
    world.back_up()
    store, file = RunStore(world.database), "/etc/strongroom/strongroom.toml"
    for change, told in (
        (
            SettingsChange(file=file, sha256="1", problem="policies.p.quorum: not a number"),
            ["settings.unused:h"],
        ),
        (SettingsChange(file=file, sha256="2", waits=("broker",)), ["settings.unused:h"]),
        (SettingsChange(file=file, sha256="3"), []),
    ):
        noted.record(store, "h", change)
        assert keys(world) == told


def test_beat_that_was_alive_once_is_missed(world: World) -> None:
    world.back_up()
    store = RunStore(world.database)
    store.heartbeat(BEAT)
    assert keys(world) == []
    with store._database.writing() as conn:
        conn.execute(text("UPDATE heartbeats SET at = at - 3600"))
    assert keys(world) == ["beat.silent"]


def test_a_source_that_gives_half_as_much_is_told(world: World) -> None:
    store = RunStore(world.database)
    for day in range(4):
        entry = store.backup(world.back_up().id)
        assert entry is not None
        store.put_backup(msgspec.structs.replace(entry, created_at=f"2026-01-0{day + 1}T00:00:00Z"))
    half = replace(world, source=type(world.source)(made_up(12), name="vault"))
    half.back_up()
    assert f"backup.shrunk:{POLICY}" in keys(half)


def test_what_the_layers_above_call_things_is_what_is_looked_for() -> None:
    assert names.BEAT == BEAT


# -- telling -------------------------------------------------------------------


def told(
    world: World,
    server: MailServer,
    found: JudgedFacts,
    recipients: tuple[str, ...] = PEOPLE,
    **options: object,
) -> list[str]:
    before = len(server.mails)
    deliveries = tell_people(watching(world), found, sending(server, recipients, **options))
    assert not [one.error for one in deliveries if one.error]
    return [mail.subject.partition(" on ")[0] for mail in server.mails[before:]]


def delivered(world: World, server: MailServer, found: JudgedFacts) -> Delivery:
    [delivery] = tell_people(watching(world), found, sending(server))
    return delivery


def test_an_alert_is_mailed_once_again_after_a_time_and_once_that_it_is_over(
    world: World, server: MailServer
) -> None:
    now = time.time()
    missing = gather_and_judge(watching(world), LIMITS, now=now)
    assert told(world, server, missing) == ["[strongroom] 1 critical"]
    assert told(world, server, gather_and_judge(watching(world), LIMITS, now=now + 900)) == []
    assert told(world, server, gather_and_judge(watching(world), LIMITS, now=now + DAY)) == [
        "[strongroom] 1 critical"
    ]
    world.back_up()
    assert told(world, server, gather_and_judge(watching(world), LIMITS)) == ["[strongroom] 1 resolved"]
    assert told(world, server, gather_and_judge(watching(world), LIMITS)) == []
    assert all(mail.recipients == PEOPLE for mail in server.mails)
    assert not any(b"CANARY" in mail.raw for mail in server.mails)


def test_others_are_told_what_these_know_already(world: World, server: MailServer) -> None:
    found = gather_and_judge(watching(world), LIMITS)
    assert told(world, server, found) == ["[strongroom] 1 critical"]
    assert told(world, server, found, recipients=("three@example.org",)) == ["[strongroom] 1 critical"]
    assert told(world, server, found) == []
    assert told(world, server, found, everything=True) == ["[strongroom] 1 critical"]


def test_a_look_by_another_threshold_does_not_call_over_what_this_one_told(
    world: World, server: MailServer
) -> None:
    def found(threshold: float) -> JudgedFacts:
        return gather_and_judge(
            watching(world), AlertLimits(threshold_age=threshold), now=time.time() + 1.5 * DAY
        )

    world.back_up()
    assert told(world, server, found(DAY)) == ["[strongroom] 1 critical"]
    assert told(world, server, found(2 * DAY)) == []
    assert told(world, server, found(DAY)) == []


def test_a_mail_that_did_not_go_out_is_sent_by_the_next_look(world: World, server: MailServer) -> None:
    found = gather_and_judge(watching(world), LIMITS)
    server.answer_data = "451 later"
    assert isinstance(delivered(world, server, found).error, MailUnavailable)
    server.answer_data = "250 taken"
    assert told(world, server, found) == ["[strongroom] 1 critical"]


def test_one_recipient_who_is_refused_does_not_make_the_others_hear_it_each_time(
    world: World, server: MailServer
) -> None:
    server.refused["two@example.org"] = 550
    found = gather_and_judge(watching(world), LIMITS)
    delivery = delivered(world, server, found)
    assert (delivery.channel, delivery.missed) == ("mail", ("two@example.org",))
    assert "refused two" in str(delivery.error)
    assert [mail.recipients for mail in server.mails] == [("one@example.org",)]
    assert told(world, server, found) == []


def test_a_state_that_is_away_keeps_no_mail_from_going_out(world: World, server: MailServer) -> None:
    world.back_up()

    def away() -> RunStore:
        raise StateUnavailable("the state database did not answer")

    blind = watching(world, store=away)
    for _ in range(2):  # nobody knows what was told
        tell_people(blind, gather_and_judge(blind, LIMITS), sending(server))
    assert [mail.subject.partition(" on ")[0] for mail in server.mails] == ["[strongroom] 1 critical"] * 2
    assert "sent again each time" in server.mails[0].text


def test_whoever_dies_between_sending_and_recording_tells_it_twice(world: World, server: MailServer) -> None:
    found = gather_and_judge(watching(world), LIMITS)

    class Dies(RunStore):
        def put_told(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    dying = watching(world, store=lambda: Dies(world.database))
    with pytest.raises(KeyboardInterrupt):
        tell_people(dying, found, sending(server))
    assert told(world, server, found) == ["[strongroom] 1 critical"]
    assert len(server.mails) == 2


def test_a_target_that_comes_back_is_waited_for_before_what_lies_there_is_called_over(
    world: World, server: MailServer
) -> None:
    run = world.back_up().id
    bad = Replica(backup=run, target="eu", good=False, verified=None, verified_at=None)
    RunStore(world.database).set_replica(bad)
    assert told(world, server, gather_and_judge(watching(world), LIMITS)) == ["[strongroom] 1 critical"]
    away = watching(world, targets={**world.targets, "eu": Dead(name="eu", region="eu")})
    assert told(world, server, gather_and_judge(away, LIMITS)) == ["[strongroom] 1 warning"]
    RunStore(world.database).set_replica(msgspec.structs.replace(bad, good=True, verified=Depth.COMPARED))
    assert told(world, server, gather_and_judge(watching(world), LIMITS)) == ["[strongroom] 2 resolved"]


def test_a_check_that_could_not_be_done_is_told_until_one_was(world: World) -> None:
    world.back_up()
    store = RunStore(world.database)
    spec = Spec(kind=RunKind.CHECK, policy="health", options={"check": "health"})
    for state, told in (("failed", ["check.failed:health"]), ("done", [])):
        run = store.create(spec, first=[job_of(RunKind.CHECK).first])
        assert run is not None
        with store._database.writing() as conn:
            conn.execute(text(f"UPDATE runs SET state = '{state}' WHERE id = '{run.id}'"))
        assert keys(world, checks=("health", "keys")) == told


def test_an_entry_that_rests_for_too_long_or_could_not_run_is_told_until_it_runs_again(world: World) -> None:
    calendar = (Scheduled(name="nightly", kind=RunKind.BACKUP, policy=POLICY, schedule="0 2 * * *"),)
    store, now = RunStore(world.database), time.time()
    store.pause(Pause(entry="nightly", reason="the vault moves", by="ann", since=now - 25 * 3600))
    store.event("schedule.refused", entry="nightly", error="ConfigError")
    assert {"schedule.late:nightly"} == of_calendar(world, calendar)
    store.create(Spec(kind=RunKind.BACKUP, policy=POLICY), first=[PLAN], slot=("nightly", now))
    assert {"schedule.late:nightly"} == of_calendar(world, calendar)
    store.resume("nightly", reason="it has moved", by="ann")
    assert of_calendar(world, calendar) == set()


def of_calendar(world: World, calendar: tuple[Scheduled, ...]) -> set[str]:
    return {key for key in keys(world, calendar=calendar) if key.startswith("schedule.")}


def test_a_hook_that_failed_after_a_run_is_told_for_a_day(world: World) -> None:
    world.back_up()
    RunStore(world.database).event(FAILED, "r", entry="health", when="after", error="HookFailed: no")
    assert keys(world) == ["hook.failed:health"]
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text(f"UPDATE events SET at = at - 90000 WHERE kind = '{FAILED}'"))
    assert "hook.failed:health" not in keys(world)
