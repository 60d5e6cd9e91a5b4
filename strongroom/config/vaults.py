"""Vault and OpenBao servers: how to reach one, and as whom."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from strongroom.config.base import Section
from strongroom.config.fields import AbsolutePath, Text, Url


class VaultSettings(Section):
    """A Vault or OpenBao server. Sources, targets and keys name it."""

    address: Url = Field(
        description="Address of the server, or of the load balancer in front of it.",
        examples=["https://vault.example.org:8200"],
    )
    namespace: str = Field(
        default="", description="Namespace that everything happens in and below.", examples=["team-a"]
    )
    ca_file: AbsolutePath | None = Field(
        default=None,
        description="Certificates (PEM) that may sign the server's.",
        examples=["/etc/strongroom/vault-ca.pem"],
        json_schema_extra={"default": "those of the system"},
    )
    login: Literal["token", "approle", "kubernetes"] = Field(
        default="token",
        description="How to log in: with the token in `token_file`; as the AppRole of `role_id` and "
        "`secret_id_file`; or as the Kubernetes service account of `jwt_file`, in `role`.",
        examples=["approle"],
    )
    token_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the token and nothing else.",
        examples=["/run/secrets/vault-token"],
    )
    role_id: Text | None = Field(
        default=None,
        description="Role id of the AppRole; not secret.",
        examples=["6c1f5f9e-8d3c-4e0e-b7c7-1f2a3b4c5d6e"],
    )
    secret_id_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the AppRole's secret id and nothing else.",
        examples=["/run/secrets/vault-secret-id"],
    )
    role: Text | None = Field(
        default=None, description="Role to log in as with `kubernetes`.", examples=["strongroom"]
    )
    jwt_file: AbsolutePath | None = Field(
        default=None,
        description="File that holds the service account's token; read anew at each login.",
        examples=["/var/run/secrets/kubernetes.io/serviceaccount/token"],
    )
    login_mount: Text | None = Field(
        default=None,
        description="Where the auth method is mounted.",
        examples=["approle"],
        json_schema_extra={"default": "`approle` or `kubernetes`"},
    )
    in_flight: int = Field(
        default=16, ge=1, le=256, description="How many requests may be under way at once.", examples=[32]
    )
    requests_per_second: int | None = Field(
        default=None,
        ge=1,
        description="What the server may be asked for at most, by all processes of this host together.",
        examples=[200],
        json_schema_extra={"default": "no limit of ours; the server's own is kept to"},
    )
    redirect_hosts: tuple[Text, ...] = Field(
        default=(),
        description="`host:port` of other nodes that a redirect may lead to. The token goes with it.",
        examples=[["vault-1.example.org:8200", "vault-2.example.org:8200"]],
    )
