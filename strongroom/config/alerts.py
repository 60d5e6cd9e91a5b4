"""Who is told when something is wrong with the backups, when, and by which mail server."""

# Annotations are no text here: see strongroom.config.schema.
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.config.kinds import ChannelKind, Misfit, absent
from strongroom.config.schema import SettingsSection
from strongroom.config.shared import CaFile, LoginName, Port
from strongroom.config.values import AbsolutePath, Duration, Host, MailAddress, Name, Text, Url

FIXED = "It is fixed now: take the line out."
_FIXED_TIME = {"timeout": FIXED}
PORTS = {"starttls": 587, "tls": 465, "none": 25}


class AlertSettings(SettingsSection, frozen=True, kw_only=True):
    """What is an alarm, and who is notified. `strongroom alerts send` checks, and beat does if somebody is
    notified or pinged."""

    REPLACED = dict.fromkeys(("compared", "size_factor", "duration_factor", "takeover"), FIXED)

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

    REPLACED = _FIXED_TIME

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


# -- How people are notified of alerts: channels, and which alerts go through which -------------


CHANNEL_KIND = Meta(description="Which kind of channel this is.")
_Address = Annotated[
    Url | None,
    Meta(
        description="Address that gets a POST, if no secret is in it.",
        examples=["https://ops.example.org/strongroom"],
    ),
]
_AddressFile = Annotated[
    AbsolutePath | None,
    Meta(
        description="File that holds the address and nothing else.",
        examples=["/etc/strongroom/channel-address"],
    ),
]
_CaFile = Annotated[
    CaFile, Meta(examples=["/etc/strongroom/ops-ca.pem"], extra={"default": "those of the system"})
]


def _reached(url: str | None, url_file: Path | None, ca_file: Path | None) -> Iterator[Misfit]:
    if (url is None) == (url_file is None):
        what = "missing" if url is None else "given twice, with url_file"
        yield Misfit(("url",), what, "Give one of url and url_file.")
    if ca_file and (why := absent(ca_file)):
        yield Misfit(("ca_file",), why, "Name the file of certificates (PEM).")


class MailChannel(ChannelKind, frozen=True, kw_only=True):
    """Mail to some addresses, by the server in `[mail]`."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.watching:mail_channel"
    MAILS: ClassVar[bool] = True

    kind: Annotated[Literal["mail"], CHANNEL_KIND]
    to: Annotated[
        tuple[MailAddress, ...],
        Meta(min_length=1, description="Who gets the mail.", examples=[["oncall@example.org"]]),
    ]


class WebhookChannel(ChannelKind, frozen=True, kw_only=True):
    """A POST of JSON, signed with HMAC-SHA256 as Standard Webhooks says."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.watching:webhook_channel"

    REPLACED = _FIXED_TIME

    SECRET_FILES: ClassVar[tuple[str, ...]] = (
        "url_file",
        "secret_file",
    )

    kind: Annotated[Literal["webhook"], CHANNEL_KIND]
    url: _Address = None
    url_file: _AddressFile = None
    secret_file: Annotated[
        AbsolutePath,
        Meta(
            description="File that holds the secret of the signature: `whsec_`, then 24 bytes or more in "
            "Base64. The receiver has the same.",
            examples=["/etc/strongroom/webhook-secret"],
        ),
    ]
    ca_file: _CaFile = None

    def unfit(self) -> Iterator[Misfit]:
        return _reached(self.url, self.url_file, self.ca_file)


class AppriseChannel(ChannelKind, frozen=True, kw_only=True):
    """Any service that Apprise knows, such as Slack, Teams, PagerDuty or ntfy. It needs
    `strongroom[apprise]`."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.watching:apprise_channel"
    LIBRARY: ClassVar[str | None] = "apprise"

    REPLACED = _FIXED_TIME

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("url_file",)

    kind: Annotated[Literal["apprise"], CHANNEL_KIND]
    url_file: Annotated[
        AbsolutePath,
        Meta(
            description="File that holds Apprise's URL of the service and nothing else. It holds a secret.",
            examples=["/etc/strongroom/slack-url"],
        ),
    ]


class PingChannel(ChannelKind, frozen=True, kw_only=True):
    """A dead man's switch that takes pings as Healthchecks does: at its address, `/start` and `/fail`.
    `alerts.ping` or the `ping` of policies name it; a route cannot."""

    MADE_BY: ClassVar[str] = "strongroom.wiring.watching:no_channel"
    CARRIES: ClassVar[bool] = False

    REPLACED = _FIXED_TIME

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("url_file",)

    kind: Annotated[Literal["ping"], CHANNEL_KIND]
    url: _Address = None
    url_file: _AddressFile = None
    fails_on: Annotated[
        Literal["critical", "warning"],
        Meta(
            description="For `alerts.ping`: from which severity on an active alert makes a check a failure.",
            examples=["warning"],
        ),
    ] = "critical"
    ca_file: _CaFile = None

    def unfit(self) -> Iterator[Misfit]:
        return _reached(self.url, self.url_file, self.ca_file)


class RouteSettings(SettingsSection, frozen=True, kw_only=True):
    """Which alerts go through which channel. An alert takes every route that fits."""

    to: Annotated[
        tuple[Name, ...],
        Meta(
            min_length=1,
            description="Channels: the first gets the message; each next one only if those before it fail.",
            examples=[["pager", "oncall-mail"]],
        ),
    ]
    severity: Annotated[
        Literal["critical", "warning"],
        Meta(description="From which severity on.", examples=["critical"]),
    ] = "warning"
    policies: Annotated[
        tuple[Name, ...],
        Meta(
            description="Only alerts about these policies.",
            examples=[["weekly-critical"]],
            extra={"default": "all, and what is about no policy"},
        ),
    ] = ()
    kinds: Annotated[
        tuple[Text, ...],
        Meta(
            description="Only these kinds of alerts: patterns (`*`, `?`, `[…]`).",
            examples=[["backup.*", "drill.*"]],
            extra={"default": "all"},
        ),
    ] = ()
    repeat: Annotated[
        Duration | None,
        Meta(
            ge=60,
            description="After how long this route repeats an alert that has not changed.",
            examples=["4h"],
            extra={"default": "`alerts.repeat`"},
        ),
    ] = None
