"""Random targets of several backups, with what lies beside them and what happened to them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal
from unittest.mock import patch

from msgspec.structs import replace

from strongroom.container import canonical, document, writer
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import MANIFEST, Manifest, ManifestSelection
from strongroom.container.marks import (
    DELETION,
    HEAD,
    QUARANTINE,
    DeletionMark,
    Distrusted,
    LedgerHead,
    QuarantineMark,
    TrustList,
    sign_list,
)
from strongroom.container.signing import Signer, sign_receipt
from strongroom.container.wrapping import Recipient, WrappingKey, write_detached
from strongroom.model import Secret
from strongroom.operations.engine.layout import container_entry, container_name, sealed_receipt
from tests.vectors import good
from tests.vectors import material as m
from tests.vectors.targets import STRANGERS_CONTROL, with_entries

IDS = [f"2026112{day}T024501Z-0000000{day}" for day in (3, 4, 6)]
GONE = "20261127T024501Z-00000007"
"""A backup that a head may name, and that is nowhere."""
NEXT = Signer.from_private(m.fixed("the next installation"))
NEXT_CONTROL = m.role_key("control", NEXT)
SIGNERS = (*(m.CONTROL,) * 6, m.RECOVER, m.RECOVER, NEXT_CONTROL, STRANGERS_CONTROL, m.SEAL)
AT = "2026-11-26T12:00:00Z"
PER_WORLD = 40

Objects = dict[str, bytes]


@dataclass(frozen=True)
class World:
    """Backups of one source, one after another: the work that many targets share."""

    objects: Objects
    manifests: dict[str, Manifest]
    contents: dict[str, list[Secret]]


@dataclass
class Placed:
    """A target, what was done to it, and how it is read."""

    world: World
    objects: Objects
    pins: frozenset[str]
    wanted: str
    said: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """Objects and folders that a link leads to."""


@lru_cache(maxsize=2)
def world(seed: int) -> World:
    """Make backups of which each holds some of the same names, with values of its own."""
    r = random.Random(f"world {seed}")
    names = [f"{r.choice(('app', 'db', 'é'))}/{n:02}" for n in range(r.choice((2, 6, 14)))]
    found = World({}, {}, {})
    rotated = r.random() < 0.3
    for backup in IDS[: r.choice((1, 2, 3, 3))]:
        own = [*(name for name in names if r.random() < 0.8), f"only/{backup[6:8]}"]
        found.contents[backup] = [_secret(r, name, backup) for name in own]
        found.manifests[backup] = _backup(r, backup, found, rotated=rotated)
    return found


def _secret(r: random.Random, name: str, backup: str) -> Secret:
    return m.secret(name, f"CANARY-{name}-{backup}".encode() * r.choice((1, 1, 40)))


def _backup(r: random.Random, backup: str, made: World, *, rotated: bool) -> Manifest:
    name_key = r.randbytes(32)
    ordered = sorted(made.contents[backup], key=lambda secret: name_hash(name_key, secret.name))
    cuts = sorted(r.sample(range(1, len(ordered)), min(r.choice((0, 1, 2, 3)), len(ordered) - 1)))
    pieces = [ordered[a:b] for a, b in zip([0, *cuts], [*cuts, len(ordered)], strict=True)]
    entries = []
    first: list[Recipient] = [m.X25519.recipient()] if rotated else [m.key_file(r.randbytes)]
    key = WrappingKey.create(first, _random=r.randbytes)
    for number, piece in enumerate(pieces):
        if r.random() < 0.5:
            key = WrappingKey.create(first, _random=r.randbytes)
        about = replace(m.about(piece=number, pieces=len(pieces)), backup_id=backup, name_key=name_key)
        few = r.choice((1, 2, 3))
        with patch.object(writer, "SEGMENT_SECRETS", few), patch.object(writer, "BATCH", few):
            data, sealed = m.piece(r.randbytes, piece, about, key)
        receipt = sealed_receipt(about, sealed)
        made.objects[container_name(backup, sealed.hexdigest)] = data
        entries.append(container_entry(receipt, sign_receipt(receipt, m.SEAL), m.SEAL.public))
        if rotated:
            newer = key.rewrap([m.key_file(r.randbytes)]).record
            made.objects[f"keys/{key.id}/{newer.generation:08}"] = write_detached(newer, m.RECOVER)
    return replace(
        with_entries(good.manifest_record(), *entries),
        backup_id=backup, created_at=f"2026-11-{backup[6:8]}T02:45:01Z", previous=None,
        selection=ManifestSelection(), not_contained=(),
    )  # fmt: skip


class Placer:
    """Puts a target together of whatever a seed says."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.world = world(seed // PER_WORLD)
        self.ids = list(self.world.manifests)
        self.objects = dict(self.world.objects)
        self.said: list[str] = []

    def place(self) -> Placed:
        r = self.r
        for backup, manifest in self.world.manifests.items():
            signer = r.choice(SIGNERS) if r.random() < 0.4 else m.CONTROL
            stated = replace(manifest, trust=r.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3)))
            self.put(f"manifests/{backup}.json", document.write(MANIFEST, canonical.encode(stated), signer))
        beside: dict[Callable[[], None], float] = {
            self.lists: 0.4, self.marks: 0.4, self.heads: 0.4, self.deletions: 0.15, self.junk: 0.15,
            self.damage: 0.6,
        }  # fmt: skip
        for happen, how_often in beside.items():
            if r.random() < how_often:
                happen()
        pins = {m.INSTALLATION.fingerprint, *([NEXT.fingerprint] if r.random() < 0.1 else [])}
        wanted = r.choice(self.ids) if r.random() < 0.15 else ""
        return Placed(self.world, self.objects, frozenset(pins), wanted, self.said, self.links())

    def put(self, name: str, content: bytes) -> None:
        """Put an object there: mostly as it is, sometimes damaged or under another number."""
        if name in self.objects:
            name += ".r1"
        odd = self.r.random()
        if odd < 0.05:
            content = self.changed(content)
            self.said.append(f"spoiled {name}")
        elif odd < 0.07 and name.endswith(".json"):
            name = f"{name[:-6]}{self.r.randint(0, 9)}.json"
        self.objects[name] = content

    def changed(self, content: bytes) -> bytes:
        r = self.r
        at = r.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1 << r.randrange(8)]) + content[at + 1 :]
        return r.choice((flipped, flipped, content[:at], content + bytes(9), b"", b"{}"))

    # -- what is said beside the backups --

    def lists(self) -> None:
        r = self.r
        keys = [key.public.hex() for key in (m.CONTROL, m.RECOVER, NEXT_CONTROL, m.SEAL, m.PRUNE)]
        for number in r.sample((1, 2, 3), r.choice((1, 1, 2, 3))):
            distrusted = tuple(
                Distrusted(key=key, since=AT, reason="a key leaked")
                for key in sorted(r.sample(keys, r.choice((0, 0, 1, 2))))
            )
            successor = r.choice((None, None, NEXT.public.hex(), m.STRANGERS.public.hex()))
            made = TrustList(number=number, distrusted=distrusted, successor=successor, made_at=AT)
            signer = r.choice((m.INSTALLATION,) * 5 + (NEXT, m.STRANGERS))
            self.put(made.object_name, sign_list(made, signer))
            self.said.append(f"list {number} by {signer.fingerprint[4:8]}")

    def marks(self) -> None:
        r = self.r
        for _ in range(r.choice((1, 1, 2, 3))):
            state: Literal["quarantined", "released"] = r.choice(("quarantined", "released"))
            mark = QuarantineMark(
                backup_id=r.choice((*self.ids, *self.ids, GONE)), number=r.choice((1, 2, 3, 4)), state=state,
                reason="a key leaked", incident="", by="ops", at=AT,
            )  # fmt: skip
            name = f"quarantine/{mark.backup_id}/{mark.number:08}.json"
            self.put(name, document.write(QUARANTINE, canonical.encode(mark), r.choice(SIGNERS)))
            self.said.append(f"{state} {mark.number} {mark.backup_id}")

    def heads(self) -> None:
        r = self.r
        for _ in range(r.choice((1, 1, 2))):
            backups = {policy: r.choice((*self.ids, GONE)) for policy in ("daily", "weekly")}
            backups = {policy: one for policy, one in backups.items() if r.random() < 0.6}
            marks = {one: r.choice((1, 2, 3)) for one in (*self.ids, GONE) if r.random() < 0.15}
            head = LedgerHead(
                ledger=m.fixed(f"ledger {r.randrange(2)}").hex(), event=r.randint(1, 9), at=AT,
                sha256=r.randbytes(32).hex(), made_at=AT, trust=r.choice((0, 0, 1, 3)), backups=backups,
                marks=dict(sorted(marks.items())),
            )  # fmt: skip
            where = f"ledger/{head.ledger[:16]}/{AT[:7]}/{head.event:012}-{head.sha256[:16]}.json"
            self.put(where, HEAD.sign(head, r.choice(SIGNERS)))
            self.said.append(f"head {backups} {marks}")

    def deletions(self) -> None:
        r = self.r
        state: Literal["marked", "undeleted", "deleted"] = r.choice(("marked", "undeleted", "deleted"))
        after = r.choice(("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z")) if state == "marked" else ""
        mark = DeletionMark(
            backup_id=r.choice((*self.ids, GONE)), number=r.choice((1, 2)), state=state, after=after,
            reason="", run="", by="", at=AT,
        )  # fmt: skip
        signer = r.choice((m.PRUNE, m.PRUNE, m.CONTROL))
        name = f"deletion/{mark.backup_id}/{mark.number:08}.json"
        self.put(name, document.write(DELETION, canonical.encode(mark), signer))
        self.said.append(f"{state} {mark.backup_id}")

    def junk(self) -> None:
        r = self.r
        backup = r.choice((*self.ids, GONE))
        names = [
            f"quarantine/{backup}/00000009.json", f"quarantine/{backup}/9.json", "trust/00000009.json",
            "trust/x", f"manifests/{GONE}.json", f"manifests/{GONE}", "manifests/x.json.r1",
            f"ledger/{m.fixed('ledger 0').hex()[:16]}/2026-11/{9:012}-{'ab' * 8}.json", "containers/x",
        ]  # fmt: skip
        for name in r.sample(names, r.choice((1, 2))):
            self.objects[name] = r.choice((b"", b"junk", *self.objects.values()))
            self.said.append(f"junk {name}")

    # -- what happens to them --

    def damage(self) -> None:
        """Change, cut, drop or exchange one or several objects: mostly containers."""
        r = self.r
        for _ in range(r.choice((1, 1, 2, 3))):
            kind = r.choice(("containers/",) * 6 + ("keys/", "manifests/"))
            held = sorted(name for name in self.objects if name.startswith(kind))
            if not held:
                continue
            name, what = r.choice(held), r.choice(("change", "change", "drop", "exchange", "copy"))
            content = self.objects.pop(name)
            if what == "change" and content:
                self.objects[name] = self.changed(content)
            elif what == "exchange":
                others = [one for one in held if one in self.objects]
                self.objects[name] = self.objects[r.choice(others)] if others else b"another thing"
            elif what == "copy":
                self.objects |= {name: self.changed(content) if content else b"", f"{name}.r1": content}
            self.said.append(f"{what} {name}")

    def links(self) -> list[str]:
        """Name an object, or a folder, that a link leads to."""
        if self.r.random() > 0.06:
            return []
        name = self.r.choice(sorted(self.objects))
        parts = name.split("/")
        return ["/".join(parts[: self.r.randint(1, len(parts))])]
