"""Where backups lie, and the Vault servers that hold some of them."""

# Annotations are no text here: see strongroom.config.schema.
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta

from strongroom.config.kinds import Misfit, TargetKind, ToType, Vaults, in_log, said_besides, server, spelt
from strongroom.config.schema import KIB
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
from strongroom.config.values import AbsolutePath, Size, Text, Url


class DirectoryTargetSettings(TargetKind, frozen=True, kw_only=True):
    """A directory: a local disk, a mounted share, a disk that lies in a safe."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.adapters:directory_target"
    GRANTED: ClassVar[bool] = False
    REMOTE: ClassVar[bool] = False
    SPELT: ClassVar[str] = "REGION=/DIR"
    EXAMPLE: ClassVar[str] = """\
#[targets.disk]
#kind = "directory"
#path = "/mnt/backup-eu-west"
#region = "eu-west"

#[targets.offline]              # a disk that is mounted once a month
#kind = "directory"
#path = "/mnt/backup-safe"
#region = "safe"
"""

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

    @property
    def folder(self) -> Path | None:
        return self.path

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> dict[str, str] | None:
        return {"kind": "directory", "path": place} if place.startswith("/") else None


class SftpTargetSettings(TargetKind, frozen=True, kw_only=True):
    """A directory on an SFTP server, such as OpenSSH's."""

    MADE_BY: ClassVar[str] = "strongroom.targets.sftp:make"
    LIBRARY: ClassVar[str | None] = "asyncssh"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("key_file",)
    SPELT: ClassVar[str] = "REGION=sftp://USER@HOST[:PORT]/DIR?key_file=FILE&known_hosts_file=FILE"
    MORE: ClassVar[Mapping[str, str]] = {
        "key_file": '"/etc/strongroom/sftp.key"  # of this login alone, without a passphrase',
        "known_hosts_file": '"/etc/strongroom/sftp_known_hosts"  # ssh-keyscan writes it; compare it',
    }
    EXAMPLE: ClassVar[str] = """\
#[targets.sftp]
#kind = "sftp"
#host = "backup.example.org"
#user = "strongroom"
#path = "/srv/strongroom"
#key_file = "/etc/strongroom/sftp.key"
#known_hosts_file = "/etc/strongroom/sftp_known_hosts"
#region = "office"
"""

    kind: Annotated[Literal["sftp"], TARGET_KIND]
    host: Annotated[Text, Meta(description="The server.", examples=["backup.example.org"])]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port.", examples=[2222])] = 22
    user: Annotated[Text, Meta(description="Who logs in.", examples=["strongroom"])]
    path: Annotated[
        AbsolutePath,
        Meta(
            description="The directory on the server, its own and nobody else's.",
            examples=["/srv/strongroom"],
        ),
    ]
    key_file: Annotated[
        AbsolutePath,
        Meta(
            description="The private key of the login, of mode 0600 and without a passphrase.",
            examples=["/etc/strongroom/sftp.key"],
        ),
    ]
    known_hosts_file: Annotated[
        AbsolutePath,
        Meta(
            description="The server's public keys, as `ssh-keyscan` writes them. No other is spoken to.",
            examples=["/etc/strongroom/sftp_known_hosts"],
        ),
    ]
    region: Annotated[Region, Meta(examples=["office"])]
    provider: Annotated[Provider, Meta(examples=["hosting-company"])] = "sftp"
    create: Annotated[
        bool,
        Meta(
            description="Whether to make and mark the directory if it is missing. Leave it false where the "
            "server's disk may be absent: else backups go to the empty mount point.",
            examples=[True],
        ),
    ] = False

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> Mapping[str, str | int] | None:
        # A password would lie in the configuration: a login is by a key.
        if url.scheme != "sftp" or url.password is not None:
            return None
        if not (url.hostname and url.username and url.path) or url.port == 0:
            return None
        said: dict[str, str | int] = {"kind": "sftp", "host": url.hostname}
        if url.port:
            said["port"] = url.port
        return said | {"user": url.username, "path": url.path} | said_besides(url, cls.MORE)

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        """Return the server: all that is on it is lost with it."""
        return "server", self.host.lower()

    def below(self) -> str:
        return str(self.path)

    def copied_by(self, copy: str) -> tuple[str, ...]:
        key, port = quote(str(self.key_file)), f"-P {self.port} " * (self.port != 22)
        return (f"scp -r {port}-i {key} {quote(f'{self.user}@{self.host}:{self.path}')} {copy}",)


