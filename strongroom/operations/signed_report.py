"""Signed reports: JSON that anybody can read, and the digests of the files beside it that say the same.

One way for all of them, so that one command checks any, without a network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container import canonical, document
from strongroom.container.certificate import MANIFEST_ROLES, Certificate, CertifiedSigner, require_in_time
from strongroom.container.document import MAX_DOCUMENT, Kind
from strongroom.container.errors import Malformed
from strongroom.sheet import Cell, Lines, Part, Sheet

R = TypeVar("R", bound=Struct)

PAGE: Final = ".html"
TABLE: Final = ".csv"
BESIDE: Final[Mapping[str, str]] = {PAGE: "page_sha256", TABLE: "csv_sha256"}
"""What may lie beside a report, by the end of its name, and the field that has its SHA-256, in hex."""


class Opened(Struct, Generic[R], frozen=True, kw_only=True):
    """A report whose signature counts, and the certificate of the key that made it."""

    report: R
    certificate: Certificate


class LedgerEvent(Struct, frozen=True, kw_only=True):
    """The newest event of a ledger, and the digest of all up to it."""

    number: int
    sha256: str


class ReportKind(Struct, Generic[R], frozen=True, kw_only=True):
    """A kind of report: its document, its record, and what it tells.

    ``moment`` is the field with the time by which it was signed, ``name`` what its file is called without its
    ending, ``stored`` the folder of the targets where it is put, if it is. ``ledger`` returns the event up to
    which it was read from a ledger.
    """

    kind: Kind
    record: type[R]
    sheet: Callable[[R], Sheet]
    moment: str = "made_at"
    most: int = MAX_DOCUMENT
    name: Callable[[R], str] = lambda _: "FILE"
    stored: Callable[[R], str] = lambda _: ""
    ledger: Callable[[R], LedgerEvent | None] = lambda _: None

    def files(self, report: R) -> dict[str, bytes]:
        """Return what lies beside a report, by the ends of their names: its page, and its table if it has
        one."""
        sheet = self.sheet(report)
        page = replace(sheet, parts=(*sheet.parts, *self._how_to_check(report, table=sheet.data is not None)))
        return {PAGE: page.html()} | ({TABLE: sheet.csv()} if sheet.data is not None else {})

    def _how_to_check(self, report: R, *, table: bool) -> Iterator[Part]:
        name, place = self.name(report), self.stored(report)
        also = " and of the table" if table else ""
        stored = f" They are stored next to the backups, under {place} on each target." if place else ""
        said = (
            f"The signed document beside this page says the same, and holds the SHA-256 of the page{also}."
            f"{stored} With these files in one folder, and the installation's fingerprint, which you have "
            "from somebody you trust, this needs no network:"
        )
        yield Lines([said], "How to check this report")
        yield Lines([f"strongroom report check {name}.json --signer sr1:…"], style="code")
        if (event := self.ledger(report)) is not None:
            sha256 = Cell(event.sha256, code=True)
            yield Lines(
                [
                    (f"It was read from the ledger up to event {event.number}, SHA-256 ", sha256, "."),
                    ("On a host of the installation, ", Cell("--ledger", code=True), " compares its ledger."),
                ]
            )

    def sign(self, report: R, signer: CertifiedSigner) -> bytes:
        """Return the report's file. The same report and signer give the same bytes.

        Raises:
            Malformed: it would be larger than its kind may be.
        """
        data = document.write(self.kind, canonical.encode(report), signer)
        if len(data) > self.most:
            raise Malformed(f"The {self.kind.words} would be larger than the format allows.")
        return data

    def open(self, data: bytes, *, trusted: frozenset[str] | None) -> Opened[R]:
        """Parse strictly and check the signature.

        Raises as :func:`strongroom.container.document.parse` does; UntrustedSigner, too, if a retired signer
        made it after its time.
        """
        if len(data) > self.most:
            raise Malformed(f"The {self.kind.words} is larger than the format allows.")
        parsed = document.parse(self.kind, data, trusted=trusted)
        report = canonical.decode(parsed.body, self.record, f"The {self.kind.words}")
        require_in_time(parsed.certificate, getattr(report, self.moment), trusted)
        return Opened(report=report, certificate=parsed.certificate)

    def parse(self, data: bytes, *, trusted: frozenset[str] | None) -> R:
        """Return the report alone; raises as :meth:`open` does."""
        return self.open(data, trusted=trusted).report


def kind_of(name: str, words: str) -> Kind:
    """Return a kind of document that the roles of manifests sign."""
    return Kind(name, words, MANIFEST_ROLES)


def vouch(report: R, files: Mapping[str, bytes]) -> R:
    """Return a report that vouches for what lies beside it, by the ends of their names."""
    digests = {BESIDE[ending]: hashlib.sha256(content).hexdigest() for ending, content in files.items()}
    return replace(report, **digests)


def vouches(report: Struct, content: bytes) -> bool:
    """Tell whether a page is the one that a report vouches for."""
    return bool(hashlib.sha256(content).hexdigest() == getattr(report, BESIDE[PAGE]))


def beside(report_file: Path, ending: str = PAGE) -> Path:
    """Return where what goes with a report lies."""
    return report_file.with_suffix(ending)
