"""Settings that several sections have: each is described here once. A section adds its own example."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from strongroom.config.calendar import HooksSettings
from strongroom.config.values import AbsolutePath, Name, Text, Url

SOURCE_KIND = Meta(description="Which kind of source this is.")
TARGET_KIND = Meta(description="Which kind of target this is.")
KEY_KIND = Meta(description="Which kind of key this is.")

_WHEN = Meta(description="When it is due: five cron fields (minute hour day month weekday).")
Schedule = Annotated[Text | None, _WHEN]
Times = Annotated[Text, _WHEN]
TimeZone = Annotated[
    Text, Meta(description="Time zone of the schedule, by its IANA name.", examples=["Europe/Berlin"])
]
Hooks = Annotated[
    HooksSettings | None,
    Meta(
        description="What to call around each run: a command or a URL.",
        examples=[{"after": {"url": "https://ops.example.org/done"}}],
        extra={"default": "nothing"},
    ),
]
VaultName = Annotated[Name, Meta(description="The server, a name under `vaults`.")]
CaFile = Annotated[AbsolutePath | None, Meta(description="Certificates (PEM) that may sign the server's.")]

ClientCertificate = Annotated[
    AbsolutePath | None,
    Meta(description="Our own certificate (PEM), if the server asks its clients for one."),
]
PrivateKey = Annotated[
    AbsolutePath | None,
    Meta(
        description="Private key (PEM) of that certificate.", extra={"default": "in the certificate's file"}
    ),
]
PlainAway = Annotated[
    bool,
    Meta(
        description="Reach another host without TLS, on a network that nobody else can listen on.",
        examples=[True],
    ),
]

LoginName = Annotated[Text, Meta(description="Name to log in with.")]
ListenAddress = Annotated[Text, Meta(description="Address it listens on.")]
Port = Annotated[int, Meta(ge=1, le=65_535, description="Port it listens on.")]

Region = Annotated[Text, Meta(description="Where it lies. A policy may ask for copies in several regions.")]
Provider = Annotated[Text, Meta(description="Who runs it.")]
Prefix = Annotated[str, Meta(description="What every object's name begins with.", examples=["prod"])]
ShortLock = Annotated[
    int, Meta(ge=1, le=30, description="How long the short lock lasts, in days.", examples=[3])
]
LongestLock = Annotated[
    int,
    Meta(ge=1, le=36_500, description="The longest lock that is ever asked for, in days.", examples=[800]),
]

Destination = Annotated[
    bool,
    Meta(
        description="Whether secrets are restored into it. Then its credential needs the rights to write, "
        "and `check rights` and `check machine` judge it by what a restore needs.",
        examples=[True],
    ),
]

AwsEndpoint = Annotated[
    Url | None, Meta(description="Address of the service, if it is not the region's public one.")
]
AwsProfile = Annotated[
    Text | None,
    Meta(
        description="Profile of the AWS configuration to use.",
        extra={"default": "what the AWS SDK finds: environment, profile, instance role"},
    ),
]
AwsCredentialsFile = Annotated[
    AbsolutePath | None,
    Meta(description="A credentials file in the AWS SDK's format, used for nothing else."),
]
