"""Where live secrets are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from strongroom.config.base import Section
from strongroom.config.fields import AbsolutePath, Name, Text, Url


class LocalSource(Section):
    """The local store: SQLite, each value sealed under the store's own master key."""

    kind: Literal["local"] = Field(description="Which kind of source this is.", examples=["local"])
    path: AbsolutePath | None = Field(
        default=None,
        description="Directory of the store: `store/secrets.db` and its master key `keys/store.key` in it.",
        examples=["/var/lib/strongroom"],
        json_schema_extra={"default": "the state directory"},
    )


class FilesSource(Section):
    """Secrets in files."""

    kind: Literal["files"] = Field(description="Which kind of source this is.", examples=["files"])
    path: AbsolutePath = Field(
        description="The file, or the directory of secret files.", examples=["/run/secrets"]
    )
    format: Literal["env", "json", "jsonl", "tree", "pass", "kubernetes", "sops"] | None = Field(
        default=None,
        description="How to read it: `env` for `NAME=value` lines, `json`, `jsonl` for one JSON object a "
        "line, `tree` for a directory with one file a secret, `pass` for a store of pass (through gpg), "
        "`kubernetes` for Secret manifests, a file or a directory of them, `sops` for a file that SOPS "
        "sealed (through the sops command).",
        examples=["tree"],
        json_schema_extra={"default": "told by the name, else by the content"},
    )


class VaultSource(Section):
    """KV secrets of a Vault or OpenBao server: every version, with its metadata."""

    kind: Literal["vault"] = Field(description="Which kind of source this is.", examples=["vault"])
    vault: Name = Field(description="The server, a name under `vaults`.", examples=["main"])
    mounts: tuple[Text, ...] = Field(
        default=(),
        description="KV mounts to read, as `mount` or `namespace/mount`.",
        examples=[["secret", "team-a/kv"]],
        json_schema_extra={"default": "every KV mount that the login may see"},
    )
    exclude_mounts: tuple[Text, ...] = Field(
        default=(),
        description="Mounts, or whole namespaces, to leave out. The mounts of this configuration's own "
        "targets always are.",
        examples=[["scratch", "team-a/old"]],
    )
    system: bool = Field(
        default=True,
        description="Whether to export policies, auth methods, roles and mount settings too.",
        examples=[False],
    )


class RaftSource(Section):
    """Snapshots of a whole Vault or OpenBao server that keeps its data by Raft.

    They hold everything that the server has, and are restored as a whole, by
    `strongroom restore-snapshot`. Whoever restores one needs the unseal keys of its time.
    """

    kind: Literal["raft"] = Field(description="Which kind of source this is.", examples=["raft"])
    vault: Name = Field(description="The server, a name under `vaults`.", examples=["main"])


class AwsSource(Section):
    """AWS Secrets Manager, one region of one account."""

    kind: Literal["aws"] = Field(description="Which kind of source this is.", examples=["aws"])
    region: Text = Field(description="The region.", examples=["eu-central-1"])
    endpoint_url: Url | None = Field(
        default=None,
        description="Address of the service, if it is not the region's public one.",
        examples=["https://vpce-0123.secretsmanager.eu-central-1.vpce.amazonaws.com"],
    )
    profile: Text | None = Field(
        default=None,
        description="Profile of the AWS configuration to use.",
        examples=["backup"],
        json_schema_extra={"default": "what the AWS SDK finds: environment, profile, instance role"},
    )
    credentials_file: AbsolutePath | None = Field(
        default=None,
        description="A credentials file in the AWS SDK's format, for this source alone.",
        examples=["/run/secrets/aws-secrets-manager"],
    )
    ca_file: AbsolutePath | None = Field(
        default=None,
        description="Certificates (PEM) that may sign the server's.",
        examples=["/etc/strongroom/aws-ca.pem"],
        json_schema_extra={"default": "those of the SDK"},
    )
    requests_per_second: int = Field(
        default=40, ge=1, le=10_000, description="What the service may be asked for at most.", examples=[100]
    )
    kms_key_id: Text | None = Field(
        default=None,
        description="Key that seals what is restored here: for an account that has not the secrets' own.",
        examples=["alias/secrets"],
        json_schema_extra={"default": "the key that each secret had"},
    )
    resource_policies: bool = Field(
        default=True,
        description="Whether a restore puts resource policies back. Another account refuses those that name "
        "people and roles which it has not.",
        examples=[False],
    )
    rearm_rotation: bool = Field(
        default=False,
        description="Whether a restore switches rotation on again where it was on, after it compared what it "
        "wrote. AWS calls the secret's function then, to test it, so that has to be there.",
        examples=[True],
    )


SourceSettings = Annotated[
    LocalSource | FilesSource | VaultSource | RaftSource | AwsSource, Field(discriminator="kind")
]
