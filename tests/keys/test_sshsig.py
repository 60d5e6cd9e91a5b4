"""SSH signatures: those of OpenSSH count here, those of a hardware key count in OpenSSH too."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.errors import ConfigError
from strongroom.keys.errors import SignatureRefused
from strongroom.keys.sshsig import (
    SshSignature,
    check_signature,
    parse_signature,
    read_allowed_signers,
    ssh_fingerprint,
)
from tests.ssh_people import Person, allow, person

SPACE = "strongroom-approval"
KINDS = (
    ("-t", "ed25519"),
    ("-t", "ecdsa", "-b", "256"),
    ("-t", "ecdsa", "-b", "384"),
    ("-t", "ecdsa", "-b", "521"),
    ("-t", "rsa", "-b", "2048"),
)


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return person(tmp_path_factory.mktemp("people"), "alice@example.org")


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_what_openssh_signed_counts_with_every_kind_of_key(tmp_path: Path, kind: tuple[str, ...]) -> None:
    signer = person(tmp_path, "alice", *kind)
    for message in (b"restore\n", b"", bytes(range(256))):
        found = parse_signature(signer.sign(message))
        check_signature(found, message, namespace=SPACE)
        with pytest.raises(SignatureRefused, match="does not fit"):
            check_signature(found, message + b"!", namespace=SPACE)
    assert found.key == signer.key


def test_a_fingerprint_is_the_one_that_openssh_shows(alice: Person) -> None:
    said = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(alice.file)], check=True, capture_output=True, text=True
    ).stdout
    assert ssh_fingerprint(alice.key) == said.split()[1]


def test_a_signature_for_another_namespace_does_not_count(alice: Person) -> None:
    found = parse_signature(alice.sign(b"m", namespace="git"))
    with pytest.raises(SignatureRefused, match="namespace 'git'"):
        check_signature(found, b"m", namespace=SPACE)


def test_no_changed_byte_of_a_signature_counts(alice: Person) -> None:
    armored = alice.sign(b"m")
    raw = bytearray(base64.b64decode("".join(armored.splitlines()[1:-1])))
    for at in range(len(raw)):
        changed = bytes(raw[:at]) + bytes([raw[at] ^ 0x40]) + bytes(raw[at + 1 :])
        with pytest.raises(SignatureRefused):
            check_signature(parse_signature(_armored(changed)), b"m", namespace=SPACE)


@pytest.mark.parametrize(
    "text",
    ["", "no signature", "-----BEGIN SSH SIGNATURE-----\n!\n-----END SSH SIGNATURE-----\n", "x" * 20_000],
    ids=["nothing", "words", "no base64", "much too long"],
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(SignatureRefused):
        parse_signature(text)


def test_a_cut_signature_and_one_with_more_behind_it_are_refused(alice: Person) -> None:
    raw = base64.b64decode("".join(alice.sign(b"m").splitlines()[1:-1]))
    for broken in (raw[:-1], raw + b"\0", raw[:40]):
        with pytest.raises(SignatureRefused):
            parse_signature(_armored(broken))


def test_a_short_rsa_key_and_sha_1_are_refused(tmp_path: Path) -> None:
    short = person(tmp_path, "short", "-t", "rsa", "-b", "1024")
    with pytest.raises(SignatureRefused, match="2,048 bits"):
        check_signature(parse_signature(short.sign(b"m")), b"m", namespace=SPACE)
    signer = person(tmp_path, "alice", "-t", "rsa", "-b", "2048")
    found = parse_signature(signer.sign(b"m"))
    old = SshSignature(
        key=found.key,
        namespace=found.namespace,
        hash_name=found.hash_name,
        signature=_string(b"ssh-rsa") + found.signature[4 + len("rsa-sha2-512") :],
    )
    with pytest.raises(SignatureRefused, match="SHA-1"):
        check_signature(old, b"m", namespace=SPACE)


# -- hardware keys: an authenticator in software, whose signatures OpenSSH believes -----------


def _hardware_ed25519() -> tuple[bytes, Callable[[bytes, int], bytes]]:
    private, kind = Ed25519PrivateKey.generate(), b"sk-ssh-ed25519@openssh.com"
    blob = _string(kind) + _string(private.public_key().public_bytes_raw()) + _string(b"ssh:")

    def sign(message: bytes, flags: int) -> bytes:
        rest = bytes([flags]) + (7).to_bytes(4, "big")
        signed = hashlib.sha256(b"ssh:").digest() + rest + hashlib.sha256(message).digest()
        return _string(kind) + _string(private.sign(signed)) + rest

    return blob, sign


def _hardware_ecdsa() -> tuple[bytes, Callable[[bytes, int], bytes]]:
    private, kind = ec.generate_private_key(ec.SECP256R1()), b"sk-ecdsa-sha2-nistp256@openssh.com"
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    blob = _string(kind) + _string(b"nistp256") + _string(point) + _string(b"ssh:")

    def sign(message: bytes, flags: int) -> bytes:
        rest = bytes([flags]) + (7).to_bytes(4, "big")
        signed = hashlib.sha256(b"ssh:").digest() + rest + hashlib.sha256(message).digest()
        r, s = decode_dss_signature(private.sign(signed, ec.ECDSA(SHA256())))
        return _string(kind) + _string(_string(_mpint(r)) + _string(_mpint(s))) + rest

    return blob, sign


@pytest.mark.parametrize("make", [_hardware_ed25519, _hardware_ecdsa], ids=["ed25519", "ecdsa"])
def test_what_a_touched_hardware_key_signed_counts_here_and_in_openssh(
    tmp_path: Path, make: Callable[[], tuple[bytes, Callable[[bytes, int], bytes]]]
) -> None:
    blob, sign = make()
    armored = _ssh_signature(blob, sign, b"restore\n", flags=1)
    check_signature(parse_signature(armored), b"restore\n", namespace=SPACE)
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    (tmp_path / "allowed").write_text(f"alice {kind} {base64.b64encode(blob).decode()}\n")
    (tmp_path / "sig").write_text(armored)
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "alice", "-n", SPACE, "-s", "sig"]
    done = subprocess.run(command, input=b"restore\n", cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "allowed").chmod(0o644)
    assert read_allowed_signers(tmp_path / "allowed")[0].key == blob


@pytest.mark.parametrize("make", [_hardware_ed25519, _hardware_ecdsa], ids=["ed25519", "ecdsa"])
def test_what_a_hardware_key_signed_that_nobody_touched_does_not_count(
    make: Callable[[], tuple[bytes, Callable[[bytes, int], bytes]]],
) -> None:
    blob, sign = make()
    armored = _ssh_signature(blob, sign, b"m", flags=0)
    with pytest.raises(SignatureRefused, match="Nobody touched"):
        check_signature(parse_signature(armored), b"m", namespace=SPACE)


# -- the file of allowed signers --------------------------------------------------------------


def test_the_lines_that_openssh_reads_are_read(tmp_path: Path, alice: Person) -> None:
    file = tmp_path / "allowed"
    options = 'namespaces="strongroom-approval,git",valid-after="20200101",valid-before="20991231235959Z"'
    file.write_text(f"# people\n\nalice,alice@example.org {options} {alice.public} a comment\n")
    [line] = read_allowed_signers(allow_mode(file))
    assert line.names == ("alice", "alice@example.org")
    assert line.counts(namespace=SPACE, now=1_800_000_000)
    assert not line.counts(namespace="strongroom-break-glass", now=1_800_000_000)
    assert not line.counts(namespace=SPACE, now=1_500_000_000), "before its time"
    assert not line.counts(namespace=SPACE, now=4_200_000_000), "after its time"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("* {key}", "wildcard"),
        ("*@example.org {key}", "wildcard"),
        ("!bob,alice {key}", "wildcard"),
        ("alice cert-authority {key}", "'cert-authority' does not count"),
        ("alice ssh-rsa AAAA", "malformed"),
        ("alice", "no line"),
        ('alice valid-after="tomorrow" {key}', "time is not"),
    ],
)
def test_a_line_that_would_let_one_key_sign_for_others_or_says_nothing_is_refused_by_its_number(
    tmp_path: Path, alice: Person, line: str, why: str
) -> None:
    file = tmp_path / "allowed"
    file.write_text(f"# people\n{line.format(key=alice.public)}\n")
    with pytest.raises(ConfigError, match=f"line 2: .*{why}"):
        read_allowed_signers(allow_mode(file))


def test_a_file_that_others_may_write_is_refused(tmp_path: Path, alice: Person) -> None:
    file = allow(tmp_path / "allowed", alice)
    assert read_allowed_signers(file)
    for mode in (0o664, 0o646):
        file.chmod(mode)
        with pytest.raises(ConfigError, match="Others may write"):
            read_allowed_signers(file)


def allow_mode(file: Path) -> Path:
    file.chmod(0o644)
    return file


def _ssh_signature(blob: bytes, sign: Callable[[bytes, int], bytes], message: bytes, *, flags: int) -> str:
    parts = (SPACE.encode(), b"", b"sha512", hashlib.sha512(message).digest())
    signature = sign(b"SSHSIG" + b"".join(map(_string, parts)), flags)
    fields = (blob, SPACE.encode(), b"", b"sha512", signature)
    return _armored(b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(_string, fields)))


def _armored(raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _mpint(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")
