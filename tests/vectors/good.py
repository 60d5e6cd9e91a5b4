"""Scenarios that must be accepted."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Callable, Iterable

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from msgspec.structs import replace

from strongroom import freeform
from strongroom.container import canonical
from strongroom.container.cobblestone import Random, hkdf
from strongroom.container.manifest import (
    ContainerEntry,
    Counts,
    Manifest,
    ManifestRecipient,
    ManifestSelection,
    ManifestTarget,
    sign_manifest,
)
from strongroom.container.marks import (
    DELETION,
    HEAD,
    HOLD,
    DeletionMark,
    Distrusted,
    HoldMark,
    LedgerHead,
    TrustList,
    sign_list,
)
from strongroom.container.metadata import DocumentAbout, to_metadata, write_document
from strongroom.container.name_index import (
    INDEX,
    IndexHead,
    IndexLink,
    IndexReceipt,
    IndexRow,
    Older,
    blocks,
    encode_row,
    write_name_index,
)
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.segment import bare, encode_secrets, unpack_rows
from strongroom.container.signing import Receipt, sign_receipt
from strongroom.container.wrapping import Recipient, Stanza, WrappingKey, write_detached
from strongroom.keys import hpke, keyfile
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.hpke import HpkeIdentity
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.operations.engine.layout import container_entry
from tests.vectors import material as m
from tests.vectors.bundling import bundle
from tests.vectors.forge import Parts, framed, rows_plain
from tests.vectors.vector import Vector

Scenario = Callable[[], Vector]
GOOD: dict[str, Scenario] = {}
TRUSTED = ("trusted", m.INSTALLATION.fingerprint)


def scenario(function: Scenario) -> Scenario:
    """Publish what a function makes, under its name."""
    GOOD[function.__name__.replace("_", "-")] = function
    return function


def vector(kind: str, comment: str, body: bytes, *fields: tuple[str, str]) -> Vector:
    head = (("kind", kind), ("comment", comment), ("expect", "ok"))
    return Vector(fields=(*head, *fields), body=body)


def plaintext(secrets: Iterable[Secret], *, values: bool = True) -> list[tuple[str, str]]:
    """Return the fields that say what must come out: see README.md."""
    ordered = sorted(secrets, key=lambda s: s.name.encode())
    digest = hashlib.sha256()
    for secret in ordered:
        digest.update(encode_secrets([secret if values else bare(secret)]))
        for version in secret.versions:
            digest.update(version.value.reveal() if values and version.value else b"")
    return [("secrets", str(len(ordered))), ("plaintext", digest.hexdigest())]


def of_container(
    name: str,
    comment: str,
    recipients: Callable[[Random], list[Recipient]],
    *identity: tuple[str, str],
    secrets: list[Secret] | None = None,
    values: bool = True,
) -> Vector:
    kept = m.few() if secrets is None else secrets
    body = m.container(name, kept, recipients, values=values)
    return vector("container", comment, body, TRUSTED, *identity, *plaintext(kept, values=values))


@scenario
def container_passphrase() -> Vector:
    return of_container(
        "passphrase", "one recipient, a passphrase", lambda r: [m.passphrase(r)], m.PASSPHRASE_LINE
    )


@scenario
def container_scrypt() -> Vector:
    comment = "one recipient, a passphrase by scrypt, log_n 15"
    return of_container("scrypt", comment, lambda r: [m.scrypt(r)], m.PASSPHRASE_LINE)


@scenario
def container_scrypt_composed() -> Vector:
    comment = "a passphrase by scrypt, log_n 16, typed with combining characters"
    words = "cafe\u0301 nai\u0308ve"
    recipient = lambda r: [m.PassphraseRecipient(words, label="é", log_n=16, random=r)]  # noqa: E731
    return of_container("scrypt composed", comment, recipient, ("passphrase", words))


@scenario
def container_passphrases_in_all_of() -> Vector:
    def recipients(random: Random) -> list[Recipient]:
        legs: list[list[Recipient]] = [[m.scrypt(random), m.passphrase(random)], [m.key_file(random)]]
        return [AllOfRecipient(legs, label="both", random=random)]

    comment = "all of a passphrase (by scrypt, or by PBKDF2) and a key file"
    return of_container("words and file", comment, recipients, m.PASSPHRASE_LINE, m.KEY_FILE_LINE)


@scenario
def container_passphrases_at_most() -> Vector:
    comment = "passphrases of just the cost that a record may have, none tried: a key file is at hand"
    costly = [Service("scrypt", {"log_n": 20}), Service("scrypt", {"log_n": 19})]
    costly += [Service("passphrase", {"iterations": 8_388_608})]
    unreal = [Service("passphrase", {"iterations": 10_000_001}), Service("scrypt", {"log_n": 21})]
    unreal += [Service("all-of", {"legs": "00"}), Service("scrypt", {"log_n": "11"})]
    return of_container("costly", comment, lambda r: [*costly, *unreal, m.key_file(r)], m.KEY_FILE_LINE)


@scenario
def container_sealed_private_key() -> Vector:
    comment = "HPKE, hybrid; the private key's file is sealed by a passphrase"
    line = m.sealed_line(hpke.KIND, m.Kem.XWING.value, m.fixed("x-wing seed"), m.XWING.public.id)
    sealing = lambda _: [m.hpke(m.XWING, "recovery")]  # noqa: E731
    return of_container("xwing", comment, sealing, line, m.PASSPHRASE_LINE)


@scenario
def container_sealed_key_file() -> Vector:
    comment = "a key file that is sealed by a passphrase"
    own = hkdf(m.KEY_FILE, salt=b"", info=b"strongroom/v1/keyfile-fingerprint")[:16]
    line = m.sealed_line(keyfile.KIND, keyfile.ALGORITHM, m.KEY_FILE, own)
    return of_container("keyfile", comment, lambda r: [m.key_file(r)], line, m.PASSPHRASE_LINE)


@scenario
def container_keyfile() -> Vector:
    return of_container("keyfile", "one recipient, a key file", lambda r: [m.key_file(r)], m.KEY_FILE_LINE)


@scenario
def container_xwing() -> Vector:
    return of_container("xwing", "HPKE, hybrid", lambda _: [m.hpke(m.XWING, "recovery")], m.XWING_LINE)


@scenario
def container_x25519() -> Vector:
    return of_container("x25519", "HPKE, X25519", lambda _: [m.hpke(m.X25519, "recovery")], m.X25519_LINE)


@scenario
def container_hsm() -> Vector:
    comment = "HPKE on P-256, whose private half is in an HSM; here it is published"
    return of_container("hsm", comment, lambda _: [m.hsm("backup v3")], m.HSM_LINE)


@scenario
def container_quorum() -> Vector:
    comment = "any 3 of 5 custodians; three shares and the quorum file are at hand"
    return of_container("quorum", comment, lambda _: [m.board("board")], *m.QUORUM_LINES)


def together(random: Random) -> list[Recipient]:
    legs: list[list[Recipient]] = [[m.hsm("backup v3"), m.key_file(random)], [m.board("board")]]
    return [AllOfRecipient(legs, label="emergency", random=random)]


@scenario
def container_all_of() -> Vector:
    comment = "all of an HSM (a key file is its spare) and a quorum; the HSM and three shares are at hand"
    return of_container("all of", comment, together, m.HSM_LINE, *m.QUORUM_LINES)


@scenario
def container_all_of_spare() -> Vector:
    comment = "the same, opened with the spare key file in the HSM's place"
    return of_container("all of", comment, together, m.KEY_FILE_LINE, *m.QUORUM_LINES)


class Service:
    """A recipient whose key is kept by a service: its stanza is made up, nothing here opens it."""

    label = "service"
    fingerprint = "service"
    post_quantum = True

    def __init__(self, type_: str, args: dict[str, str | int]) -> None:
        self.type = type_
        self._args = args

    def describe(self) -> str:
        return f"whoever may use the {self.type}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:  # noqa: ARG002  # the Protocol's
        return Stanza(type=self.type, label=self.label, args=self._args)


def services() -> list[Recipient]:
    salted: dict[str, str | int] = {"salt": m.fixed("salt").hex(), "wrapped": m.fixed("wrapped", 48).hex()}
    named: dict[str, str | int] = {"key": m.fixed("key", 16).hex(), "version": 3}
    arn = "arn:aws:kms:eu-central-1:123456789012:key/3f9a0c1d-0000-4000-8000-000000000000"
    return [
        Service("pkcs11-aes", {"data_key": m.fixed("data key", 40).hex(), **named, **salted}),
        Service("transit", {"data_key": m.fixed("data key", 60).hex(), **named, **salted}),
        Service("kms", {"arn": arn.encode().hex(), "blob": m.fixed("blob", 152).hex()}),
    ]


@scenario
def container_services_away() -> Vector:
    comment = "an HSM's AES key, a transit key and a KMS key, none at hand; and a key file that is"
    return of_container("services", comment, lambda r: [*services(), m.key_file(r)], m.KEY_FILE_LINE)


@scenario
def container_stanza_malformed() -> Vector:
    comment = "a key file's stanza that is malformed, and a passphrase's that opens; both keys are at hand"
    odd = Service("keyfile", {"key": m.fixed("key", 16).hex()})
    return of_container(
        "odd stanza", comment, lambda r: [odd, m.passphrase(r)], m.KEY_FILE_LINE, m.PASSPHRASE_LINE
    )


@scenario
def container_stanza_unread() -> Vector:
    comment = "arguments of stanzas that nobody tries: no hex, and the largest number; and a key file that is"
    odd = [Service("kms", {"arn": "no hex", "z": canonical.MOST}), Service("unknown", {"": ""})]
    return of_container("unread", comment, lambda r: [*odd, m.key_file(r)], m.KEY_FILE_LINE)


@scenario
def container_all_of_stanza_malformed() -> Vector:
    comment = "all of two legs; in one a key file's stanza is malformed, and a passphrase is its spare"
    odd = Service("keyfile", {"key": m.fixed("key", 16).hex()})

    def recipients(random: Random) -> list[Recipient]:
        legs: list[list[Recipient]] = [[odd, m.passphrase(random)], [m.key_file(random)]]
        return [AllOfRecipient(legs, label="both", random=random)]

    return of_container("odd leg", comment, recipients, m.KEY_FILE_LINE, m.PASSPHRASE_LINE)


@scenario
def container_numbers_most() -> Vector:
    comment = "the largest numbers of a version, and of a rotation's days"
    numbers = (0, 2**63, canonical.MOST)
    versions = tuple(SecretVersion(number=n, value=SecretBytes(b"CANARY-most")) for n in numbers)
    most = [Secret(name="most", versions=versions, rotation=RotationSchedule(days=canonical.MOST))]
    return of_container("most", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, secrets=most)


@scenario
def container_frame_window() -> Vector:
    comment = "a frame with the largest window, and nothing compressed"
    data = m.container("window", m.few(), lambda r: [m.key_file(r)])
    made = Parts.of(data, KeyFileIdentity(m.KEY_FILE))
    [(values, rows)] = made.segments
    columns = unpack_rows(rows).columns
    plain = rows_plain(columns, rows=4, digests=5, frame=framed(columns, 25))
    changed = made.change(segments=((values, plain),)).build("window")
    return vector("container", comment, changed, TRUSTED, m.KEY_FILE_LINE, *plaintext(m.few()))


@scenario
def container_all_of_one_key() -> Vector:
    def recipients(random: Random) -> list[Recipient]:
        legs: list[list[Recipient]] = [[m.key_file(random)], [m.passphrase(random), m.key_file(random)]]
        return [AllOfRecipient(legs, label="both", random=random)]

    comment = "all of two legs, and one key stands in both"
    return of_container("one key", comment, recipients, m.KEY_FILE_LINE)


def everybody(random: Random) -> list[Recipient]:
    return [
        m.passphrase(random),
        Unknown(),
        m.key_file(random),
        m.hpke(m.X25519, "a"),
        m.hpke(m.XWING, "b"),
    ]


class Unknown:
    """A recipient of a type that no reader knows yet."""

    type = "vault-of-tomorrow"
    label = "tomorrow"
    fingerprint = "tomorrow"
    post_quantum = True

    def describe(self) -> str:
        return "somebody of tomorrow"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:  # noqa: ARG002  # the Protocol's
        return Stanza(type=self.type, label=self.label, args={"a": 1, "b": "00ff"})


@scenario
def container_any_of_many() -> Vector:
    comment = "five recipients, one of an unknown type; the last one's key is at hand"
    return of_container("many", comment, everybody, m.XWING_LINE)


@scenario
def container_second_passphrase() -> Vector:
    def recipients(random: Random) -> list[Recipient]:
        other = m.PassphraseRecipient("another one", iterations=m.ITERATIONS, random=random)
        return [other, m.passphrase(random)]

    comment = "two passphrases; the first stanza does not open with the one at hand"
    return of_container("second", comment, recipients, m.PASSPHRASE_LINE)


@scenario
def container_empty() -> Vector:
    comment = "no secret, so no segment and an empty directory"
    return of_container("empty", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, secrets=[])


@scenario
def container_metadata_only() -> Vector:
    comment = "sealed metadata: no values messages, no lengths, no free-form metadata"
    return of_container("metadata", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, values=False)


NAMES_FIRST = (
    IndexRow("api/key", 1, VersionState.LIVE, None, {}, None, "1" * 32),
    IndexRow(
        "db/password",
        3,
        VersionState.LIVE,
        "2026-11-24T00:00:00Z",
        {"env": "prod", "team": "payments"},
        "2027-01-01T00:00:00Z",
        "2" * 32,
        (
            Older(1, 1, VersionState.DESTROYED, False, "2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
            Older(2, 2, VersionState.LIVE, True, None, None),
        ),
    ),
    IndexRow('odd "name"', 2, VersionState.DELETED),
)
NAMES_NEXT = (
    IndexRow("api/key"),
    IndexRow("db/password", 4, VersionState.LIVE, "2026-11-25T00:00:00Z", {"env": "prod"}, None, "3" * 32),
)


def of_names(
    name: str, comment: str, rows: tuple[IndexRow, ...], *, backup: str, previous: IndexLink | None
) -> Vector:
    """Return an index of names: a container, whose secrets are a head and blocks of rows."""
    made, parts, random = list(blocks(map(encode_row, rows))), list[bytes](), m.stream(name)
    head = IndexHead(
        source="vault",
        containers="7" * 64,
        previous=previous,
        blocks=tuple((block.first, block.rows) for block in made),
    )
    write_name_index(
        parts.append,
        head,
        lambda number: made[number].content,
        backup_id=backup,
        policy="weekly",
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=WrappingKey.create([m.key_file(random)], _random=random),
        signer=m.SEAL,
        _random=random,
    )
    body = b"".join(parts)
    identity = KeyFileIdentity(bytes.fromhex(m.KEY_FILE_LINE[1]))
    stored = list(Container.open(BytesReader(body), (identity,), trusted=None).secrets())
    return vector("container", comment, body, TRUSTED, m.KEY_FILE_LINE, *plaintext(stored))


@scenario
def index_first() -> Vector:
    comment = "an index of names with all names of its backup"
    return of_names("index first", comment, NAMES_FIRST, backup="20261125T024501Z-00000001", previous=None)


@scenario
def index_next() -> Vector:
    comment = "an index of names that continues the one before: a secret is gone, another has a new version"
    link = IndexLink(
        backup_id="20261125T024501Z-00000001", sha256=hashlib.sha256(index_first().body).hexdigest()
    )
    return of_names("index next", comment, NAMES_NEXT, backup="20261126T024501Z-00000002", previous=link)


def index_receipt_record(*, continues: bool = False) -> IndexReceipt:
    """Return the receipt of one of the indexes above."""
    first, backup = index_first(), "20261125T024501Z-00000001"
    own = index_next() if continues else first
    link = IndexLink(backup_id=backup, sha256=hashlib.sha256(first.body).hexdigest())
    return IndexReceipt(
        backup_id="20261126T024501Z-00000002" if continues else backup,
        sha256=hashlib.sha256(own.body).hexdigest(),
        container_signature=own.body[-92:-28].hex(),
        containers="7" * 64,
        chain=backup,
        previous=link if continues else None,
        made_at="2026-11-25T02:45:01Z",
    )


@scenario
def index_receipt() -> Vector:
    made = index_receipt_record()
    body, comment = INDEX.sign(made, m.CONTROL), "the receipt of index-first"
    return vector("index", comment, body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def index_receipt_next() -> Vector:
    made = index_receipt_record(continues=True)
    body, comment = (
        INDEX.sign(made, m.RECOVER),
        "the receipt of index-next, signed again by recover",
    )
    return vector("index", comment, body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def container_full_chunks() -> Vector:
    comment = "values that fill whole chunks, so the last chunk is empty; and one byte more"
    secrets = [m.secret("one", b"A" * 8192, b"B" * 8192)]
    return of_container("chunks", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, secrets=secrets)


@scenario
def container_several_segments() -> Vector:
    comment = "three segments, for metadata is large"
    return of_container("segments", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, secrets=large())


def large() -> list[Secret]:
    """Return three secrets, each of which fills a segment."""
    return [filling(f"large/{n}") for n in range(3)]


def filling(name: str) -> Secret:
    """Return a secret that fills a segment."""
    versions = m.secret(name, b"CANARY-fill").versions
    return Secret(name=name, versions=versions, metadata={"fill": "x" * 600_000})


@scenario
def container_bounds() -> Vector:
    comment = "five segments, cut by names that are near each other, one of which is empty"
    names = ("", "a", "a\x00", "\uffff", "\U00010000")  # in UTF-16 the last two change places
    return of_container(
        "bounds", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, secrets=[filling(n) for n in names]
    )


@scenario
def container_bounds_long() -> Vector:
    comment = "three segments, whose bounds are longer than a writer of ours makes them"
    made = Parts.of(
        m.container("bounds long", large(), lambda r: [m.key_file(r)]), KeyFileIdentity(m.KEY_FILE)
    )
    bounds = ("", "large/0~", "large/2")
    segments = [[bound, *rest] for bound, (_, *rest) in zip(bounds, made.index["segments"], strict=True)]
    body = made.with_index(segments=segments).build("bounds long")
    return vector("container", comment, body, TRUSTED, m.KEY_FILE_LINE, *plaintext(large()))


@scenario
def container_frame_in_one_block() -> Vector:
    """No writer of ours compresses so, and a reader must not mind."""
    made = Parts.of(m.container("one block", m.few(), lambda r: [m.key_file(r)]), KeyFileIdentity(m.KEY_FILE))
    values, rows = made.segments[0]
    plain = rows_plain(unpack_rows(rows).columns, rows=4, digests=5, level=19)
    body = made.change(segments=((values, plain),)).build("one block")
    comment = "columns that were compressed in one block, at another level"
    return vector("container", comment, body, TRUSTED, m.KEY_FILE_LINE, *plaintext(m.few()))


NUMBERS = (
    "1e-07", "1e-7", "0.00001", "1e16", "1E16", "1e22", "1e+22", "-0.0", "-0", "2.0", "1.50", "1e400",
    "0.1000000000000000055511151231257827", "9007199254740993", "-18446744073709551617", "1" * 40, "7" * 5000,
)  # fmt: skip
"""Spellings of numbers. Of some there are several of one number, and some no double or 64 bits hold."""


@scenario
def container_metadata_numbers() -> Vector:
    listed = freeform.parse(b'{"numbers":[%b]}' % ",".join(NUMBERS).encode())
    secrets = [Secret(name="a", versions=m.secret("a", b"CANARY-a").versions, metadata=listed)]
    comment = "numbers in metadata come out as they were written"
    return of_container("numbers", comment, lambda r: [m.key_file(r)], m.KEY_FILE_LINE, secrets=secrets)


SPELLED = (
    '{ "b" : [ 1.0E+2 ,\t-0 ] ,"\\u0061":"\\u00e4\\ud83d\\ude00 ü\\/", "":{},"deep":'
    + "[" * 63
    + "]" * 63
    + " }"
).encode()


@scenario
def container_metadata_spelling() -> Vector:
    """No writer of ours spells it so, and a reader must not mind."""
    made = Parts.of(
        m.container("spelling", [m.secret("a", b"CANARY-a")], lambda r: [m.key_file(r)]),
        KeyFileIdentity(m.KEY_FILE),
    )
    columns = unpack_rows(made.segments[0][1]).columns[:-1] + SPELLED + b"\n"
    made = made.change(segments=((made.segments[0][0], rows_plain(columns, rows=1, digests=1)),))
    digest = hashlib.sha256(columns + b"CANARY-a").hexdigest()
    fields = (TRUSTED, m.KEY_FILE_LINE, ("secrets", "1"), ("plaintext", digest))
    return vector("container", "metadata in a spelling of somebody else's", made.build("spelling"), *fields)


@scenario
def container_newer_envelope() -> Vector:
    random = m.stream("newer")
    first = WrappingKey.create([m.passphrase(random)], _random=random)
    newer = write_detached(first.rewrap([m.key_file(random)]).record, m.RECOVER)
    body = m.container("newer/file", m.few(), lambda _: [], wrapping_key=first)
    comment = "rotated: opens with the new recipient through the detached envelope"
    field = ("newer", base64.b64encode(newer).decode())
    return vector("container", comment, body, TRUSTED, field, m.KEY_FILE_LINE, *plaintext(m.few()))


@scenario
def container_signer_unchecked() -> Vector:
    body = m.container("stranger", m.few(), lambda r: [m.key_file(r)], signer=m.STRANGER)
    comment = "signed by somebody unknown, and no signer is pinned"
    return vector("container", comment, body, m.KEY_FILE_LINE, *plaintext(m.few()))


def record() -> WrappingKey:
    random = m.stream("detached")
    return WrappingKey.create([m.key_file(random)], _random=random)


@scenario
def envelope() -> Vector:
    second = record().rewrap([m.hpke(m.XWING, "recovery")]).record
    body = canonical.encode(second)
    made = write_detached(second, m.RECOVER)
    return vector("envelope", "a detached envelope", made, TRUSTED, body_field(body))


def body_field(body: bytes) -> tuple[str, str]:
    return "plaintext", hashlib.sha256(body).hexdigest()


def entry(piece: int, first: str, last: str) -> ContainerEntry:
    receipt = Receipt(
        run=m.BACKUP,
        piece=piece,
        sha256=m.fixed(f"sha256 {piece}").hex(),
        size=4096 + piece,
        secrets=1000,
        versions=1200,
        first=first * 16,
        last=last * 16,
        wrapping_key=m.fixed("wrapping key id", 16).hex(),
        container_signature=m.fixed(f"container signature {piece}", 64).hex(),
    )
    return container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public)


def manifest_record(*containers: ContainerEntry) -> Manifest:
    listed = containers or (entry(0, "00", "7f"), entry(1, "80", "ff"))
    identity: HpkeIdentity = m.XWING
    return Manifest(
        backup_id=m.BACKUP,
        policy="weekly",
        source="local",
        created_at=m.CREATED,
        values=True,
        sealed=True,
        selection=ManifestSelection(include=("prod/*",), tags={"team": "payments"}),
        counts=Counts(
            secrets=sum(c.secrets for c in listed),
            versions=sum(c.versions for c in listed),
            size=sum(c.size for c in listed),
        ),
        recipients=(
            ManifestRecipient(
                name="recovery",
                type="hpke",
                fingerprint=f"hpke:{identity.public.id.hex()}",
                post_quantum=True,
                describes="the holder of the private key `recovery`",
            ),
        ),
        targets=(
            ManifestTarget(name="a", address="/backups/a", region="eu", provider="directory", counts=True),
        ),
        quorum=1,
        regions=1,
        providers=1,
        not_contained=("PKI and database engines",),
        containers=listed,
        previous=m.fixed("previous").hex(),
        trust=0,
    )


@scenario
def manifest_numbers_most() -> Vector:
    most = canonical.MOST
    made = replace(manifest_record(), quorum=most, regions=most, providers=most)
    body = sign_manifest(made, m.CONTROL)
    comment = "the largest numbers that there are"
    return vector("manifest", comment, body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def manifest_time_odd() -> Vector:
    made = replace(manifest_record(), created_at="last Tuesday")
    body = sign_manifest(made, m.CONTROL)
    comment = "a time that is none, which no reader judges"
    return vector("manifest", comment, body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def manifest() -> Vector:
    made = manifest_record()
    body = sign_manifest(made, m.CONTROL)
    return vector("manifest", "two containers", body, TRUSTED, body_field(canonical.encode(made)))


def head_record() -> LedgerHead:
    digests = m.fixed("ledger").hex(), m.fixed("event").hex()
    return LedgerHead(
        ledger=digests[0], event=42, at=m.CREATED, sha256=digests[1], made_at=m.CREATED, trust=0,
        backups={"daily-metadata": "20261124T124501000000Z-00000001", "weekly": m.BACKUP},
        marks={m.BACKUP: 2},
    )  # fmt: skip


@scenario
def head() -> Vector:
    made = head_record()
    body = HEAD.sign(made, m.CONTROL)
    return vector("head", "event 42", body, TRUSTED, body_field(canonical.encode(made)))


def trust_record() -> TrustList:
    leaked = sorted((m.CONTROL, m.PRUNE), key=lambda key: key.public)
    distrusted = [
        Distrusted(key=key.public.hex(), since=m.CREATED, reason="laptop lost on the train") for key in leaked
    ]
    return TrustList(number=2, distrusted=tuple(distrusted), successor=None, made_at=m.CREATED)


@scenario
def trust() -> Vector:
    made = trust_record()
    body = sign_list(made, m.INSTALLATION)
    return vector("trust", "two keys that leaked", body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def trust_handed_over() -> Vector:
    made = replace(trust_record(), number=3, distrusted=(), successor=m.STRANGERS.public.hex())
    body = sign_list(made, m.INSTALLATION)
    comment = "another installation key follows"
    return vector("trust", comment, body, TRUSTED, body_field(canonical.encode(made)))


def deletion_record() -> DeletionMark:
    return DeletionMark(
        backup_id=m.BACKUP, number=1, state="marked", after="2026-12-02T02:45:01Z",
        reason="daily: the 7 newest days are others", run="20261125T034501Z-00c0ffee", by="", at=m.CREATED,
    )  # fmt: skip


@scenario
def deletion() -> Vector:
    made = deletion_record()
    body = DELETION.sign(made, m.PRUNE)
    return vector("deletion", "to be deleted", body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def deletion_undone() -> Vector:
    made = replace(deletion_record(), number=2, state="undeleted", after="", reason="an audit", by="ops")
    body = DELETION.sign(made, m.CONTROL)
    return vector("deletion", "not to be deleted", body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def deletion_done() -> Vector:
    made = replace(deletion_record(), number=3, state="deleted", after="")
    body = DELETION.sign(made, m.PRUNE)
    return vector("deletion", "a tombstone", body, TRUSTED, body_field(canonical.encode(made)))


def hold_record() -> HoldMark:
    return HoldMark(
        kind="tag", subject="team=payments", number=1, state="held", reason="case 2026-17", by="legal",
        at=m.CREATED, until="2029-01-01T00:00:00Z",
    )  # fmt: skip


@scenario
def hold() -> Vector:
    made = hold_record()
    body = HOLD.sign(made, m.CONTROL)
    return vector("hold", "a tag, until a time", body, TRUSTED, body_field(canonical.encode(made)))


@scenario
def hold_everything() -> Vector:
    made = replace(hold_record(), kind="everything", subject="", until="")
    body = HOLD.sign(made, m.RECOVER)
    return vector("hold", "every backup, without an end", body, TRUSTED, body_field(canonical.encode(made)))


ABOUT = DocumentAbout(
    backup_id=m.BACKUP, piece=0, pieces=1, source="local", policy="daily", created_at=m.CREATED
)


def document(secrets: list[Secret]) -> bytes:
    parts: list[bytes] = []
    write_document(parts.append, secrets, about=ABOUT)
    return b"".join(parts)


@scenario
def metadata() -> Vector:
    lines = b"".join(canonical.encode(to_metadata(s)) + b"\n" for s in m.few())
    body = document(m.few())
    return vector("metadata", "plain metadata", body, ("secrets", "4"), body_field(lines))


@scenario
def metadata_unsorted() -> Vector:
    secrets = [*m.few()[::-1], m.few()[0]]
    lines = b"".join(canonical.encode(to_metadata(s)) + b"\n" for s in secrets)
    fields = ("secrets", "5"), body_field(lines)
    return vector("metadata", "secrets in another order, and one of them twice", document(secrets), *fields)


@scenario
def metadata_empty() -> Vector:
    return vector("metadata", "no secret", document([]), ("secrets", "0"), body_field(b""))


@scenario
def backup_file() -> Vector:
    contents = {
        f"containers/{m.BACKUP}/{'ab' * 32}": b"CANARY-not-really-a-container",
        "empty": b"",
        f"manifests/{m.BACKUP}.json": b"{}",
    }
    body = bundle(list(contents.items()))
    return vector("bundle", "three objects", body, body_field(b"".join(contents.values())))


def old_file(plain: bytes, passphrase: str = m.PASSPHRASE) -> bytes:
    salt = m.fixed("old salt", 16)
    key = PBKDF2HMAC(SHA256(), 32, salt, 100_000).derive(passphrase.encode())
    fernet = Fernet(base64.urlsafe_b64encode(key))
    return salt + fernet._encrypt_from_parts(plain, 1_700_000_000, m.fixed("old iv", 16))


@scenario
def legacy() -> Vector:
    plain = b'{"secrets": {"a": "CANARY-old"}}'
    body = old_file(plain)
    return vector("legacy", "an old Fernet file", body, m.PASSPHRASE_LINE, body_field(plain))


@scenario
def legacy_decomposed() -> Vector:
    plain = b'{"secrets": {"a": "CANARY-old"}}'
    words = unicodedata.normalize("NFD", "CANARY-Schl\u00fcssel")
    comment = "an old file whose passphrase was typed in NFD, which is not normalised"
    return vector("legacy", comment, old_file(plain, words), ("passphrase", words), body_field(plain))
