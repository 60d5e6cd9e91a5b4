"""Signed statements: small records that lie beside the backups, signed, and never changed.

What all kinds have in common stands here: one frame, one limit of size, one order of checks. A kind is an
entry of a few lines: its record, who may sign it, and the rules that it alone has. None is ever replaced, so
they work under Object Lock; which of several counts is for :mod:`strongroom.operations.engine.statements`
to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.document import DocumentKind
from strongroom.container.errors import Malformed
from strongroom.container.signing import Certificate, CertifiedSigner, require_in_time

S = TypeVar("S", bound=Struct)

MAX_NUMBER = 99_999_999
"""The highest number of a statement: eight digits of its name."""


class Signed(Struct, Generic[S], frozen=True):
    """A statement whose signature fits, and the certificate of the key that made it."""

    statement: S
    certificate: Certificate

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the installation whose key made it."""
        return self.certificate.fingerprint


class StatementKind(DocumentKind, Generic[S], frozen=True, kw_only=True):
    """A kind of statement.

    Args:
        record: what it says.
        most: how many bytes its file has at most.
        moment: the field with the time of its signature; empty if nobody asks when it was made.
        prefix: what its names on a target begin with; empty if it has no place of its own there.
        pattern: what follows there. Its first group is the folder: what the statement is about.
        hidden: makes the statement that stands for one that may lie hidden, of its folder, a reason and a
            time; ``None`` where nothing may stand for it.
    """

    record: type[S]
    moment: str = "at"
    prefix: str = ""
    pattern: str = ""
    hidden: Callable[[str, str, str], S] | None = None

    def name_of(self, statement: S, content: bytes) -> str:
        """Return a statement's name on every target."""
        raise NotImplementedError

    def is_named(self, name: str, statement: S, content: bytes) -> bool:
        """Tell whether a statement may lie under a name: one that was renamed or moved counts for nothing."""
        return name == self.name_of(statement, content)

    def check(self, statement: S) -> None:
        """Hold a statement to the rules of its kind; raise Malformed."""

    def admit(self, certificate: Certificate) -> None:
        """Return if this key may sign such statements at all; raise UntrustedSigner."""

    def judge(self, statement: S, certificate: Certificate) -> None:
        """Return if this key may say what the statement says; raise UntrustedSigner."""

    def require(self, signed: Signed[S], trusted: frozenset[str] | None) -> None:
        """Return if all is known here that a statement says must be; raise TrustListMissing."""

    def recognize(self, body: bytes) -> None:
        """Return if this version of the format spells it so; raise UnsupportedVersion."""

    def sign(self, statement: S, signer: CertifiedSigner) -> bytes:
        """Return a statement's file. The same statement and signer give the same bytes.

        Raises:
            Malformed: it says what none may, or would be larger than the format allows.
        """
        self.check(statement)
        return document.write(self, canonical.encode(statement), signer)

    def open(self, data: bytes, *, trusted: frozenset[str] | None) -> Signed[S]:
        """Parse strictly and check the signature. ``trusted=None`` accepts any installation's.

        Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, UntrustedSigner,
        UnsupportedVersion of before the first release, Malformed, and UntrustedSigner again if this key may
        not say it, or a retired one made it after its time; Malformed first of all if it is too large.
        """
        if len(data) > self.most:
            raise Malformed(f"The {self.words} is larger than the format allows.")
        parsed = document.parse(self, data, trusted=trusted)
        self.admit(parsed.certificate)
        self.recognize(parsed.body)
        statement = canonical.decode(parsed.body, self.record, f"The {self.words}")
        self.check(statement)
        self.judge(statement, parsed.certificate)
        if self.moment:
            require_in_time(parsed.certificate, getattr(statement, self.moment), trusted)
        return Signed(statement, parsed.certificate)

    def parse(self, data: bytes, *, trusted: frozenset[str] | None) -> S:
        """Return the statement alone; raises as :meth:`open` does."""
        return self.open(data, trusted=trusted).statement


def is_time(text: str) -> bool:
    """Tell whether a text is a time with a zone."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
