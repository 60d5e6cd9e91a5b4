"""Entries of a case: who signs them, and what none may say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from strongroom.container.errors import Malformed, NotABackup, Tampered, UntrustedSigner
from strongroom.container.signing import CertifiedSigner
from strongroom.operations.archive.cases import INCIDENT, IncidentEntry, IncidentStep
from tests.container.parts import CONTROL, INSTALLATION, RECOVER, TRUSTED, certified

SEAL = certified("seal", installation=INSTALLATION)
WAIVED = IncidentEntry(
    case="20260131T000000Z-00000000",
    number=2,
    at="2026-01-31T00:00:00Z",
    by="ops@host",
    step=IncidentStep.ROTATE,
    state="waived",
    said="they were test data",
)


@pytest.mark.parametrize("signer", [CONTROL, RECOVER], ids=["control", "recover"])
def test_what_a_role_of_the_installation_signed_is_read_again(signer: CertifiedSigner) -> None:
    signed = INCIDENT.sign(WAIVED, signer)
    assert INCIDENT.parse(signed, trusted=TRUSTED) == WAIVED


def test_a_worker_that_seals_says_nothing_of_an_incident() -> None:
    signed = INCIDENT.sign(WAIVED, SEAL)
    with pytest.raises(UntrustedSigner):
        INCIDENT.parse(signed, trusted=TRUSTED)


def test_a_waiver_that_was_made_out_of_another_word_is_refused() -> None:
    signed = INCIDENT.sign(replace(WAIVED, state="partly"), CONTROL)
    with pytest.raises(Tampered):
        INCIDENT.parse(signed.replace(b'"state":"partly"', b'"state":"waived"'), trusted=TRUSTED)


@pytest.mark.parametrize(
    "fields",
    [{"case": "a/b"}, {"case": ""}, {"number": 0}, {"at": "2026-01-31"}, {"at": "soon"}, {"said": "\u202e"}],
)
def test_an_entry_that_breaks_a_rule_of_the_format_is_malformed(fields: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        INCIDENT.sign(replace(WAIVED, **fields), CONTROL)  # type: ignore[arg-type]


def test_one_that_is_larger_than_the_format_allows_is_not_read() -> None:
    with pytest.raises((Malformed, NotABackup)):
        INCIDENT.parse(b"x" * (INCIDENT.most + 1), trusted=TRUSTED)


def test_the_names_of_two_entries_of_one_number_differ() -> None:
    entries = (WAIVED, replace(WAIVED, by="eve@host"))
    names = {INCIDENT.name_of(one, INCIDENT.sign(one, CONTROL)) for one in entries}
    assert len(names) == 2
