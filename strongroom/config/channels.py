"""How people are notified of alerts: channels, and which alerts go through which."""

# Annotations are no text here: see strongroom.config.base.
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.config.base import SettingsSection
from strongroom.config.fields import AbsolutePath, Duration, MailAddress, Name, Text, Url
from strongroom.config.shared import CaFile

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
_Timeout = Annotated[
    Duration,
    Meta(
        ge=1,
        le=300,
        description="How long it may take for one message.",
        examples=["30s"],
        extra={"default": '`"10s"`'},
    ),
]
_CaFile = Annotated[
    CaFile, Meta(examples=["/etc/strongroom/ops-ca.pem"], extra={"default": "those of the system"})
]


class MailChannel(SettingsSection, frozen=True, kw_only=True):
    """Mail to some addresses, by the server in `[mail]`."""

    kind: Annotated[Literal["mail"], CHANNEL_KIND]
    to: Annotated[
        tuple[MailAddress, ...],
        Meta(min_length=1, description="Who gets the mail.", examples=[["oncall@example.org"]]),
    ]


class WebhookChannel(SettingsSection, frozen=True, kw_only=True):
    """A POST of JSON, signed with HMAC-SHA256 as Standard Webhooks says."""

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
    timeout: _Timeout = 10


class AppriseChannel(SettingsSection, frozen=True, kw_only=True):
    """Any service that Apprise knows, such as Slack, Teams, PagerDuty or ntfy. It needs
    `strongroom[apprise]`."""

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("url_file",)

    kind: Annotated[Literal["apprise"], CHANNEL_KIND]
    url_file: Annotated[
        AbsolutePath,
        Meta(
            description="File that holds Apprise's URL of the service and nothing else. It holds a secret.",
            examples=["/etc/strongroom/slack-url"],
        ),
    ]
    timeout: _Timeout = 10


class PingChannel(SettingsSection, frozen=True, kw_only=True):
    """A dead man's switch that takes pings as Healthchecks does: at its address, `/start` and `/fail`.
    `alerts.ping` or the `ping` of policies name it; a route cannot."""

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
    timeout: _Timeout = 10


ChannelSettings = MailChannel | WebhookChannel | AppriseChannel | PingChannel


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
