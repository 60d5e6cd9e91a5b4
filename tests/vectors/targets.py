"""Whole backups as they lie on a target, rightly and wrongly: section 13 of FORMAT.md."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.cobblestone import Random, name_hash
from strongroom.container.manifest import ContainerEntry, Counts, Manifest, receipt_of, sign_manifest
from strongroom.container.marks import (
    DELETION,
    HEAD,
    QUARANTINE,
    TRUST_LIST,
    DeletionMark,
    Distrusted,
    LedgerHead,
    QuarantineMark,
    TrustList,
    sign_list,
)
from strongroom.container.metadata import DocumentAbout, write_document
from strongroom.container.segment import encode_secrets
from strongroom.container.signing import CertifiedSigner, Receipt, Signer, sign_receipt
from strongroom.container.wrapping import WrappingKey, write_detached
from strongroom.model import Secret
from strongroom.operations.engine.layout import container_entry, container_name, sealed_receipt
from tests.vectors import good
from tests.vectors import material as m
from tests.vectors.vector import Vector

Scenario = Callable[[], Vector]
TARGETS: dict[str, Scenario] = {}
OTHER = "20261124T024501Z-00000000"
OLDEST = "20261123T024501Z-00000000"
NEWER = "20261126T024501Z-ffffffff"
STRANGERS_CONTROL = m.role_key("control", m.STRANGERS)
STRANGERS_RECOVER = m.role_key("recover", m.STRANGERS)


def secrets() -> list[Secret]:
    """Return the secrets of the backups here; one is so long that the two containers differ in size."""
    return [*m.few(), *(m.secret(f"app/{n}", b"CANARY-app-%d" % n * (1 if n else 99)) for n in range(4))]


@dataclass
class Made:
    """A backup of two containers, and what lies beside it."""

    key: WrappingKey
    random: Random
    manifest: Manifest
    objects: dict[str, bytes]
    pieces: list[str] = field(default_factory=list)

    def name(self, suffix: str = "") -> str:
        return f"manifests/{self.manifest.backup_id}.json{suffix}"

    def sign(self, **changed: Any) -> None:
        """Sign the manifest again, with other members."""
        self.objects[self.name()] = sign_manifest(replace(self.manifest, **changed), m.CONTROL)

    def rotate(self) -> str:
        """Put an envelope for the X-Wing key there; return its name."""
        self.key = self.key.rewrap([m.hpke(m.XWING, "recovery")])
        name = f"keys/{self.key.id}/{self.key.record.generation:08}"
        self.objects[name] = write_detached(self.key.record, m.RECOVER)
        return name

    def spoil(self, name: str) -> None:
        """Change a bit in the middle of an object."""
        content = bytearray(self.objects[name])
        content[len(content) // 2] ^= 1
        self.objects[name] = bytes(content)


def halves() -> list[list[Secret]]:
    ordered = sorted(secrets(), key=lambda s: name_hash(m.NAME_KEY, s.name))
    return [ordered[:5], ordered[5:]]


def made(
    seed: str,
    backup: str = m.BACKUP,
    *,
    name_keys: tuple[bytes, bytes] = (m.NAME_KEY,) * 2,
    without: Collection[str] = (),
    lies: Callable[[int], dict[str, Any]] = lambda number: {},
) -> Made:
    """Make a backup. ``lies`` are what the index of a container says otherwise than its manifest."""
    random = m.stream(f"target/{seed}")
    key = WrappingKey.create([m.key_file(random)], _random=random)
    objects, entries = {}, []
    for number, half in enumerate(halves()):
        part = [secret for secret in half if secret.name not in without]
        told = replace(m.about(piece=number, pieces=2), backup_id=backup, name_key=name_keys[number])
        data, sealed = m.piece(random, part, replace(told, **lies(number)), key)
        receipt = sealed_receipt(told, sealed)
        objects[container_name(backup, sealed.hexdigest)] = data
        entries.append(container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public))
    manifest = with_entries(replace(good.manifest_record(), backup_id=backup, previous=None), *entries)
    found = Made(key, random, manifest, objects, list(objects))
    found.sign()
    return found


def with_entries(manifest: Manifest, *entries: ContainerEntry) -> Manifest:
    counts = Counts(
        secrets=sum(entry.secrets for entry in entries),
        versions=sum(entry.versions for entry in entries),
        size=sum(entry.size for entry in entries),
    )
    return replace(manifest, containers=entries, counts=counts)


def archive(objects: dict[str, bytes]) -> bytes:
    """Return a tar file of a directory, the same each time."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(objects):
            info = tarfile.TarInfo(name)
            info.size = len(objects[name])
            tar.addfile(info, io.BytesIO(objects[name]))
    return file.getvalue()


