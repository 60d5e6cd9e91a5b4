"""HTTP for what only reads, by Tornado: a bounded number of connections, few seconds for a request, and TLS
if there is a certificate.

A connection that rests keeps nobody out: one that comes while all places are taken takes the place of the one
that has rested the longest, of the address that has the most. So those who hold many connections open, also
from many addresses, or from behind the proxy that everybody comes through, only close their own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final, NamedTuple, TypeVar
from weakref import WeakSet

from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream
from tornado.web import Application, HTTPError, RequestHandler

from strongroom.config.served import Served
from strongroom.errors import ConfigError

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Connections that are held at once: who opens many must not take all memory."""
PATIENCE: Final = 10.0
"""Seconds in which a client has to send the head of its request, encryption included, and then its body."""
ALTOGETHER: Final = 60.0
"""Seconds that a connection may last: a client that takes a byte now and then never rests."""
LONGEST_HEAD: Final = 16 * 1024
LONGEST_BODY: Final = 4096
MOST_READ: Final = 64 * 1024
"""Bytes of a connection that lie unread in memory."""

_Result = TypeVar("_Result")


def address(settings: Served, path: str = "") -> str:
    """Return where something is served, as a person types it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' if settings.certificate_file else ''}://{host}:{settings.port}{path}"


def check_certificate(settings: Served) -> None:
    """Say at the start what is wrong with the certificate, if there is one.

    Raises:
        ConfigError: it cannot be read, or its key is another.
    """
    if settings.certificate_file:
        _context(settings)


def serve(
    settings: Served,
    site: Site,
    *,
    section: str,
    on_ready: Callable[[], object],
    on_round: Callable[[], None],
) -> None:
    """Serve until the process is asked to end. ``on_round`` is called by the loop that serves, each second.

    Raises:
        ConfigError: the certificate cannot be read, or the address cannot be listened on.
    """

    async def until_the_end() -> None:
        ends = asyncio.Event()
        # Also as the first process of a container, which no signal ends that it does not handle.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ends.set)
        server = listen(settings, site, section=section)
        on_ready()
        on_round()
        PeriodicCallback(on_round, 1000).start()
        await ends.wait()
        server.stop()

    asyncio.run(until_the_end())


def listen(settings: Served, site: Site, *, section: str) -> BoundedServer:
    """Return a server that listens, in the loop that runs, as a section of the configuration says.

    Raises:
        ConfigError: the certificate cannot be read, or the address cannot be listened on.
    """
    server = BoundedServer(
        site,
        ssl_options=_renewed(settings) if settings.certificate_file else None,
        no_keep_alive=True,
        idle_connection_timeout=PATIENCE,
        body_timeout=PATIENCE,
        max_header_size=LONGEST_HEAD,
        max_body_size=LONGEST_BODY,
        max_buffer_size=MOST_READ,
    )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=AT_ONCE)
    except (OSError, UnicodeError) as error:
        why = (getattr(error, "strerror", None) or "no such address").partition(" (")[0]
        hint = f"Choose another {section}.host or {section}.port."
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {why}", hint=hint) from None
    listening.settimeout(0)
    server.add_socket(listening)
    PeriodicCallback(server.end_what_lasts, 1000).start()
    return server


class _Connection(NamedTuple):
    address: str
    began: float


class Site(Application):
    """What is served."""

    def __init__(self, *rules: Any, **settings: Any) -> None:
        super().__init__(*rules, **settings)
        self.at_work: WeakSet[IOStream] = WeakSet()
        """Connections whose request came whole and has no answer yet: it is not their client that takes the
        time."""

    def log_request(self, _: RequestHandler) -> None:
        """A line for each request would drown the others."""


class BoundedServer(HTTPServer):
    """Tornado's server with the two limits that it has no setting for: of connections, and of the time that
    one lasts."""

    def initialize(self, site: Site, **options: Any) -> None:  # type: ignore[override]
        """Tornado makes a server this way."""
        super().initialize(site, **options)
        self._site = site
        self._held: dict[IOStream, _Connection] = {}

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Take a connection in, in the place of one that rests if there is no other."""
        held = self._held = {other: at for other, at in self._held.items() if not other.closed()}
        if len(held) >= AT_ONCE:
            count = Counter(connection.address for connection in held.values())
            resting = [other for other in held if other not in self._site.at_work]
            if not resting:
                stream.close()
                return
            # Of those with as many the first, which began first: this is a list in that order.
            max(resting, key=lambda other: count[held[other].address]).close()
        held[stream] = _Connection(str(address[0]), time.monotonic())
        super().handle_stream(stream, address)

    def end_what_lasts(self) -> None:
        """End the connections that have lasted too long."""
        now = time.monotonic()
        for stream, connection in self._held.items():
            if now - connection.began > ALTOGETHER:
                stream.close()


