"""Vault and OpenBao servers: how to reach one, and as whom."""

# Annotations are no text here: see strongroom.config.schema.
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from strongroom.config.schema import SettingsSection
from strongroom.config.shared import CaFile, ClientCertificate, PrivateKey
from strongroom.config.values import AbsolutePath, Text, Url


class VaultSettings(SettingsSection, frozen=True, kw_only=True):
    """A Vault or OpenBao server. Sources, targets and keys name it."""

    SECRET_FILES: ClassVar[tuple[str, ...]] = (
        "token_file",
        "secret_id_file",
        "key_file",
    )

    address: Annotated[
        Url,
        Meta(
            description="Address of the server, or of the load balancer in front of it.",
            examples=["https://vault.example.org:8200"],
        ),
    ]
    namespace: Annotated[
        str, Meta(description="Namespace that everything happens in and below.", examples=["team-a"])
    ] = ""
    ca_file: Annotated[
        CaFile, Meta(examples=["/etc/strongroom/vault-ca.pem"], extra={"default": "those of the system"})
    ] = None
    login: Annotated[
        Literal["token", "approle", "kubernetes", "jwt", "cert", "aws"],
        Meta(
            description="How to log in: with the token in `token_file`; as the AppRole of `role_id` and "
            "`secret_id_file`; in `role` as the Kubernetes service account, or as whom an issuer of JWT "
            "(OIDC) says, of `jwt_file`; by the certificate of `certificate_file`; or in `role` as who this "
            "host is in AWS, which OpenBao has as a plug-in alone.",
            examples=["approle"],
        ),
    ] = "token"
    token_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the token and nothing else.", examples=["/run/secrets/vault-token"]
        ),
    ] = None
    role_id: Annotated[
        Text | None,
        Meta(
            description="Role id of the AppRole; not secret.",
            examples=["6c1f5f9e-8d3c-4e0e-b7c7-1f2a3b4c5d6e"],
        ),
    ] = None
    secret_id_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the AppRole's secret id and nothing else.",
            examples=["/run/secrets/vault-secret-id"],
        ),
    ] = None
    role: Annotated[
        Text | None,
        Meta(
            description="Role to log in as with `kubernetes`, `jwt` or `aws`; `cert` needs none.",
            examples=["strongroom"],
        ),
    ] = None
    jwt_file: Annotated[
        AbsolutePath | None,
        Meta(
            description="File that holds the token of `kubernetes` or `jwt`; read again at each login.",
            examples=["/var/run/secrets/kubernetes.io/serviceaccount/token"],
        ),
    ] = None
    login_mount: Annotated[
        Text | None,
        Meta(
            description="Where the auth method is mounted.",
            examples=["approle"],
            extra={"default": "the name of the method"},
        ),
    ] = None
    certificate_file: Annotated[ClientCertificate, Meta(examples=["/etc/strongroom/vault-client.pem"])] = None
    key_file: Annotated[PrivateKey, Meta(examples=["/run/secrets/vault-client-key.pem"])] = None
    aws_server_id: Annotated[
        Text | None,
        Meta(
            description="What the method `aws` asks for in the header `X-Vault-AWS-IAM-Server-ID`.",
            examples=["vault.example.org"],
            extra={"default": "nothing"},
        ),
    ] = None
    aws_region: Annotated[
        Text,
        Meta(description="Region whose STS vouches for this host with `aws`.", examples=["eu-central-1"]),
    ] = "us-east-1"
    scratch: Annotated[
        bool,
        Meta(
            description="Whether drills may make mounts of their own there (`strongroom-drill-…`), which "
            "they remove again.",
            examples=[True],
        ),
    ] = False
    in_flight: Annotated[
        int, Meta(ge=1, le=256, description="How many requests may be under way at once.", examples=[32])
    ] = 16
    requests_per_second: Annotated[
        int | None,
        Meta(
            ge=1,
            description="What the server may be asked for at most, by all processes of this host together.",
            examples=[200],
            extra={"default": "no limit but the server's own, which Strongroom respects"},
        ),
    ] = None
    redirect_hosts: Annotated[
        tuple[Text, ...],
        Meta(
            description="`host:port` of other nodes that a redirect may lead to. The token goes with it.",
            examples=[["vault-1.example.org:8200", "vault-2.example.org:8200"]],
        ),
    ] = ()
