"""Where live secrets are."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.config.base import Section
from strongroom.config.fields import AbsolutePath, Text
from strongroom.config.shared import (
    SOURCE_KIND,
    AwsCredentialsFile,
    AwsEndpoint,
    AwsProfile,
    CaFile,
    Destination,
    VaultName,
)


class LocalSource(Section, frozen=True, kw_only=True):
    """The local store: SQLite, each value sealed under the store's own master key."""

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


class FilesSource(Section, frozen=True, kw_only=True):
    """Secrets in files."""

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


class VaultSource(Section, frozen=True, kw_only=True):
    """KV secrets of a Vault or OpenBao server: every version, with its metadata."""

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


class RaftSource(Section, frozen=True, kw_only=True):
    """Snapshots of a whole Vault or OpenBao server that keeps its data by Raft.

    They hold everything that the server has, and are restored as a whole, by
    `strongroom restore-snapshot`. A person who restores one needs the unseal keys of its time.
    """

    kind: Annotated[Literal["raft"], SOURCE_KIND]
    vault: Annotated[VaultName, Meta(examples=["main"])]


class AwsSource(Section, frozen=True, kw_only=True):
    """AWS Secrets Manager, one region of one account."""

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


SourceSettings = LocalSource | FilesSource | VaultSource | RaftSource | AwsSource