def plaintext(parts: list[list[Secret]]) -> list[tuple[str, str]]:
    digest, many = hashlib.sha256(), 0
    for secret in (s for part in parts for s in sorted(part, key=lambda s: s.name.encode())):
        digest.update(encode_secrets([secret]))
        digest.update(b"".join(v.value.reveal() for v in secret.versions if v.value))
        many += 1
    return [("secrets", str(many)), ("plaintext", digest.hexdigest())]


def target(
    name: str,
    expect: str,
    comment: str,
    objects: dict[str, bytes],
    *fields: tuple[str, str],
    key: str = "file",
) -> None:
    """Publish what lies on a target. With ``ok`` all comes out, or what ``fields`` say."""
    keys = {"file": m.KEY_FILE_LINE, "xwing": m.XWING_LINE}
    head = [("kind", "target"), ("comment", comment), ("expect", expect)]
    if not {"no-trust"} & {field for field, _ in fields}:
        head.append(good.TRUSTED)
    said = plaintext(halves()) if expect == "ok" and "secrets" not in dict(fields) else []
    kept = [pair for pair in fields if pair[0] != "no-trust"]
    TARGETS[f"target-{name}"] = lambda: Vector(
        fields=(*head, keys[key], *kept, *said), body=archive(dict(objects))
    )


def good_ones() -> None:
    plain = made("plain")
    target("plain", "ok", "two containers", plain.objects)
    target("unpinned", "ok", "the same, and no installation is pinned", plain.objects, ("no-trust", ""))
    one = made("rotated")
    name = one.rotate()
    target("rotated", "ok", "rotated to another key, which opens it", one.objects, key="xwing")
    target("rotated-away", "WrongKey", "the same, with the key that was rotated away", one.objects)
    stripped = {key: content for key, content in one.objects.items() if key != name}
    comment = "the newer envelope was removed: a copy alone cannot show it, and the older key opens"
    target("envelope-stripped", "ok", comment, stripped)
    twice = {name + ".r1": one.objects[name], **one.objects, name: b"{}"}
    target("envelope-copy", "ok", "a damaged envelope, and a whole copy beside it", twice, key="xwing")
    same = {**plain.objects, f"keys/{plain.key.id}/00000001": write_detached(plain.key.record, m.RECOVER)}
    comment = "an envelope of the generation that the container has itself: nobody looks at it"
    target("envelope-not-newer", "ok", comment, same)
    both = {**made("older", OTHER).objects, **plain.objects}
    target("two-manifests", "ok", "two backups: the newest one counts", both)
    target("two-manifests-named", "ok", "two backups, the older one is asked for", both, ("backup", OTHER))
    copies = {**plain.objects, plain.name(".r1"): plain.objects[plain.name()], plain.name(): b"{}"}
    target("manifest-copy", "ok", "a damaged manifest, and a whole copy beside it", copies)
    copies = {**plain.objects, plain.pieces[0] + ".r1": plain.objects[plain.pieces[0]], plain.pieces[0]: b""}
    target("container-copy", "ok", "an empty container, and a whole copy beside it", copies)
    documents()


def documents() -> None:
    """A backup of names and dates alone, in plain documents."""
    objects: dict[str, bytes] = {}
    entries, lines = [], []
    for number, part in enumerate(halves()):
        parts: list[bytes] = []
        about = DocumentAbout(
            backup_id=m.BACKUP, piece=number, pieces=2, source="local", policy="weekly", created_at=m.CREATED
        )
        written = write_document(parts.append, part, about=about)
        data = b"".join(parts)
        lines += [line.removesuffix(b",") + b"\n" for line in data.split(b"\n")[3:-4]]
        objects[container_name(m.BACKUP, written.hexdigest)] = data
        receipt = Receipt(
            run=m.BACKUP, piece=number, sha256=written.hexdigest, size=written.size, secrets=written.secrets,
            versions=written.versions, first="", last="", wrapping_key="", container_signature="",
        )  # fmt: skip
        entries.append(container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public))
    manifest = replace(with_entries(good.manifest_record(), *entries), sealed=False, values=False)
    objects[f"manifests/{m.BACKUP}.json"] = sign_manifest(manifest, m.CONTROL)
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    fields = (("secrets", str(len(lines))), ("plaintext", digest))
    target("documents", "ok", "not sealed: two metadata documents", objects, *fields)
    for name in ("policy", "source"):
        signed = sign_manifest(replace(manifest, **{name: "another"}), m.CONTROL)
        body = {**objects, f"manifests/{m.BACKUP}.json": signed}
        target(f"join-document-{name}", "Tampered", f"another {name} than the documents'", body)
    first, second = sorted(entries, key=lambda one: one.piece)
    place = container_name(m.BACKUP, first.sha256)
    rest = ("rest", str(second.secrets))
    other = {**objects, place: bytes(redigested(objects[place]))}
    comment = "another document of the same size, with a digest that fits, in a document's place"
    target("document-exchanged", "Tampered", comment, other, rest)
    earlier = documents_before(manifest, objects)
    dropped = {name: content for name, content in {**earlier, **objects}.items() if name != place}
    lost = [("before", f"{OTHER} {name}") for name in sorted(secret.name for secret in halves()[0])]
    comment = "one of two documents is missing: what is in the other does not come twice"
    target("before-document", "MissingPiece", comment, dropped, rest, *lost)


