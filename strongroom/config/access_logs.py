"""Access logs: what those who keep backups and keys write down of who came."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.config.base import SettingsSection
from strongroom.config.fields import AbsolutePath, Duration, Name, Text
from strongroom.config.targets import AzureTargetSettings, S3TargetSettings


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
