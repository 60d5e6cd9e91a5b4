"""Who can open sealed backups."""

# Annotations are no text here: see strongroom.config.schema.
import json
import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.config.kinds import KeyKind, Vaults, server
from strongroom.config.shared import KEY_KIND, AwsEndpoint, AwsProfile, VaultName
from strongroom.config.values import AbsolutePath, Name, PublicKey, Text

HexId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]


class PassphraseKey(KeyKind, frozen=True, kw_only=True):
    """Anyone who knows the passphrase can open."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.keys:passphrase_recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.keys:passphrase_identity"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("file",)

    kind: Annotated[Literal["passphrase"], KEY_KIND]
    file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the passphrase, readable by its owner alone.",
            examples=["/run/secrets/backup-passphrase"],
            extra={"default": "`STRONGROOM_PASSPHRASE_FILE`, else `STRONGROOM_PASSPHRASE`, else a prompt"},
        ),
    ] = None
    iterations: Annotated[
        int | None,
        Meta(
            ge=100_000,
            le=10_000_000,
            description="Derive the key by so many rounds of PBKDF2-HMAC-SHA256 instead of by scrypt: for a "
            "module of FIPS, which has no scrypt. A guess then costs an attacker no memory.",
            examples=[1_000_000],
            extra={"default": "scrypt, with 128 MiB of memory for each guess"},
        ),
    ] = None

    def lost_with(self, vaults: Vaults) -> str | None:
        return f"the passphrase in {_real(self.file)}" if self.file else "the environment's passphrase"

    def outlives(self, name: str) -> str:
        return "a passphrase cannot be made forgotten"


class KeyFileKey(KeyKind, frozen=True, kw_only=True):
    """Anyone who has the key file (`strongroom keys new --algorithm AES256`) can open."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.keys:keyfile_recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.keys:file_identity"
    DESTROYED_BY: ClassVar[str] = "strongroom.wiring.key_services:file_destroyer"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("file",)

    kind: Annotated[Literal["keyfile"], KEY_KIND]
    file: Annotated[
        AbsolutePath,
        Meta(
            description="The key file, readable by its owner alone and away from every target.",
            examples=["/etc/strongroom/backup.key"],
        ),
    ]

    def lost_with(self, vaults: Vaults) -> str | None:
        return f"the key file {_real(self.file)}"


class HpkeKey(KeyKind, frozen=True, kw_only=True):
    """Anyone who has the private half (`strongroom keys new`) can open; sealing needs the public half."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.keys:pair_recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.keys:file_identity"
    DESTROYED_BY: ClassVar[str] = "strongroom.wiring.key_services:pair_destroyer"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("identity_file",)

    kind: Annotated[Literal["hpke"], KEY_KIND]
    public_key: Annotated[
        PublicKey | None,
        Meta(
            description="The public key as text. Give this or `public_key_file`.",
            examples=["srpub1:x25519:dGhlIHB1YmxpYyBrZXkgdGhhdCBrZXlnZW4gZ2l2ZXM"],
        ),
    ] = None
    public_key_file: Annotated[
        AbsolutePath | None,
        Meta(description="File that holds the public key.", examples=["/etc/strongroom/recovery.pub"]),
    ] = None
    identity_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="The private key, only on a host that may open backups.",
            examples=["/etc/strongroom/recovery.key"],
        ),
    ] = None

    def lost_with(self, vaults: Vaults) -> str | None:
        """Name the pair by its public half, wherever that is written."""
        public = self.public_key
        if public is None and self.public_key_file is not None:
            try:
                public = self.public_key_file.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                public = str(_real(self.public_key_file))
        return f"the private key of {public}"

    @property
    def opens_here(self) -> bool:
        return self.identity_file is not None

    def outlives(self, name: str) -> str:
        return (
            "" if self.identity_file else f"the private half of '{name}' is not on this host (identity_file)"
        )


class Pkcs11Key(KeyKind, frozen=True, kw_only=True):
    """A key in a hardware security module (PKCS#11); it never leaves it."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.hsm:recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.hsm:identity"
    DESTROYED_BY: ClassVar[str] = "strongroom.wiring.hsm:destroyer"
    LIBRARY: ClassVar[str | None] = "python-pkcs11"
    SECRET_FILES: ClassVar[tuple[str, ...]] = ("pin_file",)

    kind: Annotated[Literal["pkcs11"], KEY_KIND]
    mechanism: Annotated[
        Literal["ec", "aes"],
        Meta(
            description="`ec`: a key pair, so that the backup host holds only the public half; `aes`: key "
            "wrap by the module, so that the host that seals can open too.",
            examples=["ec"],
        ),
    ] = "ec"
    label: Annotated[Text, Meta(description="The key's label in the token.", examples=["backup"])]
    version: Annotated[
        int,
        Meta(ge=1, le=65_535, description="The key's version: its id in the token, two bytes.", examples=[2]),
    ] = 1
    key_id: Annotated[
        HexId | None,
        Meta(
            description="The public id of an `aes` key, as `strongroom keys hsm` gave it: another key under "
            "the "
            "same label is then noticed, and a process that does not seal needs no module.",
            examples=["0123456789abcdef0123456789abcdef"],
        ),
    ] = None
    public_key_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="The public half of an `ec` key: the line `srpub1:…` that `strongroom keys hsm "
            "create` "
            "writes, or PEM. With it, sealing needs no module.",
            examples=["/etc/strongroom/hsm-backup-v1.pub"],
        ),
    ] = None
    module: Annotated[
        AbsolutePath | None,
        Meta(
            description="The module's PKCS#11 library. Needed to open, and to seal with `aes`.",
            examples=["/usr/lib/softhsm/libsofthsm2.so"],
        ),
    ] = None
    token: Annotated[Text | None, Meta(description="The token's label.", examples=["backup"])] = None
    pin_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the user PIN and nothing else.",
            examples=["/run/secrets/hsm-pin"],
            extra={"default": "a prompt, on a person's own command line"},
        ),
    ] = None

    def lost_with(self, vaults: Vaults) -> str | None:
        return f"the token `{self.token}`" if self.token else f"the HSM key `{self.label}` v{self.version}"

    @property
    def opens_here(self) -> bool:
        return self.module is not None

    def outlives(self, name: str) -> str:
        return "" if self.module else f"this host does not reach the token of '{name}' (module)"