def redigested(data: bytes) -> bytes:
    """Change a name in a document, and mend its digest."""
    changed = data.replace(b'{"name":"', b'{"name":"x', 1).replace(b'"type":"g', b'"type":"', 1)
    at = changed.index(b',\n"digest":"sha256:')
    digest = hashlib.sha256(changed[:at]).hexdigest().encode()
    found = changed[: at + 19] + digest + changed[at + 83 :]
    assert len(found) == len(data)
    assert found != data
    return found


def documents_before(manifest: Manifest, objects: dict[str, bytes]) -> dict[str, bytes]:
    """Return the same backup of documents as an earlier one."""
    made, entries = dict[str, bytes](), []
    for entry in manifest.containers:
        data = objects[container_name(m.BACKUP, entry.sha256)].replace(m.BACKUP.encode(), OTHER.encode())
        at = data.index(b',\n"digest":"sha256:')
        data = data[: at + 19] + hashlib.sha256(data[:at]).hexdigest().encode() + data[at + 83 :]
        digest = hashlib.sha256(data).hexdigest()
        receipt = replace(receipt_of(manifest, entry), run=OTHER, sha256=digest)
        made[container_name(OTHER, digest)] = data
        entries.append(container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public))
    older = with_entries(replace(manifest, backup_id=OTHER), *entries)
    return {**made, f"manifests/{OTHER}.json": sign_manifest(older, m.CONTROL)}


def left_aside() -> None:
    """What anybody may write on a target: it opens nothing, blocks nothing, and is said."""
    one = made("aside")
    name = one.rotate()
    damaged = Made(one.key, one.random, one.manifest, dict(one.objects))
    damaged.spoil(name)
    comment = "the newest envelope is damaged, so the one before it counts"
    target("envelope-damaged", "ok", comment, damaged.objects, ("aside", "Tampered"))
    later = one.key.rewrap([m.hpke(m.XWING, "recovery")]).record
    forged = {**one.objects, name[:-1] + "3": write_detached(later, STRANGERS_RECOVER)}
    comment = "a stranger's envelope of a newer generation"
    target("envelope-strangers", "ok", comment, forged, ("aside", "UntrustedSigner"), key="xwing")
    moved = {**one.objects, name[:-1] + "7": one.objects[name]}
    comment = "an older envelope under a newer one's name"
    target("envelope-renamed", "ok", comment, moved, ("aside", "Stale"), key="xwing")
    later = one.key.rewrap([m.hpke(m.XWING, "recovery")], generation=4).record
    ahead = {**one.objects, name[:-1] + "3": write_detached(later, m.RECOVER)}
    comment = "an envelope of a higher generation than its name says"
    target("envelope-later-generation", "ok", comment, ahead, ("aside", "Malformed"), key="xwing")
    plain = made("plain")
    foreign = write_detached(plain.key.rewrap([m.hpke(m.XWING, "recovery")]).record, STRANGERS_RECOVER)
    body = {**plain.objects, f"keys/{plain.key.id}/00000002": foreign}
    comment = "no installation is pinned: the envelope of another one than the manifest's"
    target("unpinned-envelope", "ok", comment, body, ("no-trust", ""), ("aside", "UntrustedSigner"))
    record = replace(one.manifest, backup_id=NEWER)
    junk = {**one.objects, f"manifests/{NEWER}.json": sign_manifest(record, STRANGERS_CONTROL)}
    comment = "a stranger's manifest of a newer backup"
    target("manifest-strangers", "ok", comment, junk, ("aside", "UntrustedSigner"), key="xwing")
    junk = {**one.objects, f"manifests/{NEWER}.json": one.objects[one.name()]}
    comment = "an older manifest under a newer backup's name"
    target("manifest-renamed", "ok", comment, junk, ("aside", "MissingPiece"), key="xwing")
    target("manifest-renamed-named", "MissingPiece", "that one is asked for", junk, ("backup", NEWER))
    others = sign_manifest(one.manifest, STRANGERS_CONTROL)
    junk = {**one.objects, one.name(): others, f"manifests/{NEWER}.json": b"{}"}
    comment = "a stranger's manifest, and junk with a newer name: whose it is tells more"
    target("manifest-strangers-below-junk", "UntrustedSigner", comment, junk)


