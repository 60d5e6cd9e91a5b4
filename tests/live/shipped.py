"""The policies and settings of AWS as ``cluster rules aws`` prints them, for a test's bucket or key."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from strongroom.config import S3TargetSettings, Settings, load_settings
from strongroom.operations.rights.aws_policies import aws_policies, bucket_settings

ACCOUNT = "000000000000"
KEY = "arn:aws:kms:eu-central-1:000000000000:key/0123"
ROLES = ("transfer", "control", "prune", "recover", "verify", "read-backups", "retention")
"""Whose policies are about S3."""
_S3 = """
state_dir = "/nowhere"
[targets.main]
kind = "s3"
region = "eu-central-1"
lock = "governance"
bucket = "{bucket}"
bucket_owner = "{account}"
"""
_KMS = """
state_dir = "/nowhere"
[keys.main]
kind = "kms"
region = "eu-central-1"
key_id = "{key}"
"""


@cache
def configured(text: str) -> Settings:
    """Return the settings of a text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "strongroom.toml"
        file.write_text(text)
        return load_settings({"HOME": folder}, path=file)


def shipped(role: str, bucket: str) -> Any:
    """Return the policy of a role for a bucket."""
    settings = configured(_S3.format(bucket=bucket, account=ACCOUNT))
    return json.loads(json.dumps(aws_policies(settings, [role])[role]))


def for_key(role: str, key: str = KEY) -> Any:
    """Return the policy of a role for a KMS key that backups are sealed to."""
    return json.loads(json.dumps(aws_policies(configured(_KMS.format(key=key)), [role])[role]))


def setting(name: str, bucket: str) -> Any:
    """Return how a bucket is set up, by what of it."""
    kms = f'encryption = "aws:kms"\nkms_key = "{KEY}"\n'
    target = configured(_S3.format(bucket=bucket, account=ACCOUNT) + kms).targets["main"]
    assert isinstance(target, S3TargetSettings)
    return json.loads(json.dumps(bucket_settings(target)[name]))


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


def apply_settings(client: Any, bucket: str) -> None:
    """Set a bucket up as the README does; it was made with Object Lock."""
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=setting("versioning", bucket))
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration=setting("object-lock", bucket)
    )
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration=setting("lifecycle", bucket)
    )
    client.put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration=setting("encryption", bucket)
    )
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=setting("ownership", bucket))
    client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=setting("public-access", bucket)
    )
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(setting("policy", bucket)))


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path
