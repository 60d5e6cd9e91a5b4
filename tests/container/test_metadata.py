"""The plain metadata document, and telling kinds of files apart."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from strongroom.container.errors import Malformed
from strongroom.container.kinds import HEAD, FileKind, sniff
from strongroom.container.manifest import sign_manifest
from strongroom.container.metadata import check_document, read_document, write_document
from strongroom.container.ranges import BytesReader
from strongroom.container.wrapping import WrappingKey, write_detached
from strongroom.model import RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from tests.container.parts import (
    CONTROL,
    DOCUMENT_ABOUT,
    KEY,
    RECOVER,
    document,
    manifest,
    packed,
    sealed,
    secret,
)

FULL = Secret(
    name="prod/db",
    type="password",
    versions=(
        SecretVersion(number=1, state=VersionState.DESTROYED, created_at="2025-01-01T00:00:00Z"),
        SecretVersion(number=5, value=SecretBytes(b"CANARY-value")),
    ),
    tags={"team": "x", "area": "y"},
    created_at="2025-01-01T00:00:00Z",
    updated_at="2025-01-02T00:00:00Z",
    expires_at="2026-01-01T00:00:00Z",
    rotation=RotationSchedule(days=90, enabled=False),
    metadata={"note": "CANARY-note"},
)


def test_a_document_is_json_with_the_allowed_fields_alone() -> None:
    content = json.loads(document([FULL]))
    assert content["secrets"] == [
        {
            "name": "prod/db",
            "type": "password",
            "versions": [
                {"number": 1, "state": "destroyed", "created_at": "2025-01-01T00:00:00Z"},
                {"number": 5},
            ],
            "tags": {"area": "y", "team": "x"},
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-02T00:00:00Z",
            "expires_at": "2026-01-01T00:00:00Z",
            "rotation": {"days": 90, "enabled": False},
        }
    ]
    assert content["about"]["backup_id"] == DOCUMENT_ABOUT.backup_id


def test_no_value_and_no_free_form_metadata_gets_into_a_document() -> None:
    assert b"CANARY" not in document([FULL])


@pytest.mark.parametrize("count", [0, 1, 2, 3000])
def test_what_was_written_is_read_back_and_counted(count: int) -> None:
    secrets = [secret(f"s{n}") for n in range(count)]
    data = document(secrets)
    written = check_document(BytesReader(data))
    assert (written.secrets, written.versions, written.size) == (count, count, len(data))
    assert [s.name for s in read_document(BytesReader(data))] == [s.name for s in secrets]
    assert written.about == DOCUMENT_ABOUT
    assert all(s.current.value is None for s in read_document(BytesReader(data)))


def test_reading_a_document_takes_the_same_memory_however_long_it_is() -> None:
    def peak(count: int) -> int:
        reader = BytesReader(document([secret(f"a-rather-long-name/{n}" * 5) for n in range(count)]))
        tracemalloc.start()
        check_document(reader)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(60_000) < 1.3 * peak(20_000)


def test_bytes_after_a_document_are_called_malformed() -> None:
    with pytest.raises(Malformed, match="follows"):
        check_document(BytesReader(document([]) + b"\n"))


def test_writing_says_what_was_written() -> None:
    parts: list[bytes] = []
    written = write_document(parts.append, [FULL], about=DOCUMENT_ABOUT)
    assert written == check_document(BytesReader(b"".join(parts)))


def test_every_kind_of_file_is_told_by_its_first_bytes() -> None:
    files = {
        FileKind.CONTAINER: sealed([secret("a")])[0],
        FileKind.MANIFEST: sign_manifest(manifest(), CONTROL),
        FileKind.ENVELOPE: write_detached(WrappingKey.create([KEY]).record, RECOVER),
        FileKind.METADATA: document([]),
        FileKind.BUNDLE: packed({}),
        FileKind.LEGACY: bytes(16) + b"gAAAAAB",
        FileKind.UNKNOWN: b"%PDF-1.7",
    }
    assert {kind: sniff(data[:HEAD]) for kind, data in files.items()} == {kind: kind for kind in files}
    assert sniff(b"") is FileKind.BUNDLE  # the parser calls it truncated
