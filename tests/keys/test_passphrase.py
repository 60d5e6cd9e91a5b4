"""A passphrase meets the contract, costs what it should, and is refused when it is none."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import msgspec
import pytest

from strongroom.container.errors import Malformed
from strongroom.container.stanza import Stanza
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import passphrase
from strongroom.keys.passphrase import PassphraseIdentity, PassphraseRecipient
from tests.keys.conformance import CONTEXT, KEY, RecipientConformance, outcome, shown, with_arg

CANARY = "CANARY-passphrase é"
LEAST = 100_000


def recipient_of(words: str = CANARY, **options: object) -> PassphraseRecipient:
    return PassphraseRecipient(words, **{"label": "recovery", "iterations": LEAST} | options)  # type: ignore[arg-type]


class TestPassphrase(RecipientConformance):
    post_quantum = True
    words = "anyone who knows the passphrase `recovery`"

    @pytest.fixture
    def recipient(self) -> PassphraseRecipient:
        return recipient_of()

    @pytest.fixture
    def same(self) -> PassphraseRecipient:
        return recipient_of()

    @pytest.fixture
    def identity(self) -> PassphraseIdentity:
        return PassphraseIdentity(CANARY)

    @pytest.fixture
    def stranger(self) -> PassphraseIdentity:
        return PassphraseIdentity(CANARY + " ")

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [CANARY.encode(), b"CANARY", CANARY.split()[1].encode()]


@pytest.fixture
def stanza() -> Stanza:
    return recipient_of().wrap(KEY, context=CONTEXT)


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """Give the list of slow derivations, which still happen."""
    seen: list[tuple[bytes, int]] = []
    real: Callable[..., bytes] = passphrase.pbkdf2

    def counted(password: bytes, salt: bytes, iterations: int) -> bytes:
        seen.append((salt, iterations))
        return real(password, salt, iterations)

    monkeypatch.setattr(passphrase, "pbkdf2", counted)
    return seen


# -- the rounds ----------------------------------------------------------------


def test_600_000_rounds_are_the_default_and_stand_in_the_stanza() -> None:
    stanza = PassphraseRecipient(CANARY).wrap(KEY, context=CONTEXT)

    assert stanza.args["iterations"] == 600_000
    assert PassphraseIdentity(CANARY).unwrap(stanza, context=CONTEXT) == KEY


@pytest.mark.parametrize("iterations", [100_000, 10_000_000])
def test_rounds_at_the_bounds_are_taken(iterations: int) -> None:
    assert recipient_of(iterations=iterations)._iterations == iterations


@pytest.mark.parametrize("iterations", [-1, 0, 1, 99_999, 10_000_001])
def test_rounds_out_of_bounds_are_refused_before_anything_is_sealed(iterations: int) -> None:
    with pytest.raises(UsageError, match="100,000 to 10,000,000"):
        recipient_of(iterations=iterations)


@pytest.mark.parametrize("iterations", [-1, 0, 1, 99_999, 10_000_001, 1 << 40])
def test_a_stanza_with_rounds_out_of_bounds_is_malformed_and_costs_nothing(
    stanza: Stanza, derivations: list[tuple[bytes, int]], iterations: int
) -> None:
    changed = with_arg(stanza, "iterations", iterations)

    assert outcome(PassphraseIdentity(CANARY), changed) is Malformed
    assert derivations == []


def test_all_that_one_object_wraps_costs_one_derivation_to_make_and_one_to_open(
    derivations: list[tuple[bytes, int]],
) -> None:
    recipient, identity = recipient_of(), PassphraseIdentity(CANARY)
    stanzas = [recipient.wrap(KEY, context=bytes([number])) for number in range(5)]
    assert len(derivations) == 1

    opened = [identity.unwrap(each, context=bytes([number])) for number, each in enumerate(stanzas)]

    assert opened == [KEY] * 5
    assert len(derivations) == 2


def test_every_object_has_a_salt_of_its_own() -> None:
    stanzas = [recipient_of().wrap(KEY, context=CONTEXT) for _ in range(2)]

    assert stanzas[0].args["kdf_salt"] != stanzas[1].args["kdf_salt"]


def test_a_salt_that_is_given_is_used_and_must_be_32_bytes() -> None:
    salt = bytes(range(32))

    assert recipient_of(salt=salt).wrap(KEY, context=CONTEXT).args["kdf_salt"] == salt.hex()
    for size in (0, 16, 33):
        with pytest.raises(UsageError, match="32 bytes"):
            recipient_of(salt=bytes(size))


def test_a_stream_of_salts_does_not_fill_the_memory(stanza: Stanza) -> None:
    identity = PassphraseIdentity(CANARY)
    for number in range(70):
        identity.unwrap(with_arg(stanza, "kdf_salt", bytes([number] * 32).hex()), context=CONTEXT)

    assert len(identity._keys._derived) <= 64
    assert identity.unwrap(stanza, context=CONTEXT) == KEY


# -- the words -----------------------------------------------------------------


def test_the_same_words_from_another_keyboard_open() -> None:
    composed, decomposed = (unicodedata.normalize(form, CANARY) for form in ("NFC", "NFD"))
    assert composed != decomposed

    stanza = recipient_of(decomposed).wrap(KEY, context=CONTEXT)

    assert PassphraseIdentity(composed).unwrap(stanza, context=CONTEXT) == KEY
    assert PassphraseIdentity(composed.upper()).unwrap(stanza, context=CONTEXT) is None


@pytest.mark.parametrize("blank", ["", " ", "\n", "\t \r\n", "\u00a0"])
def test_a_blank_passphrase_is_refused(blank: str) -> None:
    for made in (PassphraseRecipient, PassphraseIdentity):
        with pytest.raises(UsageError, match="empty"):
            made(blank)


def test_a_passphrase_that_is_no_valid_text_is_refused_without_being_quoted() -> None:
    # What os.environ gives for a byte that is not of the locale's encoding.
    broken = b"CANARY-\xff".decode("utf-8", "surrogateescape")

    with pytest.raises(UsageError, match="not valid text") as caught:
        PassphraseIdentity(broken)

    assert caught.value.__context__ is None
    assert "CANARY" not in str(caught.value) + caught.value.hint


def test_a_short_passphrase_is_the_callers_to_warn_of_and_works() -> None:
    stanza = recipient_of("CANARY").wrap(KEY, context=CONTEXT)

    assert PassphraseIdentity("CANARY").unwrap(stanza, context=CONTEXT) == KEY


# -- what shows ----------------------------------------------------------------


def test_the_fingerprint_says_nothing_of_the_passphrase() -> None:
    one, other = recipient_of("CANARY-one"), recipient_of("CANARY-other", iterations=200_000)

    assert one.fingerprint == other.fingerprint == passphrase.fingerprint("recovery")
    assert one.fingerprint != recipient_of("CANARY-one", label="other").fingerprint


def test_without_a_label_it_still_says_who_can_open() -> None:
    assert PassphraseRecipient(CANARY).describe() == "anyone who knows the passphrase"


def test_no_error_names_the_passphrase_or_a_derived_key(stanza: Stanza) -> None:
    recipient = recipient_of()
    derived = recipient._keys.derive(recipient._salt, LEAST).hex()
    for changed in (with_arg(stanza, "iterations", 1), msgspec.structs.replace(stanza, args={})):
        with pytest.raises(StrongroomError) as caught:
            PassphraseIdentity(CANARY).unwrap(changed, context=CONTEXT)
        assert "CANARY" not in repr(caught.value) + caught.value.hint
    assert derived not in shown(recipient)