def quarantined() -> None:
    """Backups that are set aside, by marks that count and by marks that do not."""
    one, older = made("plain"), made("older", OTHER)
    both = {**older.objects, **one.objects}

    def marked(number: int, state: Literal["quarantined", "released"], signer: Any = m.CONTROL) -> bytes:
        told = QuarantineMark(
            backup_id=m.BACKUP, number=number, state=state, reason="a key leaked", incident="", by="ops",
            at="2026-11-26T02:45:01Z",
        )  # fmt: skip
        return QUARANTINE.sign(told, signer)

    first, second = (f"quarantine/{m.BACKUP}/{number:08}.json" for number in (1, 2))

    def publish(
        name: str, comment: str, objects: dict[str, bytes], taken: str, *ignored: str, expect: str = "ok"
    ) -> None:
        fields = [("taken", taken), *(("aside", kind) for kind in ignored)]
        target(f"quarantine{name}", expect, comment, objects, *fields)

    aside, older_one = {**both, first: marked(1, "quarantined")}, (OTHER, "BackupQuarantined")
    publish("d", "the newest of two is in quarantine: the one before it, and that is said", aside, *older_one)
    target("quarantined-named", "BackupQuarantined", "that one is asked for", aside, ("backup", m.BACKUP))
    alone = {**one.objects, first: marked(1, "quarantined")}
    target("quarantined-alone", "BackupQuarantined", "there is no other", alone)
    free = {**aside, second: marked(2, "released")}
    publish("-released", "a later mark lets it free again", free, m.BACKUP)
    forged = {**both, first: marked(1, "quarantined", STRANGERS_CONTROL)}
    publish("-strangers", "a stranger's mark sets nothing aside", forged, m.BACKUP, "UntrustedSigner")
    forged = {**aside, second: marked(2, "released", STRANGERS_CONTROL)}
    comment = "a stranger's mark releases nothing"
    publish("-strangers-release", comment, forged, OTHER, "UntrustedSigner", "BackupQuarantined")
    moved = {**aside, second: marked(1, "released")}
    publish("-renamed", "a mark under a later one's name", moved, OTHER, "Tampered", "BackupQuarantined")
    sealed = {**both, first: marked(1, "quarantined", m.SEAL)}
    publish("-role", "a mark by a role that signs none", sealed, m.BACKUP, "UntrustedSigner")
    junk = {f"quarantine/{m.BACKUP}/{number:08}.json": b"" for number in range(2, 203)}
    publish(
        "-junk", "201 empty objects pose as marks, and there is none", {**both, **junk}, m.BACKUP, "Truncated"
    )
    comment = "a true mark below 201 empty objects"
    publish("-junk-above", comment, {**aside, **junk}, OTHER, "Truncated", "BackupQuarantined")
    comment = "201 empty objects below a mark that lets it free: nobody looks at them"
    below = {**aside, **junk, f"quarantine/{m.BACKUP}/00000203.json": marked(203, "released")}
    publish("-junk-below", comment, below, m.BACKUP)
    odd = {f"quarantine/{m.BACKUP}/{name}": b"" for name in ("9.json", "99999999", "00000009.json.r1", "x/y")}
    publish("-names-odd", "other names than marks have: nobody looks at them", {**both, **odd}, m.BACKUP)


