"""Who is told when something is wrong with the backups, when, and by which mail server."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.config.base import SettingsSection
from strongroom.config.fields import AbsolutePath, Duration, Host, MailAddress, Name
from strongroom.config.shared import CaFile, LoginName, Port

PORTS = {"starttls": 587, "tls": 465, "none": 25}


class AlertSettings(SettingsSection, frozen=True, kw_only=True):
    """What is an alarm, and who is notified. `strongroom alerts send` checks, and beat does if somebody is
    notified or pinged."""

    REPLACED = dict.fromkeys(
        ("compared", "size_factor", "duration_factor"), "It is fixed now: take the line out."
    )

    email: Annotated[
        tuple[MailAddress, ...],
        Meta(
            description="Who is notified of every alert by mail; it needs `[mail]`. For other ways: "
            "`[channels.NAME]` and `[routes.NAME]`.",
            examples=[["alerts@example.org"]],
        ),
    ] = ()
    ping: Annotated[
        Name | None,
        Meta(
            description="The channel of kind `ping` that gets a ping for each check: of success, or of "
            "failure if a critical alert is active or people could not be notified.",
            examples=["watchdog"],
        ),
    ] = None
    takeover: Annotated[
        Duration,
        Meta(
            ge=60,
            le=7 * 86_400,
            description="Of several hosts that check on one state database, one notifies. After so long "
            "without a check of it, another does.",
            examples=["2h"],
            extra={"default": '`"40m"`'},
        ),
    ] = 2400
    threshold_age: Annotated[
        Duration,
        Meta(
            ge=60,
            le=366 * 86_400,
            description="How long after its time a verified backup may be missing.",
            examples=["48h"],
            extra={"default": '`"24h"`'},
        ),
    ] = 86_400
    repeat: Annotated[
        Duration,
        Meta(
            ge=60,
            description="After how long an alert that has not changed is sent again.",
            examples=["12h"],
            extra={"default": '`"24h"`'},
        ),
    ] = 86_400
    key_age: Annotated[
        Duration,
        Meta(
            ge=86_400,
            description="After how long a key is to be rotated.",
            examples=["90d"],
            extra={"default": '`"365d"`'},
        ),
    ] = 365 * 86_400
    notice: Annotated[
        Duration,
        Meta(
            ge=86_400,
            description="How long before a key is due, or a certificate ends, an alert says so.",
            examples=["14d"],
            extra={"default": '`"30d"`'},
        ),
    ] = 30 * 86_400
    free_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=90,
            description="How much is to be free where directories of targets, the stage and the state lie.",
            examples=[20],
        ),
    ] = 10


class MailSettings(SettingsSection, frozen=True, kw_only=True):
    """The server that takes mail for `[alerts]` and channels. Its certificate is always checked."""

    host: Annotated[
        Host | None,
        Meta(description="Name or address of the server.", examples=["smtp.example.org"]),
    ] = None
    port: Annotated[
        Port | None,
        Meta(examples=[2525], extra={"default": "587 with `starttls`, 465 with `tls`, 25 with `none`"}),
    ] = None
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(
            description="How the connection is sealed. `none` takes a server on this host, or no login.",
            examples=["tls"],
        ),
    ] = "starttls"
    username: Annotated[LoginName | None, Meta(examples=["strongroom"])] = None
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds its password and nothing else.",
            examples=["/run/secrets/mail-password"],
        ),
    ] = None
    ca_file: Annotated[
        CaFile, Meta(examples=["/etc/strongroom/mail-ca.pem"], extra={"default": "those of the system"})
    ] = None
    sender: Annotated[
        MailAddress | None,
        Meta(
            description="Whom the mail is from.",
            examples=["strongroom@example.org"],
            extra={"default": "`strongroom@` and the name of this host"},
        ),
    ] = None
    timeout: Annotated[
        Duration,
        Meta(
            ge=1,
            le=600,
            description="How long the server may take for one mail.",
            examples=["60s"],
            extra={"default": '`"30s"`'},
        ),
    ] = 30
