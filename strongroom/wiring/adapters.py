"""Sources and targets, made from their settings. Nothing is connected before its first use."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from strongroom.config import (
    AwsSource,
    AzureTargetSettings,
    DirectoryTargetSettings,
    FilesSource,
    LocalSource,
    RaftSource,
    S3TargetSettings,
    Settings,
    VaultSource,
    VaultTargetSettings,
)
from strongroom.config.failure_domains import own_mounts
from strongroom.errors import TargetError
from strongroom.keys import clusterkeys
from strongroom.sources import Destination, Source
from strongroom.sources.files import open_files
from strongroom.sources.local import LocalStore
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import resilient

READ_ONLY = (FilesSource, RaftSource)
"""Settings of sources that a restore cannot write into."""


def stage(path: Path, *, prepare: bool = True) -> DirectoryTarget:
    """Return the directory where sealed containers wait for their upload."""
    made = DirectoryTarget(path, name="stage", region="local")
    if prepare:
        made.prepare()
    return made


# -- sources -------------------------------------------------------------------


def source(name: str, settings: Settings) -> Source:
    """Return a configured source."""
    match settings.sources[name]:
        case FilesSource() as found:
            return open_files(found.path, found.format, name=name)
        case RaftSource() as found:
            return _raft(name, found, settings)
        case _:
            return destination(name, settings)


def destinations(settings: Settings) -> Mapping[str, Destination]:
    """Return the sources that can be restored into. Files cannot; a snapshot goes its own way."""
    return {
        name: destination(name, settings)
        for name, found in settings.sources.items()
        if not isinstance(found, READ_ONLY)
    }


def destination(name: str, settings: Settings) -> Destination:
    """Return a configured source that can be restored into."""
    match settings.sources[name]:
        case LocalSource() as found:
            return LocalStore(found.path or settings.state_dir, name=name)
        case VaultSource() as found:
            return _vault_source(name, found, settings)
        case AwsSource() as found:
            return _aws_source(name, found, settings)
        case _:
            raise AssertionError(f"sources.{name} cannot be restored into")


def _vault_source(name: str, found: VaultSource, settings: Settings) -> Destination:
    from strongroom.sources.vault import VaultSource as Reader  # noqa: PLC0415 - hvac, half a second
    from strongroom.wiring.vaults import vault  # noqa: PLC0415

    return Reader(
        vault(found.vault, settings),
        name=name,
        mounts=found.mounts,
        exclude_mounts=found.exclude_mounts,
        leave_out=own_mounts(settings, name),
        system=found.system,
    )


def _raft(name: str, raft_source: RaftSource, settings: Settings) -> Source:
    from strongroom.sources.raft import RaftSource as Reader  # noqa: PLC0415 - hvac
    from strongroom.wiring.vaults import vault  # noqa: PLC0415

    return Reader(
        vault(raft_source.vault, settings),
        name=name,
        spool=stage(settings.stage_path),
        key=clusterkeys.load_or_create(settings.state_dir / "keys", "work"),
    )


def _aws_source(name: str, aws_source: AwsSource, settings: Settings) -> Destination:
    from strongroom.sources.aws import AwsOptions  # noqa: PLC0415 - boto3, half a second
    from strongroom.sources.aws import AwsSource as Reader  # noqa: PLC0415

    options = AwsOptions(
        region=aws_source.region,
        endpoint_url=aws_source.endpoint_url,
        profile=aws_source.profile,
        credentials_file=aws_source.credentials_file,
        ca_file=aws_source.ca_file,
        requests_per_second=aws_source.requests_per_second,
        pace_file=settings.state_dir / f"{name}.pace",
        kms_key_id=aws_source.kms_key_id,
        resource_policies=aws_source.resource_policies,
        rearm_rotation=aws_source.rearm_rotation,
    )
    return Reader(options, name=name)


# -- targets -------------------------------------------------------------------


def target(name: str, settings: Settings, *, prepare: bool) -> Target:
    """Return a configured target, with patience and a circuit breaker where a network is between.

    Args:
        prepare: whether this process may create a directory that is to be created.
    """
    match settings.targets[name]:
        case DirectoryTargetSettings() as found:
            return _directory(name, found, prepare=prepare)
        case found:
            return resilient(_remote(name, found, settings))


def _directory(name: str, settings: DirectoryTargetSettings, *, prepare: bool) -> DirectoryTarget:
    made = DirectoryTarget(settings.path, name=name, region=settings.region, provider=settings.provider)
    if settings.create and prepare:
        # One target that is full or read-only must not keep this process from the others;
        # its own calls say what is wrong with it.
        with suppress(TargetError):
            made.prepare()
    return made


def _remote(
    name: str, found: S3TargetSettings | AzureTargetSettings | VaultTargetSettings, settings: Settings
) -> Target:
    match found:
        case S3TargetSettings():
            return _s3(name, found)
        case AzureTargetSettings():
            return _azure(name, found)
        case VaultTargetSettings():
            return _vault_target(name, found, settings)


def _s3(name: str, settings: S3TargetSettings) -> Target:
    from strongroom.targets.s3 import Lock, LockMode, S3Options, S3Target  # noqa: PLC0415 - boto3

    lock = None
    if settings.lock != "none":
        lock = Lock(mode=LockMode(settings.lock), days=settings.lock_days, max_days=settings.max_lock_days)
    options = S3Options(
        bucket=settings.bucket,
        region=settings.region,
        prefix=settings.prefix,
        endpoint_url=settings.endpoint_url,
        profile=settings.profile,
        credentials_file=settings.credentials_file,
        expected_bucket_owner=settings.bucket_owner,
        sse=None if settings.encryption == "bucket" else settings.encryption,
        kms_key_id=settings.kms_key,
        lock=lock,
        ca_bundle=settings.ca_file,
    )
    return S3Target(options, name=name, region=settings.region, provider=settings.provider)


def _azure(name: str, settings: AzureTargetSettings) -> Target:
    from strongroom.targets.azure import Account, AzureTarget, Lock  # noqa: PLC0415 - azure-storage-blob

    lock = None
    if settings.lock != "none":
        lock = Lock(
            days=settings.lock_days, most_days=settings.max_lock_days, final=settings.lock == "locked"
        )
    account = Account(
        url=settings.account_url,
        container=settings.container,
        credential_file=settings.credential_file,
        api_version=settings.api_version,
        ca_file=settings.ca_file,
    )
    return AzureTarget(
        account,
        name=name,
        region=settings.region,
        provider=settings.provider,
        prefix=settings.prefix,
        lock=lock,
    )


def _vault_target(name: str, found: VaultTargetSettings, settings: Settings) -> Target:
    from strongroom.targets.vault import VaultTarget  # noqa: PLC0415 - hvac
    from strongroom.wiring.vaults import vault  # noqa: PLC0415

    return VaultTarget(
        vault(found.vault, settings),
        name=name,
        mount=found.mount,
        prefix=found.prefix,
        region=found.region,
        provider=found.provider,
        chunk_bytes=found.chunk_bytes,
        transit=found.transit_key,
    )
