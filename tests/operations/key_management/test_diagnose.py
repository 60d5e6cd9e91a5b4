"""Diagnosing keys: each tried for real, each failure kept to its key, and what stands out."""

from __future__ import annotations

import pytest

from strongroom.keys import Identity, Recipient
from strongroom.keys.errors import KeyDenied
from strongroom.keys.hpke import HpkeIdentity, Kem
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.keys.trial import Diagnosed, Remark, Use, diagnose, remarks

FILE = KeyFileIdentity(bytes(range(32)))
PAIR = HpkeIdentity(bytes(range(32)), kem=Kem.X25519)


def of(name: str, recipient: Recipient, *identities: Identity) -> Diagnosed:
    return diagnose(name, recipient.type, lambda: recipient, lambda: identities)


def test_a_key_that_seals_and_opens_has_both_times() -> None:
    found = of("safe", FILE.recipient(), FILE)

    assert found.problem is None
    assert found.opens_here
    assert found.wrap_ms is not None
    assert found.unwrap_ms is not None


def test_a_key_that_opens_elsewhere_is_no_problem() -> None:
    found = of("away", PAIR.recipient())

    assert (found.problem, found.opens_here, found.unwrap_ms) == (None, False, None)
    assert found.post_quantum is False


def test_halves_that_do_not_belong_together_are_a_problem() -> None:
    found = of("pair", PAIR.recipient(), HpkeIdentity(bytes(32), kem=Kem.X25519))

    assert found.problem is not None
    assert "does not open with what this host has" in found.problem.message
    assert not found.opens_here


@pytest.mark.parametrize("when", ["recipient", "identity"])
def test_what_a_key_service_refuses_is_kept_to_its_key(when: str) -> None:
    def refuse() -> list[Identity]:
        raise KeyDenied("the token says no")

    if when == "recipient":
        found = diagnose("hsm", "pkcs11", lambda: refuse()[0], list)  # type: ignore[arg-type,return-value]
    else:
        found = diagnose("hsm", "pkcs11", FILE.recipient, refuse)

    assert found.problem is not None
    assert (found.problem.code, found.problem.exit_code) == ("KeyDenied", KeyDenied.exit_code)
    assert (found.wrap_ms is None) == (when == "recipient")


def test_what_stands_out_is_said() -> None:
    keys = [
        of("safe", FILE.recipient(), FILE),
        of("again", FILE.recipient(), FILE),
        of("classic", PAIR.recipient()),
        of("broken", PAIR.recipient(), FILE),
        of("idle", HpkeIdentity(bytes(range(2, 34))).recipient()),
    ]
    uses = [
        Use(policy="weekly", recipients=("safe", "classic")),
        Use(policy="daily", recipients=("again", "broken")),
        Use(policy="bad", recipients=("broken",)),
    ]

    assert remarks(keys, uses) == [
        Remark(about="keys.again", text="is the same key as keys.safe: losing it loses both", wrong=True),
        Remark(about="keys.broken", text="is the same key as keys.classic: losing it loses both", wrong=True),
        Remark(about="keys.idle", text="no policy seals to it by itself"),
        Remark(
            about="policies.weekly", text="any one key opens, and classic would fall to a quantum computer"
        ),
        Remark(about="policies.weekly", text="this host can open its backups, with safe"),
        Remark(about="policies.daily", text="seals to keys that do not work now: broken", wrong=True),
        Remark(about="policies.daily", text="any one key opens, and broken would fall to a quantum computer"),
        Remark(about="policies.daily", text="this host can open its backups, with again"),
        Remark(about="policies.bad", text="none of its keys works now: broken", wrong=True),
        Remark(about="policies.bad", text="any one key opens, and broken would fall to a quantum computer"),
    ]
