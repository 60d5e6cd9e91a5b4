"""S3, and what speaks its protocol, as a target. boto3 is loaded on first use, not on import."""

from __future__ import annotations

from strongroom.targets.s3.client import LockMode, ObjectLock, S3Options
from strongroom.targets.s3.target import S3Target

__all__ = ["LockMode", "ObjectLock", "S3Options", "S3Target"]