def heads() -> None:
    """What a signed ledger head knows of what lies there, and is gone."""
    one = made("plain")
    digests = m.fixed("ledger").hex(), m.fixed("event").hex()

    def head(number: int = 42, signer: Any = m.CONTROL, **known: Any) -> tuple[str, bytes]:
        told = LedgerHead(
            ledger=digests[0],
            event=number,
            at=m.CREATED,
            sha256=digests[1],
            made_at=m.CREATED,
            **{"trust": 0, **known},
        )
        name = f"ledger/{digests[0][:16]}/2026-11/{number:012}-{digests[1][:16]}.json"
        return name, HEAD.sign(told, signer)

    def publish(
        name: str, expect: str, comment: str, more: dict[str, bytes], *fields: tuple[str, str]
    ) -> None:
        rest = [("rest", "8")] if expect == "NewestUnseen" else []
        target(f"head-{name}", expect, comment, {**one.objects, **more}, *rest, *fields)

    newer = {"weekly": NEWER}
    place, known = head(backups=newer)
    publish(
        "newest",
        "ok",
        "the newest backup that the head knows is there",
        dict([head(backups={"weekly": m.BACKUP})]),
    )
    gone = "NewestUnseen"
    publish("newest-gone", gone, "the newest backup that the head knows is gone", {place: known})
    publish(
        "newest-gone-unpinned",
        gone,
        "the same, and no installation is pinned",
        {place: known},
        ("no-trust", ""),
    )
    comment = "every manifest is gone, and the head is there"
    emptied = {name: content for name, content in one.objects.items() if name != one.name()}
    target("head-emptied", gone, comment, {**emptied, place: known}, ("rest", "0"))
    named = ("rest", "0"), ("backup", m.BACKUP)
    comment = "the same, and that one is asked for by its id"
    target("head-emptied-named", "NotABackup", comment, {**emptied, place: known}, *named)
    publish("newest-gone-named", "ok", "the older one is asked for", {place: known}, ("backup", m.BACKUP))
    junk = {place.replace("000000000042", f"{number:012}"): b"" for number in range(43, 244)}
    publish("newest-gone-junk", gone, "201 empty objects pose as later heads", {place: known, **junk})
    later = dict([head(43, backups={"weekly": m.BACKUP})])
    publish("later", "ok", "a later head of the same ledger counts alone", {place: known, **later})
    publish("strangers", "ok", "a stranger's head", dict([head(signer=STRANGERS_CONTROL, backups=newer)]))
    publish("renamed", "ok", "a head under a later one's name", {head(44)[0]: known, **later})

    def deletion(state: str, after: str = "") -> dict[str, bytes]:
        told = DeletionMark(
            backup_id=NEWER, number=1, state=state, after=after, reason="", run="", by="", at=m.CREATED
        )  # fmt: skip
        return {f"deletion/{NEWER}/00000001.json": DELETION.sign(told, m.PRUNE)}

    tombstone = {place: known, **deletion("deleted")}
    publish("newest-deleted", "ok", "it was deleted on purpose, by its tombstone", tombstone)
    due = {place: known, **deletion("marked", "2026-11-26T02:45:01Z")}
    publish("newest-marked", "ok", "it is being deleted: its time of grace is over", due)
    pending = {place: known, **deletion("marked", "9999-11-26T02:45:01Z")}
    publish("newest-marked-later", gone, "it will be deleted, and its time of grace is not over", pending)
    kept = {place: known, **deletion("undeleted")}
    publish("newest-undeleted", gone, "somebody said that it is not to be deleted", kept)
    marks = dict([head(marks={m.BACKUP: 1})])
    comment = "a mark that the head knows is gone: nobody can tell what it said"
    publish("mark-gone", "BackupQuarantined", comment, marks)
    told = QuarantineMark(
        backup_id=m.BACKUP, number=1, state="released", reason="", incident="", by="", at=m.CREATED
    )
    there = {**marks, f"quarantine/{m.BACKUP}/00000001.json": QUARANTINE.sign(told, m.CONTROL)}
    publish("mark", "ok", "the mark that the head knows is there", there)
    stating = dict([head(trust=1)])
    comment = "the head states a trust list that is not there"
    publish("trust-withheld", "TrustListMissing", comment, stating)
    publish("trust-unpinned", "ok", "the same, and no installation is pinned", stating, ("no-trust", ""))
    unnamed = {head(44)[0]: next(iter(stating.values()))}
    publish("trust-renamed", "ok", "that head under a later one's name", unnamed)
    nobody = TrustList(number=1, distrusted=(), successor=None, made_at=m.CREATED)
    listed = {**stating, "trust/00000001.json": sign_list(nobody, m.INSTALLATION)}
    publish("trust", "ok", "the list that the head states is there", listed)


def lost() -> None:
    one = made("plain")
    first, _ = one.pieces
    rest = ("rest", str(len(halves()[1])))
    dropped = {name: content for name, content in one.objects.items() if name != first}
    target("container-dropped", "MissingPiece", "one of two containers is missing", dropped, rest)
    comment = "the same, and no key opens the other: a key that fits nothing is no damage"
    target("container-dropped-wrong-key", "WrongKey", comment, dropped, ("rest", "0"), key="xwing")
    copy = {**dropped, one.pieces[0] + ".r1": one.objects[one.pieces[0]][:-1]}
    comment = "one of two containers is missing, and a copy beside it is cut"
    target("container-copy-alone-cut", "Truncated", comment, copy, rest)
    bad = made("plain")
    bad.spoil(first)
    target("container-damaged", "Tampered", "a bit of a container, and no copy", bad.objects, rest)
    cut = {**one.objects, first: one.objects[first][:-1]}
    target("container-cut", "Truncated", "the last byte of a container is missing", cut, rest)
    bare, _ = m.piece(one.random, halves()[0], replace(m.about(values=False), pieces=2), one.key)
    full, _ = m.piece(one.random, [m.secret("large", bytes(10_000))], replace(m.about(), pieces=2), one.key)
    for name, expect, other in (("larger", "Tampered", full), ("smaller", "Truncated", bare)):
        comment = f"another container, which is {name}, in a container's place"
        target(f"container-exchanged-{name}", expect, comment, {**one.objects, first: other}, rest)
    fallen_back()
    target("nothing", "NotABackup", "containers, and no manifest", {first: one.objects[first]})
    target("named-missing", "MissingPiece", "another backup is asked for", one.objects, ("backup", OTHER))


