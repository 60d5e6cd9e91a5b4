"""Where backups lie."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.config.base import KIB, Section
from strongroom.config.fields import AbsolutePath, Size, Text, Url
from strongroom.config.shared import (
    TARGET_KIND,
    AwsCredentialsFile,
    AwsEndpoint,
    AwsProfile,
    CaFile,
    LongestLock,
    Prefix,
    Provider,
    Region,
    ShortLock,
    VaultName,
)


class DirectoryTargetSettings(Section, frozen=True, kw_only=True):
    """A directory: a local disk, a mounted share, a disk that lies in a safe."""

    kind: Annotated[Literal["directory"], TARGET_KIND]
    path: Annotated[
        AbsolutePath, Meta(description="The directory, its own and nobody else's.", examples=["/mnt/eu"])
    ]
    region: Annotated[Region, Meta(examples=["eu-west"])]
    provider: Annotated[Provider, Meta(examples=["nas-frankfurt"])] = "directory"
    create: Annotated[
        bool,
        Meta(
            description="Whether to create and mark the directory if it is missing. Leave it false for a "
            "disk that may be absent: else backups go to the empty mount point.",
            examples=[True],
        ),
    ] = False


class S3TargetSettings(Section, frozen=True, kw_only=True):
    """A bucket of Amazon S3, or of anything that speaks its protocol."""

    kind: Annotated[Literal["s3"], TARGET_KIND]
    bucket: Annotated[Text, Meta(description="The bucket.", examples=["acme-strongroom-eu"])]
    prefix: Prefix = ""
    region: Annotated[
        Text,
        Meta(
            description="Where it lies: the bucket's region. A policy may ask for copies in several.",
            examples=["eu-central-1"],
        ),
    ]
    provider: Annotated[Provider, Meta(examples=["ceph"])] = "aws"
    endpoint_url: Annotated[AwsEndpoint, Meta(examples=["https://s3.example.org"])] = None
    profile: Annotated[AwsProfile, Meta(examples=["backup-writer"])] = None
    credentials_file: Annotated[AwsCredentialsFile, Meta(examples=["/run/secrets/s3-eu"])] = None
    ca_file: Annotated[
        CaFile, Meta(examples=["/etc/strongroom/s3-ca.pem"], extra={"default": "those of the SDK"})
    ] = None
    bucket_owner: Annotated[
        Text | None,
        Meta(
            description="Account that must own the bucket: a bucket that somebody else made is refused.",
            examples=["123456789012"],
        ),
    ] = None
    encryption: Annotated[
        Literal["bucket", "AES256", "aws:kms"],
        Meta(
            description="Encryption at rest to ask for, on top of the seal: the bucket's own default, the "
            "service's keys, or `kms_key`.",
            examples=["aws:kms"],
        ),
    ] = "bucket"
    kms_key: Annotated[
        Text | None,
        Meta(description="Key for `aws:kms`.", examples=["arn:aws:kms:eu-central-1:123456789012:key/0123"]),
    ] = None
    lock: Annotated[
        Literal["none", "governance", "compliance"],
        Meta(
            description="Object Lock: a short lock at the upload, extended to the policy's "
            "`minimum_retention_days` once the backup is whole. Under `compliance` nobody can shorten it.",
            examples=["governance"],
        ),
    ] = "none"
    lock_days: ShortLock = 2
    max_lock_days: LongestLock = 3650


class AzureTargetSettings(Section, frozen=True, kw_only=True):
    """A container of Azure Blob Storage."""

    kind: Annotated[Literal["azure"], TARGET_KIND]
    account_url: Annotated[
        Url,
        Meta(
            description="The account's blob endpoint.",
            examples=["https://acmestrongroom.blob.core.windows.net"],
        ),
    ]
    container: Annotated[Text, Meta(description="The container; it must be there.", examples=["strongroom"])]
    prefix: Prefix = ""
    region: Annotated[Region, Meta(examples=["westeurope"])]
    provider: Annotated[Provider, Meta(examples=["azure"])] = "azure"
    credential_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds a connection string, an account key or a SAS token and nothing "
            "else.",
            examples=["/run/secrets/azure-backup"],
            extra={"default": "the default chain of `azure-identity`, if that is installed"},
        ),
    ] = None
    api_version: Annotated[
        Text | None,
        Meta(
            description="Version of the service's interface, for appliances that know only an older one.",
            examples=["2025-11-05"],
            extra={"default": "the library's"},
        ),
    ] = None
    ca_file: Annotated[
        CaFile, Meta(examples=["/etc/strongroom/azure-ca.pem"], extra={"default": "those of the library"})
    ] = None
    lock: Annotated[
        Literal["none", "unlocked", "locked"],
        Meta(
            description="Immutability policy: a short one at the upload, extended to the policy's "
            "`minimum_retention_days` once the backup is whole. Nobody can shorten a `locked` one.",
            examples=["locked"],
        ),
    ] = "none"
    lock_days: ShortLock = 2
    max_lock_days: LongestLock = 3650


class VaultTargetSettings(Section, frozen=True, kw_only=True):
    """A KV version 2 mount of a Vault or OpenBao server, in chunks below its entry limit."""

    kind: Annotated[Literal["vault"], TARGET_KIND]
    vault: Annotated[VaultName, Meta(examples=["backup"])]
    mount: Annotated[
        Text,
        Meta(
            description="The KV version 2 mount, its own and nobody else's. A source never reads it.",
            examples=["strongroom"],
        ),
    ]
    prefix: Prefix = ""
    region: Annotated[Region, Meta(examples=["eu-central"])]
    provider: Annotated[Provider, Meta(examples=["vault"])] = "vault"
    transit_key: Annotated[
        Text | None,
        Meta(
            description="Key of the transit engine, as `key` or `mount/key`, that each chunk is encrypted "
            "under too, on top of the seal. What it encrypted needs that engine to be read "
            "again.",
            examples=["strongroom"],
            extra={"default": "no second layer"},
        ),
    ] = None
    chunk_bytes: Annotated[
        Size,
        Meta(
            ge=4 * KIB,
            le=700 * KIB,
            description="How much of an object goes into one entry. The server's storage limits an entry to "
            "1 MiB (Raft) or 512 KiB (Consul), and text takes a third more.",
            examples=["512KiB"],
        ),
    ] = 256 * KIB


TargetSettings = DirectoryTargetSettings | S3TargetSettings | AzureTargetSettings | VaultTargetSettings
