"""The recovery program with keys that people or services keep: shares, copies, answers, instructions."""

from __future__ import annotations

import hashlib
import random
from itertools import combinations
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from strongroom.container.wrapping import Recipient
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.quorum import QuorumRecipient
from strongroom.keys.quorum.record import split
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.system import files
from tests.keys.quorum.made import made
from tests.keys.software import EcIdentity
from tests.operations.world import made_up, make_world
from tests.recover.test_recover import recover, recover_extra, run
from tests.vectors.vector import parse, stored

QUORUM, PAPERS = made()


def sealed(folder: Path, *recipients: Recipient) -> Path:
    """Return a backup file of two secrets, made by the product."""
    world = make_world(folder, secrets=made_up(2))
    path = folder / "weekly.strongroom"
    backup_to_file(path, source=world.source, recipients=list(recipients), services=world.services())
    return path


def shares_file(folder: Path, *papers: str) -> Path:
    path = folder / "shares"
    path.write_text("\n\n".join(papers) + "\n")
    return path


@pytest.mark.parametrize(("threshold", "count"), [(2, 3), (3, 5), (5, 16), (16, 16)])
def test_shares_that_the_product_made_join_by_slip39_alone(threshold: int, count: int) -> None:
    chooser = random.Random(count)
    for _ in range(3):
        seed = chooser.randbytes(32)
        papers = [share.mnemonic for share in split(seed, threshold=threshold, count=count)]
        assert recover_extra.join_shares(chooser.sample(papers, threshold)) == seed


def test_the_published_vector_of_slip39_joins() -> None:
    """SLIP-39's vector 45: extendable, 2 of 3, 256 bits, with the passphrase of all its vectors."""
    shares = [
        (
            "western apart academic always artist resident briefing sugar woman oven coding "
            "club ajar merit pecan answer prisoner artist fraction amount desktop mild "
            "false necklace muscle photo wealthy alpha category unwrap spew losing making"
        ),
        (
            "western apart academic acid answer ancient auction flip image penalty oasis "
            "beaver multiple thunder problem switch alive heat inherit superior teaspoon explain "
            "blanket pencil numb lend punish endless aunt garlic humidity kidney observe"
        ),
    ]
    secret = "8dc652d6d6cd370d8c963141f6d79ba440300f25c467302c1d966bff8f62300d"
    assert recover_extra.join_shares(shares, b"TREZOR").hex() == secret


def test_the_first_four_letters_of_each_word_are_enough() -> None:
    short = [" ".join(word[:4] for word in paper.split()) for paper in PAPERS[:3]]
    assert recover_extra.join_shares(short) == bytes(range(32))


@pytest.mark.parametrize(
    ("papers", "said"),
    [
        (PAPERS[:2], "3 shares are needed, 2 were given"),
        (PAPERS[:4], "3 shares are needed, 4 were given"),
        ((PAPERS[0], PAPERS[0], PAPERS[1]), "given twice"),
        ((*PAPERS[:2], made(bytes(32))[1][2]), "different quorums"),
        ((PAPERS[0].replace(" ", " CANARY ", 1), *PAPERS[1:3]), "Word 2"),
        ((PAPERS[0].rpartition(" ")[0], *PAPERS[1:3]), "33 words"),
        ((" ".join(reversed(PAPERS[0].split())), *PAPERS[1:3]), "look again"),
    ],
)
def test_shares_that_do_not_open_are_told_apart(papers: tuple[str, ...], said: str) -> None:
    with pytest.raises(recover.Failure, match=said) as caught:
        recover_extra.join_shares(papers)
    assert "canary" not in str(caught.value).lower()


def test_three_shares_open_a_backup_for_the_quorum(tmp_path: Path) -> None:
    path = sealed(tmp_path, QuorumRecipient(QUORUM))

    done = run(path, "--share-file", shares_file(tmp_path, *PAPERS[2:]), "--get", "app/0001")

    assert (done.returncode, done.stdout) == (0, b"CANARY-0001-" + b"x" * 40)


