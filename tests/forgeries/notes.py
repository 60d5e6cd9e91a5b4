"""What lies beside a backup and speaks of it: quarantine marks, trust lists, heads, receipts of indexes."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.document import DocumentKind
from strongroom.container.marks import HEAD, QUARANTINE, ROLE, TRUST_LIST
from strongroom.container.name_index import (
    INDEX,
    Block,
    IndexHead,
    IndexLink,
    IndexRow,
    encode_row,
    write_name_index,
)
from strongroom.container.signing import CertifiedSigner, Signer
from strongroom.container.wrapping import WrappingKey
from tests.forgeries.damages import DOCUMENT
from tests.forgeries.forgery import SIGNER, STRANGER, WRITE, forgery
from tests.forgeries.genuine import BACKUP, OLDER, OURS, THEIRS, Forge, genuine
from tests.forgeries.signing import MARK, marked
from tests.forgeries.writing import both, put
from tests.vectors import good
from tests.vectors import material as m

Body = dict[str, Any]


def said(kind: DocumentKind, body: Body, signer: CertifiedSigner) -> bytes:
    """Sign any body as a document of a kind."""
    return document.write(kind, msgspec.json.encode(body), signer)


# -- quarantine marks: what does not count is told, and the backup is read ---------------------------

QUARANTINED: Body = {
    "backup_id": BACKUP, "number": 1, "state": "quarantined", "reason": "", "incident": "", "by": "",
    "at": m.CREATED,
}  # fmt: skip
ODD_MARKS: dict[str, Body] = {
    "number zero": {"number": 0},
    "a number of nine digits": {"number": 100_000_000},
    "a number that is a text": {"number": "1"},
    "a state that is none": {"state": "held"},
    "a reason that cannot be printed": {"reason": "\x1b[2J"},
    "a reason of 1,001 characters": {"reason": "x" * 1001},
    "a time without a zone": {"at": "2026-11-25T02:45:01"},
    "a time that is none": {"at": "yesterday"},
    "an unknown member": {"z": 1},
    "a backup that is a number": {"backup_id": 1},
}


def marks() -> None:
    mark = marked("quarantined", OURS["control"])
    for name, (change, expect) in list(DOCUMENT.items())[::3]:
        forge = put(MARK, change(mark))
        told = "Malformed" if len(change(mark)) > 16_384 else expect
        forgery(f"quarantine mark: {name}", WRITE, forge, aside=told, marks=True)
    for name, odd in ODD_MARKS.items():
        forge = put(MARK, said(QUARANTINE, QUARANTINED | odd, OURS["control"]))
        forgery(f"a quarantine mark with {name}", SIGNER, forge, aside="Malformed", marks=True)
    mark = marked("quarantined", OURS["control"])
    for name in (
        "00000002.json",
        "1.json",
        "00000001.json.r1",
        "00000001",
        "000000001.json",
        "x/00000001.json",
    ):
        aside = "Tampered" if name == "00000002.json" else ""
        forge = put(f"quarantine/{BACKUP}/{name}", mark)
        forgery(f"our mark under the name {name}", WRITE, forge, aside=aside, marks=True)
    forgery("our mark in another backup's folder", WRITE, put(f"quarantine/{OLDER}/00000001.json", mark))
    forgery("our mark that says it is released", SIGNER, put(MARK, marked("released", OURS["control"])))


# -- trust lists: what is none of ours is ignored ----------------------------------------------------

LIST = "trust/00000001.json"
OURS_LISTED: Body = {
    "number": 1,
    "distrusted": [{"key": OURS["control"].public.hex(), "since": m.CREATED, "reason": ""}],
    "successor": None,
    "made_at": m.CREATED,
}


def listed(body: Body, signer: Signer) -> bytes:
    own = CertifiedSigner.issued(signer, installation=signer, role=ROLE, issued_at=m.ISSUED)
    return said(TRUST_LIST, body, own)


ODD_LISTS: dict[str, Body] = {
    "number zero": {"number": 0},
    "a number that is not its name's": {"number": 2},
    "keys in another order": {"distrusted": OURS_LISTED["distrusted"] * 2},
    "a key of 31 bytes": {"distrusted": [{"key": "00" * 31, "since": m.CREATED, "reason": ""}]},
    "a since that is no time": {"distrusted": [{**OURS_LISTED["distrusted"][0], "since": "then"}]},
    "a successor of 31 bytes": {"successor": "00" * 31},
    "an unknown member": {"z": 1},
}


def lists() -> None:
    genuine_list = listed(OURS_LISTED, m.INSTALLATION)
    for name, (change, _) in list(DOCUMENT.items())[1::4]:
        forgery(f"trust list: {name}", WRITE, put(LIST, change(genuine_list)))
    for name, odd in ODD_LISTS.items():
        forgery(f"a trust list with {name}", SIGNER, put(LIST, listed(OURS_LISTED | odd, m.INSTALLATION)))
    forgery("a stranger's trust list", STRANGER, put(LIST, listed(OURS_LISTED, m.STRANGERS)))
    for role in ("control", "recover", "seal"):
        forge = put(LIST, said(TRUST_LIST, OURS_LISTED, OURS[role]))
        forgery(f"a trust list that {role} signed", SIGNER, forge)
    forgery("our trust list under another number", WRITE, put("trust/00000002.json", genuine_list))
    forgery("our trust list under a name of two digits", WRITE, put("trust/01.json", genuine_list))
    forgery("our trust list, which distrusts control", SIGNER, put(LIST, genuine_list), "UntrustedSigner")
    forgery(
        "our trust list as a copy of one that is junk",
        SIGNER,
        both(put(LIST, b"junk"), put(f"{LIST}.r1", genuine_list)),
        "UntrustedSigner",
    )


# -- heads and receipts ------------------------------------------------------------------------------

HEAD_NAME = f"ledger/{'ab' * 8}/2026-11/000000000001-{'cd' * 8}.json"


def heads() -> None:
    head: Body = msgspec.json.decode(canonical.encode(good.head_record()))
    for name, signer in {
        "a stranger's head": THEIRS["control"],
        "a head that seal signed": OURS["seal"],
    }.items():
        forgery(
            name,
            STRANGER if signer is THEIRS["control"] else SIGNER,
            put(HEAD_NAME, said(HEAD, head, signer)),
        )
    for name, (change, _) in list(DOCUMENT.items())[2::5]:
        forgery(f"head: {name}", WRITE, put(HEAD_NAME, change(said(HEAD, head, OURS["control"]))))


def receipts() -> None:
    where = f"index/{BACKUP}/{BACKUP}/{'ab' * 32}"
    forgery("junk as an index of names", WRITE, put(where, b"junk"))
    forgery("a container as an index of names", WRITE, put(where, genuine().objects[genuine().pieces[0]]))
    for name, signer in {
        "a stranger": THEIRS["control"],
        "seal": OURS["seal"],
        "control": OURS["control"],
    }.items():
        body = {
            "backup_id": BACKUP, "sha256": "ab" * 32, "container_signature": "ef" * 64,
            "containers": "cd" * 32, "chain": BACKUP,
            "previous": None, "made_at": m.CREATED,
        }  # fmt: skip
        forge: Forge = both(put(where, b"junk"), put(f"{where}.json", said(INDEX, body, signer)))
        forgery(f"junk as an index, with a receipt of {name}", SIGNER, forge)


# -- indexes of names: whoever needs all secrets needs none, and none keeps anybody from a backup ---------

ROWS = (IndexRow(name="app/0", version=1, digest="ab" * 16), IndexRow(name="forged", version=1))
BLOCK = Block.of([encode_row(row) for row in ROWS])
HEAD_OF_INDEX = IndexHead(
    source="local", containers="cd" * 32, previous=None, blocks=((BLOCK.first, BLOCK.rows),)
)
ODD_INDEXES: dict[str, tuple[IndexHead, bytes]] = {
    "the containers of another backup": (HEAD_OF_INDEX, BLOCK.content),
    "a digest of containers that is none": (replace(HEAD_OF_INDEX, containers="zz"), BLOCK.content),
    "another source": (replace(HEAD_OF_INDEX, source="vault"), BLOCK.content),
    "a row more than its block": (replace(HEAD_OF_INDEX, blocks=((BLOCK.first, 3),)), BLOCK.content),
    "2^64 rows": (replace(HEAD_OF_INDEX, blocks=((BLOCK.first, 2**64 - 1),)), BLOCK.content),
    "blocks that do not ascend": (
        replace(HEAD_OF_INDEX, blocks=((BLOCK.first, 2), (BLOCK.first, 2))),
        BLOCK.content,
    ),
    "another first name": (replace(HEAD_OF_INDEX, blocks=(("zzz", 2),)), BLOCK.content),
    "a block of junk": (HEAD_OF_INDEX, b"junk"),
    "an empty block": (HEAD_OF_INDEX, b""),
    "a block that says that it has four gigabytes": (HEAD_OF_INDEX, b"\xff" * 12 + BLOCK.content[12:]),
    "a block with bytes after it": (HEAD_OF_INDEX, BLOCK.content + b"\0"),
    "a frame that is cut": (HEAD_OF_INDEX, BLOCK.content[:-20]),
    "itself before it": (
        replace(HEAD_OF_INDEX, previous=IndexLink(backup_id=BACKUP, sha256="ab" * 32)),
        BLOCK.content,
    ),
}
ODD_RECEIPTS: dict[str, Body] = {
    "another backup": {"backup_id": OLDER},
    "another file": {"sha256": "ef" * 32},
    "a chain that begins later": {"chain": "20261127T024501Z-00000000"},
    "an index before it that is later": {
        "previous": {"backup_id": "20261127T024501Z-00000000", "sha256": "ab" * 32}
    },
    "a digest of 31 bytes": {"containers": "cd" * 31},
    "a time without a zone": {"made_at": "2026-11-25T02:45:01"},
    "an unknown member": {"z": 1},
    "a backup that is a number": {"backup_id": 1},
}


def index_of(head: IndexHead, content: bytes, signer: CertifiedSigner) -> bytes:
    parts, random = list[bytes](), m.stream("forgeries/index")
    write_name_index(
        parts.append,
        head,
        lambda number: content,
        backup_id=BACKUP,
        policy="weekly",
        created_at=m.CREATED,
        wrapping_key=WrappingKey.create([m.X25519.recipient()], _random=random),
        signer=signer,
        _random=random,
    )
    return b"".join(parts)


def received(data: bytes, **changed: Any) -> Forge:
    """Put an index there, and its receipt by control."""
    digest = hashlib.sha256(data).hexdigest()
    body = {
        "backup_id": BACKUP, "sha256": digest, "container_signature": data[-92:-28].hex(),
        "containers": "cd" * 32, "chain": BACKUP, "previous": None, "made_at": m.CREATED,
    }  # fmt: skip
    where = f"index/{BACKUP}/{BACKUP}/{digest}"
    return both(put(where, data), put(f"{where}.json", said(INDEX, body | changed, OURS["control"])))


def indexes() -> None:
    for name, (head, content) in ODD_INDEXES.items():
        forgery(f"an index of names with {name}", SIGNER, received(index_of(head, content, OURS["seal"])))
    sound = index_of(HEAD_OF_INDEX, BLOCK.content, OURS["seal"])
    for name, odd in ODD_RECEIPTS.items():
        forgery(f"an index whose receipt names {name}", SIGNER, received(sound, **odd))
    strangers = index_of(HEAD_OF_INDEX, BLOCK.content, THEIRS["seal"])
    forgery("a stranger's index, with a receipt of control", SIGNER, received(strangers))


def enter() -> None:
    for enter_group in (marks, lists, heads, receipts, indexes):
        enter_group()
