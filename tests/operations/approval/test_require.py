"""Whether something may go on: by signatures that this process checks, and by nothing that a row says."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from strongroom.container.errors import Malformed
from strongroom.errors import ConfigError
from strongroom.keys.errors import SignatureRefused
from strongroom.model import ApprovalAction
from strongroom.operations.engine import approvals, approving
from strongroom.operations.engine.approvals import command_request, new_document, parse_document
from strongroom.operations.engine.approving import end_approval, require_approval
from strongroom.operations.engine.grant import add_signature, reject
from strongroom.operations.engine.muted import acknowledge
from strongroom.operations.engine.services import ApprovalRule, Services
from strongroom.operations.errors import ApprovalNeeded, NotApproved
from tests.operations.approval.office import (
    PEOPLE,
    Office,
    case_of,
    events,
    make_office,
    refusals,
    restore_of,
)
from tests.operations.world import make_world
from tests.ssh_people import Person, allow, person

DAY = 86_400.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("office")


@pytest.fixture(scope="module")
def staff(keys: Path) -> Office:
    return make_office(keys, make_world(keys / "world", secrets=()))


@pytest.fixture
def office(staff: Office, tmp_path: Path) -> Office:
    world = make_world(tmp_path / "world", secrets=())
    return Office(world=world, people=staff.people, allowed=staff.allowed)


def may(services: Services, subject_request: object = None, *, holder: str | None = None) -> None:
    request = subject_request or restore_of()
    assert isinstance(request, type(restore_of()))
    require_approval(services, request, holder=request.subject if holder is None else holder)


# -- who is asked -------------------------------------------------------------------------------


def test_without_a_rule_nobody_is_asked_and_nothing_is_on_record(office: Office) -> None:
    services = office.services(rules=())
    may(services)
    assert services.store.events() == []


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({}, True),
        ({"size": 10}, False),
        ({"size": 11}, True),
        ({"size": None}, True),
        ({"action": ApprovalAction.SHRED}, False),
        ({"destination": "staging"}, False),
        ({"destination": ""}, True),
        ({"policy": "other"}, False),
        ({"policy": ""}, True),
    ],
)
def test_a_rule_asks_for_its_actions_and_where_something_is_not_known_it_asks_too(
    office: Office, changed: dict[str, object], *, asked: bool
) -> None:
    rule = ApprovalRule(
        name="production",
        actions=frozenset({ApprovalAction.RESTORE}),
        k=2,
        people=PEOPLE,
        above=10,
        destinations=frozenset({"production"}),
        policies=frozenset({"weekly"}),
    )
    services = office.services(rules=(rule,))
    if not asked:
        may(services, restore_of(**changed))
        return
    with pytest.raises(ApprovalNeeded, match="2 of alice@"):
        may(services, restore_of(**changed))


def test_what_needs_two_waits_with_one_and_goes_on_with_two(office: Office) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    assert office.sign(services, document, "alice").lacks
    with pytest.raises(ApprovalNeeded, match="so far alice@") as caught:
        may(services)
    assert f"strongroom approvals approve {restore_of().subject}" in caught.value.hint
    assert office.sign(services, document, "bob").enough
    may(services)
    [used] = events(services, approvals.USED)
    assert used.detail["by"] == ["alice@example.org", "bob@example.org"]
    assert len(events(services, approvals.REQUESTED)) == 1, "asking again asks for the same"


def test_every_rule_that_asks_has_to_be_met(office: Office) -> None:
    third = ApprovalRule(
        name="security", actions=frozenset({ApprovalAction.RESTORE}), k=1, people=("carol@example.org",)
    )
    services = office.services(rules=(*office.rules().rules, third))
    document = office.ask(services, restore_of())
    office.sign(services, document, "alice", "bob")
    with pytest.raises(ApprovalNeeded, match=r"1 of carol@example.org \(rule 'security'\)"):
        may(services)
    office.sign(services, document, "carol")
    may(services)


def test_one_person_with_two_keys_and_one_key_of_two_people_count_once(
    office: Office, tmp_path: Path
) -> None:
    second = person(tmp_path / "second", "alice@example.org")
    alice = office.people["alice"]
    shared = Person(name="carol@example.org", file=alice.file)
    allowed = allow(tmp_path / "allowed", alice, second, shared, office.people["bob"])
    own = Office(world=office.world, people=office.people, allowed=allowed)
    services = own.services()
    document = own.ask(services, restore_of())
    own.force(services, document, alice.approve(document), second.approve(document))
    with pytest.raises(ApprovalNeeded, match="so far alice@"):
        may(services)
    own.sign(services, document, "bob")
    may(services)


# -- show 3: a stale plan, a self-approval, forged, expired, replayed, for another destination ------


def test_who_asked_cannot_approve_under_any_name_of_theirs(office: Office) -> None:
    services = office.services()
    document = office.ask(services, restore_of(requester="Alice@laptop"))
    with pytest.raises(SignatureRefused, match="cannot approve it as well"):
        office.sign(services, document, "alice")
    office.force(services, document, office.people["alice"].approve(document))
    office.sign(services, document, "bob")
    with pytest.raises(ApprovalNeeded):
        may(services, restore_of(requester="Alice@laptop"))
    assert any("alice@example.org asked for this" in why for why in refusals(services))


def test_a_forged_signature_counts_for_nothing_and_is_on_record_once(office: Office) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    alice, bob = office.people["alice"], office.people["bob"]
    other = msgspec.structs.replace(document, nonce="00" * 16)
    office.force(services, document, bob.approve(document), alice.approve(other))
    for _ in range(2):
        with pytest.raises(ApprovalNeeded, match="so far bob@"):
            may(services)
    assert refusals(services) == ["The signature does not fit what it should be over."]


def test_somebody_without_a_say_and_somebody_unknown_count_for_nothing(
    office: Office, tmp_path: Path
) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    stranger = person(tmp_path, "stranger")
    for nobody, why in ((office.people["mallory"], "not among the people"), (stranger, "is nobody's")):
        signature = nobody.approve(document)
        with pytest.raises(SignatureRefused, match=why):
            add_signature(services.store, services.approvals, case_of(services, document.id), signature)
        office.force(services, document, signature)
    with pytest.raises(ApprovalNeeded):
        may(services)
    assert len(refusals(services)) == 2


def test_a_person_who_was_taken_out_of_the_allowed_signers_counts_no_more(
    office: Office, tmp_path: Path
) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    office.sign(services, document, "alice", "bob")
    allowed = allow(tmp_path / "allowed", office.people["bob"], office.people["carol"])
    now = Office(world=office.world, people=office.people, allowed=allowed).services()
    with pytest.raises(ApprovalNeeded, match="so far bob@"):
        may(now)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"digest": "cd" * 32}, "another plan"),
        ({"destination": "elsewhere"}, "destination 'production', not 'elsewhere'"),
        ({"requester": "eve@host"}, "dave@host asked for it, not eve@host"),
        ({"size": 51}, "another plan"),
        ({"lines": ("something else",)}, "another plan"),
    ],
    ids=["a stale plan", "another destination", "another requester", "more secrets", "other words"],
)
def test_an_approval_of_something_else_is_refused_and_on_record(
    office: Office, changed: dict[str, object], why: str
) -> None:
    services = office.services()
    office.sign(services, office.ask(services, restore_of()), "alice", "bob")
    with pytest.raises(ApprovalNeeded):
        may(services, restore_of(**changed))
    assert [said for said in refusals(services) if why in said]
    may(services)  # what was approved is


def test_an_approval_of_one_run_is_none_of_another_however_the_rows_are_edited(office: Office) -> None:
    services = office.services()
    document = office.ask(services, restore_of("run-one"))
    office.sign(services, document, "alice", "bob")
    moved = office.ask(services, restore_of("run-two"))
    office.force(services, moved, *case_of(services, "run-one").signatures)
    with pytest.raises(ApprovalNeeded):
        may(services, restore_of("run-two"))
    assert refusals(services) == ["The signature does not fit what it should be over."] * 2


def test_an_expired_approval_is_refused_and_what_was_not_approved_in_time_is_not_done(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    office.sign(services, document, "alice", "bob")
    late = time.time() + DAY + 1
    monkeypatch.setattr(time, "time", lambda: late)
    with pytest.raises(NotApproved, match="in time"):
        may(services)
    assert any(why.startswith("It expired at") for why in refusals(services))
    with pytest.raises(NotApproved, match="has expired"):
        office.sign(services, document, "carol")


def test_a_request_that_would_hold_longer_than_this_host_allows_is_refused(office: Office) -> None:
    services = office.services()
    document = new_document(
        restore_of(), installation=services.installation(), now=time.time(), valid=20 * DAY
    )
    approvals.put_request(services.store, document)
    office.sign(services, document, "alice", "bob")
    with pytest.raises(NotApproved):
        may(services)
    assert any("too long" in why for why in refusals(services))


def test_an_approval_of_another_installation_is_refused(office: Office) -> None:
    services = office.services()
    document = new_document(restore_of(), installation="sr1:" + "0" * 64, now=time.time(), valid=DAY)
    approvals.put_request(services.store, document)
    office.sign(services, document, "alice", "bob")
    with pytest.raises(ApprovalNeeded):
        may(services)
    assert "It is about another installation." in refusals(services)


# -- once ------------------------------------------------------------------------------------------


def test_a_command_uses_its_approval_up_and_asks_anew_the_next_time(office: Office) -> None:
    services = office.services()
    request = command_request(ApprovalAction.EXPORT, {"file": "a"}, requester="dave@host", size=50)
    office.sign(services, office.ask(services, request), "alice", "bob")
    may(services, request, holder="")
    with pytest.raises(ApprovalNeeded):
        may(services, request, holder="")
    assert len(events(services, approvals.REQUESTED)) == 2


def test_a_run_uses_its_approval_for_all_its_pieces_and_no_more_once_it_is_over(office: Office) -> None:
    services = office.services()
    office.sign(services, office.ask(services, restore_of()), "alice", "bob")
    for _ in range(3):
        may(services)
    end_approval(services, restore_of().subject)
    with pytest.raises((ApprovalNeeded, NotApproved)):
        may(services)
    assert len(events(services, approvals.USED)) == 1


def test_a_used_approval_is_not_used_again_though_all_rows_about_its_use_are_gone(office: Office) -> None:
    services = office.services()
    request = command_request(ApprovalAction.EXPORT, {"file": "a"}, requester="dave@host", size=50)
    document = office.ask(services, request)
    office.sign(services, document, "alice", "bob")
    case = case_of(services, document.id)
    may(services, request, holder="")
    # The attacker's database: request and signatures as they were, nothing of the use.
    other = make_world(office.world.folder.parent / "other", secrets=())
    replayed = office.world.services(approvals=office.rules(), store=other.services().store)
    approvals.put_request(replayed.store, document)
    office.force(replayed, document, *case.signatures)
    with pytest.raises(ApprovalNeeded):
        may(replayed, request, holder="")
    assert any("used before" in why for why in refusals(replayed))


def test_two_hosts_do_not_use_one_approval_of_a_command(office: Office, tmp_path: Path) -> None:
    here = office.services()
    request = command_request(ApprovalAction.EXPORT, {"file": "a"}, requester="dave@host", size=50)
    document = office.ask(here, request)
    office.sign(here, document, "alice", "bob")
    there = office.world.services(approvals=office.rules(), state_dir=tmp_path / "there")
    case = case_of(here, document.id)
    may(here, request, holder="")
    # It read the record before the other used it.
    assert not case.used
    assert not approving.take(there, document, "another command")


# -- rejected, and break-glass ----------------------------------------------------------------------


def test_what_somebody_rejected_is_not_done_whoever_approved_it(office: Office) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    office.sign(services, document, "alice", "bob")
    reject(services.store, case_of(services, document.id), by="carol@desk", reason="not today")
    with pytest.raises(NotApproved, match="carol@desk rejected it: not today"):
        may(services)


def test_break_glass_takes_its_own_quorum_and_stays_on_record_until_somebody_looks_into_it(
    office: Office,
) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    store, rules = services.store, services.approvals
    for name in ("alice", "bob"):
        with pytest.raises(ApprovalNeeded):
            may(services)
        signature = office.people[name].break_glass(document, "the region burns")
        standing = add_signature(store, rules, case_of(services, document.id), signature)
    assert standing.break_glass
    may(services)
    [used] = events(services, approvals.USED)
    assert used.detail["break_glass"] is True
    case = case_of(services, document.id)
    assert case.broken
    assert not case.acknowledged
    alert = f"approval.break-glass:{document.request.subject}"
    acknowledge(store, alert, severity="critical", weight=0, by="eve@desk", reason="looked into")
    assert case_of(services, document.id).acknowledged


def test_an_approval_is_no_break_glass_and_a_break_glass_no_approval_and_its_reason_is_signed(
    office: Office,
) -> None:
    services = office.services()
    document = office.ask(services, restore_of())
    alice, bob, carol = (office.people[name] for name in ("alice", "bob", "carol"))
    glass = alice.break_glass(document, "the region burns")
    office.force(
        services,
        document,
        msgspec.structs.replace(glass, reason="a drill"),
        msgspec.structs.replace(glass, break_glass=False),
        msgspec.structs.replace(bob.approve(document), break_glass=True),
        carol.approve(document),
    )
    with pytest.raises(ApprovalNeeded, match="so far carol@"):
        may(services)
    assert len(refusals(services)) == 3


def test_who_may_approve_may_not_break_the_glass_nor_the_other_way_round_nor_without_a_reason(
    office: Office,
) -> None:
    emergency = ApprovalRule(
        name="break-glass", actions=frozenset(ApprovalAction), k=1, people=("carol@example.org",)
    )
    rule = ApprovalRule(
        name="two", actions=frozenset({ApprovalAction.RESTORE}), k=1, people=("alice@example.org",)
    )
    services = office.services(rules=(rule,), break_glass=emergency)
    document = office.ask(services, restore_of())
    alice, carol = office.people["alice"], office.people["carol"]
    for wrong, why in (
        (alice.break_glass(document, "the region burns"), "may break the glass"),
        (carol.approve(document), "may approve this"),
        (carol.break_glass(document, ""), "needs a reason"),
    ):
        case = case_of(services, document.id)
        with pytest.raises(SignatureRefused, match=why):
            add_signature(services.store, services.approvals, case, wrong)
        office.force(services, document, wrong)
    with pytest.raises(ApprovalNeeded):
        may(services)
    assert len({*refusals(services)}) == 3


# -- rows and files that are none --------------------------------------------------------------------


def test_without_the_allowed_signers_nothing_that_needs_approvals_is_done(
    office: Office, tmp_path: Path
) -> None:
    gone = Office(world=office.world, people=office.people, allowed=tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot be read"):
        may(gone.services())


@pytest.mark.parametrize("request_text", [None, 3, "", "{}", "[" * 5000, "x" * 40_000])
def test_a_row_that_is_no_request_keeps_nobody_from_asking(office: Office, request_text: object) -> None:
    services = office.services()
    services.store.event(approvals.SIGNED, None, document=7, signature=[1])
    services.store.event(approvals.REQUESTED, None, subject="x", request=request_text)
    document = office.ask(services, restore_of())
    office.sign(services, document, "alice", "bob")
    may(services)


def test_the_bytes_that_people_sign_are_read_back_as_they_were_or_not_at_all() -> None:
    document = new_document(restore_of(), installation="sr1:x", now=time.time(), valid=DAY)
    assert parse_document(document.content) == document
    assert document.content.count(b"\n") == 1
    spaced = document.content.replace(b'"version":1', b'"version": 1')
    for broken in (spaced, document.content[:-1], document.content + b"\n"):
        with pytest.raises(Malformed):
            parse_document(broken)
    hidden = new_document(
        restore_of(lines=("to staging\x1b[2K\rto production",)), installation="", now=time.time(), valid=DAY
    )
    with pytest.raises(Malformed, match="printed"):
        parse_document(hidden.content)
