"""Scenarios that must be refused, each for one reason."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec.structs import replace

from strongroom.container import canonical, document, layout
from strongroom.container.cobblestone import Random
from strongroom.container.manifest import MANIFEST, sign_manifest
from strongroom.container.marks import DELETION, HEAD, HOLD, TRUST_LIST, sign_list
from strongroom.container.name_index import INDEX
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import read_outer
from strongroom.container.segment import encode_secrets, unpack_rows
from strongroom.container.signing import Certificate, CertifiedSigner, certify, fingerprint
from strongroom.container.wrapping import Recipient, WrappingKey, write_detached
from strongroom.keys import hpke
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.passphrase import PassphraseIdentity
from strongroom.model import Secret
from tests.vectors import bundling, good
from tests.vectors import material as m
from tests.vectors.forge import Parts, directory_of, filled, framed, re_signed, rows_plain, values_plain
from tests.vectors.vector import Vector

Scenario = Callable[[], Vector]
BAD: dict[str, Scenario] = {}
IDENTITY = KeyFileIdentity(m.KEY_FILE)
TRUSTED = good.TRUSTED
THREE = [m.secret(f"name/{n}", b"CANARY-%d" % n) for n in range(3)]


def refused(name: str, expect: str, comment: str, body: bytes, *fields: tuple[str, str]) -> None:
    """Publish a file of a kind that the name's first word tells, and what it is refused as."""
    first = name.partition("-")[0]
    kind = "bundle" if first == "file" else first
    head = (("kind", kind), ("comment", comment), ("expect", expect))
    BAD[name] = lambda: Vector(fields=(*head, *fields), body=body)


def container(name: str, expect: str, comment: str, body: bytes, *fields: tuple[str, str]) -> None:
    """Publish a container, with the right key and signer at hand unless ``fields`` differ."""
    named = {field for field, _ in fields}
    rest = () if named & {"trusted", "no-trust"} else (TRUSTED,)
    keys = () if named & {"passphrase", "keyfile", "hpke", "ec", "share"} else (m.KEY_FILE_LINE,)
    kept = tuple(pair for pair in fields if pair[0] != "no-trust")
    refused(f"container-{name}", expect, comment, body, *rest, *keys, *kept)


@cache
def one() -> bytes:
    return m.container("bad/one", m.few(), lambda r: [m.key_file(r)])


@cache
def three() -> bytes:
    """A container of three segments."""
    return m.container("bad/three", good.large(), lambda r: [m.key_file(r)])


@cache
def parts() -> Parts:
    return Parts.of(one(), IDENTITY)


def flipped(data: bytes, offset: int, mask: int = 1) -> bytes:
    copy = bytearray(data)
    copy[offset] ^= mask
    return bytes(copy)


def forged(name: str, expect: str, comment: str, made: Parts, *fields: tuple[str, str]) -> None:
    container(name, expect, comment, made.build(name), *fields)


def changed_bytes() -> None:
    data = one()
    outer = read_outer(BytesReader(data), trusted=None)
    directory = outer.trailer.start
    index = directory + len(outer.directory)
    envelope = index + len(outer.index)
    first = outer.entries[0]
    container("magic-changed", "Tampered", "one bit of the magic", flipped(data, 0))
    container("version-unknown", "UnsupportedVersion", "version 2", flipped(data, 9, 3))
    container("suite-unknown", "UnsupportedVersion", "suite 3", flipped(data, 11, 1))
    container(
        "suite-early", "UnsupportedVersion", "suite 1, of before the first release", flipped(data, 11, 3)
    )
    container("flag-unknown", "UnsupportedVersion", "one flag", flipped(data, 15))
    container("file-id-changed", "Tampered", "one bit of the file id", flipped(data, 20))
    container("header-tag-changed", "Tampered", "one bit of the header tag", flipped(data, 50))
    container("values-changed", "Tampered", "one bit of the values", flipped(data, 200))
    container("rows-changed", "Tampered", "one bit of the rows", flipped(data, 80 + first.values + 60))
    container("directory-changed", "Tampered", "one bit of the directory", flipped(data, directory + 9))
    container("index-changed", "Tampered", "one bit of the index", flipped(data, index + 99))
    container("envelope-changed", "Tampered", "one bit of a stanza", flipped(data, envelope + 300))
    container("signer-changed", "Tampered", "one bit of the public key", flipped(data, len(data) - 100))
    container("signature-changed", "Tampered", "one bit of the signature", flipped(data, len(data) - 30))
    container("trailer-moved", "Tampered", "the directory 1 byte longer", flipped(data, len(data) - 25))
    container("trailer-large", "Malformed", "an impossible length", flipped(data, len(data) - 28, 0x80))
    container("total-changed", "Tampered", "one bit of the total length", flipped(data, len(data) - 9))
    container("end-changed", "Tampered", "one bit of the end marker", flipped(data, len(data) - 1))


