"""Where a Vault server is and how it is talked to: one frozen record, no secret in it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.system.host import is_loopback
from strongroom.vault.login import Login


class VaultConnection(Struct, frozen=True, kw_only=True):
    """How to reach and use a server.

    Args:
        address: ``https://host:port``; a path in front of ``/v1`` is kept.
        login: how to come by a token.
        namespace: everything happens in this namespace and below.
        ca_file: who may have signed the server's certificate; the system's authorities if left out.
        certificate_file, certificate_key_file: our own certificate, if the listener asks for one.
        in_flight: how many requests may be under way at once.
        requests_per_second: what the server may be asked for at most; ``None`` for no limit.
        pace_file: a file through which the processes of this host share that rate.
        redirect_hosts: ``host:port`` of other nodes that a redirect may lead to. The token goes
            with it, so a redirect to anyone else is refused.
        connect_seconds, read_seconds, total_seconds: limits on connecting, on silence, and on
            one whole answer. The server itself gives up after 90 s.
        patience_seconds: how long one request is repeated while the server asks for patience.
    """

    address: str
    login: Login
    namespace: str = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
    in_flight: int = 16
    requests_per_second: float | None = None
    pace_file: Path | None = None
    redirect_hosts: frozenset[str] = frozenset()
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    total_seconds: float = 120.0
    patience_seconds: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"'{self.address}' is not the address of a Vault server", hint="https://host:port"
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ConfigError(
                f"'{parts.hostname}' would be reached without TLS, and the token goes there",
                hint="Use an https:// address; http:// only for a server on this host.",
            )
        if parts.username or parts.query or parts.fragment:
            raise ConfigError("a Vault address holds scheme, host, port and path, and nothing else")
        if self.in_flight < 1:
            raise ConfigError("'in_flight' must be at least 1")

    def allows(self, url: str) -> bool:
        """Say whether a redirect may lead there: never from TLS to plain text."""
        home, there = urlsplit(self.address), urlsplit(url)
        known = there.netloc in (home.netloc, *self.redirect_hosts)
        return known and there.scheme in (home.scheme, "https")
