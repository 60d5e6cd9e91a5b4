"""A mail server of the tests' own: as much of RFC 5321 as a client needs, with STARTTLS and logins.

with MailServer(context=context, tls="starttls") as server:
    ...
    [mail] = server.mails
"""

from __future__ import annotations

import base64
import email
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from types import TracebackType
from typing import Self, cast


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail as it came: the envelope, and what was in it."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    sealed: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        return cast(
            "EmailMessage", email.message_from_bytes(self.raw.replace(b"\r\n", b"\n"), policy=policy.default)
        )

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        """The text, without regard to how it was wrapped."""
        return " ".join(self.message.get_content().split())


@dataclass
class MailServer:
    """Listens on loopback while its block runs.

    Args:
        tls: ``tls``, ``starttls`` or empty.
        logins: who may log in; with any, nobody else may send.
        refused: recipients that are answered with a code.
        answer_data: what the end of a mail is answered with.
        silent: greets nobody until the block ends.
        slow: sends a byte of its greeting now and then, and never the end of it.
        late: sends a byte now and then after STARTTLS, having waited with that until it is called.
        endless: answers EHLO with offers without end.
    """

    tls: str = ""
    context: ssl.SSLContext | None = None
    logins: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    answer_data: str = "250 taken"
    silent: bool = False
    slow: bool = False
    late: Callable[[], object] | None = None
    endless: bool = False
    mails: list[Mail] = field(default_factory=list)

    def __enter__(self) -> Self:
        owner = self
        self.over = threading.Event()

        class Handler(_Session):
            server_of_tests = owner

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server_of_tests: MailServer

    def setup(self) -> None:
        self.sealed = self.server_of_tests.tls == "tls"
        if self.sealed:
            self.request = self._wrapped()
        super().setup()
        self.user, self.sender = "", ""
        self.recipients: list[str] = []

    def _wrapped(self) -> ssl.SSLSocket:
        assert self.server_of_tests.context is not None
        return self.server_of_tests.context.wrap_socket(self.request, server_side=True)

    def finish(self) -> None:
        super().finish()
        self.request.close()  # what wraps a connection is closed by nobody else

    def handle(self) -> None:
        try:
            self._handle()
        except (OSError, ValueError):
            return  # the client went away, or did not like the certificate

    def _handle(self) -> None:
        if self.server_of_tests.silent:
            self.server_of_tests.over.wait()
            return
        if self.server_of_tests.slow:
            self._trickle()
        self._say("220 tests")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            word, _, rest = line.partition(" ")
            if word.upper() == "QUIT":
                self._say("221 bye")
                return
            getattr(self, f"_{word.lower()}", self._unknown)(rest)

    def _trickle(self) -> None:
        while not self.server_of_tests.over.wait(0.02):
            self.wfile.write(b"2")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def _unknown(self, _: str) -> None:
        self._say("502 not here")

    def _ehlo(self, _: str) -> None:
        while self.server_of_tests.endless:
            self._say(*["250-and another"] * 1000)
        offers = ["tests"]
        if self.server_of_tests.tls == "starttls" and not self.sealed:
            offers.append("STARTTLS")
        elif self.server_of_tests.logins:
            offers.append("AUTH PLAIN")
        self._say(*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}")

    def _starttls(self, _: str) -> None:
        self._say("220 go on")
        if self.server_of_tests.late is not None:
            self.server_of_tests.late()
        self.request = self._wrapped()
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", buffering=0)
        self.sealed = True
        if self.server_of_tests.late is not None:
            self._trickle()

    def _auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
        if self.server_of_tests.logins.get(user) == password:
            self.user = user
            self._say("235 welcome")
        else:
            self._say(f"535 no: {rest}")  # some servers repeat what they were given

    def _mail(self, rest: str) -> None:
        if self.server_of_tests.logins and not self.user:
            self._say("530 log in first")
            return
        self.sender, self.recipients = _address(rest), []
        self._say("250 fine")

    def _rcpt(self, rest: str) -> None:
        address = _address(rest)
        if code := self.server_of_tests.refused.get(address):
            self._say(f"{code} no such person")
        else:
            self.recipients.append(address)
            self._say("250 fine")

    def _rset(self, _: str) -> None:
        self._say("250 fine")

    def _data(self, _: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if self.server_of_tests.answer_data.startswith("250"):
            self.server_of_tests.mails.append(
                Mail(
                    sender=self.sender,
                    recipients=tuple(self.recipients),
                    raw=b"".join(lines),
                    sealed=self.sealed,
                    user=self.user,
                )
            )
        self._say(self.server_of_tests.answer_data)


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
