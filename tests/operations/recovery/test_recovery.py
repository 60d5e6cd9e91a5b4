"""A recovery's record, what is next, and what is told to others: pure functions of its entries."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import Tampered
from strongroom.container.signing import Signer, Signers
from strongroom.operations.archive.recoveries import (
    HERE,
    STEPS,
    Recovery,
    RecoveryEntry,
    RecoveryEntryKind,
    RecoveryProof,
    RecoveryScope,
    RecoveryStep,
    SourceSeen,
    recovery_of,
)
from strongroom.operations.procedures.recovery import (
    RecoveryMessage,
    RecoverySettingsFacts,
    due_messages,
    next_step,
    text_of,
    took_seconds,
    why_unneeded,
)
from strongroom.operations.procedures.recovery_report import (
    REPORT,
    RecordPlaces,
    account_of,
    report_of,
    status_of,
)
from strongroom.sheet import Lines
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified

CASE = "20260131T030000Z-00000000"
AT = "2026-01-31T03:{:02}:00Z"
OPENED = 1_769_828_460.0
SCOPE = RecoveryScope(
    sources=(SourceSeen(name="vault", there=None, held=3),),
    away={"region-a": "TargetUnavailable: it is gone"},
    lost=("vault",),
    leaked=("laptop",),
    into={"vault": "vault-b"},
)
PLAN = RecoverySettingsFacts(
    objective=4 * 3600,
    contacts={"primary": "DevOps"},
    texts=dict.fromkeys(RecoveryMessage, "{lost} {elapsed} {step} {call} {other}"),
    stakeholders=("owners@example.org",),
    escalation="cto@example.org",
)


def entry(
    number: int, about: RecoveryEntryKind, step: RecoveryStep | None = None, **said: object
) -> RecoveryEntry:
    host = str(said.pop("host", "one"))
    return RecoveryEntry(
        case=CASE,
        number=number,
        at=AT.format(number),
        by=f"ops@{host}",
        about=about,
        step=step,
        **said,  # type: ignore[arg-type]
    )


def recovery(*said: tuple[RecoveryEntryKind, RecoveryStep | None] | RecoveryEntry) -> Recovery:
    """Return what some entries come to, after the one that opens a recovery."""
    entries = [entry(1, RecoveryEntryKind.OPENED)]
    for one in said:
        number = len(entries) + 1
        made = replace(one, number=number, at=AT.format(number)) if isinstance(one, RecoveryEntry) else None
        entries.append(made or entry(number, *one))  # type: ignore[misc]
    return recovery_of(CASE, reversed(entries))


def through(last: RecoveryStep, *, host: str = "one") -> list[RecoveryEntry]:
    """Return the entries of all steps up to one, each done on a host."""
    done = [entry(2, RecoveryEntryKind.SCOPE, RecoveryStep.ASSESS, scope=SCOPE, host=host)]
    done += [entry(2, RecoveryEntryKind.DONE, step, host=host) for step in STEPS[: STEPS.index(last) + 1]]
    return done


# -- what is next -----------------------------------------------------------------------


def test_the_steps_come_in_the_order_of_the_procedures() -> None:
    assert next_step(recovery(), host="one") is RecoveryStep.ASSESS
    for step, after in zip(STEPS, [*STEPS[1:], None], strict=True):
        assert next_step(recovery(*through(step)), host="one") is after


def test_a_step_that_was_begun_again_is_not_done() -> None:
    again = recovery(*through(RecoveryStep.VALIDATE), entry(2, RecoveryEntryKind.BEGAN, RecoveryStep.RESTORE))
    assert next_step(again, host="one") is RecoveryStep.RESTORE


def test_another_host_shows_first_that_it_is_secure_as_long_as_something_is_to_be_restored() -> None:
    assert next_step(recovery(*through(RecoveryStep.LOCATE)), host="two") is RecoveryStep.SECURE
    assert next_step(recovery(*through(RecoveryStep.RESTORE)), host="two") is RecoveryStep.VALIDATE


def test_another_scope_opens_the_later_steps_again_and_the_yes_was_to_the_former() -> None:
    proof = entry(
        2, RecoveryEntryKind.PROVED, RecoveryStep.RESTORE, proofs=(RecoveryProof(check="restore", of="b1"),)
    )
    agreed = entry(2, RecoveryEntryKind.AGREED, RecoveryStep.RESTORE, lines=("b1",))
    before = recovery(*through(RecoveryStep.LOCATE), agreed, proof)
    assert (before.agreed is not None, before.steps[RecoveryStep.RESTORE].proved) == (True, {"b1"})
    elsewhere = entry(
        2, RecoveryEntryKind.SCOPE, RecoveryStep.ASSESS, scope=replace(SCOPE, into={"vault": "vault-c"})
    )
    after = recovery(*through(RecoveryStep.LOCATE), agreed, proof, elsewhere)
    assert (after.agreed, after.steps[RecoveryStep.RESTORE].proved) == (None, frozenset())
    assert next_step(after, host="one") is RecoveryStep.SECURE


def test_steps_without_a_loss_or_a_leak_are_not_needed() -> None:
    whole = entry(2, RecoveryEntryKind.SCOPE, RecoveryStep.ASSESS, scope=replace(SCOPE, lost=()))
    kept = entry(2, RecoveryEntryKind.SCOPE, RecoveryStep.ASSESS, scope=replace(SCOPE, leaked=()))
    assert [step for step in STEPS if why_unneeded(step, recovery(whole))] == [
        *(RecoveryStep.LOCATE, RecoveryStep.RESTORE, RecoveryStep.VALIDATE)
    ]
    assert [step for step in STEPS if why_unneeded(step, recovery(kept))] == [RecoveryStep.ROTATE]


def test_the_newest_result_of_a_check_counts() -> None:
    failed, good = (
        entry(
            2,
            RecoveryEntryKind.PROVED,
            RecoveryStep.RESTORE,
            proofs=(RecoveryProof(check="restore", of="b1", code=code),),
        )
        for code in ("TargetUnavailable", "")
    )
    assert recovery(failed).steps[RecoveryStep.RESTORE].proved == frozenset()
    assert recovery(failed, good).steps[RecoveryStep.RESTORE].proved == {"b1"}
    assert recovery(good, failed).steps[RecoveryStep.RESTORE].proved == frozenset()


# -- what is told -----------------------------------------------------------------------


def test_each_message_is_due_once() -> None:
    early, late = OPENED + 600, OPENED + PLAN.objective + 1
    assert due_messages(recovery(), PLAN, now=early) == ()
    known = through(RecoveryStep.ASSESS)
    assert due_messages(recovery(*known), PLAN, now=early) == (RecoveryMessage.OPENED,)
    told = [*known, entry(2, RecoveryEntryKind.TOLD, reason=RecoveryMessage.OPENED.value)]
    assert due_messages(recovery(*told), PLAN, now=early) == ()
    assert due_messages(recovery(*told), PLAN, now=late) == (RecoveryMessage.LATE,)
    back = [*through(RecoveryStep.VALIDATE), told[-1]]
    assert due_messages(recovery(*back), PLAN, now=early) == (RecoveryMessage.RESTORED,)
    skipped = [
        *through(RecoveryStep.VALIDATE),
        told[-1],
        entry(2, RecoveryEntryKind.WAIVED, RecoveryStep.RESTORE),
    ]
    assert due_messages(recovery(*skipped), PLAN, now=early) == ()  # nobody is told that all is back
    closed = [*back, entry(2, RecoveryEntryKind.CLOSED)]
    assert due_messages(recovery(*closed), PLAN, now=late) == (
        RecoveryMessage.RESTORED,
        RecoveryMessage.CLOSED,
    )


def test_the_escalation_hears_only_that_it_is_late() -> None:
    assert PLAN.recipients(RecoveryMessage.LATE) == ("owners@example.org", "cto@example.org")
    assert PLAN.recipients(RecoveryMessage.OPENED) == ("owners@example.org",)


def test_a_message_fills_in_what_it_names_and_leaves_the_rest() -> None:
    found = recovery(*through(RecoveryStep.LOCATE))
    text = text_of(RecoveryMessage.OPENED, found, PLAN, host="one", now=OPENED + 7500)
    assert text == "vault 2 h 5 min Decrypt and restore DevOps {other}"


# -- the record and the report ----------------------------------------------------------


class Away(MemoryTarget):
    """A target that answers at first, and no more."""

    def put(self, *_: object, **__: object) -> bool:
        raise TargetUnavailable("it is away")


INSTALLATION = Signer.generate()


def places(folder: Path, **targets: MemoryTarget) -> RecordPlaces:
    signer = certified("recover", installation=INSTALLATION)
    return RecordPlaces(folder, targets, trusted=Signers([INSTALLATION.fingerprint]), signer=signer)


def test_another_host_knows_a_recovery_by_a_target_and_loses_none_that_does_not_answer(
    tmp_path: Path,
) -> None:
    kept = MemoryTarget(name="kept", region="")
    here = places(tmp_path / "one", kept=kept, away=Away(name="away", region=""))
    for about in (RecoveryEntryKind.OPENED, RecoveryEntryKind.CLOSED):
        here.add(entry(1, about))
    assert (here.targets, set(here.missed)) == (("kept",), {"away"})
    [elsewhere] = places(tmp_path / "two", kept=kept).recoveries().values()
    assert elsewhere.closed_at
    stranger = certified("recover")
    alone = RecordPlaces(tmp_path / "three", {"kept": kept}, trusted=Signers([]), signer=stranger)
    assert alone.recoveries() == {}


def test_two_hosts_at_once_lose_nothing(tmp_path: Path) -> None:
    kept = MemoryTarget(name="kept", region="")
    one, two = (places(tmp_path / name, kept=kept) for name in ("one", "two"))
    one.add(entry(1, RecoveryEntryKind.OPENED))
    two.recoveries()
    one.add(entry(1, RecoveryEntryKind.DONE, RecoveryStep.ASSESS))
    found = two.add(entry(1, RecoveryEntryKind.LEFT, lines=("look there",), host="two"))
    assert (found.steps[RecoveryStep.ASSESS].ended, found.left) == (RecoveryEntryKind.DONE, ("look there",))


def test_what_cannot_be_kept_here_is_not_done(tmp_path: Path) -> None:
    here = places(tmp_path)
    (tmp_path / "recoveries" / ".strongroom-target").unlink()
    with pytest.raises(Exception, match=f"cannot be kept here.*{HERE}|cannot be kept here"):
        here.add(entry(1, RecoveryEntryKind.OPENED))


def test_a_report_says_the_same_whoever_makes_it_and_is_signed() -> None:
    found = recovery(*through(RecoveryStep.ROTATE), entry(2, RecoveryEntryKind.CLOSED))
    assert took_seconds(found, 0.0) == 8 * 60
    report = report_of(found, objective=PLAN.objective)
    signer = certified("recover", installation=INSTALLATION)
    signed = REPORT.sign(report, signer)
    assert REPORT.parse(signed, trusted=Signers([INSTALLATION.fingerprint])) == report
    with pytest.raises(Tampered):
        REPORT.parse(signed.replace(b"laptop", b"lapt0p", 1), trusted=None)
    page = REPORT.files(report)[".html"].decode()
    assert page == REPORT.files(report)[".html"].decode()
    for words in ("vault", "laptop", "region-a", "Decrypt and restore", "no answer"):
        assert words in page


def test_a_report_counts_as_kept_only_where_it_reads_back(tmp_path: Path) -> None:
    kept, other = (MemoryTarget(name=name, region="") for name in ("kept", "other"))
    report = report_of(
        recovery(*through(RecoveryStep.ROTATE), entry(2, RecoveryEntryKind.CLOSED)), objective=60
    )
    forged = b"another report"
    name = f"recovery-reports/{report.recovery}.json"
    other.put(name, [forged], size=len(forged), sha256=sha256(forged).digest())
    here = places(tmp_path, kept=kept, other=other)
    files = here.put_report(report)
    assert b"".join(kept.read(name)) == files[f"{report.recovery}.json"]
    assert {place: why.partition(":")[0] for place, why in here.missed.items()} == {
        "other": "VerificationFailed"
    }


def test_what_people_typed_changes_nothing_of_a_page() -> None:
    hostile = replace(
        entry(2, RecoveryEntryKind.WAIVED, RecoveryStep.RESTORE), reason="<script>alert(1)</script>"
    )
    report = report_of(
        recovery(*through(RecoveryStep.ASSESS), hostile, entry(2, RecoveryEntryKind.CLOSED)), objective=60
    )
    assert (report.outcome, b"<script>" in REPORT.files(report)[".html"]) == ("degraded", False)


def test_a_status_says_what_the_report_begins_with_and_last_the_command_that_goes_on() -> None:
    case = recovery(*through(RecoveryStep.RESTORE), entry(2, RecoveryEntryKind.LEFT, lines=("look there",)))
    status = status_of(
        case, objective=PLAN.objective, now=OPENED + 600, goes_on=f"strongroom recover --resume {CASE}"
    )
    sheet = account_of(status).status()
    *parts, goes_on = sheet.parts
    assert goes_on == Lines([f"strongroom recover --resume {CASE}"], "Next", style="code")
    report = REPORT.sheet(report_of(case, objective=PLAN.objective, now=OPENED + 600))
    assert list(report.parts[: len(parts)]) == parts
    assert (
        (sheet.title, sheet.verdict) == (report.title, report.verdict) == (f"Recovery {CASE}", "Not over yet")
    )
    words = sheet.text()
    for expected in ("- look there", "It has taken 10 min: within its objective of 4 h.", "not begun"):
        assert expected in words
