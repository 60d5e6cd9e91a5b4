"""Whose word counts and who came: approvals by people, and access logs of those who keep backups."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from strongroom.config.schema import SettingsSection
from strongroom.config.targets import AzureTargetSettings, S3TargetSettings
from strongroom.config.values import AbsolutePath, Duration, Name, Text
from strongroom.model import ApprovalAction

# -- What has to be approved by other people before it is done, and who they are ----------------


# Annotations are no text here: see strongroom.config.schema.


Person = Annotated[str, Meta(pattern=r"^[^\s,*?!\"]{1,200}$")]
_K = Meta(ge=1, le=20, description="How many of them.", examples=[2])
_PEOPLE = Meta(
    min_length=1,
    description="Names as they stand in `approvals.allowed_signers`. The one who asks never counts.",
    examples=[["alice@example.org", "bob@example.org", "carol@example.org"]],
)


class ApprovalRuleSettings(SettingsSection, frozen=True, kw_only=True):
    """Actions that `k` of some people have to approve. If several rules ask, each has to be met."""

    actions: Annotated[
        tuple[ApprovalAction, ...],
        Meta(
            min_length=1,
            description="`restore`, `undo`, `export`, `recipients` (a new key for a policy's backups), "
            "`retention` (shorter than it was), `release` (from quarantine, or of a hold, or an earlier "
            "end of one), `signers`, `shred`, `rotate-secret`.",
            examples=[["restore", "undo"]],
        ),
    ]
    k: Annotated[int, _K] = 2
    people: Annotated[tuple[Person, ...], _PEOPLE]
    above: Annotated[int, Meta(ge=0, description="Only for more secrets than this.", examples=[10])] = 0
    destinations: Annotated[
        tuple[Name, ...],
        Meta(
            description="Only for restores into these sources.",
            examples=[["production"]],
            extra={"default": "any"},
        ),
    ] = ()
    policies: Annotated[
        tuple[Name, ...],
        Meta(
            description="Only for backups of these policies.",
            examples=[["monthly-full"]],
            extra={"default": "any"},
        ),
    ] = ()


class BreakGlassSettings(SettingsSection, frozen=True, kw_only=True):
    """Who may do without the approvals in an emergency, together. It is an alarm until it is looked into."""

    k: Annotated[int, _K] = 2
    people: Annotated[tuple[Person, ...], _PEOPLE]


class ApprovalSettings(SettingsSection, frozen=True, kw_only=True):
    """What named people have to approve with their SSH keys. Each worker uses its own configuration."""

    allowed_signers: Annotated[
        AbsolutePath | None,
        Meta(
            description="OpenSSH's file of allowed signers: whose keys count. Only its owner may write it.",
            examples=["/etc/strongroom/allowed_signers"],
        ),
    ] = None
    valid: Annotated[
        Duration,
        Meta(
            ge=300,
            le=30 * 86_400,
            description="How long a request waits for its approvals, and they hold.",
            examples=["8h"],
            extra={"default": '`"24h"`'},
        ),
    ] = 86_400
    rules: Annotated[
        dict[Name, ApprovalRuleSettings],
        Meta(
            description="The rules.",
            examples=["production"],
            extra={"default": "none: nothing has to be approved"},
        ),
    ] = field(default_factory=dict)
    break_glass: Annotated[BreakGlassSettings | None, Meta(extra={"default": "nobody"})] = None


# -- Access logs: what those who keep backups and keys write down of who came -------------------


# Annotations are no text here: see strongroom.config.schema.


class AccessLogSettings(SettingsSection, frozen=True, kw_only=True):
    """A log of who reads backups, or uses their keys: its files are read where they lie, and each read is
    matched with Strongroom's own record. What nobody recorded is an alarm."""

    format: Annotated[
        Literal["s3", "cloudtrail", "azure", "vault"],
        Meta(
            description="Server access logs of S3, files of CloudTrail, resource logs of Azure Storage, or "
            "the audit file of Vault or OpenBao.",
            examples=["cloudtrail"],
        ),
    ]
    directory: Annotated[
        AbsolutePath | None,
        Meta(
            description="Directory with its files; or `store`. Every host with verify workers reads it.",
            examples=["/var/log/vault"],
        ),
    ] = None
    store: Annotated[
        S3TargetSettings | AzureTargetSettings | None,
        Meta(
            description="Bucket or container with its files, written like a target. A right to list and read "
            "is enough.",
            examples=[{"kind": "s3", "bucket": "acme-access-logs", "region": "eu-central-1"}],
        ),
    ] = None
    targets: Annotated[
        tuple[Name, ...],
        Meta(
            description="The targets whose readers it knows.",
            examples=[["eu"]],
            extra={"default": "all that its kind of server can have"},
        ),
    ] = ()
    ours: Annotated[
        tuple[Text, ...],
        Meta(
            description="Who Strongroom is in this log, as patterns (`*`): anybody else is a stranger, "
            "whatever they read.",
            examples=[["arn:aws:sts::123456789012:assumed-role/strongroom-*"]],
            extra={"default": "not known: the record alone decides"},
        ),
    ] = ()
    networks: Annotated[
        tuple[Text, ...],
        Meta(
            description="Where Strongroom's hosts are, as addresses or networks: elsewhere its credentials "
            "were stolen.",
            examples=[["10.2.0.0/16"]],
            extra={"default": "not known: any address will do"},
        ),
    ] = ()
    silent: Annotated[
        Duration,
        Meta(
            ge=300,
            le=30 * 86_400,
            description="If it has nothing new for so long, somebody may withhold it: an alarm.",
            examples=["2h"],
            extra={"default": '`"24h"`'},
        ),
    ] = 86_400
    settle: Annotated[
        Duration,
        Meta(
            ge=0,
            le=3600,
            description="A line is judged once it is so old: what a command noted on another host comes into "
            "the record a little later.",
            examples=["5m"],
            extra={"default": '`"1m"`'},
        ),
    ] = 60
    refusals: Annotated[
        int,
        Meta(
            ge=1, le=10_000, description="So many refusals of somebody in a row are an alarm.", examples=[3]
        ),
    ] = 5
