"""No changed byte and no cut goes unseen, and each is called what it is.

Every file is taken alone: no outer digest, no catalog, the right key at hand.
"""

from __future__ import annotations

import pytest

from strongroom.container.bundle import HEAD, check_objects, read_index
from strongroom.container.bundle import TRAILER as BUNDLE_TRAILER
from strongroom.container.layout import HEADER, TRAILER
from strongroom.container.manifest import parse_manifest, sign_manifest
from strongroom.container.marks import HEAD as LEDGER
from strongroom.container.marks import QUARANTINE, LedgerHead, QuarantineMark
from strongroom.container.metadata import check_document
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.wrapping import WrappingKey, open_detached, write_detached
from strongroom.container.writer import scrub
from tests.container.damage import Changes, every_byte, surprises_of_changes, surprises_of_cuts
from tests.container.parts import (
    CONTROL,
    KEY,
    RECOVER,
    TRUSTED,
    document,
    manifest,
    packed,
    sealed,
    secret,
)

CONTAINER, _ = sealed([secret("a", b"CANARY-1"), secret("b", b"CANARY-2", number=7)])
MANIFEST = sign_manifest(manifest(), CONTROL)
LEDGER_HEAD = LEDGER.sign(
    LedgerHead(
        ledger="ab" * 32,
        event=7,
        at="2026-01-31T00:00:00Z",
        sha256="cd" * 32,
        made_at="2026-01-31T00:00:01Z",
        trust=0,
    ),
    CONTROL,
)
MARK = QUARANTINE.sign(
    QuarantineMark(
        backup_id="20260131T000000Z-00000000",
        number=1,
        state="quarantined",
        reason="a lost laptop",
        incident="i1",
        by="admin@host",
        at="2026-01-31T00:00:00Z",
    ),
    CONTROL,
)
ENVELOPE = write_detached(WrappingKey.create([KEY]).rewrap([KEY]).record, RECOVER)
DOCUMENT = document([secret("a"), secret("b")])
BUNDLE = packed({"manifests/x.json": b"{}", "containers/x/y": b"CANARY", "empty": b""})

pytestmark = pytest.mark.timeout(900)


def open_container(data: bytes) -> None:
    for _ in Container.open(BytesReader(data), [KEY], trusted=TRUSTED).secrets():
        pass


def open_bundle(data: bytes) -> None:
    check_objects(BytesReader(data), read_index(BytesReader(data)))


def verdict_of_container(offset: int, altered: bytes) -> str:
    if 8 <= offset < 16:
        return "UnsupportedVersion"
    lengths = len(altered) - TRAILER.size
    if lengths <= offset < lengths + 12:
        directory, index, envelope, _, _ = TRAILER.unpack(altered[lengths:])
        room = lengths - 96 - HEADER.size
        return "Malformed" if directory + index + envelope > room else "Tampered"
    return "Tampered"


def verdict_of_bundle(offset: int, altered: bytes) -> str:
    if 8 <= offset < HEAD.size:
        return "UnsupportedVersion"
    trailer = len(altered) - BUNDLE_TRAILER.size
    if trailer <= offset < trailer + 4:
        length = BUNDLE_TRAILER.unpack(altered[trailer:])[0]
        return "Malformed" if length > trailer - HEAD.size else "Tampered"
    return "Tampered"


def verdict_of_document(offset: int, altered: bytes) -> str:
    at = altered.find(b'",\n')
    is_digit = altered[at - 1 : at].isdigit() and altered[:at].startswith(b'{"format":"strongroom-')
    return "UnsupportedVersion" if offset == at - 1 and is_digit else "Tampered"


@every_byte
def test_every_changed_byte_of_a_container_is_refused_for_what_it_is(changes: Changes) -> None:
    assert surprises_of_changes(open_container, changes(CONTAINER), verdict_of_container) == []


@every_byte
def test_every_changed_byte_of_a_container_is_seen_without_any_key(changes: Changes) -> None:
    def keyless(data: bytes) -> None:
        scrub(BytesReader(data))

    assert surprises_of_changes(keyless, changes(CONTAINER), verdict_of_container) == []


def test_every_cut_of_a_container_is_called_truncated() -> None:
    assert surprises_of_cuts(open_container, CONTAINER) == []


@every_byte
def test_every_changed_byte_of_a_manifest_is_refused_for_what_it_is(changes: Changes) -> None:
    def read(data: bytes) -> None:
        parse_manifest(data, trusted=TRUSTED)

    assert surprises_of_changes(read, changes(MANIFEST), verdict_of_document) == []


@every_byte
def test_every_changed_byte_of_a_ledger_head_is_refused_for_what_it_is(changes: Changes) -> None:
    def read(data: bytes) -> None:
        LEDGER.parse(data, trusted=TRUSTED)

    assert surprises_of_changes(read, changes(LEDGER_HEAD), verdict_of_document) == []


def test_every_cut_of_a_ledger_head_is_called_truncated() -> None:
    assert surprises_of_cuts(lambda data: LEDGER.parse(data, trusted=TRUSTED), LEDGER_HEAD) == []


@every_byte
def test_every_changed_byte_of_a_mark_is_refused_for_what_it_is(changes: Changes) -> None:
    def read(data: bytes) -> None:
        QUARANTINE.open(data, trusted=TRUSTED)

    assert surprises_of_changes(read, changes(MARK), verdict_of_document) == []


def test_every_cut_of_a_mark_is_called_truncated() -> None:
    assert surprises_of_cuts(lambda data: QUARANTINE.open(data, trusted=TRUSTED), MARK) == []


def test_every_cut_of_a_manifest_is_called_truncated() -> None:
    assert surprises_of_cuts(lambda data: parse_manifest(data, trusted=TRUSTED), MANIFEST) == []


@every_byte
def test_every_changed_byte_of_a_detached_envelope_is_refused_for_what_it_is(changes: Changes) -> None:
    def read(data: bytes) -> None:
        open_detached(data, trusted=TRUSTED)

    assert surprises_of_changes(read, changes(ENVELOPE), verdict_of_document) == []


def test_every_cut_of_a_detached_envelope_is_called_truncated() -> None:
    assert surprises_of_cuts(lambda data: open_detached(data, trusted=TRUSTED).record, ENVELOPE) == []


@every_byte
def test_every_changed_byte_of_a_metadata_document_is_refused_for_what_it_is(changes: Changes) -> None:
    def read(data: bytes) -> None:
        check_document(BytesReader(data))

    assert surprises_of_changes(read, changes(DOCUMENT), verdict_of_document) == []


def test_every_cut_of_a_metadata_document_is_called_truncated() -> None:
    assert surprises_of_cuts(lambda data: check_document(BytesReader(data)), DOCUMENT) == []


@every_byte
def test_every_changed_byte_of_a_backup_file_is_refused_for_what_it_is(changes: Changes) -> None:
    assert surprises_of_changes(open_bundle, changes(BUNDLE), verdict_of_bundle) == []


def test_every_cut_of_a_backup_file_is_called_truncated() -> None:
    assert surprises_of_cuts(open_bundle, BUNDLE) == []
