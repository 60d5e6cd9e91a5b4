"""A passphrase meets the contract, costs what it should, and is refused when it is none."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from strongroom.container.errors import Malformed
from strongroom.container.wrapping import Stanza, WrappingKey, unlock
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import passphrase
from strongroom.keys.passphrase import PassphraseIdentity, PassphraseRecipient
from strongroom.plugins.conformance.recipients import (
    CONTEXT,
    KEY,
    RecipientConformance,
    outcome,
    shown,
    with_arg,
)
from strongroom.system import files
from tests import cheap_passphrases

CANARY = "CANARY-passphrase é"
LEAST = 100_000
LEAST_LOG_N = 15
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, or limits memory")


def recipient_of(words: str = CANARY, **options: object) -> PassphraseRecipient:
    return PassphraseRecipient(words, **{"label": "recovery", "iterations": LEAST} | options)  # type: ignore[arg-type]


class TestScrypt(RecipientConformance):
    post_quantum = True
    words = "anyone who knows the passphrase `recovery`"

    @pytest.fixture
    def recipient(self) -> PassphraseRecipient:
        return recipient_of(iterations=None, log_n=LEAST_LOG_N)

    @pytest.fixture
    def same(self) -> PassphraseRecipient:
        return recipient_of(iterations=None, log_n=LEAST_LOG_N)

    @pytest.fixture
    def identity(self) -> PassphraseIdentity:
        return PassphraseIdentity(CANARY)

    @pytest.fixture
    def stranger(self) -> PassphraseIdentity:
        return PassphraseIdentity(CANARY + " ")

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [CANARY.encode(), b"CANARY", CANARY.split()[1].encode()]


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


# -- scrypt --------------------------------------------------------------------


def test_scrypt_with_128_mib_is_the_default_and_stands_in_the_stanza(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passphrase, "DEFAULT_LOG_N", cheap_passphrases.REAL)
    stanza = PassphraseRecipient(CANARY).wrap(KEY, context=CONTEXT)

    assert (stanza.type, stanza.kind, stanza.args["log_n"]) == ("scrypt", "passphrase", 17)
    assert PassphraseIdentity(CANARY).unwrap(stanza, context=CONTEXT) == KEY


@pytest.mark.parametrize("log_n", [-1, 0, 1, 14, 21, 64])
def test_scrypt_out_of_bounds_is_refused_and_malformed_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, log_n: int
) -> None:
    stanza = recipient_of(iterations=None, log_n=LEAST_LOG_N).wrap(KEY, context=CONTEXT)
    derived: list[int] = []
    monkeypatch.setattr(passphrase, "scrypt", lambda *_: derived.append(1))

    with pytest.raises(UsageError, match="15 to 20"):
        recipient_of(iterations=None, log_n=log_n)
    assert outcome(PassphraseIdentity(CANARY), with_arg(stanza, "log_n", log_n)) is Malformed
    assert derived == []


def test_scrypt_is_what_rfc_7914_says() -> None:
    """Its third test vector, whose cost is below ours, by the same function of the same library."""
    expected = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    made = hashlib.scrypt(b"pleaseletmein", salt=b"SodiumChloride", n=16_384, r=8, p=1, dklen=32)
    other = Scrypt(b"SodiumChloride", 32, 1 << 15, 8, 1).derive(b"pleaseletmein")

    assert made.hex() == expected
    assert passphrase.scrypt(b"pleaseletmein", b"SodiumChloride", 15) == other


@LINUX
@pytest.mark.platform
def test_what_scrypt_took_is_given_back() -> None:
    before = _resident()
    passphrase.scrypt(b"CANARY", bytes(32), 17)

    assert _resident() - before < 16 << 20


def test_the_processes_of_a_small_machine_derive_one_after_the_other(tmp_path: Path) -> None:
    """Together they would need their number times the memory; each notes when it was at it."""
    program = (
        "import sys, time\nfrom strongroom.keys import passphrase\nreal = passphrase.hashlib.scrypt\n"
        "def noted(*args, **options):\n"
        "    began = time.monotonic(); key = real(*args, **options)\n"
        "    print(began, time.monotonic()); return key\n"
        "passphrase.hashlib.scrypt = noted\npassphrase.scrypt(b'CANARY', bytes(32), 15)\n"
    )
    several = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    spans = sorted(tuple(map(float, each.communicate()[0].split())) for each in several)

    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))


def test_where_nothing_can_be_locked_it_is_derived_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "__file__", "/nonexistent/files.py")

    assert len(passphrase.scrypt(b"CANARY", bytes(32), 15)) == 32


@LINUX
@pytest.mark.platform
def test_without_the_memory_it_is_said_what_it_takes() -> None:
    program = (
        "import resource\nfrom strongroom.keys.passphrase import scrypt\n"
        "from strongroom.keys.errors import NotDerived\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "try:\n    scrypt(b'CANARY', bytes(32), 20)\n"
        "except NotDerived as error:\n    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "takes 1024 MiB of memory" in done.stdout, done.stderr


# -- what a record may cost ----------------------------------------------------


def test_a_record_whose_passphrases_cost_too_much_is_malformed_before_any_is_tried(
    derivations: list[tuple[bytes, int]],
) -> None:
    record = WrappingKey.create([recipient_of()]).record
    costly = with_arg(record.stanzas[0], "iterations", 10_000_000)
    derivations.clear()

    with pytest.raises(Malformed, match="too much work"):
        unlock(msgspec.structs.replace(record, stanzas=(costly,) * 4), [PassphraseIdentity(CANARY)])

    assert derivations == []


def test_what_no_reader_would_accept_is_not_written() -> None:
    with pytest.raises(UsageError, match="too much work"):
        WrappingKey.create([recipient_of(label=str(n), salt=bytes(32)) for n in range(3)] + [_Costly()] * 4)


class _Costly:
    """A passphrase recipient of the highest cost, without having done its work."""

    type, label, fingerprint, post_quantum = "passphrase", "costly", "passphrase:costly", True

    def describe(self) -> str:
        return "anyone"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:  # noqa: ARG002  # the Protocol's
        return Stanza(type="passphrase", label="costly", args={"iterations": 10_000_000})


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- the rounds of PBKDF2 ------------------------------------------------------


@pytest.mark.parametrize("iterations", [100_000, 10_000_000])
def test_rounds_at_the_bounds_are_taken(iterations: int) -> None:
    assert recipient_of(iterations=iterations)._cost == iterations


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
    derived = recipient._keys.derive("passphrase", recipient._salt, LEAST).hex()
    for changed in (with_arg(stanza, "iterations", 1), msgspec.structs.replace(stanza, args={})):
        with pytest.raises(StrongroomError) as caught:
            PassphraseIdentity(CANARY).unwrap(changed, context=CONTEXT)
        assert "CANARY" not in repr(caught.value) + caught.value.hint
    assert derived not in shown(recipient)