def fallen_back() -> None:
    """What lay in a lost part of the newest comes from the backup before, and nothing else does."""
    one = made("plain")
    first, second = one.pieces
    held = [sorted(secret.name for secret in half) for half in halves()]
    older = made("older", OTHER)
    both = {**older.objects, **one.objects}
    rests = [("rest", str(len(held[1]))), ("rest", str(len(held[0])))]

    def before(*names: str, backup: str = OTHER) -> list[tuple[str, str]]:
        return [("before", f"{backup} {name}") for name in sorted(names)]

    dropped = {name: content for name, content in both.items() if name != first}
    comment = "a container of the newest is missing: its secrets come from the backup before"
    target("before-dropped", "MissingPiece", comment, dropped, rests[0], *before(*held[0]))
    bad = Made(one.key, one.random, one.manifest, dict(both))
    bad.spoil(second)
    comment = "a bit of a container: its secrets come from the backup before"
    target("before-damaged", "Tampered", comment, bad.objects, rests[1], *before(*held[1]))
    flipped = bytearray(both[second])
    flipped[80 + 60] ^= 1
    comment = "a bit of the values of its only segment: the rows tell the names"
    target(
        "before-values", "Tampered", comment, {**both, second: bytes(flipped)}, rests[1], *before(*held[1])
    )
    fewer = made("fewer", OTHER, without=(held[0][0], held[1][0]))
    deleted = {**fewer.objects, **{name: content for name, content in one.objects.items() if name != first}}
    comment = (
        "the backup before has two secrets less: one of them is lost, and the other one is in the newest"
    )
    target("before-fewer", "MissingPiece", comment, deleted, rests[0], *before(*held[0][1:]))
    newer = made("fewer", m.BACKUP, without=(held[0][0], held[1][0]))
    kept = {**older.objects, **newer.objects}
    del kept[newer.pieces[0]]
    comment = (
        "the newest has two secrets less: that of the lost part comes back, and the other one was deleted"
    )
    many = ("rest", str(len(held[1]) - 1))
    target("before-deleted", "MissingPiece", comment, kept, many, *before(*held[0]))
    oldest = made("oldest", OLDEST)
    row = {**oldest.objects, **dropped}
    del row[older.pieces[0]]
    comment = "the same part of two backups in a row is missing: the one before both"
    target("before-two", "MissingPiece", comment, row, rests[0], *before(*held[0], backup=OLDEST))
    gone = {name: content for name, content in both.items() if name not in one.pieces}
    comment = "a manifest, and none of its containers: all names could have lain in them"
    target("before-all", "MissingPiece", comment, gone, ("rest", "0"), *before(*held[0], *held[1]))
    other = Made(older.key, older.random, replace(older.manifest, source="another"), dict(older.objects))
    other.sign()
    foreign = {**other.objects, **{name: content for name, content in one.objects.items() if name != first}}
    target("before-source", "MissingPiece", "a backup before it of another source", foreign, rests[0])
    behind = {**oldest.objects, **foreign}
    comment = "the same, and one of the same source before that one"
    oldests = before(*held[0], backup=OLDEST)
    target("before-source-behind", "MissingPiece", comment, behind, rests[0], *oldests)
    chosen = replace(older.manifest.selection, include=("app/*",))
    part = Made(older.key, older.random, replace(older.manifest, selection=chosen), dict(older.objects))
    part.sign()
    without_first = {name: content for name, content in one.objects.items() if name != first}
    body = {**oldest.objects, **part.objects, **without_first}
    target("before-selection", "MissingPiece", "the one before it is of a part", body, rests[0], *oldests)
    told = QuarantineMark(
        backup_id=OTHER, number=1, state="quarantined", reason="", incident="", by="", at=m.CREATED
    )
    mark = {f"quarantine/{OTHER}/00000001.json": QUARANTINE.sign(told, m.CONTROL)}
    body = {**oldest.objects, **dropped, **mark}
    comment = "the one before it was set aside"
    target("before-set-aside", "MissingPiece", comment, body, rests[0], *oldests)
    strangers = dict(dropped)
    strangers[older.name()] = sign_manifest(older.manifest, STRANGERS_CONTROL)
    target("before-strangers", "MissingPiece", "a stranger's backup before it", strangers, rests[0])