class TransitKeySettings(KeyKind, frozen=True, kw_only=True):
    """A key of Vault's transit engine. Anyone who may use it there can open."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.key_services:transit_recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.key_services:transit_identity"
    DESTROYED_BY: ClassVar[str] = "strongroom.wiring.key_services:transit_destroyer"
    NEWER_VERSIONS: ClassVar[bool] = True
    LIBRARY: ClassVar[str | None] = "hvac"

    kind: Annotated[Literal["transit"], KEY_KIND]
    vault: Annotated[VaultName, Meta(examples=["keys"])]
    key: Annotated[Text, Meta(description="The key's name.", examples=["backup"])]
    mount: Annotated[Text, Meta(description="Where the engine is mounted.", examples=["transit"])] = "transit"

    @property
    def on_vault(self) -> str | None:
        return self.vault

    def logged_as(self, log: str) -> str:
        return f"{self.mount.strip('/')}//{self.key}" if log == "vault" else ""

    def lost_with(self, vaults: Vaults) -> str | None:
        return f"the Vault {server(vaults, self.vault) or self.vault}"


class KmsKey(KeyKind, frozen=True, kw_only=True):
    """A key of AWS KMS, of one region: name one for each region that might be lost."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.key_services:kms_recipient"
    OPENED_BY: ClassVar[str] = "strongroom.wiring.key_services:kms_identity"
    DESTROYED_BY: ClassVar[str] = "strongroom.wiring.key_services:kms_destroyer"
    NEWER_VERSIONS: ClassVar[bool] = True
    LIBRARY: ClassVar[str | None] = "boto3"

    kind: Annotated[Literal["kms"], KEY_KIND]
    key_id: Annotated[
        Text,
        Meta(
            description="The key's id, ARN or alias.",
            examples=["arn:aws:kms:eu-central-1:123456789012:key/0123"],
        ),
    ]
    region: Annotated[Text, Meta(description="The key's region.", examples=["eu-central-1"])]
    endpoint_url: Annotated[
        AwsEndpoint, Meta(examples=["https://vpce-0123.kms.eu-central-1.vpce.amazonaws.com"])
    ] = None
    profile: Annotated[AwsProfile, Meta(examples=["backup"])] = None

    def logged_as(self, log: str) -> str:
        return self.key_id if log == "cloudtrail" else ""

    def lost_with(self, vaults: Vaults) -> str | None:
        return f"the KMS key {self.key_id} in {self.region}"

    def outlives(self, name: str) -> str:
        moved = f"'{name}' is an alias, which can be moved to another key: name the key"
        return moved if "alias/" in self.key_id else ""


class QuorumKey(KeyKind, frozen=True, kw_only=True):
    """Any k of n custodians, each with a share on paper, can open together."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.keys:quorum_recipient"
    LIBRARY: ClassVar[str | None] = "shamir-mnemonic"

    kind: Annotated[Literal["quorum"], KEY_KIND]
    file: Annotated[
        AbsolutePath,
        Meta(
            description="The quorum's public file, which `strongroom keys quorum create` made.",
            examples=["/etc/strongroom/board.quorum"],
        ),
    ]

    def lost_with(self, vaults: Vaults) -> str | None:
        return f"a share of the quorum {_real(self.file)}" if _needs_all(self.file) else None

    def outlives(self, name: str) -> str:
        return "shares on paper are with their custodians, and nobody can prove that they were burnt"


class AllOfKey(KeyKind, frozen=True, kw_only=True):
    """Several keys of which every one is needed; in place of each there may be spares."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.keys:all_of_recipient"

    kind: Annotated[Literal["all-of"], KEY_KIND]
    legs: Annotated[
        tuple[tuple[Name, ...], ...],
        Meta(
            min_length=2,
            description="Lists of other keys: one of each list is needed.",
            examples=[[["hsm", "hsm-spare"], ["board"]]],
        ),
    ]

    def outlives(self, name: str) -> str:
        return "an all-of inside another cannot be destroyed"


def _needs_all(file: Path) -> bool:
    """Whether every custodian of a quorum is needed; of a file that cannot be read, others tell."""
    try:
        quorum = json.loads(file.read_bytes())
        return int(quorum["threshold"]) >= len(quorum["custodians"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _real(path: Path) -> str:
    return os.path.realpath(path)
