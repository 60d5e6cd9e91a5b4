# ruff: noqa: E501  # lines are as long as the servers write them
"""Lines as the servers write them, with only what a test is about changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

BACKUP = "20261128T002426Z-daily-0a1b2c"
CONTAINER = f"containers/{BACKUP}/{'ab' * 32}"
THIEF = "arn:aws:iam::123456789012:user/thief"
ROLE = "arn:aws:sts::123456789012:assumed-role/strongroom-worker/i-0123"


def s3_line(at: float, *, key: str = CONTAINER, who: str = THIEF, bucket: str = "acme-eu", how: str = "REST.GET.OBJECT",
            status: int = 200, origin: str = "203.0.113.9") -> bytes:  # fmt: skip
    """A line of an S3 server access log, as the AWS documentation shows one."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return (
        f"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be {bucket} [{moment}] {origin} {who} "
        f'3E57427F3EXAMPLE {how} {key} "GET /acme-eu/{key} HTTP/1.1" {status} - 2662992 3462992 70 10 "-" '
        f'"S3Console/0.4 \\"quoted\\"" - s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234='
        f" SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader acme-eu.s3.eu-central-1.amazonaws.com TLSV1.2 - -\n"
    ).encode()


def trail_record(
    at: float, name: str = "GetObject", *, source: str = "s3", who: str = THIEF, **more: Any
) -> Any:
    """An event of CloudTrail."""
    return {
        "eventVersion": "1.09",
        "userIdentity": {"type": "IAMUser", "principalId": "AIDA", "arn": who, "accountId": "123456789012"},
        "eventTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "203.0.113.9",
        "requestParameters": {"bucketName": "acme-eu", "key": CONTAINER},
        "responseElements": None,
        "eventCategory": "Data",
    } | more


def trail(*records: Any) -> bytes:
    """A file of CloudTrail."""
    return json.dumps({"Records": records}).encode()


def azure_line(at: float, how: str = "GetBlob", *, status: int = 200) -> bytes:
    """A line of a storage account's resource log."""
    return json.dumps({
        "time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.1234567Z"),
        "resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acme/blobServices/default",
        "category": "StorageRead",
        "operationName": how,
        "statusCode": status,
        "callerIpAddress": "203.0.113.9:51234",
        "identity": {"type": "OAuth", "tokenHash": "AB", "requester": {"upn": "thief@acme.example", "objectId": "o"}},
        "uri": f"https://acme.blob.core.windows.net:443/strongroom/{CONTAINER}?sv=2025",
    }).encode() + b"\n"  # fmt: skip


def vault_line(
    at: float, path: str, how: str = "update", *, kind: str = "response", error: str = ""
) -> bytes:
    """A line of an audit file."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f123Z")
    return json.dumps({
        "time": moment, "type": kind, "error": error,
        "auth": {"display_name": "approle", "entity_id": "e", "policies": ["default"], "metadata": {"role_name": "r"}},
        "request": {"id": "7b", "operation": how, "path": path, "remote_address": "203.0.113.9",
                    "data": {"ciphertext": "hmac-sha256:ab"}},
    }).encode() + b"\n"  # fmt: skip