def joins() -> None:
    """Manifests that are signed well and do not fit their containers."""
    one = made("plain")

    def signed(name: str, comment: str, **changed: Any) -> None:
        again = Made(one.key, one.random, one.manifest, dict(one.objects))
        again.sign(**changed)
        target(f"join-{name}", "Tampered", comment, again.objects)

    def entry(**changed: Any) -> ContainerEntry:
        old = one.manifest.containers[0]
        receipt = replace(receipt_of(one.manifest, old), **changed)
        return container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public)

    whole, other = one.manifest, one.manifest.containers[1]
    fewer = with_entries(whole, whole.containers[0])
    signed(
        "pieces", "one container, and its index says two", containers=fewer.containers, counts=fewer.counts
    )
    signed("values", "no values, and there are some", values=False)
    signed("policy", "another policy than the container's", policy="another")
    signed("source", "another source than the container's", source="another")
    higher = f"{int(whole.containers[0].last, 16) + 1:032x}"
    lower = f"{int(whole.containers[0].first, 16) - 1:032x}"
    for name, changed in (
        ("last", {"last": higher}),
        ("first", {"first": lower}),
        ("key", {"wrapping_key": "00" * 16}),
        ("container-signature", {"container_signature": other.container_signature}),
    ):
        listed = with_entries(whole, entry(**changed), other)
        signed(name, f"another {next(iter(changed))}", containers=listed.containers)
    for name in ("secrets", "versions"):
        listed = with_entries(whole, entry(**{name: getattr(whole.containers[0], name) + 1}), other)
        signed(name, f"one more in {name} alone", containers=listed.containers, counts=listed.counts)
    listed = with_entries(whole, entry(secrets=6, versions=whole.containers[0].versions + 1), other)
    signed("count", "one secret more", containers=listed.containers, counts=listed.counts)
    zeros = replace(whole.containers[0], signature="00" * 64)
    listed = with_entries(whole, zeros, other)
    signed("receipt", "a receipt of zeros", containers=listed.containers)
    receipt = receipt_of(whole, zeros)
    foreign = container_entry(receipt, sign_receipt(receipt, m.RECOVER), m.RECOVER.public)
    listed = with_entries(whole, foreign, other)
    signed("signer", "another key's receipt than the container's", containers=listed.containers)
    first, second = halves()
    above = max(name_hash(m.NAME_KEY, s.name) for s in first)
    keys = (m.fixed(f"another name key {n}") for n in count())
    key = next(key for key in keys if min(name_hash(key, s.name) for s in second) > above)
    odd = made("name keys", name_keys=(m.NAME_KEY, key))
    target("join-name-key", "Tampered", "two containers, two keys for names", odd.objects)
    odd = made("another backup's", lies=lambda number: {"backup_id": OTHER})
    target("join-backup-id", "Tampered", "containers that say another backup's id", odd.objects)
    odd = made("turned", lies=lambda number: {"piece": 1 - number})
    target("join-piece", "Tampered", "containers that say each other's number", odd.objects)
    one.objects[one.pieces[0]] = exchanged(one)
    comment = "a container of the same size, sealed with the same key of the role seal, to the same recipient"
    target("container-exchanged", "Tampered", comment, one.objects)


def exchanged(one: Made) -> bytes:
    """Return another container in the place of the first, as the holder of its signer's key makes it."""
    part = [replace(secret, tags={}) if secret.tags else secret for secret in halves()[0]]
    data, sealed = m.piece(m.stream("exchanged"), part, m.about(piece=0, pieces=2), one.key)
    assert (sealed.size, sealed.secrets) == (one.manifest.containers[0].size, len(part))
    assert sealed.hexdigest != one.manifest.containers[0].sha256
    return data