def _context(settings: Served) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(str(settings.certificate_file), settings.key_file)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "no certificate with its key"
        raise ConfigError(f"listen.certificate_file {settings.certificate_file}: {why}") from None
    if settings.client_ca_file:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or "no certificate"
            raise ConfigError(f"page.proxy.ca_file {settings.client_ca_file}: {why}") from None
        context.verify_mode = ssl.CERT_OPTIONAL
        # Each connection shows its certificate anew: a session would outlive what it was let in by.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _renewed(settings: Served) -> ssl.SSLContext:
    """Return what TLS is served with. The files are read for each connection: certificates are renewed."""

    def renew(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
        try:
            connection.context = _context(settings)
        except ConfigError as error:  # half a renewal: the one that was read at the start serves on
            log.warning("certificate-not-read", extra={"why": error.message})

    context = _context(settings)
    context.sni_callback = renew  # is called without a name, too
    return context


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Do what waits for a database in a thread, which ends with the process: none of a pool would."""
    future: concurrent.futures.Future[_Result] = concurrent.futures.Future()

    def perform() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # it is raised where the work was asked for
            future.set_exception(error)
        else:
            future.set_result(result)

    future.set_running_or_notify_cancel()
    threading.Thread(target=perform, daemon=True).start()
    return await asyncio.wrap_future(future)


class Handler(RequestHandler):
    """Answers with no word on what the server is made of, and tells of a fault its class alone."""

    WORDS: ClassVar[dict[int, str]] = {
        HTTPStatus.METHOD_NOT_ALLOWED: "Nothing is changed here: this is read alone."
    }

    def set_default_headers(self) -> None:
        """Also for a refusal."""
        self.set_header("Server", "strongroom")
        self.set_header("Content-Type", "text/plain; charset=utf-8")

    def prepare(self) -> None:
        """Have it known that the request came whole."""
        self.application.at_work.add(self.request.connection.stream)  # type: ignore[attr-defined, union-attr]

    def on_finish(self) -> None:
        """From here on it is the client that takes the time."""
        self.application.at_work.discard(self.request.connection.stream)  # type: ignore[attr-defined, union-attr]

    def compute_etag(self) -> None:
        """No answer is compared with one of before."""

    def head(self, *names: str) -> Any:
        """As what is asked for with its content, which Tornado leaves out."""
        return self.get(*names)

    def refuse(self, code: HTTPStatus, **headers: str) -> None:
        """End with a code and its words."""
        self.send_error(code, headers=headers)

    def write_error(self, status_code: int, **given: Any) -> None:
        """Say what a code says, and no more."""
        for name, value in given.get("headers", {}).items():
            self.set_header(name.replace("_", "-"), value)
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", "GET, HEAD")
        self.finish(f"{self.WORDS.get(status_code, f'{HTTPStatus(status_code).phrase}.')}\n")

    def log_exception(self, kind: Any, error: Any, _: Any) -> None:
        """Log what was no refusal: a traceback, and a request, may quote what a row or a form holds."""
        if not isinstance(error, HTTPError):
            log.error("not-answered", extra={"why": kind.__name__})


class Healthcheck(Handler):
    """Answers everybody that something listens here."""

    def get(self) -> None:
        """Say so."""
        self.finish("OK\n")
