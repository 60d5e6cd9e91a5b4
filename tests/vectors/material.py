"""Fixed keys, fixed randomness and made-up secrets for the published vectors.

None of it is secret: it is published with the files that it opens.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hpke import Suite

from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import Random, name_hash
from strongroom.container.signing import CertifiedSigner, Signer
from strongroom.container.wrapping import Recipient, WrappingKey
from strongroom.container.writer import SealedContainer, write_container
from strongroom.keys import passphrase as sealedfile
from strongroom.keys.ec import SUITES as EC_SUITES
from strongroom.keys.ec import EcRecipient
from strongroom.keys.hpke import SUITES, HpkeIdentity, HpkeRecipient, Kem
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.keys.quorum import QuorumRecipient
from strongroom.keys.quorum.record import decode as decode_quorum
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.system import files
from tests.keys.software import EcIdentity

RECORDED = Path(__file__).with_name("hpke_recorded.json")
CREATED = "2026-11-25T02:45:01Z"
BACKUP = "20261125T024501Z-3f9a0c1d"


def fixed(name: str, size: int = 32) -> bytes:
    """Return bytes that depend on ``name`` alone."""
    return hashlib.shake_256(b"strongroom/vectors/" + name.encode()).digest(size)


def stream(name: str) -> Random:
    """Return a source of "random" bytes that is the same each time."""
    taken = 0

    def random(size: int) -> bytes:
        nonlocal taken
        taken += 1
        return fixed(f"{name}/{taken}", size)

    return random


INSTALLATION = Signer.from_private(fixed("installation"))
STRANGERS = Signer.from_private(fixed("another installation"))
ISSUED = datetime(2026, 11, 1, tzinfo=UTC)


def role_key(role: str, installation: Signer = INSTALLATION) -> CertifiedSigner:
    """Return a role's key of an installation, the same each time."""
    signer = Signer.from_private(fixed(f"{role} of {installation.fingerprint}"))
    return CertifiedSigner.issued(signer, installation=installation, role=role, issued_at=ISSUED)


CONTROL, SEAL, RECOVER, PRUNE = (role_key(role) for role in ("control", "seal", "recover", "prune"))
STRANGER = role_key("seal", STRANGERS)
NAME_KEY = fixed("name key")
DIGEST_KEY = fixed("digest key")
PASSPHRASE = "correct horse battery staple"
ITERATIONS = 100_000
KEY_FILE = fixed("key file")
XWING = HpkeIdentity(fixed("x-wing seed"), kem=Kem.XWING)
X25519 = HpkeIdentity(fixed("x25519 scalar"), kem=Kem.X25519)

HSM = EcIdentity(derive_private_key(int.from_bytes(fixed("hsm")) >> 1, SECP256R1()), version=3)
QUORUM_MADE: dict[str, Any] = json.loads(Path(__file__).with_name("quorum_recorded.json").read_text("utf-8"))
QUORUM = decode_quorum(QUORUM_MADE["file"].encode())

PASSPHRASE_LINE = ("passphrase", PASSPHRASE)
KEY_FILE_LINE = ("keyfile", KEY_FILE.hex())
XWING_LINE = ("hpke", f"{Kem.XWING.value} {fixed('x-wing seed').hex()}")
X25519_LINE = ("hpke", f"{Kem.X25519.value} {fixed('x25519 scalar').hex()}")


def sealed_line(kind: str, variety: str, key: bytes, own: bytes) -> tuple[str, str]:
    """Return a key's file, sealed by the passphrase at the lowest cost that the format allows."""
    content = sealedfile.seal(
        PASSPHRASE, kind=kind, variety=variety, key=key, id=own, log_n=15, random=stream(f"sealed {kind}")
    )
    return "line", files.line(sealedfile.sealed_kind(kind), variety, content)


HSM_LINE = ("ec", f"p256 {HSM.version} {int.from_bytes(fixed('hsm')) >> 1:064x}")
QUORUM_LINES = (
    ("quorum", base64.b64encode(QUORUM.encode()).decode()),
    *(("share", share) for share in QUORUM_MADE["shares"][1:4]),
)


def passphrase(random: Random, *, label: str = "recovery") -> PassphraseRecipient:
    return PassphraseRecipient(PASSPHRASE, label=label, iterations=ITERATIONS, random=random)


def scrypt(random: Random, *, label: str = "recovery") -> PassphraseRecipient:
    """Return the same passphrase, by scrypt at the lowest cost that the format allows."""
    return PassphraseRecipient(PASSPHRASE, label=label, log_n=15, random=random)


def key_file(random: Random) -> KeyFileRecipient:
    return KeyFileRecipient(KEY_FILE, label="safe", random=random)


