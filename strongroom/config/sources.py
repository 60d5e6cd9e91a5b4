"""Where live secrets are."""

# Annotations are no text here: see strongroom.config.schema.
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from strongroom.config.kinds import OwnSource, SourceKind, ToType, Vaults, said_besides, table
from strongroom.config.shared import (
    SOURCE_KIND,
    AwsCredentialsFile,
    AwsEndpoint,
    AwsProfile,
    CaFile,
    Destination,
    VaultName,
)
from strongroom.config.values import AbsolutePath, Text


class LocalSourceSettings(SourceKind, frozen=True, kw_only=True):
    """The local store: SQLite, each value sealed under the store's own master key."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.adapters:local_source"
    GRANTED: ClassVar[bool] = False
    SPELT: ClassVar[str] = "local"
    TAG: ClassVar[str] = "strongroom set NAME --tag {key}={value}"

    kind: Annotated[Literal["local"], SOURCE_KIND]
    path: Annotated[
        AbsolutePath | None,
        Meta(
            description="Directory of the store: `store/secrets.db` and its master key `keys/store.key` in "
            "it.",
            examples=["/var/lib/strongroom"],
            extra={"default": "the state directory"},
        ),
    ] = None

    @property
    def folder(self) -> Path | None:
        return self.path

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        if kind != "local" or place:
            return None
        return OwnSource("local", table("sources.local", {"kind": "local"}))

    def setting_up(self, vaults: Vaults) -> Iterator[ToType]:
        yield "strongroom set NAME", "store a secret; 'strongroom secrets import FILE' stores many"


class FilesSourceSettings(SourceKind, frozen=True, kw_only=True):
    """Secrets in files."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.adapters:files_source"
    WRITABLE: ClassVar[bool] = False
    BY_FILE: ClassVar[bool] = True
    SPELT: ClassVar[str] = "files:/DIR"
    EXAMPLE: ClassVar[str] = """\
#[sources.mounted]              # as Docker and Kubernetes mount them
#kind = "files"
#path = "/run/secrets"
#format = "tree"
"""

    kind: Annotated[Literal["files"], SOURCE_KIND]
    path: Annotated[
        AbsolutePath,
        Meta(description="The file, or the directory of secret files.", examples=["/run/secrets"]),
    ]
    format: Annotated[
        Literal["env", "json", "jsonl", "tree", "pass", "kubernetes", "sops"] | None,
        Meta(
            description="How to read it: `env` for `NAME=value` lines, `json`, `jsonl` for one JSON object a "
            "line, `tree` for a directory with one file a secret, `pass` for a store of pass (through gpg), "
            "`kubernetes` for Secret manifests, a file or a directory of them, `sops` for a file that SOPS "
            "sealed (through the sops command).",
            examples=["tree"],
            extra={"default": "told by the name, else by the content"},
        ),
    ] = None

    @property
    def folder(self) -> Path | None:
        return self.path

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        if kind != "files" or not place.startswith("/"):
            return None
        return OwnSource("files", table("sources.files", {"kind": "files", "path": place}))


_LOGIN = {"token_file": "/etc/strongroom/vault-token"}
_OF_VAULT = "'strongroom cluster rules vault' prints what"


class VaultSourceSettings(SourceKind, frozen=True, kw_only=True):
    """KV secrets of a Vault or OpenBao server: every version, with its metadata."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.vault_adapters:vault_source"
    LIBRARY: ClassVar[str | None] = "hvac"
    SPELT: ClassVar[str] = "vault:https://HOST:8200[?token_file=FILE]"
    TAG: ClassVar[str] = "bao kv metadata patch -custom-metadata={key}={value} MOUNT/PATH"
    EXAMPLE: ClassVar[str] = f"""\