class ObjectStore(TargetKind, frozen=True, kw_only=True):
    """A bucket or a container, in which each object can be locked."""

    if TYPE_CHECKING:  # each kind has these as fields, at their place among its own
        prefix: str
        lock: str
        max_lock_days: int

    def below(self) -> str:
        return self.prefix

    @property
    def locking(self) -> str:
        return self.lock

    @property
    def longest_lock(self) -> int | None:
        return self.max_lock_days


class S3TargetSettings(ObjectStore, frozen=True, kw_only=True):
    """A bucket of Amazon S3, or of anything that speaks its protocol."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.aws_adapters:s3_target"
    LIBRARY: ClassVar[str | None] = "boto3"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("credentials_file",)
    RIGHTS: ClassVar[ToType | None] = (
        "strongroom cluster rules aws --role operator",
        "the rights of the credentials of a bucket; '--target NAME': its settings",
    )
    SPELT: ClassVar[str] = "REGION=s3://BUCKET[?endpoint_url=URL&credentials_file=FILE]"
    MORE: ClassVar[Mapping[str, str]] = {
        "credentials_file": '"/etc/strongroom/s3"  # else those of the environment, profile or role',
        "endpoint_url": '"https://s3.example.org"  # of a server that is not Amazon\'s',
        "lock": '"governance"  # if the bucket has Object Lock: without, who may delete removes backups',
    }
    EXAMPLE: ClassVar[str] = """\
#[targets.bucket]               # Object Lock: docs/how-to/store-backups.md
#kind = "s3"
#bucket = "acme-strongroom-eu"
#region = "eu-central-1"
#lock = "governance"
"""

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

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> dict[str, str] | None:
        if url.scheme != "s3" or not url.netloc or url.path not in ("", "/"):
            return None
        return {"kind": "s3", "bucket": url.netloc} | said_besides(url, cls.MORE)

    def unfit(self) -> Iterator[Misfit]:
        if (self.encryption == "aws:kms") != bool(self.kms_key):
            what = "missing" if self.kms_key is None else "has no effect without it"
            yield Misfit(("kms_key",), what, 'Give both kms_key and encryption = "aws:kms", or neither.')

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        """Return the bucket. Amazon's is one service, whatever address leads to it."""
        host = urlsplit(self.endpoint_url or "").hostname or ""
        other = self.endpoint_url and not host.endswith(".amazonaws.com")
        return "bucket", spelt(self.endpoint_url) if self.endpoint_url and other else "", self.bucket

    def logged_as(self, log: str) -> str:
        return in_log(self.bucket, self.prefix) if log in ("s3", "cloudtrail") else ""

    def copied_by(self, copy: str) -> tuple[str, ...]:
        where = quote(f"s3://{self.bucket}/{self.prefix}".rstrip("/"))
        reached = f" --endpoint-url {quote(self.endpoint_url)}" if self.endpoint_url else ""
        return (f"aws s3 sync {where} {copy} --region {quote(self.region)}{reached}",)

    @property
    def could_lock(self) -> bool:
        return self.lock == "none"


class AzureTargetSettings(ObjectStore, frozen=True, kw_only=True):
    """A container of Azure Blob Storage."""

    MADE_BY: ClassVar[str] = "strongroom.targets.azure.target:make"
    LIBRARY: ClassVar[str | None] = "azure-storage-blob"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("credential_file",)
    RIGHTS: ClassVar[ToType | None] = (
        "strongroom cluster rules azure --role operator",
        "the rights of the credential of a container; '--target NAME': its settings",
    )
    SPELT: ClassVar[str] = "REGION=https://ACCOUNT.blob.core.windows.net/CONTAINER[?credential_file=FILE]"
    MORE: ClassVar[Mapping[str, str]] = {
        "credential_file": '"/etc/strongroom/azure-credential"',
        "lock": '"unlocked"  # if versions can be locked there',
    }
    EXAMPLE: ClassVar[str] = """\
#[targets.container]
#kind = "azure"
#account_url = "https://acmestrongroom.blob.core.windows.net"
#container = "strongroom"
#region = "westeurope"
"""

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

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> dict[str, str] | None:
        container = url.path.strip("/")
        if url.scheme != "https" or not url.netloc or not container or "/" in container:
            return None
        account = {"account_url": f"https://{url.netloc}", "container": container}
        return {"kind": "azure"} | account | said_besides(url, cls.MORE)

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        return "container", spelt(self.account_url), self.container

    def logged_as(self, log: str) -> str:
        account = (urlsplit(self.account_url).hostname or "").partition(".")[0]
        return in_log(f"{account}/{self.container}", self.prefix) if log == "azure" else ""


