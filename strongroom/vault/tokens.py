"""Tokens: how to come by one, and keeping it alive for all threads of a process."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
from hvac.api import auth_methods
from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.system.files import read_private
from strongroom.vault.answers import (
    LoginRefused,
    NotVault,
    ServerAnswer,
    Unavailable,
    VaultRefused,
    target,
)
from strongroom.vault.hvac_adapter import SendingAdapter

# -- How to come by a token: from a file, as an AppRole, as a Kubernetes service account --------
#
# Each login reads its files anew: an agent or the kubelet replaces them while we run.


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


class JwtLogin(Struct, frozen=True, kw_only=True):
    """Whoever an issuer of JWT (OIDC) says that we are: a CI's job, a workload of a cloud or of SPIFFE."""

    role: str
    jwt_file: Path
    mount: str = "jwt"

    def obtain(self, exchange: Exchange) -> Lease:
        method = _over(exchange, auth_methods.JWT)
        return _granted(method.jwt_login(self.role, _text(self.jwt_file), use_token=False, path=self.mount))


class CertificateLogin(Struct, frozen=True, kw_only=True):
    """Whom our own certificate names, which the connection shows."""

    role: str = ""
    mount: str = "cert"

    def obtain(self, exchange: Exchange) -> Lease:
        body = msgspec.json.encode({"name": self.role} if self.role else {})
        return _granted(exchange("POST", target("auth", self.mount, "login"), body, None))


class AwsLogin(Struct, frozen=True, kw_only=True):
    """Who this host is in AWS: the server asks STS, with a request that we have signed and not sent."""

    role: str
    region: str = "us-east-1"
    server_id: str = ""
    mount: str = "aws"

    def obtain(self, exchange: Exchange) -> Lease:
        address = f"https://sts.{self.region}.amazonaws.com/"
        headers = {"X-Vault-AWS-IAM-Server-ID": self.server_id} if self.server_id else {}
        signed = _signed_by_aws(address, self.region, headers)
        request = {
            "iam_http_request_method": "POST",
            "iam_request_url": _base64(address.encode()),
            "iam_request_body": _base64(_WHO_AM_I),
            "iam_request_headers": _base64(msgspec.json.encode({name: [value] for name, value in signed})),
        }
        body = msgspec.json.encode({"role": self.role} | request)
        return _granted(exchange("POST", target("auth", self.mount, "login"), body, None))


_WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"


def _signed_by_aws(address: str, region: str, headers: dict[str, str]) -> list[tuple[str, str]]:
    """Sign that question with whatever the SDK finds: environment, profile, the role of the host."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        found = Session().get_credentials()
        if found is None:
            raise ConfigError(
                "there are no AWS credentials to log in with",
                hint="Give this host a role, or set AWS_PROFILE.",
            )
        form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        request = AWSRequest(method="POST", url=address, data=_WHO_AM_I, headers=headers | form)
        SigV4Auth(found.get_frozen_credentials(), "sts", region).add_auth(request)
    except BotoCoreError as error:
        raise ConfigError(
            f"the AWS credentials cannot be used ({type(error).__name__})",
            hint="Look with 'aws sts get-caller-identity'.",
        ) from None
    return [*request.headers.items(), ("Host", urlsplit(address).netloc)]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


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
            hint="Check the role, from which addresses it may be used, and what proves the login (secret id, "
            "token or certificate): when it ends, and for whom it is.",
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
        raise ConfigError(
            f"'{path}' cannot be read",
            hint="Check 'jwt_file': a pod, an agent or a CI has to write the token there.",
        ) from None


def _one_line(path: Path, text: str) -> str:
    line = text.strip()
    if not line or not line.isprintable() or not line.isascii():
        raise ConfigError(f"'{path}' does not hold one line of text", hint="Check the path.")
    return line


# -- Keeps one token alive for all threads of a process: the one place where it is renewed ------


RENEW_AT = 2 / 3
SHRUNK = 0.9
SOON = 5.0  # seconds until a renewal that failed is tried again


class _HeldToken(Struct, frozen=True):
    lease: Lease
    renew_at: float
    ends_at: float


class Tokens:
    """A token that is renewed when two thirds of its life are over.

    The longest life of a token shows only when a renewal gives less than it used to: then we log in
    again, while the old token still works.
    """

    def __init__(
        self, login: Login, exchange: Exchange, *, before: Callable[[], None] = lambda: None
    ) -> None:
        self._login = login
        self._before = before
        self._exchange = exchange
        self._held: _HeldToken | None = None
        self._lock = threading.Lock()
        self.logins = 0

    def current(self) -> str:
        """Return a token that is good now. Raises VaultError or ConfigError."""
        token = self._held
        if token is not None and time.monotonic() < token.renew_at:
            return token.lease.token
        with self._lock:
            return self._fresh().lease.token

    def recover(self, refused: str) -> bool:
        """Say whether a request that was refused with this token is worth repeating with another.

        A 403 means "not allowed" and "no such token" alike, so the token is asked about itself.
        """
        with self._lock:
            if self._held is not None and self._held.lease.token != refused:
                return True  # another thread was here first
            if alive(self._exchange, refused):
                return False
            return self._log_in().lease.token != refused

    def _fresh(self) -> _HeldToken:
        token = self._held
        if token is None:
            return self._log_in()
        if time.monotonic() < token.renew_at:
            return token
        return self._renew(token)

    def _renew(self, token: _HeldToken) -> _HeldToken:
        try:
            lease = renewed(self._exchange, token.lease) if token.lease.renewable else None
        except VaultRefused:
            lease = None
        except Unavailable:
            return self._later(token)
        if lease is None or lease.seconds < SHRUNK * lease.granted:
            # Log in anew; if that fails, make do with what is left of the old token.
            try:
                return self._log_in()
            except (LoginRefused, Unavailable):
                if lease is not None:
                    return self._hold(lease)
                return self._later(token)
        return self._hold(lease)

    def _later(self, token: _HeldToken) -> _HeldToken:
        if time.monotonic() >= token.ends_at:
            return self._log_in()
        self._held = _HeldToken(token.lease, time.monotonic() + SOON, token.ends_at)
        return self._held

    def _log_in(self) -> _HeldToken:
        self.logins += 1
        self._before()
        return self._hold(self._login.obtain(self._exchange))

    def _hold(self, lease: Lease) -> _HeldToken:
        now = time.monotonic()
        wait = lease.seconds * RENEW_AT if lease.seconds < math.inf else math.inf
        self._held = _HeldToken(lease, now + wait, now + lease.seconds)
        return self._held
