"""Changed settings that people have to approve: a new reader of backups, and keeping them shorter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.errors import ConfigError
from strongroom.keys import Recipient
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import ApprovalAction
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine import approvals
from strongroom.operations.engine.approving import CONFIGURATION, approved_retention
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.layout import INDEXES
from strongroom.operations.engine.services import ApprovalRule, ConfiguredPolicy, KeepRules, Pinned, Services
from strongroom.operations.rotation.job import submit_rotation
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.records import Run, RunState
from tests.operations.approval.office import PEOPLE, Office, events, make_office
from tests.operations.world import POLICY, World, made_up, make_world

RULE = ApprovalRule(
    name="settings",
    actions=(ApprovalAction.RECIPIENTS, ApprovalAction.RETENTION),
    k=2,
    people=PEOPLE,
)


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Office:
    folder = tmp_path_factory.mktemp("office")
    return make_office(folder, make_world(folder / "world", secrets=()))


@pytest.fixture
def office(staff: Office, tmp_path: Path) -> Office:
    world = make_world(tmp_path / "world", secrets=made_up(4), pieces=1)
    return Office(world=world, people=staff.people, allowed=staff.allowed)


# -- a new reader ---------------------------------------------------------------------------------


def with_new_reader(office: Office, *, asked: bool = True) -> Services:
    """Return services whose policy names another key besides."""
    world: World = office.world
    new = KeyFileIdentity(b"\7" * 32).recipient()
    spec = replace(world.spec, recipients=(*world.spec.recipients, pin_recipient("new", new)))
    recipients = (world.identity.recipient(), new)
    rules = office.rules(rules=(RULE,) if asked else ())
    return world.services(approvals=rules, pinned=lambda policy: Pinned(spec=spec, recipients=recipients))


def back_up(services: Services) -> Run:
    run, tickets = submit_backup(services, policy=POLICY)
    return drive(run, tickets, services, processes=1)


def asked_for(services: Services) -> str:
    [event] = events(services, approvals.REQUESTED)
    return str(event.detail["subject"])


def test_nothing_is_sealed_for_a_new_recipient_before_it_is_approved_and_then_without_asking_again(
    office: Office,
) -> None:
    before = office.services(rules=(RULE,))
    assert back_up(before).state is RunState.DONE, "what was configured when the rule came is in force"
    services = with_new_reader(office)
    refused = back_up(services)
    assert refused.state is RunState.FAILED
    assert "ApprovalNeeded" in (refused.error or "")
    assert "retry one that failed" in (refused.error or ""), "it does not go on by itself"
    document = office.sign(services, find(office, services), "alice", "carol")
    assert document.enough
    for _ in range(2):
        done = back_up(services)
        assert done.state is RunState.DONE, done.error
    assert len(events(services, approvals.REQUESTED)) == 1
    asked = find(office, services).request
    assert asked.requester == CONFIGURATION
    assert asked.lines[0].startswith("seal backups for ")


def find(office: Office, services: Services) -> approvals.ApprovalDocument:
    case = approvals.read_cases(services.store).find(asked_for(services))
    assert case is not None
    return case.document


def test_no_rotation_gives_old_backups_a_new_reader_before_it_is_approved(office: Office) -> None:
    assert back_up(office.services(rules=(RULE,))).state is RunState.DONE
    services = with_new_reader(office)

    def rotate() -> Run:
        run, tickets = submit_rotation(services, policy=POLICY, options=RotateOptions())
        return drive(run, tickets, services, processes=1)

    before = stored(office)
    assert rotate().state is not RunState.DONE
    assert stored(office) == before
    office.sign(services, find(office, services), "alice", "bob")
    assert rotate().state is RunState.DONE
    assert stored(office) > before


def stored(office: Office) -> set[str]:
    targets = office.world.targets.items()
    return {f"{name}/{info.name}" for name, target in targets for info in target.list("")}


def test_no_index_of_names_is_sealed_for_a_new_key_before_it_is_approved(office: Office) -> None:
    world = office.world
    new = KeyFileIdentity(b"\7" * 32).recipient()

    def indexing(*index_recipients: Recipient) -> Services:
        own = (world.identity.recipient(),)
        pinned = Pinned(spec=world.spec, recipients=own, index_recipients=index_recipients)
        return world.services(approvals=office.rules(rules=(RULE,)), pinned=lambda policy: pinned)

    def indexes() -> set[str]:
        return {name for name in stored(office) if f"/{INDEXES}" in name}

    assert back_up(indexing(world.identity.recipient())).state is RunState.DONE
    before = indexes()
    assert before
    services = indexing(new)
    assert back_up(services).state is RunState.DONE, "the backup itself is sealed for nobody new"
    assert indexes() == before
    document = find(office, services)
    assert document.request.lines[0].startswith("seal the index of names for ")
    office.sign(services, document, "alice", "bob")
    for _ in range(2):
        assert back_up(services).state is RunState.DONE
    assert indexes() > before
    assert len(events(services, approvals.REQUESTED)) == 1


def test_without_a_rule_for_it_a_new_recipient_is_taken_at_once(office: Office) -> None:
    assert back_up(office.services(rules=())).state is RunState.DONE
    services = with_new_reader(office, asked=False)
    assert back_up(services).state is RunState.DONE
    assert not events(services, approvals.REQUESTED)


def test_what_was_in_force_is_not_guessed_if_it_cannot_be_read(office: Office) -> None:
    services = office.services(rules=(RULE,))
    back_up(services)
    (services.state_dir / "approvals" / "settings" / "recipients").write_text("{")
    ended = back_up(services)
    assert ended.state is RunState.FAILED
    assert "cannot be read" in (ended.error or "")


# -- keeping for a shorter time ----------------------------------------------------------------------

KEEP = KeepRules(daily=30, monthly=12, minimum_days=365)


def keeping(office: Office, keep: KeepRules, **changed: object) -> Services:
    services = office.services(rules=(RULE,))
    given: dict[str, object] = {"spec": office.world.spec, "keep": keep, **changed}
    policy = ConfiguredPolicy(**given)  # type: ignore[arg-type]
    return office.world.services(
        approvals=services.approvals, store=services.store, retention=lambda: {POLICY: policy}
    )


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (replace(KEEP, daily=7), "daily 7, was 30"),
        (replace(KEEP, minimum_days=30), "minimum days 30, was 365"),
        (replace(KEEP, daily=7, monthly=24), "daily 7, was 30"),
    ],
)
def test_backups_are_kept_as_long_as_before_until_people_approve_less(
    office: Office, keep: KeepRules, words: str
) -> None:
    assert approved_retention(keeping(office, KEEP))[POLICY].keep == KEEP
    services = keeping(office, keep)
    for _ in range(2):
        kept = approved_retention(services)[POLICY].keep
        assert (kept.daily, kept.minimum_days) == (30, 365)
        assert kept.monthly == max(12, keep.monthly), "longer is taken at once"
    document = find(office, services)
    assert words in document.request.lines
    office.sign(services, document, "alice", "bob")
    assert approved_retention(services)[POLICY].keep == keep
    assert approved_retention(services)[POLICY].keep == keep
    assert len(events(services, approvals.REQUESTED)) == 1


def test_to_keep_everything_no_longer_and_to_lift_a_legal_hold_is_shorter_too(office: Office) -> None:
    approved_retention(keeping(office, KeepRules(), legal_hold="audit"))
    services = keeping(office, KEEP)
    in_force = approved_retention(services)[POLICY]
    assert in_force.keep.keep_everything
    assert in_force.legal_hold == "audit"
    office.sign(services, find(office, services), "bob", "carol")
    in_force = approved_retention(services)[POLICY]
    assert in_force.keep == KEEP
    assert not in_force.legal_hold


def test_what_was_in_force_is_remembered_on_the_host_and_no_row_changes_it(office: Office) -> None:
    approved_retention(keeping(office, KEEP))
    other = make_world(office.world.folder.parent / "other", secrets=())
    shorter = replace(KEEP, daily=1)
    services = keeping(office, shorter)
    emptied = office.world.services(
        approvals=services.approvals,
        store=other.services().store,
        retention=lambda: {POLICY: ConfiguredPolicy(spec=office.world.spec, keep=shorter)},
    )
    assert approved_retention(emptied)[POLICY].keep.daily == 30
    file = emptied.state_dir / "approvals" / "settings" / "retention"
    assert json.loads(file.read_text())[POLICY]["daily"] == 30
    file.write_text("nonsense")
    with pytest.raises(ConfigError, match="damaged"):
        approved_retention(emptied)
