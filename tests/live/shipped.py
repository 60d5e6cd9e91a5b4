"""The policies and settings under ``ops/aws``, filled in the way its README says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process import ROOT

OPS = ROOT / "ops" / "aws"
ACCOUNT = "000000000000"
KEY = "arn:aws:kms:eu-central-1:000000000000:key/0123"


def text_of(name: str, bucket: str) -> str:
    """Return a shipped file with its words filled in."""
    text = (OPS / name).read_text(encoding="utf-8")
    for word, value in {
        "STRONGROOM_BUCKET": bucket,
        "STRONGROOM_ACCOUNT": ACCOUNT,
        "STRONGROOM_KMS_KEY": KEY,
    }.items():
        text = text.replace(word, value)
    return text


def shipped(name: str, bucket: str) -> Any:
    """Return a shipped file as a document."""
    return json.loads(text_of(name, bucket))


def names() -> list[str]:
    """Return the names of the files that are about S3."""
    found = [*OPS.glob("s3-*.json"), OPS / "kms-use.json", *OPS.glob("bucket/*.json")]
    return sorted(str(path.relative_to(OPS)) for path in found)


def actions_of(policy: Any) -> list[str]:
    """Return all actions of a policy, in order."""
    return [action for statement in policy["Statement"] for action in statement["Action"]]


def without(policy: Any, action: str) -> Any:
    """Return a policy that lacks one action."""
    return {
        **policy,
        "Statement": [
            {**statement, "Action": kept}
            for statement in policy["Statement"]
            if (kept := [one for one in statement["Action"] if one != action])
        ],
    }


def apply_settings(client: Any, bucket: str, read: Callable[[str, str], Any] = shipped) -> None:
    """Set a bucket up as the README does; it was made with Object Lock."""
    client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration=read("bucket/versioning.json", bucket)
    )
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration=read("bucket/object-lock.json", bucket)
    )
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration=read("bucket/lifecycle.json", bucket)
    )
    client.put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration=read("bucket/encryption.json", bucket)
    )
    client.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls=read("bucket/ownership.json", bucket)
    )
    client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=read("bucket/public-access.json", bucket)
    )
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(read("bucket/policy.json", bucket)))


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path
