"""Marks: who may sign what, and what they may say."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.container.errors import Malformed, UntrustedSigner
from strongroom.container.marks import (
    DELETION,
    HOLD,
    MAX_TEXT,
    QUARANTINE,
    DeletionMark,
    HoldMark,
    MarkKind,
    QuarantineMark,
)
from strongroom.container.signing import CertifiedSigner
from tests.container.parts import CONTROL, INSTALLATION, RECOVER, TRUSTED, certified

SEAL, PRUNE = certified("seal", installation=INSTALLATION), certified("prune", installation=INSTALLATION)

RELEASED = QuarantineMark(
    backup_id="20260131T000000Z-00000000",
    number=2,
    state="released",
    reason="looked at",
    incident="",
    by="admin@host",
    at="2026-01-31T00:00:00Z",
)
MARKED = DeletionMark(
    backup_id="20260131T000000Z-00000000",
    number=1,
    state="marked",
    after="2026-02-07T00:00:00Z",
    reason="other days are kept",
    run="20260131T000001Z-00000000",
    by="",
    at="2026-01-31T00:00:00Z",
)
UNDELETED = replace(MARKED, number=2, state="undeleted", after="")
DELETED = replace(MARKED, number=3, state="deleted", after="")
HELD = HoldMark(
    kind="policy",
    subject="daily",
    number=1,
    state="held",
    reason="a third of it changed",
    by="",
    at="2026-01-31T00:00:00Z",
    until="",
)
ALLOWED: list[tuple[MarkKind[Any], Any, CertifiedSigner]] = [
    (QUARANTINE, RELEASED, CONTROL),
    (QUARANTINE, RELEASED, RECOVER),
    (DELETION, MARKED, PRUNE),
    (DELETION, DELETED, PRUNE),
    (DELETION, UNDELETED, PRUNE),
    (DELETION, UNDELETED, CONTROL),
    (HOLD, HELD, CONTROL),
    (HOLD, HELD, RECOVER),
]
FORBIDDEN: list[tuple[MarkKind[Any], Any, CertifiedSigner]] = [
    (QUARANTINE, RELEASED, SEAL),
    (QUARANTINE, RELEASED, PRUNE),
    (DELETION, MARKED, CONTROL),
    (DELETION, DELETED, RECOVER),
    (DELETION, UNDELETED, SEAL),
    (HOLD, HELD, PRUNE),
]


@pytest.mark.parametrize(("kind", "mark", "signer"), ALLOWED)
def test_a_mark_reads_back_as_it_was_signed(
    kind: MarkKind[Any], mark: object, signer: CertifiedSigner
) -> None:
    assert kind.open(kind.sign(mark, signer), trusted=TRUSTED).statement == mark


@pytest.mark.parametrize(("kind", "mark", "signer"), FORBIDDEN)
def test_a_role_that_may_not_say_it_is_refused(
    kind: MarkKind[Any], mark: object, signer: CertifiedSigner
) -> None:
    with pytest.raises(UntrustedSigner):
        kind.open(kind.sign(mark, signer), trusted=TRUSTED)


def test_another_installation_is_refused() -> None:
    with pytest.raises(UntrustedSigner):
        QUARANTINE.open(QUARANTINE.sign(RELEASED, CONTROL), trusted=frozenset())


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": 0},
        {"number": 100_000_000},
        {"reason": "x" * (MAX_TEXT + 1)},
        {"by": "line\nfeed"},
        {"at": "yesterday"},
        {"at": "2026-01-31T00:00:00"},
    ],
)
def test_what_no_mark_may_say_is_not_signed(wrong: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        QUARANTINE.sign(replace(RELEASED, **wrong), CONTROL)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(MARKED, after=""),
        replace(MARKED, after="soon"),
        replace(UNDELETED, after=MARKED.after),
        replace(DELETED, after=MARKED.after),
    ],
)
def test_a_deletion_mark_says_until_when_it_can_be_undone_and_no_other_does(wrong: DeletionMark) -> None:
    with pytest.raises(Malformed):
        DELETION.sign(wrong, PRUNE)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(HELD, subject=""),
        replace(HELD, kind="everything"),
        replace(HELD, until="soon"),
        replace(HELD, state="released", until="2029-01-01T00:00:00Z"),
    ],
)
def test_a_hold_names_what_it_holds_and_only_a_hold_ends(wrong: HoldMark) -> None:
    with pytest.raises(Malformed):
        HOLD.sign(wrong, CONTROL)


def test_holds_of_two_kinds_on_one_name_do_not_meet() -> None:
    assert HELD.folder != replace(HELD, kind="tag").folder
