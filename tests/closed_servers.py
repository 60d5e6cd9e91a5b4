"""Redis and PostgreSQL as they are run for a fleet: TLS alone, with a user for each role.

    authority = Authority(folder)
    with ClosedRedis(authority) as redis, ClosedPostgres(authority) as postgres:
        redis.load(acl)        # what 'strongroom cluster rules redis' prints
        postgres.run(sql)      # what 'strongroom cluster rules postgres' prints

Both listen on 127.0.0.1 with certificates of ``localhost`` and 127.0.0.1, and believe client certificates
that the authority signed. Each has a socket beside, for whoever looks at it from outside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from redis import Redis

from tests.live.certificates import Authority
from tests.postgres import PostgresServer, program
from tests.process import free_port
from tests.redis_server import RedisServer

ADMIN = "user admin on >CANARY-admin ~* &* +@all"
HOSTS = ("localhost", "127.0.0.1")


class ClosedRedis(RedisServer):
    """A Redis that speaks TLS alone, and knows the users of its file and no other.

    Args:
        mutual: whether it asks its clients for a certificate.
        certificate: another than a good one, and its key.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        mutual: bool = False,
        certificate: tuple[Path, Path] | None = None,
        **settings: str,
    ) -> None:
        self.authority = authority
        own, key = certificate or authority.issue("redis", hosts=HOSTS)
        self.tls_port = free_port()
        self.users = authority.folder / f"users-{self.tls_port}.acl"
        self.users.write_text(f"{ADMIN}\n")
        super().__init__(
            tls_port=str(self.tls_port),
            tls_cert_file=str(own),
            tls_key_file=str(key),
            tls_ca_cert_file=str(authority.ca),
            tls_auth_clients="yes" if mutual else "no",
            aclfile=str(self.users),
            **settings,
        )

    @property
    def broker_url(self) -> str:
        """Where it listens; the user goes between ``//`` and the host."""
        return f"rediss://127.0.0.1:{self.tls_port}/0"

    def url_of(self, user: str, host: str = "127.0.0.1") -> str:
        """Return the address that a configuration has for a user."""
        return f"rediss://{user}@{host}:{self.tls_port}/0"

    def admin(self) -> Redis:
        """Return a client that may do everything, by the socket."""
        return Redis(unix_socket_path=str(self.socket), username="admin", password="CANARY-admin")

    def load(self, acl: str) -> None:
        """Have it load a file of users."""
        self.users.write_text(f"{acl}\n{ADMIN}\n")
        with self.admin() as client:
            client.acl_load()


class ClosedPostgres(PostgresServer):
    """A PostgreSQL that others than its owner reach with TLS alone, by password or by certificate.

    Args:
        certificate: another than a good one, and its key.
        method: how users prove who they are, as pg_hba.conf calls it: ``scram-sha-256``, or ``cert``.
    """

    killing: ClassVar = PostgresServer.killing

    def __init__(
        self,
        authority: Authority,
        *,
        method: str = "scram-sha-256",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__()
        self.authority = authority
        self.tls_port = free_port()
        self._certificate = certificate or authority.issue("postgres", hosts=HOSTS)
        hba = self.folder / "pg_hba.conf"
        hba.write_text(f"local all all trust\nhostssl all all 127.0.0.1/32 {method}\n")
        for source, name in zip((*self._certificate, authority.ca), _OWN, strict=True):
            shutil.copy(source, self.folder / name)
        for name in (*_OWN, hba.name):
            path = self.folder / name
            path.chmod(0o600)
            owner = self.folder.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def more(self) -> dict[str, str | Path]:
        """Listen on the loopback address, with TLS."""
        certificate, key, ca = (self.folder / name for name in _OWN)
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self.tls_port),
            "hba_file": self.folder / "pg_hba.conf",
            "ssl": "on",
            "ssl_cert_file": certificate,
            "ssl_key_file": key,
            "ssl_ca_file": ca,
        }

    def url(self, database: str) -> str:
        """Return the address of a database for its owner, by the socket."""
        return f"{super().url(database)}&port={self.tls_port}"

    def url_of(self, user: str, database: str, host: str = "127.0.0.1") -> str:
        """Return the address that a configuration has for a user."""
        return f"postgresql://{user}@{host}:{self.tls_port}/{database}"

    def run(self, sql: str, database: str) -> subprocess.CompletedProcess[str]:
        """Hand it to psql, as the owner of everything."""
        psql = program("psql")
        assert psql is not None
        words: list[Any] = [psql, "-X", "-q", "-d", self.url(database)]
        return subprocess.run(words, input=sql, capture_output=True, text=True, check=False)


_OWN = ("server.pem", "server.key", "clients.pem")
