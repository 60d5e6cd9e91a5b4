"""The quarantine mark: who may sign it, and what it may say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from strongroom.container.errors import Malformed, UntrustedSigner
from strongroom.container.quarantine_mark import MAX_TEXT, Mark, open_mark, sign_mark
from tests.container.parts import CONTROL, INSTALLATION, RECOVER, TRUSTED, certified

SEAL = certified("seal", installation=INSTALLATION)

MARK = Mark(
    backup_id="20260131T000000Z-00000000",
    number=2,
    state="released",
    reason="looked at",
    incident="",
    by="admin@host",
    at="2026-01-31T00:00:00Z",
)


@pytest.mark.parametrize("signer", [CONTROL, RECOVER])
def test_a_mark_reads_back_as_it_was_signed(signer: object) -> None:
    assert open_mark(sign_mark(MARK, signer), trusted=TRUSTED).mark == MARK  # type: ignore[arg-type]


def test_a_role_that_may_not_set_aside_is_refused() -> None:
    with pytest.raises(UntrustedSigner):
        open_mark(sign_mark(MARK, SEAL), trusted=TRUSTED)


def test_another_installation_is_refused() -> None:
    with pytest.raises(UntrustedSigner):
        open_mark(sign_mark(MARK, CONTROL), trusted=frozenset())


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
def test_what_a_mark_may_not_say_is_not_signed(wrong: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        sign_mark(replace(MARK, **wrong), CONTROL)