def trust_lists() -> None:
    """Keys that count for nothing, by a list of the installation's."""
    leaked = CertifiedSigner.issued(
        Signer.from_private(m.fixed("a key that leaked")),
        installation=m.INSTALLATION,
        role="control",
        issued_at=m.ISSUED,
    )
    older, newest = made("older", OTHER), made("plain")

    def told(
        number: int, *keys: Signer, by: Signer = m.INSTALLATION, successor: Signer | None = None
    ) -> bytes:
        distrusted = [
            Distrusted(key=key.public.hex(), since=m.CREATED, reason="a host was stolen")
            for key in sorted(keys, key=lambda key: key.public)
        ]
        following = successor.public.hex() if successor else None
        one = TrustList(number=number, distrusted=tuple(distrusted), successor=following, made_at=m.CREATED)
        return sign_list(one, by)

    def forged(trust: int = 0, by: CertifiedSigner = leaked) -> dict[str, bytes]:
        record = replace(newest.manifest, trust=trust)
        return {**older.objects, **newest.objects, newest.name(): sign_manifest(record, by)}

    def of_older(trust: int) -> dict[str, bytes]:
        record = replace(older.manifest, trust=trust)
        return {older.name(): sign_manifest(record, m.CONTROL)}

    one, two, three = (f"trust/{number:08}.json" for number in (1, 2, 3))
    aside, took = ("aside", "UntrustedSigner"), ("taken", OTHER)
    believed = {**forged(), one: told(1)}
    target("trust", "ok", "a list that distrusts nobody", believed, ("taken", m.BACKUP))
    refused = {**forged(), one: told(1), two: told(2, leaked)}
    comment = "the newest of two backups was signed by a key that the highest list distrusts"
    target("trust-distrusted", "ok", comment, refused, took, aside)
    target(
        "trust-distrusted-named", "UntrustedSigner", "that one is asked for", refused, ("backup", m.BACKUP)
    )
    target(
        "trust-unpinned",
        "ok",
        "the same, and no installation is pinned",
        refused,
        ("no-trust", ""),
        took,
        aside,
    )
    itself = {**forged(), one: told(1, m.INSTALLATION, leaked)}
    comment = (
        "a list that distrusts the key that signed it: it counts, and so do the certificates by that key"
    )
    target("trust-of-itself", "ok", comment, itself, took, aside)
    lifted = {**refused, three: told(3)}
    target("trust-lifted", "ok", "a later list believes the key again", lifted, ("taken", m.BACKUP))
    both = {**forged(), two: told(2), two + ".r1": told(2, leaked)}
    target("trust-two-of-one-number", "ok", "two lists of one number: both count", both, took, aside)
    renamed = {**refused, three: told(2)}
    target("trust-renamed", "ok", "a list under another number's name", renamed, took, aside)
    renamed = {**forged(), one: told(2, leaked)}
    comment = "a list under a lower number's name distrusts nobody"
    target("trust-renamed-lower", "ok", comment, renamed, ("taken", m.BACKUP))
    mark = QuarantineMark(
        backup_id=m.BACKUP, number=1, state="quarantined", reason="", incident="", by="", at=m.CREATED
    )
    body = {**older.objects, **newest.objects, one: told(1, leaked)}
    marked = {**body, f"quarantine/{m.BACKUP}/00000001.json": QUARANTINE.sign(mark, leaked)}
    comment = "a mark by a key that is distrusted"
    target("quarantine-distrusted", "ok", comment, marked, ("taken", m.BACKUP), aside)
    digests = m.fixed("ledger").hex(), m.fixed("event").hex()
    head = LedgerHead(
        ledger=digests[0], event=42, at=m.CREATED, sha256=digests[1], made_at=m.CREATED, trust=9,
        backups={"weekly": NEWER},
    )  # fmt: skip
    place = f"ledger/{digests[0][:16]}/2026-11/{42:012}-{digests[1][:16]}.json"
    headed = {**body, place: HEAD.sign(head, leaked)}
    target("head-distrusted", "ok", "a head by a key that is distrusted", headed, ("taken", m.BACKUP))
    strangers = {**refused, three: told(3, by=m.STRANGERS)}
    target("trust-strangers", "ok", "a stranger's list with a higher number", strangers, took, aside)
    own = {**forged(), one: document.write(TRUST_LIST, LIST, m.CONTROL)}
    target("trust-role", "ok", "a list that a role's key signed", own, ("taken", m.BACKUP))
    withheld = {**forged(), **of_older(2), one: told(1)}
    target("trust-withheld", "TrustListMissing", "the older backup states a list that is not there", withheld)
    target(
        "trust-withheld-named",
        "TrustListMissing",
        "the newer one is asked for",
        withheld,
        ("backup", m.BACKUP),
    )
    unknown = {**withheld, **of_older(1), newest.name(): forged(7)[newest.name()]}
    target("trust-demanded", "TrustListMissing", "the newest backup states one that nobody has", unknown)
    demanded = {**unknown, **of_older(2), two: told(2, leaked)}
    comment = "a key that is distrusted demands a list"
    target("trust-demanded-distrusted", "ok", comment, demanded, took, aside)
    other = m.role_key("control", NEXT)
    handed = {**forged(3, by=other), two: told(2, leaked, successor=NEXT), three: told(3, leaked, by=NEXT)}
    comment = "the next installation key made the newest, and goes on with the lists"
    target("trust-successor", "ok", comment, handed, ("taken", m.BACKUP))
    short = {name: content for name, content in handed.items() if name != three}
    target("trust-successor-withheld", "TrustListMissing", "the same without its list", short)
    not_named = {**forged(3, by=other), two: told(2), three: told(3, by=NEXT)}
    comment = "another installation that no list names"
    target("trust-successor-unnamed", "ok", comment, not_named, took, aside)
    sealed = {**newest.objects, one: told(1, m.SEAL)}
    comment = "the key that sealed the containers leaked: the manifest vouches for them"
    target("trust-container", "ok", comment, sealed)
    rotated = made("rotated")
    rotated.rotate()
    envelope = {**rotated.objects, one: told(1, m.RECOVER)}
    comment = "the key that signed the newer envelope leaked: the older readers are back"
    target("trust-envelope", "ok", comment, envelope, aside)


NEXT = Signer.from_private(m.fixed("the next installation"))
LIST = canonical.encode(TrustList(number=1, distrusted=(), successor=None, made_at=m.CREATED))


def scenarios() -> dict[str, Scenario]:
    """Return every scenario of a target by name."""
    if not TARGETS:
        for publish in (good_ones, left_aside, quarantined, heads, lost, joins, trust_lists):
            publish()
    return TARGETS