class GcsTargetSettings(ObjectStore, frozen=True, kw_only=True):
    """A bucket of Google Cloud Storage."""

    MADE_BY: ClassVar[str] = "strongroom.targets.gcs:make"
    LIBRARY: ClassVar[str | None] = "google-cloud-storage"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("credentials_file",)
    RIGHTS: ClassVar[ToType | None] = (
        "gcloud storage buckets add-iam-policy-binding gs://BUCKET --member=MEMBER --role=ROLE",
        "the rights of the service account of a bucket: how-to/store-backups.md lists those of the role",
    )
    SPELT: ClassVar[str] = "REGION=gs://BUCKET[?credentials_file=FILE]"
    MORE: ClassVar[Mapping[str, str]] = {
        "credentials_file": '"/etc/strongroom/gcs.json"  # else the service account of this machine',
        "lock": '"unlocked"  # if the bucket has object retention: without, who may delete removes backups',
    }
    EXAMPLE: ClassVar[str] = """\
#[targets.gcs]
#kind = "gcs"
#bucket = "acme-strongroom-eu"
#region = "europe-west3"
"""

    kind: Annotated[Literal["gcs"], TARGET_KIND]
    bucket: Annotated[
        Text, Meta(description="The bucket; it must be there.", examples=["acme-strongroom-eu"])
    ]
    prefix: Prefix = ""
    region: Annotated[Region, Meta(examples=["europe-west3"])]
    provider: Annotated[Provider, Meta(examples=["gcs"])] = "gcs"
    credentials_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the key of a service account, in JSON.",
            examples=["/run/secrets/gcs-backup"],
            extra={"default": "what Google's library finds, such as the service account of the machine"},
        ),
    ] = None
    endpoint_url: Annotated[
        Url | None,
        Meta(
            description="Address of the service, if it is not the public one.",
            examples=["https://storage-acme.p.googleapis.com"],
        ),
    ] = None
    ca_file: Annotated[
        CaFile, Meta(examples=["/etc/strongroom/gcs-ca.pem"], extra={"default": "those of the library"})
    ] = None
    lock: Annotated[
        Literal["none", "unlocked", "locked"],
        Meta(
            description="Retention of each object: a short one at the upload, extended to the policy's "
            "`minimum_retention_days` once the backup is whole. Nobody can shorten a `locked` one.",
            examples=["locked"],
        ),
    ] = "none"
    lock_days: ShortLock = 2
    max_lock_days: LongestLock = 3650

    @classmethod
    def of_word(cls, place: str, url: SplitResult) -> dict[str, str] | None:
        if url.scheme != "gs" or not url.netloc or url.path not in ("", "/"):
            return None
        return {"kind": "gcs", "bucket": url.netloc} | said_besides(url, cls.MORE)

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        return "bucket", spelt(self.endpoint_url) if self.endpoint_url else "gs", self.bucket

    def copied_by(self, copy: str) -> tuple[str, ...]:
        return (f"gcloud storage rsync -r {quote(f'gs://{self.bucket}/{self.prefix}'.rstrip('/'))} {copy}",)


class VaultTargetSettings(TargetKind, frozen=True, kw_only=True):
    """A KV version 2 mount of a Vault or OpenBao server, in chunks below its entry limit."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.vault_adapters:vault_target"
    LIBRARY: ClassVar[str | None] = "hvac"

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

    def store(self, vaults: Vaults) -> tuple[str, ...] | None:
        return "Vault server", server(vaults, self.vault) or self.vault

    @property
    def on_vault(self) -> str | None:
        return self.vault

    def below(self) -> str:
        return f"{self.mount.strip('/')}/{self.prefix.strip('/')}"

    def logged_as(self, log: str) -> str:
        return in_log(f"{self.mount.strip('/')}/data", self.prefix) if log == "vault" else ""
