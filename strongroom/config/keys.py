"""Who can open sealed backups."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from strongroom.config.base import Section
from strongroom.config.fields import AbsolutePath, Name, PublicKey, Text, Url


class PassphraseKey(Section):
    """Whoever knows a passphrase can open."""

    kind: Literal["passphrase"] = Field(description="Which kind of key this is.", examples=["passphrase"])
    file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the passphrase, readable by its owner alone.",
        examples=["/run/secrets/backup-passphrase"],
        json_schema_extra={
            "default": "`STRONGROOM_PASSPHRASE_FILE`, else `STRONGROOM_PASSPHRASE`, else a prompt"
        },
    )
    iterations: int = Field(
        default=600_000,
        ge=100_000,
        le=10_000_000,
        description="Rounds of PBKDF2-HMAC-SHA256: what one guess costs an attacker.",
        examples=[1_000_000],
    )


class KeyFileKey(Section):
    """Whoever has a key file (`strongroom generate-backup-key`) can open."""

    kind: Literal["keyfile"] = Field(description="Which kind of key this is.", examples=["keyfile"])
    file: AbsolutePath = Field(
        description="The key file, readable by its owner alone and away from every target.",
        examples=["/etc/strongroom/backup.key"],
    )


class HpkeKey(Section):
    """Whoever has the private half (`strongroom keygen`) can open; sealing needs the public half."""

    kind: Literal["hpke"] = Field(description="Which kind of key this is.", examples=["hpke"])
    public_key: PublicKey | None = Field(
        default=None,
        description="The public key as text. Give this or `public_key_file`.",
        examples=["srpub1:x25519:dGhlIHB1YmxpYyBrZXkgdGhhdCBrZXlnZW4gZ2l2ZXM"],
    )
    public_key_file: AbsolutePath | None = Field(
        default=None, description="File that holds the public key.", examples=["/etc/strongroom/recovery.pub"]
    )
    identity_file: AbsolutePath | None = Field(
        default=None,
        description="The private key, only on a host that may open backups.",
        examples=["/etc/strongroom/recovery.key"],
    )


class Pkcs11Key(Section):
    """A key in a hardware security module (PKCS#11); it never leaves it."""

    kind: Literal["pkcs11"] = Field(description="Which kind of key this is.", examples=["pkcs11"])
    mechanism: Literal["ec", "aes"] = Field(
        default="ec",
        description="`ec`: a key pair, so that the backup host holds only the public half; `aes`: key wrap "
        "by the module, so that the host that seals can open too.",
        examples=["ec"],
    )
    label: Text = Field(description="The key's label in the token.", examples=["backup"])
    version: int = Field(
        default=1,
        ge=1,
        le=65_535,
        description="The key's version: its id in the token, two bytes.",
        examples=[2],
    )
    key_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        default=None,
        description="The public id of an `aes` key, as `strongroom hsm` gave it: another key under the same "
        "label is then noticed, and a process that does not seal needs no module.",
        examples=["0123456789abcdef0123456789abcdef"],
    )
    public_key_file: AbsolutePath | None = Field(
        default=None,
        description="The public half of an `ec` key (PEM). With it, sealing needs no module.",
        examples=["/etc/strongroom/hsm-backup-v1.pem"],
    )
    module: AbsolutePath | None = Field(
        default=None,
        description="The module's PKCS#11 library. Needed to open, and to seal with `aes`.",
        examples=["/usr/lib/softhsm/libsofthsm2.so"],
    )
    token: Text | None = Field(default=None, description="The token's label.", examples=["backup"])
    pin_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the user PIN and nothing else.",
        examples=["/run/secrets/hsm-pin"],
        json_schema_extra={"default": "a prompt, on a person's own command line"},
    )


class TransitKey(Section):
    """A key of Vault's transit engine. Whoever may use it there can open."""

    kind: Literal["transit"] = Field(description="Which kind of key this is.", examples=["transit"])
    vault: Name = Field(description="The server, a name under `vaults`.", examples=["keys"])
    key: Text = Field(description="The key's name.", examples=["backup"])
    mount: Text = Field(default="transit", description="Where the engine is mounted.", examples=["transit"])


class KmsKey(Section):
    """A key of AWS KMS, of one region: name one for each region that might be lost."""

    kind: Literal["kms"] = Field(description="Which kind of key this is.", examples=["kms"])
    key_id: Text = Field(
        description="The key's id, ARN or alias.", examples=["arn:aws:kms:eu-central-1:123456789012:key/0123"]
    )
    region: Text = Field(description="The key's region.", examples=["eu-central-1"])
    endpoint_url: Url | None = Field(
        default=None,
        description="Address of the service, if it is not the region's public one.",
        examples=["https://vpce-0123.kms.eu-central-1.vpce.amazonaws.com"],
    )
    profile: Text | None = Field(
        default=None,
        description="Profile of the AWS configuration to use.",
        examples=["backup"],
        json_schema_extra={"default": "what the AWS SDK finds: environment, profile, instance role"},
    )


class QuorumKey(Section):
    """Any k of n custodians, each with a share on paper, can open together."""

    kind: Literal["quorum"] = Field(description="Which kind of key this is.", examples=["quorum"])
    file: AbsolutePath = Field(
        description="The quorum's public file, which `strongroom quorum create` made.",
        examples=["/etc/strongroom/board.quorum"],
    )


class AllOfKey(Section):
    """Several keys of which every one is needed; in place of each there may be spares."""

    kind: Literal["all-of"] = Field(description="Which kind of key this is.", examples=["all-of"])
    legs: tuple[tuple[Name, ...], ...] = Field(
        min_length=2,
        description="Lists of other keys: one of each list is needed.",
        examples=[[["hsm", "hsm-spare"], ["board"]]],
    )


KeySettings = Annotated[
    PassphraseKey | KeyFileKey | HpkeKey | Pkcs11Key | TransitKey | KmsKey | QuorumKey | AllOfKey,
    Field(discriminator="kind"),
]
