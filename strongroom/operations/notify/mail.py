"""Handing a mail to a server: TLS with a checked certificate, a limit on the whole, and who was not told."""

from __future__ import annotations

import io
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from threading import Timer
from typing import Any, Final

from strongroom.errors import ConfigError
from strongroom.operations.errors import MailRefused, MailUnavailable
from strongroom.operations.notify.channels import AlertMessage, MailServer
from strongroom.system.attempts import on_failure
from strongroom.words import spelled_out

MOST_SAID: Final = 1024 * 1024
"""Bytes that a server may say: all of a mail takes some hundred for each recipient."""


def mail_to(message: AlertMessage, server: MailServer, recipients: Sequence[str]) -> None:
    """Mail a message to all of them. Raises as :func:`send` does."""
    send(letter(message, server.sender, recipients), server, recipients)


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
