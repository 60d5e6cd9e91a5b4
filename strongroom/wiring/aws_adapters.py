"""AWS as a source, and S3 as a target, made from their settings."""

from __future__ import annotations

from strongroom.config import AwsRotator, AwsSourceSettings, S3TargetSettings, Settings
from strongroom.sources import Destination
from strongroom.sources.aws import AwsOptions
from strongroom.sources.aws import AwsSource as Reader
from strongroom.targets import Target
from strongroom.targets.s3 import LockMode, ObjectLock, S3Options, S3Target


def aws_source(name: str, source: AwsSourceSettings, settings: Settings) -> Destination:
    """Return Secrets Manager and Parameter Store of a region as a source."""
    options = AwsOptions(
        region=source.region,
        endpoint_url=source.endpoint_url,
        profile=source.profile,
        credentials_file=source.credentials_file,
        ca_file=source.ca_file,
        requests_per_second=source.requests_per_second,
        pace_file=settings.state_dir / f"{name}.pace",
        kms_key_id=source.kms_key_id,
        resource_policies=source.resource_policies,
        rearm_rotation=source.rearm_rotation,
        rotates=any(
            isinstance(rotator, AwsRotator) and rotator.source in (None, name)
            for rotator in settings.rotators.values()
        ),
    )
    return Reader(options, name=name)


def s3_target(name: str, target: S3TargetSettings, settings: Settings) -> Target:
    """Return a bucket of S3."""
    lock = None
    if target.lock != "none":
        lock = ObjectLock(mode=LockMode(target.lock), days=target.lock_days, max_days=target.max_lock_days)
    options = S3Options(
        bucket=target.bucket,
        region=target.region,
        prefix=target.prefix,
        endpoint_url=target.endpoint_url,
        profile=target.profile,
        credentials_file=target.credentials_file,
        expected_bucket_owner=target.bucket_owner,
        sse=None if target.encryption == "bucket" else target.encryption,
        kms_key_id=target.kms_key,
        lock=lock,
        ca_bundle=target.ca_file,
    )
    return S3Target(options, name=name, region=target.region, provider=target.provider)
