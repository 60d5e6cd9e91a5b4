"""What lies beside a backup and speaks of it: quarantine marks, trust lists, heads, receipts of indexes."""

from __future__ import annotations

from typing import Any

import msgspec

from strongroom.container import canonical, document
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.document import Kind
from strongroom.container.head import HEAD
from strongroom.container.index_receipt import INDEX
from strongroom.container.marks import QUARANTINE
from strongroom.container.signing import Signer
from strongroom.container.trust_list import ROLE, TRUST_LIST
from tests.forgeries.damages import DOCUMENT
from tests.forgeries.forgery import SIGNER, STRANGER, WRITE, forgery
from tests.forgeries.genuine import BACKUP, OLDER, OURS, THEIRS, Forge, genuine
from tests.forgeries.signing import MARK, marked
from tests.forgeries.writing import both, put
from tests.vectors import good
from tests.vectors import material as m

Body = dict[str, Any]


def said(kind: Kind, body: Body, signer: CertifiedSigner) -> bytes:
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
        forge = put(MARK, said(QUARANTINE.document, QUARANTINED | odd, OURS["control"]))
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
            "backup_id": BACKUP, "sha256": "ab" * 32, "containers": "cd" * 32, "chain": BACKUP,
            "previous": None, "made_at": m.CREATED,
        }  # fmt: skip
        forge: Forge = both(put(where, b"junk"), put(f"{where}.json", said(INDEX, body, signer)))
        forgery(f"junk as an index, with a receipt of {name}", SIGNER, forge)


def enter() -> None:
    for enter_group in (marks, lists, heads, receipts):
        enter_group()
