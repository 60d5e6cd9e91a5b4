"""Both kinds of HPKE key meet the contract; what is no key is refused."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys.hpke import KIND, HpkeIdentity, HpkeRecipient, Kem, PublicKey
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance, outcome, with_arg
from strongroom.system import files

SEED = bytes(range(200, 232))
OTHER = bytes(range(32, 64))
KEMS = list(Kem)
# Points of small order on Curve25519 (RFC 7748 6.1; Bernstein, "Curve25519", 2006).
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
]


class _Hpke(RecipientConformance):
    kem: Kem

    @pytest.fixture
    def recipient(self) -> HpkeRecipient:
        return HpkeRecipient(HpkeIdentity(SEED, kem=self.kem).public, label="recovery")

    @pytest.fixture
    def same(self) -> HpkeRecipient:
        text = str(HpkeIdentity(SEED, kem=self.kem).public)
        return HpkeRecipient(PublicKey.parse(text), label="recovery")

    @pytest.fixture
    def identity(self) -> HpkeIdentity:
        return HpkeIdentity(SEED, kem=self.kem)

    @pytest.fixture
    def stranger(self) -> HpkeIdentity:
        return HpkeIdentity(OTHER, kem=self.kem)

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [SEED, hashlib.shake_256(SEED).digest(96)[:64], hashlib.shake_256(SEED).digest(96)[64:]]


class TestHybrid(_Hpke):
    kem = Kem.XWING
    post_quantum = True
    words = "the holder of the private key `recovery` (hybrid post-quantum)"


class TestX25519(_Hpke):
    kem = Kem.X25519
    post_quantum = False
    words = "the holder of the private key `recovery` (X25519, not post-quantum)"


def wrapped(kem: Kem) -> Stanza:
    return HpkeIdentity(SEED, kem=kem).recipient().wrap(KEY, context=CONTEXT)


# -- the two kinds -------------------------------------------------------------


def test_the_hybrid_is_the_default() -> None:
    assert HpkeIdentity.generate().public.kem is Kem.XWING
    assert HpkeIdentity.generate().recipient().post_quantum


def test_every_key_pair_is_another() -> None:
    assert HpkeIdentity.generate().public != HpkeIdentity.generate().public


def test_a_wrapped_key_has_the_size_of_its_kind() -> None:
    assert len(str(wrapped(Kem.XWING).args["sealed"])) == 2 * 1168
    assert len(str(wrapped(Kem.X25519).args["sealed"])) == 2 * 80


def test_the_fingerprint_is_the_sha256_of_the_public_key() -> None:
    for kem in KEMS:
        identity = HpkeIdentity(SEED, kem=kem)
        expected = hashlib.sha256(identity.public.raw).hexdigest()
        assert identity.recipient().fingerprint == f"hpke:{expected}"
        assert wrapped(kem).args["key"] == expected


def test_one_seed_makes_two_keys_that_do_not_open_for_each_other() -> None:
    for kem, other in (KEMS, reversed(KEMS)):
        assert HpkeIdentity(SEED, kem=other).unwrap(wrapped(kem), context=CONTEXT) is None


def test_a_kem_from_the_future_is_somebody_elses() -> None:
    stanza = with_arg(with_arg(wrapped(Kem.XWING), "kem", 0x0042), "sealed", "00" * 1616)

    assert HpkeIdentity(SEED).unwrap(stanza, context=CONTEXT) is None


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_an_encapsulated_point_of_small_order_opens_nothing(point: bytes) -> None:
    for kem in KEMS:
        stanza = wrapped(kem)
        sealed = bytearray.fromhex(str(stanza.args["sealed"]))
        sealed[kem.enc_size - 32 : kem.enc_size] = point
        identity = HpkeIdentity(SEED, kem=kem)
        assert outcome(identity, with_arg(stanza, "sealed", sealed.hex())) is None


def test_a_seal_that_is_given_is_used() -> None:
    public = HpkeIdentity(SEED).public
    recipient = HpkeRecipient(public, seal=lambda key, handle, *, info: b"\x01" * 1168)

    assert recipient.wrap(KEY, context=CONTEXT).args["sealed"] == "01" * 1168


# -- private keys --------------------------------------------------------------


@pytest.mark.parametrize("kem", KEMS)
def test_a_private_key_that_was_saved_opens_after_loading(tmp_path: Path, kem: Kem) -> None:
    identity = HpkeIdentity.generate(kem=kem)
    identity.save(tmp_path / "private.key")

    loaded = HpkeIdentity.load(tmp_path / "private.key")

    assert loaded.public == identity.public
    assert loaded.unwrap(identity.recipient().wrap(KEY, context=CONTEXT), context=CONTEXT) == KEY


@pytest.mark.parametrize(
    ("variety", "size"), [("mlkem768-x25519", 31), ("x25519", 33), ("x448", 32), ("mlkem1024", 32)]
)
def test_a_whole_file_with_another_kind_of_key_is_refused(tmp_path: Path, variety: str, size: int) -> None:
    files.write_line(tmp_path / "k", kind=KIND, variety=variety, content=bytes(size))

    with pytest.raises(ConfigError, match="unknown kind"):
        HpkeIdentity.load(tmp_path / "k")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_that_is_not_32_bytes_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        HpkeIdentity(bytes(size))


# -- public keys ---------------------------------------------------------------


@pytest.mark.parametrize("kem", KEMS)
def test_a_public_key_is_one_line_and_reads_back(kem: Kem) -> None:
    public = HpkeIdentity(SEED, kem=kem).public
    text = str(public)

    assert text.startswith(f"srpub1:{kem}:")
    assert text.isprintable()
    assert " " not in text
    assert PublicKey.parse(f"  {text}\r\n") == public


@pytest.mark.parametrize("kem", KEMS)
def test_every_cut_of_a_public_key_is_refused(kem: Kem) -> None:
    text = str(HpkeIdentity(SEED, kem=kem).public)
    for length in range(len(text)):
        with pytest.raises(ConfigError):
            PublicKey.parse(text[:length])


@pytest.mark.parametrize("kem", KEMS)
def test_every_mistyped_character_of_a_public_key_is_refused(kem: Kem) -> None:
    text = str(HpkeIdentity(SEED, kem=kem).public)
    for position, character in enumerate(text):
        for typed in ("A" if character != "A" else "B", "=", "é", character.swapcase()):
            if typed != character:
                with pytest.raises(ConfigError):
                    PublicKey.parse(text[:position] + typed + text[position + 1 :])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a public key"),
        ("ssh-ed25519 AAAA", "not a public key"),
        ("strongroom-private-key-1 x25519 00 11", "not a public key"),
        ("srpub1:x448:AAAA", "not known here"),
        ("srpub1:x25519:", "checksum"),
        ("srpub1:x25519:AAAAAAAA", "checksum"),
    ],
)
def test_what_is_no_public_key_is_told_apart(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PublicKey.parse(text)


def test_a_key_of_the_one_kind_is_none_of_the_other() -> None:
    for kem, other in (KEMS, reversed(KEMS)):
        text = str(HpkeIdentity(SEED, kem=kem).public)
        with pytest.raises(ConfigError, match="bytes of its kind"):
            PublicKey.parse(text.replace(kem, other))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_public_key_of_small_order_is_refused(point: bytes) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        PublicKey(Kem.X25519, point)
    with pytest.raises(ConfigError, match="cannot be used"):
        PublicKey(Kem.XWING, HpkeIdentity(SEED).public.raw[:1184] + point)


def test_a_lattice_key_with_numbers_out_of_range_is_refused() -> None:
    # FIPS 203 7.2: every coefficient is below 3329; twelve bits hold more.
    raw = bytearray(HpkeIdentity(SEED).public.raw)
    raw[:3] = b"\xff\xff\xff"

    with pytest.raises(ConfigError, match="cannot be used"):
        PublicKey(Kem.XWING, bytes(raw))


def test_a_second_spelling_of_the_same_bytes_is_refused() -> None:
    text = str(HpkeIdentity(SEED).public)
    encoded = text.rpartition(":")[2]
    padded = encoded + "=" * (-len(encoded) % 4)
    standard = encoded.replace("-", "+").replace("_", "/")
    assert len({encoded, padded, standard}) == 3
    assert base64.urlsafe_b64decode(padded) == base64.b64decode(standard + padded[len(encoded) :])

    for spelling in (padded, standard, encoded[:9] + "\n" + encoded[9:]):
        with pytest.raises(ConfigError):
            PublicKey.parse(f"srpub1:mlkem768-x25519:{spelling}")