def wrong_lengths() -> None:
    data = one()
    container("cut-by-one", "Truncated", "the last byte is missing", data[:-1])
    container("cut-in-half", "Truncated", "the second half is missing", data[: len(data) // 2])
    container("cut-to-header", "Truncated", "only the header is left", data[:80])
    container("cut-to-magic", "Truncated", "half of the magic is left", data[:4])
    container("nothing", "Truncated", "an empty file", b"")
    container("byte-added", "Malformed", "a line feed was added", data + b"\n")
    container("twice", "Tampered", "the same container twice in one file", data + data)
    container("hole", "Tampered", "bytes are missing in the middle", data[:500] + data[600:])
    container("other-kind", "NotABackup", "a PNG's beginning", b"\x89PNG\r\n\x1a\n" + bytes(300))
    container("old-file", "LegacyFormat", "an old Fernet file", good.old_file(b"CANARY-old"))


def _first_args(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["wrapping_key"]["stanzas"][0]["args"]
    return found


def wrong_keys() -> None:
    data = m.container("bad/keys", m.few(), lambda r: [m.passphrase(r), m.hpke(m.XWING, "recovery")])
    container("passphrase-wrong", "WrongKey", "another passphrase", data, ("passphrase", "guess"))
    words = m.container("bad/words", m.few(), lambda r: [m.scrypt(r)])
    container("scrypt-wrong", "WrongKey", "another passphrase, by scrypt", words, ("passphrase", "guess"))
    line = m.sealed_line(hpke.KIND, m.Kem.XWING.value, m.fixed("x-wing seed"), m.XWING.public.id)
    comment = "the right private key, sealed by a passphrase that is not at hand"
    container("sealed-key-wrong", "WrongKey", comment, data, line, ("passphrase", "guess"))
    container("keyfile-wrong", "WrongKey", "another key file", one(), ("keyfile", "00" * 32))
    seed = ("hpke", f"mlkem768-x25519 {'00' * 32}")
    container("hpke-wrong", "WrongKey", "another private key", data, seed)
    together = m.container("all of", m.few(), good.together)
    container(
        "all-of-leg-missing", "WrongKey", "all-of, and nobody of the quorum is there", together, m.HSM_LINE
    )
    container("all-of-other-leg-missing", "WrongKey", "all-of, without the HSM", together, *m.QUORUM_LINES)
    hsm = m.container("hsm", m.few(), lambda _: [m.hsm("backup v3")])
    other = m.HSM_LINE[1].replace("p256 3 ", "p256 4 ")
    container(
        "hsm-version-wrong", "WrongKey", "the HSM's key, taken for its next version", hsm, ("ec", other)
    )
    for name, curve, comment in (
        ("kem-wrong", 17, "the length of one curve, and the other one's number"),
        ("kem-unknown", 18, "a number of no curve"),
    ):
        odd = Parts.of(hsm, m.HSM).with_envelope(lambda c, kem=curve: _first_args(c).update(kem=kem))
        forged(f"hsm-{name}", "Malformed", f"for an HSM: {comment}", odd, m.HSM_LINE)
    container("kind-of-key-wrong", "WrongKey", "a key file, for a passphrase", data, m.KEY_FILE_LINE)
    container("signer-unknown", "UntrustedSigner", "signed by a stranger", re_signed(one(), m.STRANGER))


def signed_again() -> None:
    """What somebody with a signing key, but without the file's keys, can do."""
    comment = "signed again by a stranger, and no signer is pinned"
    container("resigned", "Tampered", comment, re_signed(one(), m.STRANGER), ("no-trust", ""))
    outer = read_outer(BytesReader(three()), trusted=None)
    other = parts()
    made = Parts.of(three(), IDENTITY)
    messages = made.messages("reordered")
    swapped = made.change(sealed={0: messages[1], 1: messages[0]})
    forged("segments-reordered", "Tampered", "two segments changed places", swapped)
    foreign = made.change(sealed={0: other.messages("foreign")[0]})
    forged("segment-foreign", "Tampered", "a segment of another container", foreign)
    altered = flipped(one(), 60)[: read_outer(BytesReader(one()), trusted=None).trailer.start]
    comment = "another header tag, signed: it does not fit the file key"
    container("header-tag-wrong", "Tampered", comment, re_signed(one(), m.SEAL, before=altered))
    comment = "the last segment and its directory entry are missing"
    cut = made.change(segments=made.segments[:2], lies={"directory": made.index["directory"]})
    forged("segment-missing", "Tampered", comment, cut)
    comment = "the same, with the index's digest put right: the index lists more"
    forged("segment-missing-indexed", "Malformed", comment, made.change(segments=made.segments[:2]))
    comment = "a segment's length does not reach the directory"
    entries = layout.ENTRY.iter_unpack(outer.directory)
    short = b"".join(layout.ENTRY.pack(v, r - 1, a, b) for v, r, a, b in entries)
    forged("tiling-broken", "Malformed", comment, made.change(directory=short))
    comment = "the directory is not a number of entries"
    forged("directory-odd", "Malformed", comment, made.change(directory=outer.directory + b"\x00"))


def made_by_a_forger() -> None:
    """Containers that one rule alone refuses: all else in them fits."""
    made = parts()

    def by(name: str, expect: str, comment: str, certificate: Certificate) -> None:
        told = msgspec.to_builtins(certificate)
        whole = made.with_envelope(lambda c: c.update(certificate=told)).change(signer=m.STRANGER)
        forged(name, expect, comment, whole)

    comment = "wholly a stranger's, whose certificate names the pinned installation, which did not sign it"
    by("forged-certificate-forged", "Tampered", comment, forged_certificate())
    comment = "wholly a stranger's, with the certificate of a key of the pinned installation"
    by("forged-certificate-foreign", "Tampered", comment, m.SEAL.certificate)
    by("forged-signer-unknown", "UntrustedSigner", "wholly a stranger's", m.STRANGER.certificate)
    comment = "another header tag, with which all messages were sealed"
    forged("header-tag-forged", "Tampered", comment, made.change(tag=m.fixed("another tag")))
    values, rows = made.messages("commitment")[0]
    for kind, pair in (("values", (flipped(values, 30), rows)), ("rows", (values, flipped(rows, 30)))):
        comment = f"another commitment of the {kind}, whose chunks are sound"
        forged(f"{kind}-commitment", "Tampered", comment, made.change(sealed={0: pair}))
    for kind, at in (("values", 8), ("rows", 40)):
        name = f"{kind}-digest"
        directory = flipped(directory_of(made.messages(name)), at)
        comment = f"another digest of the {kind} in the directory, which are sound"
        forged(name, "Tampered", comment, made.change(directory=directory))


def envelopes() -> None:
    made = parts()

    def edit(name: str, expect: str, comment: str, change: Callable[[dict[str, Any]], object]) -> None:
        forged(name, expect, comment, made.with_envelope(change))

    def key(content: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = content["wrapping_key"]
        return record

    extra = {"type": "x", "label": "attacker", "args": {}}
    edit("recipient-added", "Tampered", "a stanza was added", lambda c: key(c)["stanzas"].append(extra))
    edit("label-changed", "Tampered", "a label was changed", lambda c: key(c)["stanzas"][0].update(label="x"))
    escape = {"label": "\x1b[2J"}
    edit(
        "label-unprintable", "Malformed", "a terminal's escape", lambda c: key(c)["stanzas"][0].update(escape)
    )
    edit("type-odd", "Malformed", "a type in capitals", lambda c: key(c)["stanzas"][0].update(type="KEY"))
    edit("renumbered", "Tampered", "the generation was changed", lambda c: key(c).update(generation=2))
    edit("generation-zero", "Malformed", "generation 0", lambda c: key(c).update(generation=0))
    edit("no-recipient", "Malformed", "no stanza", lambda c: key(c).update(stanzas=[]))
    many = [extra] * 65
    edit("recipients-too-many", "Malformed", "65 stanzas", lambda c: key(c)["stanzas"].extend(many[1:]))
    edit("hex-upper", "Malformed", "an id in capitals", lambda c: key(c).update(id=key(c)["id"].upper()))
    edit(
        "stanza-short",
        "Malformed",
        "a wrapped key of 47 bytes",
        lambda c: _first_args(c).update(wrapped="00" * 47),
    )
    numbers = (("large", canonical.MOST + 1), ("negative", -1))
    for name, number in numbers:
        unread = extra | {"args": {"n": number}}
        edit(
            f"stanza-number-{name}",
            "Malformed",
            f"{number} in a stanza that nobody tries",
            lambda c, unread=unread: key(c)["stanzas"].append(unread),
        )
    edit("stanza-extra", "Malformed", "an argument too many", lambda c: _first_args(c).update(z=1))
    comment = "a file key wrapped for another container"
    foreign = msgspec.json.decode(Parts.of(three(), IDENTITY).envelope)["file_key"]
    edit("file-key-foreign", "Tampered", comment, lambda c: c.update(file_key=foreign))
    edit("member-unknown", "Malformed", "an unknown member", lambda c: c.update(z=1))
    spaced = made.change(envelope=made.envelope.replace(b",", b", ", 1))
    forged("envelope-spaced", "Malformed", "the right JSON, but not canonical", spaced)
    all_of_malformed()
    rounds(99_999, "few")
    rounds(10_000_001, "many")
    memory(14, "little")
    memory(21, "much")
    too_costly()


def all_of_malformed() -> None:
    """No stanza of a leg opens, and one is malformed: then so is what they are in."""
    odd = good.Service("keyfile", {"key": m.fixed("key", 16).hex()})

    def recipients(random: Random) -> list[Recipient]:
        legs: list[list[Recipient]] = [[odd, m.passphrase(random)], [m.key_file(random)]]
        return [AllOfRecipient(legs, label="both", random=random)]

    data = m.container("bad/odd leg", m.few(), recipients)
    container("all-of-leg-malformed", "Malformed", "no stanza of a leg opens, and one is malformed", data)


def rounds(count: int, name: str) -> None:
    """Publish a passphrase stanza with PBKDF2 iterations out of bounds."""
    data = m.container(f"bad/rounds-{name}", m.few(), lambda r: [m.passphrase(r)])
    made = Parts.of(data, PassphraseIdentity(m.PASSPHRASE))
    made = made.with_envelope(lambda c: c["wrapping_key"]["stanzas"][0]["args"].update(iterations=count))
    forged(f"iterations-{name}", "Malformed", f"{count:,} iterations", made, m.PASSPHRASE_LINE)


def memory(log_n: int, name: str) -> None:
    """Publish a passphrase stanza with scrypt's N out of bounds."""
    data = m.container(f"bad/memory-{name}", m.few(), lambda r: [m.scrypt(r)])
    made = Parts.of(data, PassphraseIdentity(m.PASSPHRASE))
    made = made.with_envelope(lambda c: c["wrapping_key"]["stanzas"][0]["args"].update(log_n=log_n))
    forged(f"scrypt-{name}", "Malformed", f"scrypt with log_n {log_n}", made, m.PASSPHRASE_LINE)


def too_costly() -> None:
    """Publish records whose passphrases cost more together than a reader has to bear."""

    def forge(name: str, comment: str, *stanzas: tuple[str, dict[str, object]]) -> None:
        added = [{"type": type_, "label": "", "args": args} for type_, args in stanzas]
        made = parts().with_envelope(lambda c: c["wrapping_key"]["stanzas"].extend(added))
        forged(f"cost-{name}", "Malformed", f"{comment}; the key file at hand opens no such record", made)

    most = ("passphrase", {"iterations": 10_000_000})
    forge("of-passphrases", "four passphrases with 10,000,000 rounds each", *[most] * 4)
    large = ("scrypt", {"log_n": 20})
    forge("of-scrypt", "two passphrases with log_n 20 and one of the least rounds", large, large, most)
    leg = [{"type": type_, "label": "", "args": args} for type_, args in (large, most)]
    legs = msgspec.json.encode([leg, leg]).hex()
    forge("of-legs", "an all-of whose legs have two passphrases each", ("all-of", {"legs": legs}))


def rotated() -> None:
    random = m.stream("bad/rotated")
    first = WrappingKey.create([m.key_file(random)], _random=random)
    data = m.container("bad/rotated/file", m.few(), lambda _: [], wrapping_key=first)
    second = first.rewrap([m.passphrase(random)])

    def newer(key: WrappingKey) -> tuple[str, str]:
        return "newer", base64.b64encode(write_detached(key.record, m.RECOVER)).decode()

    comment = "rotated to a passphrase: the old key file opens no more"
    container("rotated-away", "WrongKey", comment, data, newer(second))
    container("rotation-stale", "Stale", "a detached envelope of the same generation", data, newer(first))
    other = good.record().rewrap([m.key_file(random)])
    container("rotation-foreign", "Tampered", "another wrapping key's envelope", data, newer(other))


def contents() -> None:
    """What somebody with all the keys can put in."""
    made = parts()
    values, rows = made.segments[0]
    columns = unpack_rows(rows).columns
    segment = made.index["segments"][0]

    def rowed(name: str, comment: str, plain: bytes, *, expect: str = "Malformed") -> None:
        forged(name, expect, comment, made.change(segments=((values, plain),)))

    def column_lines(name: str, comment: str, lines: bytes) -> None:
        assert lines != columns
        rowed(name, comment, rows_plain(lines, rows=4, digests=5))

    def valued(name: str, comment: str, plain: bytes) -> None:
        forged(name, "Malformed", comment, made.change(segments=((plain, rows),)))

    for kind, plain, padded in (("values", values, valued), ("rows", rows, rowed)):
        padded(f"{kind}-padding-set", "padding that is not zero", plain[:-1] + b"\x01")
        padded(f"{kind}-padding-long", "twice the padding", plain + bytes(len(plain)))
        padded(f"{kind}-padding-short", "a byte less than the padding", plain[:-1])
    odd_columns(column_lines, columns)
    rowed("rows-miscounted", "five rows announced, four there", rows_plain(columns, rows=5, digests=5))
    rowed("rows-none", "no row", rows_plain(b"", rows=0, digests=0))
    rowed("digest-missing", "a digest less than values", rows_plain(columns, rows=4, digests=4))
    bomb = rows_plain(columns, rows=4, digests=5, length=32 * 1024 * 1024 + 1)
    rowed("rows-large", "more bytes of columns announced than allowed", bomb)
    liar = rows_plain(columns, rows=4, digests=5, length=len(columns) - 1)
    rowed("rows-length-wrong", "another length announced than the frame has", liar)
    for name, longer in (("short", -1), ("long", 1), ("beyond", 1 << 20)):
        plain = rows_plain(columns, rows=4, digests=5, longer=longer)
        rowed(f"frame-{name}", f"a frame said to be {longer} bytes longer than it is", plain)
    whole = rows_plain(columns, rows=4, digests=5)
    rowed("frame-damaged", "not a zstd frame", whole.replace(b"\xb5/\xfd", b"abc"))
    large = rows_plain(columns, rows=4, digests=5, frame=framed(columns, 26))
    rowed("frame-window-large", "a frame with a window of 64 MiB", large)
    rowed("rows-short", "a rows message of three bytes", filled(b"abc"))
    twice()
    misplaced()
    odd_metadata()

    def indexed(name: str, comment: str, expect: str = "Malformed", **members: Any) -> None:
        forged(name, expect, comment, made.change(lies=members))

    indexed("index-miscounted", "one secret more in the index", segments=[[segment[0], 5, segment[2] + 1]])
    indexed("index-first-low", "a first hash below that of any name", first="00" * 16)
    indexed("index-last-high", "a last hash above that of any name", last="ff" * 16)
    indexed("index-first-high", "a name whose hash is below the first", first=made.index["last"])
    indexed("index-last-low", "a name whose hash is above the last", last=made.index["first"])
    indexed("index-range-turned", "first above last", first="ff" * 16, last="00" * 16)
    indexed("index-first-empty", "a secret, and no first hash", first="")
    indexed("index-piece-wrong", "piece 1 of 1", piece=1)
    indexed("index-number-large", "more pieces than a number has", pieces=canonical.MOST + 1)
    indexed("index-member-unknown", "an unknown member in the index", z=1)
    indexed("index-values-wrong", "values where the index says there are none", values=False)
    indexed("index-signer-wrong", "another signer in the index", "Tampered", signer="00" * 32)
    changes: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
        "damaged": ("an index that is not JSON", lambda _: filled(b"{")),
        "padding-set": ("padding that is not zero", lambda written: filled(written)[:-1] + b"\x01"),
        "padding-long": ("padding up to the next length", lambda written: filled(written + bytes(4096))),
        "padding-none": ("no padding", lambda written: written),
    }
    for name, (comment, written) in changes.items():
        forged(f"index-{name}", "Malformed", comment, made.change(index_as=written))
    bounds()


def odd_columns(publish: Callable[[str, str, bytes], None], columns: bytes) -> None:
    """Columns that break a rule of section 5."""
    lines = [columns.split(b"\n")[at : at + 4] for at in range(0, 36, 4)]

    def joined(changed: list[list[bytes]]) -> bytes:
        return b"".join(line + b"\n" for column in changed for line in column)

    def edit(name: str, comment: str, column: int, old: bytes, new: bytes) -> None:
        changed = [
            line.replace(old, new, 1) if number == column else line for number, line in enumerate(flat)
        ]
        publish(name, comment, b"\n".join([*changed, b""]))

    flat = [b"\n".join(column) for column in lines]
    publish("rows-unsorted", "rows not in the order of their names", joined([line[::-1] for line in lines]))
    publish("columns-fewer", "a column less", joined(lines[:-1]))
    publish("columns-more", "a column more", joined([*lines, [b""] * 4]))
    publish("columns-line-missing", "a line less", joined(lines)[:-1])
    publish("columns-line-more", "a line more", joined(lines) + b"\n")
    publish("columns-end-missing", "no line feed at the end", columns + b"{}")
    edit("row-spaced", "versions that are not canonical", 2, b"[[", b"[ [")
    edit("row-member-unknown", "a rotation with an unknown member", 7, b'"days":90', b'"days":90,"z":1')
    edit("row-name-empty", "no name", 0, b'"empty"', b"")
    edit("row-name-null", "a name that is null", 0, b'"empty"', b"null")
    edit("row-default-written", "tags that are empty, and written all the same", 3, b"\n", b"{}\n")
    edit("row-null-written", "a time that is null, and written all the same", 5, b"\n", b"null\n")
    edit("row-tag-twice", "a tag twice", 3, b"{", b'{"team":"x",')
    edit("version-short", "a version of four members", 2, b',"text","live",null]', b',"text","live"]')
    edit("version-long", "a version of six members", 2, b',"live",null]', b',"live",null,null]')
    edit("versions-none", "no version", 2, b'[[1,0,"text","live",null]]', b"[]")
    edit("versions-unordered", "version numbers that do not ascend", 2, b"[[3,", b"[[9,")
    edit("version-state-unknown", "an unknown state", 2, b'"destroyed"', b'"missing"')
    edit("version-length-negative", "a length below 0", 2, b"[1,0,", b"[1,-1,")


def bounds() -> None:
    """Indexes whose bounds do not part the names of their segments."""
    made = Parts.of(three(), IDENTITY)
    for name, comment, told in (
        ("high", "a name below its segment's bound", ("", "large/1x", "large/2")),
        ("low", "a name at the next segment's bound", ("", "large/0", "large/2")),
        ("turned", "bounds that do not ascend", ("", "large/2", "large/1")),
        ("twice", "a bound twice", ("", "large/1", "large/1")),
        ("first", "a first bound that is not empty", ("large", "large/1", "large/2")),
        ("number", "a bound that is no text", ("", 1, "large/2")),
    ):
        segments = [[bound, *rest] for bound, (_, *rest) in zip(told, made.index["segments"], strict=True)]
        forged(f"index-bound-{name}", "Malformed", comment, made.change(lies={"segments": segments}))


ODD_METADATA = {
    "empty": ("metadata that is empty, which is left out", b"{}"),
    "list": ("metadata that is no object", b"[1]"),
    "spaced": ("white space before the metadata", b' {"a":1}'),
    "behind": ("white space behind the metadata", b'{"a":1} '),
    "twice": ("a name twice", b'{"a":1,"a":1}'),
    "twice-spelled": ("a name twice, in two spellings", b'{"a":1,"\\u0061":1}'),
    "twice-deep": ("a name twice, deep inside", b'{"a":[{"b":1,"b":2}]}'),
    "deep": ("65 objects and lists in each other", b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"),
    "rather-deep": ("900 lists in each other", b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"),
    "very-deep": ("100,000 lists in each other", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "number": ("a number that JSON does not know", b'{"a":01}'),
    "nan": ("NaN", b'{"a":NaN}'),
    "surrogate": ("half of a surrogate pair", b'{"a":"\\ud800"}'),
    "latin": ("a text that is not UTF-8", b'{"a":"\xe4"}'),
    "control": ("a control character in a text", b'{"a":"\x01"}'),
    "more": ("something behind the metadata", b'{"a":1},{"b":2}'),
}


def odd_metadata() -> None:
    """Metadata that is no JSON object by the rules of section 5."""
    secret = m.secret("a", b"CANARY-a")
    made = Parts.of(m.container("bad/metadata", [secret], lambda r: [m.key_file(r)]), IDENTITY)
    columns = unpack_rows(made.segments[0][1]).columns[:-1]
    for name, (comment, written) in ODD_METADATA.items():
        plain = rows_plain(columns + written + b"\n", rows=1, digests=1)
        changed = made.change(segments=((made.segments[0][0], plain),))
        forged(f"metadata-{name}", "Malformed", comment, changed)


def twice() -> None:
    """One name twice: which of the two values is right nobody can tell."""
    secret = m.secret("same", b"CANARY-a")
    base = Parts.of(m.container("bad/twice", [secret], lambda r: [m.key_file(r)]), IDENTITY)
    lines = encode_secrets([secret] * 2)
    made = base.change(
        segments=((values_plain(b"CANARY-a", b"CANARY-b"), rows_plain(lines, rows=2, digests=2)),)
    )
    made = made.change(lies={"segments": [["", 2, 2]]})
    forged("name-twice", "Malformed", "one name twice", made)


def misplaced() -> None:
    """A name in the segment before its own, where looking for it finds nothing."""
    made = Parts.of(m.container("bad/misplaced", THREE, lambda r: [m.key_file(r)]), IDENTITY)

    def segment(*kept: Secret) -> tuple[bytes, bytes]:
        values = [v.value.reveal() for s in kept for v in s.versions if v.value]
        return values_plain(*values), rows_plain(encode_secrets(kept), rows=len(kept), digests=len(kept))

    made = made.change(segments=(segment(THREE[0], THREE[2]), segment(THREE[1])))
    made = made.change(lies={"segments": [["", 2, 2], ["name/1", 1, 1]]})
    forged("name-misplaced", "Malformed", "a name in the segment before its own", made)


def documents() -> None:
    made = sign_manifest(good.manifest_record(), m.CONTROL)
    envelope, head = write_detached(good.record().record, m.RECOVER), HEAD.sign(good.head_record(), m.CONTROL)
    deletion = DELETION.sign(good.deletion_record(), m.PRUNE)
    hold = HOLD.sign(good.hold_record(), m.CONTROL)
    every = {
        "manifest": made, "envelope": envelope, "head": head, "deletion": deletion, "hold": hold,
        "trust": sign_list(good.trust_record(), m.INSTALLATION),
        "index-receipt": INDEX.sign(good.index_receipt_record(), m.CONTROL),
    }  # fmt: skip
    for kind, data in every.items():
        refused(f"{kind}-cut", "Truncated", "the last byte is missing", data[:-1], TRUSTED)
        refused(f"{kind}-added", "Malformed", "a line feed was added", data + b"\n", TRUSTED)
        refused(f"{kind}-changed", "Tampered", "one bit of the body", flipped(data, 60), TRUSTED)
        refused(f"{kind}-signature-changed", "Tampered", "another signature", flipped(data, -60), TRUSTED)
        refused(f"{kind}-length-changed", "Tampered", "another length", flipped(data, -4), TRUSTED)
        refused(f"{kind}-other", "NotABackup", "other JSON", b'{"a":1}\n', TRUSTED)
        version = data.replace(b'/1",', b'/2",', 1)
        refused(f"{kind}-version-unknown", "UnsupportedVersion", "version 2", version, TRUSTED)
        untrusted = ("trusted", m.STRANGERS.fingerprint)
        refused(f"{kind}-signer-unknown", "UntrustedSigner", "signed by a stranger", data, untrusted)
    refused("envelope-is-manifest", "NotABackup", "a manifest in an envelope's place", made, TRUSTED)
    bad_manifests()
    refused("hold-is-deletion", "NotABackup", "a deletion mark in a hold's place", deletion, TRUSTED)
    bad_heads()
    bad_receipts()
    bad_marks()
    bad_lists()
    bad_certificates(made, envelope)
    data = good.document(m.few())
    refused("metadata-changed", "Tampered", "one bit of a line", flipped(data, 200))
    refused("metadata-cut", "Truncated", "the last line is missing", data[:-27])
    refused("metadata-line-missing", "Tampered", "a line is missing", without_line(data, 4))
    refused("metadata-version-unknown", "UnsupportedVersion", "version 2", data.replace(b'/1",', b'/2",', 1))


def without_line(data: bytes, number: int) -> bytes:
    """Remove a line and mend the length, as an editor with a little knowledge would."""
    lines = data.splitlines(keepends=True)
    removed = b"".join(lines[:number] + lines[number + 1 :])
    return removed[:-15] + b"%012d" % len(removed) + removed[-3:]


def forged_certificate() -> Certificate:
    """Return one that names the pinned installation, and that a stranger signed."""
    own = m.STRANGER.certificate
    return replace(own, installation=m.INSTALLATION.public.hex())


def certified_containers() -> None:
    """Containers that are signed well, by a key that is not what its certificate must say."""
    comment = "the certificate of the key that sealed it, and another key's signature"
    body = re_signed(one(), m.STRANGER, certificate=m.SEAL.certificate)
    container("certificate-foreign", "Tampered", comment, body)
    comment = "a certificate that names the pinned installation, which did not sign it"
    container(
        "certificate-forged",
        "Tampered",
        comment,
        re_signed(one(), m.STRANGER, certificate=forged_certificate()),
    )
    container("role-wrong", "UntrustedSigner", "sealed by role control", re_signed(one(), m.CONTROL))
    comment = "a certificate whose time is in another form"
    odd = replace(m.SEAL.certificate, issued_at="2026-11-01T00:00:00+00:00")
    container("certificate-time-odd", "Malformed", comment, re_signed(one(), m.SEAL, certificate=odd))


def bad_certificates(manifest: bytes, envelope: bytes) -> None:
    """Documents whose signer is not what its certificate must say."""
    at = manifest.index(b'"issued_at"') + 13
    refused(
        "manifest-certificate-changed", "Tampered", "a certificate's time", flipped(manifest, at), TRUSTED
    )
    comment = "a certificate that names the pinned installation, which did not sign it"
    body = document.write(MANIFEST, canonical.encode(good.manifest_record()), _with(forged_certificate()))
    refused("manifest-certificate-forged", "Tampered", comment, body, TRUSTED)
    body = sign_manifest(good.manifest_record(), m.SEAL)
    refused("manifest-role-wrong", "UntrustedSigner", "signed by role seal", body, TRUSTED)
    comment = "a certificate of another key of the installation"
    swapped = envelope.replace(m.RECOVER.certificate.encode(), m.CONTROL.certificate.encode())
    swapped = swapped[:-15] + b"%012d" % len(swapped) + swapped[-3:]
    refused("envelope-certificate-foreign", "Tampered", comment, swapped, TRUSTED)
    body = write_detached(good.record().record, m.CONTROL)
    refused("envelope-role-wrong", "UntrustedSigner", "signed by role control", body, TRUSTED)
    body = document.write(MANIFEST, canonical.encode(good.manifest_record()), _with(anybodys_certificate()))
    pinned = ("trusted", fingerprint(IDENTITY_POINT))
    refused(
        "manifest-installation-small", "Tampered", "the installation key is a point of order 1", body, pinned
    )
    body = signed_by_anybody(canonical.encode(good.manifest_record()))
    refused("manifest-key-small", "Tampered", "the role's key is a point of order 1", body, TRUSTED)
    for number, point in enumerate(POINTS[4:6]):
        comment = "the role's key is a point of order 8, and the signature fits"
        refused(f"manifest-key-small-{number + 1}", "Tampered", comment, fitting(point), TRUSTED)
    first = replace(good.manifest_record().containers[0], signature="00" * 64)
    body = sign_manifest(good.manifest_record(first, good.entry(1, "80", "ff")), m.CONTROL)
    refused("manifest-receipt-wrong", "Tampered", "a receipt of zeros", body, TRUSTED)


IDENTITY_POINT = bytes([1, *bytes(31)])
FITS_ANY = bytes([1, *bytes(63)])
"""The signature that fits any message under :data:`IDENTITY_POINT`."""


POINTS = (
    *(value.to_bytes(32, "little") for value in (1, 2**255 - 20, 0, 1 << 255)),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
)
"""All points of small order, as Ed25519 encodes them."""


def fitting(point: bytes) -> bytes:
    """Return a manifest that has a signature which fits under a point of small order, made without a key.

    One of the eight points is the right first half for a message in two, so another text is taken till then.
    """
    key = Ed25519PublicKey.from_public_bytes(point)
    certificate = certify(m.INSTALLATION, role="control", public=point, issued_at=m.ISSUED).encode()
    for number in count():
        body = canonical.encode(replace(good.manifest_record(), not_contained=(str(number),)))
        message = MANIFEST.domain + b"\0" + document.signed_message(body, certificate)
        for first in POINTS:
            with suppress(InvalidSignature):
                key.verify(signature := first + bytes(32), message)
                return signed_by_anybody(body, point, signature)
    raise AssertionError


def anybodys_certificate() -> Certificate:
    """Return one of an installation key for which anybody can sign, over a stranger's key."""
    return replace(
        m.STRANGER.certificate, installation=IDENTITY_POINT.hex(), role="control", signature=FITS_ANY.hex()
    )


def signed_by_anybody(body: bytes, point: bytes = IDENTITY_POINT, signature: bytes = FITS_ANY) -> bytes:
    """Return a manifest whose role's key, rightly certified, is one for which anybody can sign."""
    certificate = certify(m.INSTALLATION, role="control", public=point, issued_at=m.ISSUED)
    made = document.write(MANIFEST, body, m.CONTROL)
    lines = made.split(b"\n")
    lines[2] = b'"certificate":%b,' % certificate.encode()
    lines[3] = b'"signature":"%b",' % signature.hex().encode()
    joined = b"\n".join(lines)
    return joined[:-15] + b"%012d" % len(joined) + joined[-3:]


def _with(certificate: Certificate) -> CertifiedSigner:
    return CertifiedSigner.of(m.STRANGER, certificate)


def bad_manifests() -> None:
    """Manifests that are signed and yet break a rule."""

    def signed(
        name: str, comment: str, change: Callable[[dict[str, Any]], object], expect: str = "Malformed"
    ) -> None:
        content = msgspec.json.decode(canonical.encode(good.manifest_record()))
        change(content)
        body = document.write(MANIFEST, msgspec.json.encode(content), m.CONTROL)
        refused(f"manifest-{name}", expect, comment, body, TRUSTED)

    signed("gap", "containers 0 and 2", lambda c: c["containers"][1].update(piece=2))
    signed("overlap", "ranges of names overlap", lambda c: c["containers"][1].update(first="7f" * 16))
    signed("counts-wrong", "counts that are not the sums", lambda c: c["counts"].update(secrets=1))
    signed("number-large", "a number of 65 bits", lambda c: c.update(quorum=canonical.MOST + 1))
    signed("number-huge", "a number of 101 digits", lambda c: c.update(providers=10**100))
    signed("number-negative", "a negative number", lambda c: c.update(regions=-1))
    signed("member-unknown", "an unknown member", lambda c: c.update(z=1))
    signed("hex-short", "a digest of 31 bytes", lambda c: c["containers"][0].update(sha256="00" * 31))
    signed("trust-large", "a trust list of nine digits", lambda c: c.update(trust=100_000_000))
    before = "it ends where the number of a trust list must follow"
    signed("before-release", before, lambda c: c.pop("trust"), "UnsupportedVersion")
    first = "it ends there, and nothing was before it"
    signed("before-release-first", first, _of_before_without_previous, "UnsupportedVersion")


def _of_before_without_previous(content: dict[str, Any]) -> None:
    content.update(previous=None)
    del content["trust"]


def bad_heads() -> None:
    """Ledger heads that are signed and yet break a rule."""

    def signed(name: str, comment: str, expect: str = "Malformed", **changed: object) -> None:
        content = {**msgspec.json.decode(canonical.encode(good.head_record())), **changed}
        kept = {name: value for name, value in content.items() if value is not None}
        body = document.write(HEAD, msgspec.json.encode(kept), m.CONTROL)
        refused(f"head-{name}", expect, comment, body, TRUSTED)

    signed("event-zero", "an event before the first", event=0)
    signed("hex-short", "a digest of 31 bytes", sha256="00" * 31)
    signed("time-without-zone", "a time of no zone", made_at="2026-01-31T00:00:00")
    signed("trust-large", "a trust list of nine digits", trust=100_000_000)
    before = {"trust": None, "backups": None, "marks": None}
    signed("before-release", "it ends with its time", "UnsupportedVersion", **before)
    signed("member-unknown", "an unknown member", z=1)
    signed("backup-empty", "a policy's newest backup without a name", backups={"weekly": ""})
    signed("backups-unsorted", "policies that are not in order", backups={"b": m.BACKUP, "a": m.BACKUP})
    signed("mark-zero", "a mark before the first", marks={m.BACKUP: 0})
    signed("marks-many", "more marks than a head has", marks={f"{n:04}": 1 for n in range(4001)})


def bad_lists() -> None:
    """Trust lists that are signed and yet break a rule."""

    def signed(name: str, comment: str, expect: str = "Malformed", **changed: object) -> None:
        content = {**msgspec.json.decode(canonical.encode(good.trust_record())), **changed}
        refused(f"trust-{name}", expect, comment, listed(msgspec.json.encode(content)), TRUSTED)

    def listed(body: bytes, by: CertifiedSigner | None = None) -> bytes:
        own = CertifiedSigner.issued(
            m.INSTALLATION, installation=m.INSTALLATION, role="installation", issued_at=m.ISSUED
        )
        # Larger than one may be, too.
        return document.write(replace(TRUST_LIST, most=document.MAX_DOCUMENT), body, by or own)

    leaked = [msgspec.to_builtins(one) for one in good.trust_record().distrusted]
    body = canonical.encode(good.trust_record())
    signed("number-zero", "a number before the first", number=0)
    signed("unsorted", "keys that do not ascend", distrusted=leaked[::-1])
    signed("twice", "a key twice", distrusted=[leaked[0], leaked[0]])
    signed("key-short", "a key of 31 bytes", distrusted=[{**leaked[0], "key": "00" * 31}])
    signed("time-without-zone", "since a time of no zone", distrusted=[{**leaked[0], "since": "2026-01-31"}])
    unprintable = [{**leaked[0], "reason": "\x1b[2J"}]
    signed("reason-unprintable", "text that drives a terminal", distrusted=unprintable)
    signed("successor-short", "a successor of 31 bytes", successor="00" * 31)
    signed("member-unknown", "an unknown member", z=1)
    wrong, by_role = "UntrustedSigner", "signed by role control"
    refused("trust-role-wrong", wrong, by_role, listed(body, m.CONTROL), TRUSTED)
    other = m.role_key("installation")
    refused(
        "trust-key-wrong",
        wrong,
        "signed by a key that the installation certified",
        listed(body, other),
        TRUSTED,
    )
    large = [
        {"key": f"{key:064x}", "since": m.CREATED, "reason": "x" * 1000} for key in range(1, 1000)
    ]  # fmt: skip
    signed("large", "more than a trust list may have", distrusted=large)


def bad_receipts() -> None:
    """Receipts of indexes of names that are signed and yet break a rule."""
    made = good.index_receipt_record(continues=True)

    def signed(name: str, comment: str, **changed: object) -> None:
        content = {**msgspec.json.decode(canonical.encode(made)), **changed}
        body = document.write(INDEX, msgspec.json.encode(content), m.CONTROL)
        refused(f"index-receipt-{name}", "Malformed", comment, body, TRUSTED)

    signed("hex-short", "a digest of 31 bytes", sha256="00" * 31)
    signed("time-without-zone", "a time of no zone", made_at="2026-01-31T00:00:00")
    signed("member-unknown", "an unknown member", z=1)
    later = {"backup_id": made.backup_id, "sha256": "0" * 64}
    signed("continues-itself", "it continues the index of its own backup", previous=later)
    signed("first-of-another-chain", "it continues none, in the chain of another", previous=None)
    signed("chain-later", "its chain begins after what it continues", chain=made.backup_id)
    comment = "signed by role seal, whose key sealed the index"
    body = document.write(INDEX, canonical.encode(made), m.SEAL)
    refused("index-receipt-role-wrong", "UntrustedSigner", comment, body, TRUSTED)


def bad_marks() -> None:
    """Marks that are signed and yet break a rule."""

    def deletion(
        name: str, comment: str, expect: str = "Malformed", by: CertifiedSigner = m.PRUNE, **changed: object
    ) -> None:
        content = {**msgspec.json.decode(canonical.encode(good.deletion_record())), **changed}
        body = document.write(DELETION, msgspec.json.encode(content), by)
        refused(f"deletion-{name}", expect, comment, body, TRUSTED)

    def hold(
        name: str, comment: str, expect: str = "Malformed", by: CertifiedSigner = m.CONTROL, **changed: object
    ) -> None:
        content = {**msgspec.json.decode(canonical.encode(good.hold_record())), **changed}
        body = document.write(HOLD, msgspec.json.encode(content), by)
        refused(f"hold-{name}", expect, comment, body, TRUSTED)

    wrong = "UntrustedSigner"
    deletion("number-zero", "a number before the first", number=0)
    deletion("without-grace", "marked, and not until when", after="")
    deletion("time-without-zone", "grace until a time of no zone", after="2026-12-02T02:45:01")
    deletion("undone-with-grace", "undeleted, and a time of grace", state="undeleted")
    deletion("state-unknown", "an unknown state", state="hidden", after="")
    deletion("marked-by-control", "marked by a role that may only undo it", wrong, m.CONTROL)
    deletion(
        "done-by-recover", "a tombstone by a role that sets none", wrong, m.RECOVER, state="deleted", after=""
    )
    deletion("role-wrong", "by a role that signs none", wrong, m.SEAL)
    hold("role-wrong", "by the role that deletes", wrong, m.PRUNE)
    hold("subject-missing", "it holds nothing", subject="")
    hold("subject-of-everything", "everything, and a tag", kind="everything")
    hold("released-until", "released, and an end", state="released")
    hold("reason-unprintable", "text that drives a terminal", reason="\x1b[2J")
    hold("member-unknown", "an unknown member", z=1)


def files() -> None:
    objects = [("containers/x", b"CANARY-x" * 20), ("manifests/x.json", b"{}")]
    data = bundling.bundle(objects)
    refused("file-changed", "Tampered", "one bit of an object", flipped(data, 30))
    refused("file-index-changed", "Tampered", "one bit of the index", flipped(data, -80))
    refused("file-digest-changed", "Tampered", "one bit of the index's digest", flipped(data, -40))
    refused("file-cut", "Truncated", "the last byte is missing", data[:-1])
    refused("file-added", "Malformed", "a line feed was added", data + b"\n")
    refused("file-version-unknown", "UnsupportedVersion", "version 2", flipped(data, 9, 3))
    refused("file-other", "NotABackup", "something else", b"PK\x03\x04" + bytes(100))
    listed = bundling.index_of(objects)
    gap = [listed[0], {**listed[1], "offset": listed[1]["offset"] + 1}]
    refused("file-gap", "Malformed", "a gap between two objects", bundling.bundle(objects, gap))
    same = [listed[0], {**listed[1], "name": "containers/x"}]
    refused("file-name-twice", "Malformed", "one name twice", bundling.bundle(objects, same))
    escaping = [listed[0], {**listed[1], "name": "../x"}]
    refused(
        "file-name-escaping", "Malformed", "a name that leaves the folder", bundling.bundle(objects, escaping)
    )
    refused(
        "file-index-short", "Malformed", "bytes that no object covers", bundling.bundle(objects, listed[:1])
    )


def legacy() -> None:
    data = good.old_file(b"CANARY-old")
    refused("legacy-passphrase-wrong", "WrongKey", "another passphrase", data, ("passphrase", "guess"))
    refused("legacy-cut", "Truncated", "the last byte is missing", data[:-1], m.PASSPHRASE_LINE)
    odd = data[:40] + b"!" + data[41:]
    refused("legacy-alphabet", "Malformed", "a character that base64 has not", odd, m.PASSPHRASE_LINE)
    refused("legacy-short", "Truncated", "a block is missing", data[:-64], m.PASSPHRASE_LINE)
    refused("legacy-other", "NotABackup", "no token after the salt", b"x" * 200, m.PASSPHRASE_LINE)


def scenarios() -> dict[str, Scenario]:
    """Return every bad scenario by name."""
    if not BAD:
        for publish in (
            changed_bytes, wrong_lengths, wrong_keys, signed_again, certified_containers, made_by_a_forger,
            envelopes, rotated, contents, documents, files, legacy,
        ):  # fmt: skip
            publish()
    return BAD