def hpke(identity: HpkeIdentity, label: str) -> HpkeRecipient:
    return HpkeRecipient(
        identity.public, label=label, seal=recorded(identity.public.raw, SUITES[identity.public.kem])
    )


def hsm(label: str) -> EcRecipient:
    public = HSM.public
    return EcRecipient(
        public,
        key="backup",
        version=HSM.version,
        label=label,
        seal=recorded(public.raw, EC_SUITES[public.curve]),
    )


def board(label: str) -> QuorumRecipient:
    public = QUORUM.public
    return QuorumRecipient(QUORUM, label=label, seal=recorded(public.raw, SUITES[public.kem]))


def recorded(public: bytes, suite: Suite) -> Callable[..., bytes]:
    """Return an HPKE seal that answers from the record: its library takes no randomness.

    What is not yet recorded is sealed afresh and added.
    """

    def seal(key: bytes, handle: object, *, info: bytes) -> bytes:
        known: dict[str, str] = json.loads(RECORDED.read_text("utf-8")) if RECORDED.exists() else {}
        question = hashlib.sha256(b"\x00".join((public, info, key))).hexdigest()
        if question not in known:
            known[question] = suite.encrypt(key, handle, info=info).hex()
            RECORDED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")
        return bytes.fromhex(known[question])

    return seal


def about(*, values: bool = True, piece: int = 0, pieces: int = 1) -> ContainerHeader:
    return ContainerHeader(
        backup_id=BACKUP,
        piece=piece,
        pieces=pieces,
        source="local",
        policy="weekly",
        values=values,
        created_at=CREATED,
        name_key=NAME_KEY,
    )


def secret(name: str, *values: bytes) -> Secret:
    """Return a plain secret with one version for each value."""
    versions = (SecretVersion(number=n, value=SecretBytes(v)) for n, v in enumerate(values, 1))
    return Secret(name=name, versions=tuple(versions), created_at=CREATED)


def few() -> list[Secret]:
    """Return a few secrets that between them use every field."""
    return [
        Secret(
            name="prod/payments/DB_PASSWORD",
            type="database_password",
            versions=(
                SecretVersion(number=3, state=VersionState.DESTROYED, created_at="2025-01-02T03:04:05Z"),
                SecretVersion(number=4, state=VersionState.DELETED),
                SecretVersion(
                    number=9, value=SecretBytes(b"CANARY-db-9"), created_at="2026-01-02T03:04:05.678Z"
                ),
                SecretVersion(number=10, value=SecretBytes("CANARY-pässwörd".encode())),
            ),
            tags={"team": "payments", "priority": "critical"},
            created_at="2025-01-02T03:04:05Z",
            updated_at="2026-01-02T03:04:05Z",
            expires_at="2027-01-02T03:04:05Z",
            rotation=RotationSchedule(days=90),
            metadata={"note": 'a "quoted" \\ line\nand another', "n": [1, -2.5, None, True, {"x": "ü"}]},
        ),
        Secret(
            name="prod/Ключ/鍵",
            versions=(
                SecretVersion(
                    number=1, value=SecretBytes(b'{"user":"u","password":"CANARY-json"}'), media=Media.JSON
                ),
            ),
            rotation=RotationSchedule(days=30, enabled=False),
        ),
        Secret(
            name="prod/tls.key",
            versions=(SecretVersion(number=1, value=SecretBytes(bytes(range(256))), media=Media.BINARY),),
        ),
        secret("empty", b""),
    ]


def container(
    name: str,
    secrets: Iterable[Secret],
    recipients: Callable[[Random], list[Recipient]],
    *,
    values: bool = True,
    signer: CertifiedSigner = SEAL,
    wrapping_key: WrappingKey | None = None,
) -> bytes:
    """Seal secrets with everything random drawn from ``name``."""
    random = stream(name)
    key = wrapping_key or WrappingKey.create(recipients(random), _random=random)
    return piece(random, secrets, about(values=values), key, signer=signer)[0]


def piece(
    random: Random,
    secrets: Iterable[Secret],
    told: ContainerHeader,
    wrapping_key: WrappingKey,
    *,
    signer: CertifiedSigner = SEAL,
) -> tuple[bytes, SealedContainer]:
    """Seal secrets as one container of a backup."""
    parts: list[bytes] = []
    rows = sorted(((name_hash(told.name_key, s.name), s) for s in secrets), key=lambda pair: pair[1].name)
    sealed = write_container(
        parts.append,
        rows,
        about=told,
        wrapping_key=wrapping_key,
        signer=signer,
        digest_key=DIGEST_KEY,
        _random=random,
    )
    return b"".join(parts), sealed
