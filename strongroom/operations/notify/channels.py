"""What carries messages to people: mail, webhooks, whatever Apprise knows."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import io
import logging
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from strongroom.alert_kinds import Severity
from strongroom.errors import ConfigError, StrongroomError
from strongroom.operations.errors import ChannelRefused, ChannelUnavailable, MailRefused, MailUnavailable
from strongroom.system.attempts import on_failure, run_all
from strongroom.system.errors import NotTaken
from strongroom.system.program import post
from strongroom.times import rfc3339
from strongroom.words import spelled_out

# -- What carries a message to people, and what the message is: the same for every kind of channel ---


class AlertMessage(Struct, frozen=True, kw_only=True):
    """All news of one check on one route.

    Args:
        id: the same if the same news is sent again because nobody knows whether it came.
        severity: that of the worst alert in it; ``None`` if it only says what is over.
        document: the same for machines, as JSON can say it.
    """

    id: str
    at: float
    subject: str
    text: str
    severity: Severity | None
    document: Mapping[str, Any]


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def where(self) -> str:
        """Where it leads, for people; nothing secret."""

    def send(self, message: AlertMessage) -> None:
        """Hand a message over, within the channel's own time limit.

        Raises:
            ChannelUnavailable: it was not taken, and may be later. If ``partly``, some people were told.
            ChannelRefused: it was refused.
            ConfigError: a file that the channel needs cannot be used.
        """


# -- Handing a mail to a server: TLS with a checked certificate, a limit on the whole, and who was not told


MOST_SAID: Final = 1024 * 1024
"""Bytes that a server may say: all of a mail takes some hundred for each recipient."""


class Mail(Struct, frozen=True, kw_only=True):
    """The channel: who gets the mail, by which server."""

    name: str
    server: MailServer
    recipients: tuple[str, ...]

    @property
    def where(self) -> str:
        return ", ".join(self.recipients)

    def send(self, message: AlertMessage) -> None:
        """Mail the message to all. See :class:`~strongroom.operations.notify.channels.Channel`."""
        send(letter(message, self.server.sender, self.recipients), self.server, self.recipients)


def letter(message: AlertMessage, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Return a message as a mail."""
    return plain_mail(message.subject, message.text, sender=sender, recipients=recipients, now=message.at)