@pytest.mark.parametrize("some", list(combinations(("shares", "key", "pem"), 2)), ids="-".join)
def test_all_of_opens_with_a_key_of_every_leg(tmp_path: Path, some: tuple[str, ...]) -> None:
    private = generate_private_key(SECP384R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "pem").write_bytes(pem)
    key = KeyFileIdentity(bytes(range(32)))
    hsm = EcIdentity(private, version=2)
    path = sealed(
        tmp_path,
        AllOfRecipient([[QuorumRecipient(QUORUM)], [hsm.recipient(), key.recipient()]], label="both"),
    )
    arguments: dict[str, list[str | Path]] = {
        "shares": ["--share-file", shares_file(tmp_path, *PAPERS[:3])],
        "pem": ["--hsm-private-key", tmp_path / "pem"],
        "key": ["--key-file", _key_file(tmp_path / "key")],
    }
    done = run(path, *(each for name in some for each in arguments[name]), "--list")

    assert done.returncode == (0 if "shares" in some else 10)
    if "shares" not in some:
        assert b"all of these together:\n-     1. quorum board: bring custodians" in done.stderr


def _key_file(path: Path) -> Path:
    files.write_line(path, kind="strongroom-key-1", variety="AES256", content=bytes(range(32)))
    return path


def test_for_every_key_that_is_kept_elsewhere_it_is_said_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "away").write_bytes(parse(stored()["container-services-away"]).body)

    done = run(tmp_path / "away", "--list")

    said = done.stderr.decode()
    assert done.returncode == 10
    assert "its key has the id 0003); give --hsm MODULE" in said
    assert "vault write -field=plaintext transit/decrypt/KEY ciphertext=vault:v3:" in said
    assert (
        "aws kms decrypt --region eu-central-1 --key-id arn:aws:kms:eu-central-1:123456789012:key/3f9a"
        in said
    )
    assert "keyfile safe: give --key-file FILE" in said


@pytest.mark.parametrize("arn", ["arn:aws:kms:x:1:key/a'; rm -rf ~; '", "\x1b[2J", ""])
def test_an_arn_that_is_a_command_is_not_shown(arn: str) -> None:
    stanza = {"type": "kms", "label": "x", "args": {"arn": arn.encode().hex(), "blob": "00"}}
    assert recover_extra.todo(stanza, b"") == ["kms x: it names no key of AWS KMS"]
    odd = recover_extra.todo({"type": "transit", "label": "", "args": {}}, b"")
    assert odd == ["transit: it is malformed"]


BAD_WORDS: dict[str, tuple[str, ...]] = {
    "an answer that is no base64": ("--answer", "!"),
    "an answer of another length": ("--answer", "AAAA"),
    "a passphrase that is no text": ("--passphrase-file", "binary"),
    "a key file that is none": ("--key-file", "binary"),
    "a key of an unknown kind": ("--private-key", "odd"),
    "a share that is none": ("--share-file", "odd"),
    "a PEM that is none": ("--hsm-private-key", "odd"),
    "nobody to ask": ("--passphrase",),
    "a PIN that is none": ("--hsm", "none.so", "--token", "t", "--pin-file", "blank"),
    "a library that is none": ("--hsm", "odd", "--token", "t", "--pin-file", "odd"),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_what_is_given_wrongly_is_named_without_a_traceback_or_what_is_in_it(
    what: str, tmp_path: Path
) -> None:
    path = sealed(tmp_path, HpkeIdentity.generate().recipient())
    (tmp_path / "binary").write_bytes(b"CANARY\xff\xfe")
    (tmp_path / "blank").write_text("\n")
    body = f"strongroom-private-key-1 odd {'00' * 32}"
    check = hashlib.sha256(body.encode()).hexdigest()[:8]
    (tmp_path / "odd").write_text(f"{body} {check}\n")
    words = [tmp_path / word if (tmp_path / word).exists() else word for word in BAD_WORDS[what]]

    done = run(path, *words, "--list")

    assert done.returncode == 10, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"CANARY" not in done.stderr
    assert b"CannotOpen" in done.stderr