#[vaults.main]                  # {_OF_VAULT} its token needs
#address = "https://vault.example.org:8200"
#token_file = "{_LOGIN["token_file"]}"
#[sources.vault]                # then source = "vault" in each policy below
#kind = "vault"
#vault = "main"
"""

    kind: Annotated[Literal["vault"], SOURCE_KIND]
    vault: Annotated[VaultName, Meta(examples=["main"])]
    mounts: Annotated[
        tuple[Text, ...],
        Meta(
            description="KV mounts to read, as `mount` or `namespace/mount`.",
            examples=[["secret", "team-a/kv"]],
            extra={"default": "every KV mount that the login may see"},
        ),
    ] = ()
    exclude_mounts: Annotated[
        tuple[Text, ...],
        Meta(
            description="Mounts, or whole namespaces, to leave out. The mounts of this configuration's own "
            "targets always are.",
            examples=[["scratch", "team-a/old"]],
        ),
    ] = ()
    system: Annotated[
        bool,
        Meta(
            description="Whether to export policies, auth methods, roles and mount settings too.",
            examples=[False],
        ),
    ] = True
    tag_metadata: Annotated[
        tuple[Text, ...],
        Meta(
            description="Custom metadata of a secret that counts as its tags, by name; `*` for all. "
            "Custom metadata named `tag.priority` always counts, as the tag `priority`.",
            examples=[["priority", "environment"]],
        ),
    ] = ()
    destination: Destination = False

    @property
    def restored_into(self) -> bool:
        return self.destination

    @property
    def on_vault(self) -> str | None:
        return self.vault

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        url = urlsplit(place)
        if kind != "vault" or url.scheme not in ("http", "https") or not url.netloc:
            return None
        login = _LOGIN | said_besides(url, _LOGIN)
        server = table("vaults.main", {"address": url._replace(query="").geturl()} | login)
        source = table("sources.vault", {"kind": "vault", "vault": "main"})
        tags = 'tag_metadata = ["priority"]     # custom metadata that counts as tags\n'
        return OwnSource("vault", f"# {_OF_VAULT} the token needs\n{server}\n{source}{tags}", cls.EXAMPLE)

    def setting_up(self, vaults: Vaults) -> Iterator[ToType]:
        server, at = vaults[self.vault], f"-address={vaults[self.vault].address}"
        which = f" --server {self.vault}" if len(vaults) > 1 else ""
        rights = f"strongroom cluster rules vault --role operator{which}"
        yield f"{rights} | bao policy write {at} strongroom -", "the rights; or 'vault policy …'"
        login = f"bao token create {at} -orphan -period=768h -policy=strongroom -field=token"
        yield f"(umask 077; {login} >{server.token_file or 'FILE'})", "the login"


class RaftSourceSettings(SourceKind, frozen=True, kw_only=True):
    """Snapshots of a whole Vault or OpenBao server that keeps its data by Raft.

    They hold everything that the server has, and are restored as a whole, by
    `strongroom restore snapshot`. A person who restores one needs the unseal keys of its time.
    """

    MADE_BY: ClassVar[str] = "strongroom.wiring.vault_adapters:raft_source"
    LIBRARY: ClassVar[str | None] = "hvac"
    WRITABLE: ClassVar[bool] = False
    SNAPSHOT: ClassVar[bool] = True

    kind: Annotated[Literal["raft"], SOURCE_KIND]
    vault: Annotated[VaultName, Meta(examples=["main"])]

    @property
    def on_vault(self) -> str | None:
        return self.vault


class AwsSourceSettings(SourceKind, frozen=True, kw_only=True):
    """AWS Secrets Manager, one region of one account."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.aws_adapters:aws_source"
    LIBRARY: ClassVar[str | None] = "boto3"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("credentials_file",)
    SPELT: ClassVar[str] = "aws:REGION"
    TAG: ClassVar[str] = "aws secretsmanager tag-resource --secret-id NAME --tags Key={key},Value={value}"
    EXAMPLE: ClassVar[str] = """\
#[sources.aws]                  # docs/how-to/back-up-aws-secrets-manager.md has the rights that it needs
#kind = "aws"
#region = "eu-central-1"
"""

    kind: Annotated[Literal["aws"], SOURCE_KIND]
    region: Annotated[Text, Meta(description="The region.", examples=["eu-central-1"])]
    endpoint_url: Annotated[
        AwsEndpoint, Meta(examples=["https://vpce-0123.secretsmanager.eu-central-1.vpce.amazonaws.com"])
    ] = None
    profile: Annotated[AwsProfile, Meta(examples=["backup"])] = None
    credentials_file: Annotated[AwsCredentialsFile, Meta(examples=["/run/secrets/aws-secrets-manager"])] = (
        None
    )
    ca_file: Annotated[
        CaFile, Meta(examples=["/etc/strongroom/aws-ca.pem"], extra={"default": "those of the SDK"})
    ] = None
    requests_per_second: Annotated[
        int, Meta(ge=1, le=10_000, description="What the service may be asked for at most.", examples=[100])
    ] = 40
    kms_key_id: Annotated[
        Text | None,
        Meta(
            description="Key that seals what is restored here: for an account that has not the secrets' own.",
            examples=["alias/secrets"],
            extra={"default": "the key that each secret had"},
        ),
    ] = None
    resource_policies: Annotated[
        bool,
        Meta(
            description="Whether a restore puts resource policies back. Another account refuses those that "
            "name people and roles which it has not.",
            examples=[False],
        ),
    ] = True
    rearm_rotation: Annotated[
        bool,
        Meta(
            description="Whether a restore switches rotation on again where it was on, after it compared "
            "what it wrote. AWS calls the secret's function then, to test it, so that has to be "
            "there.",
            examples=[True],
        ),
    ] = False
    destination: Destination = False

    @property
    def restored_into(self) -> bool:
        return self.destination

    @classmethod
    def of_word(cls, kind: str, place: str) -> OwnSource | None:
        if kind != "aws" or not place:
            return None
        return OwnSource("aws", table("sources.aws", {"kind": "aws", "region": place}), cls.EXAMPLE)

    def setting_up(self, vaults: Vaults) -> Iterator[ToType]:
        yield "strongroom cluster rules aws --role operator", "the rights to grant"
