"""Where backups lie."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from strongroom.config.base import KIB, Section
from strongroom.config.fields import AbsolutePath, Name, Size, Text, Url


class DirectoryTargetSettings(Section):
    """A directory: a local disk, a mounted share, a disk that lies in a safe."""

    kind: Literal["directory"] = Field(description="Which kind of target this is.", examples=["directory"])
    path: AbsolutePath = Field(description="The directory, its own and nobody else's.", examples=["/mnt/eu"])
    region: Text = Field(
        description="Where it lies. A policy may ask for copies in several regions.", examples=["eu-west"]
    )
    provider: Text = Field(default="directory", description="Who runs it.", examples=["nas-frankfurt"])
    create: bool = Field(
        default=False,
        description="Whether to create and mark the directory if it is missing. Leave it false for a "
        "disk that may be absent: else backups go to the empty mount point.",
        examples=[True],
    )


class S3TargetSettings(Section):
    """A bucket of Amazon S3, or of anything that speaks its protocol."""

    kind: Literal["s3"] = Field(description="Which kind of target this is.", examples=["s3"])
    bucket: Text = Field(description="The bucket.", examples=["acme-strongroom-eu"])
    prefix: str = Field(default="", description="What every object's name begins with.", examples=["prod"])
    region: Text = Field(
        description="Where it lies: the bucket's region. A policy may ask for copies in several.",
        examples=["eu-central-1"],
    )
    provider: Text = Field(default="aws", description="Who runs it.", examples=["ceph"])
    endpoint_url: Url | None = Field(
        default=None,
        description="Address of the service, if it is not Amazon's for the region.",
        examples=["https://s3.example.org"],
    )
    profile: Text | None = Field(
        default=None,
        description="Profile of the AWS configuration to use.",
        examples=["backup-writer"],
        json_schema_extra={"default": "what the AWS SDK finds: environment, profile, instance role"},
    )
    credentials_file: AbsolutePath | None = Field(
        default=None,
        description="A credentials file in the AWS SDK's format, for this target alone.",
        examples=["/run/secrets/s3-eu"],
    )
    ca_file: AbsolutePath | None = Field(
        default=None,
        description="Certificates (PEM) that may sign the server's.",
        examples=["/etc/strongroom/s3-ca.pem"],
        json_schema_extra={"default": "those of the SDK"},
    )
    bucket_owner: Text | None = Field(
        default=None,
        description="Account that must own the bucket: a bucket that somebody else made is refused.",
        examples=["123456789012"],
    )
    encryption: Literal["bucket", "AES256", "aws:kms"] = Field(
        default="bucket",
        description="Encryption at rest to ask for, on top of the seal: the bucket's own default, the "
        "service's keys, or `kms_key`.",
        examples=["aws:kms"],
    )
    kms_key: Text | None = Field(
        default=None,
        description="Key for `aws:kms`.",
        examples=["arn:aws:kms:eu-central-1:123456789012:key/0123"],
    )
    lock: Literal["none", "governance", "compliance"] = Field(
        default="none",
        description="Object Lock: a short lock at the upload, extended to the policy's `keep_days` once the "
        "backup is whole. Under `compliance` nobody can shorten it.",
        examples=["governance"],
    )
    lock_days: int = Field(
        default=2, ge=1, le=30, description="How long the short lock lasts, in days.", examples=[3]
    )
    max_lock_days: int = Field(
        default=3650,
        ge=1,
        le=36_500,
        description="The longest lock that is ever asked for, in days.",
        examples=[800],
    )


class AzureTargetSettings(Section):
    """A container of Azure Blob Storage."""

    kind: Literal["azure"] = Field(description="Which kind of target this is.", examples=["azure"])
    account_url: Url = Field(
        description="The account's blob endpoint.", examples=["https://acmestrongroom.blob.core.windows.net"]
    )
    container: Text = Field(description="The container; it must be there.", examples=["strongroom"])
    prefix: str = Field(default="", description="What every blob's name begins with.", examples=["prod"])
    region: Text = Field(
        description="Where it lies. A policy may ask for copies in several regions.", examples=["westeurope"]
    )
    provider: Text = Field(default="azure", description="Who runs it.", examples=["azure"])
    credential_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds a connection string, an account key or a SAS token and nothing else.",
        examples=["/run/secrets/azure-backup"],
        json_schema_extra={"default": "the default chain of `azure-identity`, if that is installed"},
    )
    api_version: Text | None = Field(
        default=None,
        description="Version of the service's interface, for appliances that know only an older one.",
        examples=["2025-11-05"],
        json_schema_extra={"default": "the library's"},
    )
    ca_file: AbsolutePath | None = Field(
        default=None,
        description="Certificates (PEM) that may sign the server's.",
        examples=["/etc/strongroom/azure-ca.pem"],
        json_schema_extra={"default": "those of the library"},
    )
    lock: Literal["none", "unlocked", "locked"] = Field(
        default="none",
        description="Immutability policy: a short one at the upload, extended to the policy's `keep_days` "
        "once the backup is whole. Nobody can shorten a `locked` one.",
        examples=["locked"],
    )
    lock_days: int = Field(
        default=2, ge=1, le=30, description="How long the short lock lasts, in days.", examples=[3]
    )
    max_lock_days: int = Field(
        default=3650,
        ge=1,
        le=36_500,
        description="The longest lock that is ever asked for, in days.",
        examples=[800],
    )


class VaultTargetSettings(Section):
    """A KV version 2 mount of a Vault or OpenBao server, in chunks below its entry limit."""

    kind: Literal["vault"] = Field(description="Which kind of target this is.", examples=["vault"])
    vault: Name = Field(description="The server, a name under `vaults`.", examples=["backup"])
    mount: Text = Field(
        description="The KV version 2 mount, its own and nobody else's. A source never reads it.",
        examples=["strongroom"],
    )
    prefix: str = Field(default="", description="What every path begins with.", examples=["prod"])
    region: Text = Field(
        description="Where it lies. A policy may ask for copies in several regions.", examples=["eu-central"]
    )
    provider: Text = Field(default="vault", description="Who runs it.", examples=["vault"])
    transit_key: Text | None = Field(
        default=None,
        description="Key of the transit engine, as `key` or `mount/key`, that each chunk is encrypted under "
        "too, on top of the seal. What it encrypted needs that engine to be read again.",
        examples=["strongroom"],
        json_schema_extra={"default": "no second layer"},
    )
    chunk_bytes: Size = Field(
        default=256 * KIB,
        ge=4 * KIB,
        le=700 * KIB,
        description="How much of an object goes into one entry. The server's storage limits an entry to "
        "1 MiB (Raft) or 512 KiB (Consul), and text takes a third more.",
        examples=["512KiB"],
    )


TargetSettings = Annotated[
    DirectoryTargetSettings | S3TargetSettings | AzureTargetSettings | VaultTargetSettings,
    Field(discriminator="kind"),
]