def plain_mail(
    about: str, content: str, *, sender: str, recipients: Sequence[str], now: float
) -> EmailMessage:
    """Return a mail of plain text, as a program sends it. No name in it forges a header."""
    made = EmailMessage(policy=SMTP)
    made["Subject"] = about
    made["From"] = Address(display_name="Strongroom", addr_spec=sender)
    made["To"] = tuple(Address(addr_spec=recipient) for recipient in recipients)
    made["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    made["Message-ID"] = make_msgid(domain=sender.partition("@")[2])
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers it
    made.set_content(content, cte="quoted-printable")
    return made


class MailServer(Struct, frozen=True, kw_only=True):
    """A server that takes mail. ``password`` reads the password, when it is needed and not before.

    ``security`` is ``starttls``, ``tls`` or ``none``. ``timeout`` is how many seconds all of it may take.
    """

    host: str
    port: int
    security: str
    sender: str
    username: str | None = None
    password: Callable[[], str] | None = None
    ca_file: Path | None = None
    timeout: float = 30.0


def send(message: EmailMessage, server: MailServer, recipients: Sequence[str]) -> None:
    """Send a mail to all of them.

    Raises:
        MailUnavailable: the server was away, too slow or broke off: nobody was told.
        MailRefused: it refused the login or the mail; or one of several, and the others were told.
        ConfigError: the password's file, or that of the certificates, cannot be used.
    """
    with _translated(server, recipients), _connected(server) as smtp:
        _log_in(smtp, server)
        refused = smtp.send_message(message, from_addr=server.sender, to_addrs=list(recipients))
    if refused:
        raise _refused_some(refused, server, recipients)


class _Limited(smtplib.SMTP):
    """A connection that ends when its time is over, whatever it is doing.

    A socket's own limit is for each read: a server that sends a byte now and then would hold us without end.
    """

    def __init__(self, server: MailServer, **options: Any) -> None:
        self._over = False
        self._timer = Timer(server.timeout, self._cut)
        self._timer.daemon = True
        self._timer.start()
        with on_failure(self._timer.cancel):
            name = _own_name(server)
            super().__init__(server.host, server.port, local_hostname=name, timeout=server.timeout, **options)

    def close(self) -> None:
        self._timer.cancel()
        super().close()

    def getreply(self) -> tuple[int, bytes]:
        """Read an answer, and no more than a server can have to say."""
        if self._over:  # what was cut was no socket then: it was being connected, or wrapped into TLS
            self.close()
            raise smtplib.SMTPServerDisconnected("too slow")
        if self.file is None and self.sock is not None:
            self.file = _Bounded(socket.SocketIO(self.sock, "r"))
        return super().getreply()

    def _cut(self) -> None:
        self._over = True
        if (sock := self.sock) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Bounded(io.BufferedReader):
    """What a server says, line by line: one that says without end fills no memory."""

    _left = MOST_SAID

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("too much was said")
        return line


class _TlsSmtp(_Limited, smtplib.SMTP_SSL):
    """The same, under TLS from its first byte."""


@contextmanager
def _connected(server: MailServer) -> Iterator[smtplib.SMTP]:
    context = None if server.security == "none" else _context(server)
    smtp = _TlsSmtp(server, context=context) if server.security == "tls" else _Limited(server)
    try:
        if context is not None and server.security == "starttls":
            smtp.starttls(context=context)
        yield smtp
        with suppress(OSError, smtplib.SMTPException):  # the mail was taken, however this ends
            smtp.quit()
    finally:
        smtp.close()


def _own_name(server: MailServer) -> str:
    """Return what this host calls itself to the server: without a question to a name server that hangs."""
    return server.sender.rpartition("@")[2]


def _context(server: MailServer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or "it holds no certificate"
        raise ConfigError(f"mail.ca_file '{server.ca_file}' cannot be used: {why}") from None


def _log_in(smtp: smtplib.SMTP, server: MailServer) -> None:
    if server.username is not None and server.password is not None:
        smtp.login(server.username, server.password())


@contextmanager
def _translated(server: MailServer, recipients: Sequence[str]) -> Iterator[None]:
    """Turn what the library and the system raise into errors that say who was not told.

    What the server said is left out of the words for a login: some repeat what they were given.
    """
    where, missed = f"The mail server {server.host}:{server.port}", tuple(recipients)
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:  # all, or one with a 421: then the others were not asked
        raise _refused_all(error.recipients, server, recipients) from None
    except smtplib.SMTPAuthenticationError as error:
        raise _refused(f"{where} refused the login (code {error.smtp_code})", missed) from None
    except ssl.SSLCertVerificationError as error:
        raise _refused(
            f"{where} showed a certificate that does not hold: {error.verify_message}", missed
        ) from None
    except smtplib.SMTPNotSupportedError as error:
        raise _refused(f"{where} cannot do what is needed: {error}", missed) from None
    except smtplib.SMTPServerDisconnected:
        raise _away(f"{where} broke off, or took longer than {server.timeout:g} s", missed) from None
    except smtplib.SMTPResponseException as error:
        raise _by_code(where, error, missed) from None
    except (OSError, UnicodeError, smtplib.SMTPException) as error:
        raise _away(f"{where} cannot be reached: {_why(error, server)}", missed) from None


def _why(error: Exception, server: MailServer) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {server.timeout:g} s"
    if isinstance(error, UnicodeError):  # a dot too many, or a part that is too long
        return "no server has such a name"
    return getattr(error, "strerror", None) or type(error).__name__


def _by_code(where: str, error: smtplib.SMTPResponseException, missed: Sequence[str]) -> MailUnavailable:
    said = _words(error.smtp_error)
    # What is neither a four nor a five is half an answer: the server was cut off, or is none.
    make = _refused if 500 <= error.smtp_code < 600 else _away
    return make(f"{where} did not take the mail: {error.smtp_code} {said}".rstrip(), missed)


_Answers = dict[str, tuple[int, bytes]]


def _refused_some(refused: _Answers, server: MailServer, recipients: Sequence[str]) -> MailRefused:
    told = ", ".join(recipient for recipient in recipients if recipient not in refused)
    return MailRefused(f"{_named(refused, server)}. Told: {told}.", missed=sorted(refused), partly=True)


def _refused_all(refused: _Answers, server: MailServer, recipients: Sequence[str]) -> MailUnavailable:
    passes = all(_passes(code) for code, _ in refused.values())
    make = MailUnavailable if passes else MailRefused
    return make(f"{_named(refused, server)}. Nobody was notified.", missed=recipients)


def _named(refused: _Answers, server: MailServer) -> str:
    named = "; ".join(
        f"{address} ({code} {_words(said)})" for address, (code, said) in sorted(refused.items())
    )
    return f"The mail server {server.host}:{server.port} refused {named}"


def _passes(code: int) -> bool:
    """Tell whether a refusal may pass: fours do, fives stay (RFC 5321, 4.2.1)."""
    return 400 <= code < 500


def _words(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return spelled_out(text.replace("\r", "").replace("\n", " "))[:200]


def _away(what: str, missed: Sequence[str]) -> MailUnavailable:
    return MailUnavailable(f"{what}. Not told: {', '.join(missed)}.", missed=missed)


def _refused(what: str, missed: Sequence[str]) -> MailRefused:
    return MailRefused(f"{what}. Not told: {', '.join(missed)}.", missed=missed)


# -- A webhook: JSON, signed so that the receiver knows whose it is, when it was sent and that it is whole
#
# Headers and signature are those of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over the id, the
# time and the body. A receiver refuses what is old and what it has seen, so that a recorded message is of
# no use.


TYPE: Final = "strongroom.alerts"
PREFIX: Final = "whsec_"
LEAST: Final = 24
"""Bytes that a secret has at least, by the standard."""


class Webhook(Struct, frozen=True, kw_only=True):
    """A receiver. ``url`` and ``secret`` are read when they are needed, and not before."""

    name: str
    url: Callable[[], str]
    secret: Callable[[], str]
    ca_file: Path | None = None
    timeout: float = 10.0

    @property
    def where(self) -> str:
        return f"webhook '{self.name}'"

    def send(self, message: AlertMessage) -> None:
        """Post the message. See :class:`~strongroom.operations.notify.channels.Channel`."""
        content = {"type": TYPE, "timestamp": rfc3339(message.at), "data": message.document}
        body = msgspec.json.encode(content)
        headers = signed_headers(message.id, body, key=self._key(), now=time.time())
        try:
            post(self.url().strip(), body, timeout=self.timeout, headers=headers, ca_file=self.ca_file)
        except NotTaken as error:
            kind = ChannelRefused if error.lasting else ChannelUnavailable
            raise kind(f"Channel '{self.name}' {error.message}.", missed=(self.where,)) from None

    def _key(self) -> bytes:
        text = self.secret().strip()
        try:
            key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not text.startswith(PREFIX) or len(key) < LEAST:
            raise ConfigError(
                f"The file that channels.{self.name}.secret_file names holds no secret of a webhook.",
                hint="Make one: (printf whsec_; head -c 32 /dev/urandom | base64) > FILE. Give the receiver "
                "the same.",
            )
        return key


def signed_headers(name: str, body: bytes, *, key: bytes, now: float) -> dict[str, str]:
    """Return the headers that prove a body."""
    moment = str(int(now))
    digest = hmac.digest(key, b".".join((name.encode(), moment.encode(), body)), hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": name, "webhook-timestamp": moment, "webhook-signature": signature}


# -- Everything that Apprise knows, from Slack to PagerDuty, by one URL. The library is an extra ---
#
# Its URL is a secret, and the library logs parts of it when something goes wrong. So its log is off, and
# why a service refused is not known here.


COLOURS: Final = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", None: "success"}
"""What Apprise calls a message's kind."""


class Apprise(Struct, frozen=True, kw_only=True):
    """A service. ``url`` reads its address when it is needed, and not before."""

    name: str
    url: Callable[[], str]
    timeout: float = 10.0

    @property
    def where(self) -> str:
        return f"'{self.name}' (Apprise)"

    def send(self, message: AlertMessage) -> None:
        """Hand the message to the service. See :class:`~strongroom.operations.notify.channels.Channel`."""
        service = self._service()
        kind = COLOURS[message.severity]

        def notify() -> bool:
            try:
                return bool(
                    service.notify(
                        body=message.text, title=message.subject, notify_type=kind, body_format="text"
                    )
                )
            except Exception:  # noqa: BLE001 - each of its many services raises what it likes
                return False

        [taken] = run_all(self.timeout, {self.name: notify}, late=lambda _name: ChannelUnavailable).values()
        if isinstance(taken, StrongroomError):
            raise ChannelUnavailable(f"Channel '{self.name}': {taken.message}.", missed=(self.where,))
        if not taken:
            raise ChannelUnavailable(
                f"Channel '{self.name}': the service did not take the message.",
                missed=(self.where,),
                hint="Apprise does not say why. Try it by hand where only you see it: apprise -b test URL",
            )

    def _service(self) -> Any:
        try:
            apprise = import_module("apprise")
        except ImportError:
            raise ConfigError(
                f"Channel '{self.name}' needs Apprise, which is not installed here.",
                hint="Install strongroom[apprise] on every host that notifies: docs/how-to/notify-people.md.",
            ) from None
        logging.getLogger("apprise").disabled = True
        service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, plugin_paths=[]))
        if not service.add(self.url().strip()):
            raise ConfigError(
                f"The file that channels.{self.name}.url_file names holds no URL that Apprise knows.",
                hint="One URL, such as slack://…; https://appriseit.com lists the forms.",
            )
        return service
