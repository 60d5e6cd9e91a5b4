"""What is served over HTTP: the page, Flower and the metrics."""

# Annotations are no text here: see strongroom.config.schema.
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from strongroom.config.schema import SettingsSection
from strongroom.config.shared import ListenAddress, LoginName, Port, PrivateKey
from strongroom.config.values import AbsolutePath, Duration, Text, Url


class ListenSettings(SettingsSection, frozen=True, kw_only=True):
    """Where the page, Flower and the metrics are served over HTTP: to this host alone, or with TLS."""

    host: Annotated[ListenAddress, Meta(examples=["10.0.0.7"])] = "127.0.0.1"
    certificate_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Certificate (PEM, with those between it and its authority) to serve TLS with.",
            examples=["/etc/strongroom/server.pem"],
            extra={"default": "no TLS: then only this host may ask, unless `plain` says otherwise"},
        ),
    ] = None
    key_file: Annotated[PrivateKey, Meta(examples=["/run/secrets/server-key.pem"])] = None
    plain: Annotated[
        bool,
        Meta(
            description="Serve other hosts without TLS, on a network that nobody else can listen on.",
            examples=[True],
        ),
    ] = False


_SHARED = "Write it under [listen], where the page, Flower and the metrics have it in common."


class ServiceSettings(SettingsSection, frozen=True, kw_only=True):
    """What is served over HTTP, as `[listen]` says."""

    REPLACED = dict.fromkeys(("certificate_file", "key_file", "plain"), _SHARED)

    host: Annotated[
        ListenAddress | None, Meta(examples=["127.0.0.1"], extra={"default": "`listen.host`"})
    ] = None
    port: Port


class FlowerSettings(ServiceSettings, frozen=True, kw_only=True):
    """The task monitor (`strongroom up --flower`). It always asks for a login."""

    port: Annotated[Port, Meta(examples=[5555])] = 5555
    user: Annotated[LoginName, Meta(examples=["operator"])] = "strongroom"
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the password and nothing else.",
            examples=["/run/secrets/flower-password"],
            extra={"default": "made once, in run/flower-password under the state directory"},
        ),
    ] = None


class ServedSettings(ServiceSettings, frozen=True, kw_only=True):
    """What reads the record and the targets, and is served over HTTP."""

    check_targets: Annotated[
        Duration,
        Meta(
            ge=60,
            le=86_400,
            description="How often the targets are checked. The record is read each time somebody asks.",
            examples=["5m"],
            extra={"default": '`"15m"`'},
        ),
    ] = 900


class MetricsSettings(ServedSettings, frozen=True, kw_only=True):
    """Metrics for Prometheus (`strongroom up --metrics`, `strongroom metrics --serve`). They are given
    to a client that has the token."""

    port: Annotated[Port, Meta(examples=[9464])] = 9464
    token_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the token that a client needs, and nothing else.",
            examples=["/run/secrets/metrics-token"],
            extra={"default": "made once, in run/metrics-token under the state directory"},
        ),
    ] = None


class PageProxySettings(SettingsSection, frozen=True, kw_only=True):
    """A reverse proxy that logs people in to the page and says by a header who asks. Its header is believed
    from its addresses alone, and with its secret, its certificate or both: any other process could write one.
    """

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("secret_file",)

    addresses: Annotated[
        tuple[Text, ...],
        Meta(
            min_length=1,
            description="Where the proxy connects from, as addresses or networks.",
            examples=[["10.0.0.5"]],
        ),
    ]
    secret_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds what the proxy sends as `X-Strongroom-Proxy`, and nothing else.",
            examples=["/run/secrets/page-proxy"],
            extra={"default": "none: then `ca_file` has to be given"},
        ),
    ] = None
    ca_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Certificates (PEM) that may sign the one that the proxy shows when it connects. "
            "The page has to be served with TLS then.",
            examples=["/etc/strongroom/proxy-ca.pem"],
            extra={"default": "none: then `secret_file` has to be given"},
        ),
    ] = None
    certificate_names: Annotated[
        tuple[Text, ...],
        Meta(
            description="Names of the proxy, of which one has to be in its certificate: whatever else that "
            "authority certified is not the proxy.",
            examples=[["proxy.example.org"]],
        ),
    ] = ()
    header: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$",
            description="The header that names the person. The proxy has to remove it from what comes in.",
            examples=["Remote-User"],
        ),
    ] = "X-Forwarded-User"
    people: Annotated[
        tuple[Text, ...],
        Meta(
            description="Who may look, of those whom the proxy names.",
            examples=[["anna", "ben"]],
            extra={"default": "all whom it names"},
        ),
    ] = ()


