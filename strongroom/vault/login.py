"""How to come by a token: from a file, as an AppRole, as a Kubernetes service account.

Each login reads its files anew: an agent or the kubelet replaces them while we run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from hvac.api import auth_methods
from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.system.private_file import read_private
from strongroom.vault.answers import ServerAnswer
from strongroom.vault.failures import LoginRefused, NotVault, VaultRefused
from strongroom.vault.hvac_adapter import SendingAdapter

JWT_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

T = TypeVar("T")
Exchange = Callable[[str, str, bytes | None, str | None], ServerAnswer]
"""Method, request target, body and token of one request, which is answered or raises VaultError."""


class Lease(Struct, frozen=True, kw_only=True):
    """A token and how long it lasts. It has no ``repr``: the token is secret.

    Args:
        seconds: how long from now; infinite for a token that does not expire.
        granted: how long a renewal is expected to give; less means that the end is near.
    """

    token: str
    seconds: float
    granted: float
    renewable: bool

    def __repr__(self) -> str:
        return f"Lease({self.seconds} s)"


class Login(Protocol):
    """A way to come by a token."""

    def obtain(self, exchange: Exchange) -> Lease:
        """Return a token. Raises VaultError or ConfigError."""
        ...


class TokenFile(Struct, frozen=True, kw_only=True):
    """A token that somebody else, say an agent, keeps in a file that only we may read."""

    path: Path

    def obtain(self, exchange: Exchange) -> Lease:
        token = _line(self.path)
        answer = _look_up(exchange, token)
        if answer.status != 200:
            raise LoginRefused(
                f"the token in '{self.path}' is not valid, or may not look itself up",
                status=answer.status,
                hint="Put a token there whose policies include 'default'.",
            )
        found = answer.data()
        seconds = _seconds(found.get("ttl"))
        return Lease(
            token=token,
            seconds=seconds,
            granted=_seconds(found.get("period"))
            if found.get("period")
            else _seconds(found.get("creation_ttl")),
            renewable=bool(found.get("renewable")),
        )


class AppRole(Struct, frozen=True, kw_only=True):
    """A role with a secret id, which lies in a file that only we may read."""

    role_id: str
    secret_id_file: Path
    mount: str = "approle"

    def obtain(self, exchange: Exchange) -> Lease:
        method = _over(exchange, auth_methods.AppRole)
        secret_id = _line(self.secret_id_file)
        return _granted(method.login(self.role_id, secret_id, use_token=False, mount_point=self.mount))


class Kubernetes(Struct, frozen=True, kw_only=True):
    """The service account of the pod that we run in."""

    role: str
    jwt_file: Path = JWT_FILE
    mount: str = "kubernetes"

    def obtain(self, exchange: Exchange) -> Lease:
        method = _over(exchange, auth_methods.Kubernetes)
        jwt = _text(self.jwt_file)
        return _granted(method.login(self.role, jwt, use_token=False, mount_point=self.mount))


def renewed(exchange: Exchange, lease: Lease) -> Lease:
    """Renew a token. Raises :class:`Refused` if the server will not."""
    answer = _over(exchange, auth_methods.Token, token=lease.token).renew_self()
    if answer.status != 200:
        raise VaultRefused("the token cannot be renewed", status=answer.status)
    renewal = _lease(answer.body)
    return Lease(
        token=lease.token, seconds=renewal.seconds, granted=lease.granted, renewable=renewal.renewable
    )


def alive(exchange: Exchange, token: str) -> bool:
    """Ask whether a token is good for anything."""
    return _look_up(exchange, token).status == 200


def _look_up(exchange: Exchange, token: str) -> ServerAnswer:
    answer: ServerAnswer = _over(exchange, auth_methods.Token, token=token).lookup_self()
    return answer


def _over(exchange: Exchange, method: Callable[[SendingAdapter], T], *, token: str | None = None) -> T:
    return method(SendingAdapter(lambda verb, target, body: exchange(verb, target, body, token)))


def _granted(answer: ServerAnswer) -> Lease:
    if answer.status >= 400:
        raise LoginRefused(
            "the login was refused",
            status=answer.status,
            hint="Check role, secret id or service account, and from which addresses they may be used.",
        )
    return _lease(answer.body)


class _LoginAuth(Struct):
    client_token: str
    lease_duration: float = 0
    renewable: bool = False


class _Login(Struct):
    auth: _LoginAuth


def _lease(body: bytes) -> Lease:
    try:
        auth = msgspec.json.decode(body, type=_Login).auth
    except msgspec.DecodeError:
        raise NotVault("the answer to a login is not one that Vault gives") from None
    seconds = _seconds(auth.lease_duration)
    return Lease(token=auth.client_token, seconds=seconds, granted=seconds, renewable=auth.renewable)


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else math.inf


def _line(path: Path) -> str:
    return _one_line(path, read_private(path))


def _text(path: Path) -> str:
    """Read a service account's token: the kubelet lets others of the pod read it."""
    try:
        return _one_line(path, path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"'{path}' cannot be read", hint="Does this process run in a pod?") from None


def _one_line(path: Path, text: str) -> str:
    line = text.strip()
    if not line or not line.isprintable() or not line.isascii():
        raise ConfigError(f"'{path}' does not hold one line of text", hint="Check the path.")
    return line
