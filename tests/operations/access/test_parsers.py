"""The formats of access logs."""

from __future__ import annotations

import json

import pytest

from strongroom.operations.access.parsers import (
    FORMATS,
    LONGEST,
    Did,
    OddLine,
    Read,
    parse_azure,
    parse_cloudtrail,
    parse_s3,
    parse_vault,
)
from tests.operations.access.lines import (
    CONTAINER,
    THIEF,
    azure_line,
    s3_line,
    trail,
    trail_record,
    vault_line,
)

NOW = 1_795_824_000.0


def test_a_line_of_s3_says_who_read_what_when_and_from_where() -> None:
    (read,) = parse_s3(s3_line(NOW))
    assert read == Read(
        at=NOW,
        who=THIEF,
        origin="203.0.113.9",
        what=f"acme-eu/{CONTAINER}",
        did=Did.READ,
        how="REST.GET.OBJECT",
    )


@pytest.mark.parametrize(
    ("how", "did"),
    [
        ("REST.COPY.OBJECT_GET", Did.READ),
        ("REST.COPY.PART_GET", Did.READ),
        ("REST.PUT.BUCKETPOLICY", Did.CHANGED),
        ("REST.DELETE.PUBLIC_ACCESS_BLOCK", Did.CHANGED),
        ("REST.PUT.LOGGING_STATUS", Did.CHANGED),
    ],
)
def test_s3_tells_a_copy_within_it_and_a_change_of_permissions(how: str, did: Did) -> None:
    assert [one.did for one in parse_s3(s3_line(NOW, how=how))] == [did]


def test_looking_and_writing_in_s3_is_no_reading() -> None:
    for how in ("REST.HEAD.OBJECT", "REST.PUT.OBJECT", "REST.GET.BUCKET", "S3.EXPIRE.OBJECT"):
        assert list(parse_s3(s3_line(NOW, how=how))) == []


def test_a_name_of_s3_is_read_as_it_was_meant_and_a_refusal_as_one() -> None:
    (read,) = parse_s3(s3_line(NOW, key="a%2520b", status=403, who="-"))
    assert (read.what, read.did, read.who) == ("acme-eu/a b", Did.REFUSED, "anonymous")


def test_a_file_of_cloudtrail_tells_reads_keys_and_changes() -> None:
    arn = "arn:aws:kms:eu-central-1:123456789012:key/0123"
    content = trail(
        trail_record(NOW),
        trail_record(NOW, "Decrypt", source="kms", resources=[{"ARN": arn}], requestParameters=None),
        trail_record(NOW, "PutBucketPolicy", requestParameters={"bucketName": "acme-eu"}),
        trail_record(NOW, "ListObjects"),
        trail_record(NOW, errorCode="AccessDenied"),
        trail_record(NOW, "CopyObject", requestParameters={"x-amz-copy-source": f"/acme-eu/{CONTAINER}"}),
    )
    assert [(one.did, one.what) for one in parse_cloudtrail(content)] == [
        (Did.READ, f"acme-eu/{CONTAINER}"),
        (Did.OPENED, arn),
        (Did.CHANGED, "acme-eu"),
        (Did.REFUSED, f"acme-eu/{CONTAINER}"),
        (Did.READ, f"acme-eu/{CONTAINER}"),
    ]


def test_a_lock_that_is_extended_is_no_news_and_one_that_is_bypassed_or_lifted_is() -> None:
    given = {"bucketName": "acme-eu", "key": CONTAINER}
    extended = trail_record(NOW, "PutObjectRetention", requestParameters=given)
    bypassed = trail_record(
        NOW, "PutObjectRetention", requestParameters=given | {"x-amz-bypass-governance-retention": "true"}
    )
    lifted = trail_record(
        NOW, "PutObjectLegalHold", requestParameters=given | {"LegalHold": {"Status": "OFF"}}
    )
    assert list(parse_cloudtrail(trail(extended))) == []
    assert [one.did for one in parse_cloudtrail(trail(bypassed, lifted))] == [Did.UNLOCKED] * 2


def test_a_line_of_azure_says_who_read_what_from_where() -> None:
    (read,) = parse_azure(azure_line(NOW))
    assert (read.who, read.origin, read.what) == (
        "thief@acme.example", "203.0.113.9", f"acme/strongroom/{CONTAINER}",
    )  # fmt: skip
    assert [one.did for one in parse_azure(azure_line(NOW, "DeleteBlobImmutabilityPolicy"))] == [Did.UNLOCKED]
    assert [one.did for one in parse_azure(azure_line(NOW, status=403))] == [Did.REFUSED]


@pytest.mark.parametrize(
    ("path", "how", "did"),
    [
        ("transit/decrypt/backup", "update", [Did.OPENED]),
        ("transit/export/encryption-key/backup/1", "read", [Did.OPENED]),
        ("transit/encrypt/backup", "update", []),
        (f"strongroom/data/chunks/{CONTAINER}/.0/00000", "read", [Did.READ]),
        (f"strongroom/data/chunks/{CONTAINER}/.0/00000", "create", []),
        ("sys/policies/acl/backup", "update", [Did.CHANGED]),
        ("sys/audit/file", "delete", [Did.CHANGED]),
        ("transit/keys/backup/config", "update", [Did.CHANGED]),
        ("auth/token/lookup-self", "read", []),
    ],
)
def test_an_audit_file_tells_reads_keys_and_changes(path: str, how: str, did: list[Did]) -> None:
    assert [one.did for one in parse_vault(vault_line(NOW, path, how))] == did
    assert list(parse_vault(vault_line(NOW, path, how, kind="request"))) == []


def test_vault_says_who_was_refused() -> None:
    (read,) = parse_vault(
        vault_line(NOW, "transit/decrypt/backup", error="1 error occurred: * permission denied")
    )
    assert (read.did, read.who, read.origin) == (Did.REFUSED, "approle", "203.0.113.9")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n",
        b"{}\n",
        b"[" * 100_000,
        b"null\n",
        b'{"Records": [{}]}',
        b'{"time": 1}\n',
        b"a b c\n",
        b'"' * 9999,
    ],
)
def test_what_is_no_line_of_a_format_is_refused_as_one(form: str, line: bytes) -> None:
    with pytest.raises(OddLine):
        list(FORMATS[form].parse(line))


def test_a_hostile_name_is_cut_and_cannot_move_the_cursor_of_a_terminal() -> None:
    record = json.loads(vault_line(NOW, "transit/decrypt/backup"))
    record["auth"]["display_name"] = "\x1b[2J" + "x" * 5000
    (read,) = parse_vault(json.dumps(record).encode())
    assert "\x1b" not in read.who
    assert len(read.who) == LONGEST


def test_a_line_with_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(OddLine):
        list(parse_s3(s3_line(NOW).replace(b"/2026:", b"/none:")))