class PageOidcSettings(SettingsSection, frozen=True, kw_only=True):
    """A provider of OpenID Connect that logs people in to the page. It sends them back to
    `/login/oidc/back` of the page."""

    SECRET_FILES: ClassVar[tuple[str, ...]] = ("client_secret_file",)

    issuer: Annotated[
        Url,
        Meta(
            description="The provider, as its tokens name it.",
            examples=["https://login.example.org/realms/acme"],
        ),
    ]
    client_id: Annotated[
        Text, Meta(description="What the page is called at the provider.", examples=["strongroom"])
    ]
    client_secret_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the page's secret at the provider, and nothing else.",
            examples=["/run/secrets/page-oidc"],
            extra={"default": "none: the provider knows the page as a public client"},
        ),
    ] = None
    ca_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="Certificates (PEM) that may sign the provider's.",
            examples=["/etc/strongroom/login-ca.pem"],
            extra={"default": "those of the system"},
        ),
    ] = None
    scopes: Annotated[
        tuple[Text, ...],
        Meta(
            description="What the provider is asked for beside `openid`, so that it tells the claims below.",
            examples=[["profile", "groups"]],
        ),
    ] = ("email",)
    claim: Annotated[
        Text,
        Meta(description="The claim that says whether somebody may look.", examples=["groups"]),
    ] = "email"
    allowed: Annotated[
        tuple[Text, ...],
        Meta(
            min_length=1,
            description="Who may look: values of that claim, of which one has to be there.",
            examples=[["anna@example.org"]],
        ),
    ]
    person: Annotated[
        Text, Meta(description="The claim that names a person, on record.", examples=["preferred_username"])
    ] = "email"


class PageSettings(ServedSettings, frozen=True, kw_only=True):
    """The page of the installation, for a browser (`strongroom up --page`). It asks for a login, and changes
    nothing unless `act` is set."""

    port: Annotated[Port, Meta(examples=[5556])] = 5556
    act: Annotated[
        bool,
        Meta(
            description="Let a person who is logged in run an entry of the calendar now, retry a failed run, "
            "and acknowledge an alert, on record with their name. The page then needs the broker and the key "
            "of role `page`.",
            examples=[True],
        ),
    ] = False
    password: Annotated[
        bool,
        Meta(
            description="Whether the user and the password below log in. Without, `proxy` or `oidc` does.",
            examples=[False],
        ),
    ] = True
    user: Annotated[LoginName, Meta(examples=["operator"])] = "strongroom"
    password_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the page's password and nothing else.",
            examples=["/run/secrets/page-password"],
            extra={"default": "made once, in run/page-password under the state directory"},
        ),
    ] = None
    url: Annotated[
        Url | None,
        Meta(
            description="Where people reach the page: for Flower's link to it, for forms behind a proxy, and "
            "for the provider of `oidc`, which sends them back there.",
            examples=["https://backups.example.org"],
            extra={"default": "`host` and `port`"},
        ),
    ] = None
    flower_url: Annotated[
        Url | None,
        Meta(
            description="Where people reach Flower, for the page's link to it.",
            examples=["https://flower.example.org"],
            extra={"default": "Flower's own address, if it runs in the same `strongroom up`"},
        ),
    ] = None
    proxy: Annotated[PageProxySettings | None, Meta(extra={"default": "none"})] = None
    oidc: Annotated[PageOidcSettings | None, Meta(extra={"default": "none"})] = None


class Served(Struct, frozen=True, kw_only=True):
    """Where something is served over HTTP."""

    host: str
    port: int
    certificate_file: Path | None
    key_file: Path | None
    plain: bool
    client_ca_file: Path | None
    """What may sign the certificate of a client. Nobody has to have one."""
