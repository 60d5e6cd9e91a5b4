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

from strongroom.container.certificate import MANIFEST_ROLES
from strongroom.container.statement import StatementKind
from strongroom.sheet import Cell, Lines, Part, Sheet

R = TypeVar("R", bound=Struct)

PAGE: Final = ".html"
TABLE: Final = ".csv"
BESIDE: Final[Mapping[str, str]] = {PAGE: "page_sha256", TABLE: "csv_sha256"}
"""What may lie beside a report, by the end of its name, and the field that has its SHA-256, in hex."""


class LedgerEvent(Struct, frozen=True, kw_only=True):
    """The newest event of a ledger, and the digest of all up to it."""

    number: int
    sha256: str


class ReportKind(StatementKind[R], Generic[R], frozen=True, kw_only=True):
    """A kind of report: what it says and what it tells; the roles of manifests sign it.

    ``file_name`` is what its file is called without its ending, ``stored`` the folder of the targets where it
    is put, if it is. ``ledger`` returns the event up to which it was read from a ledger.
    """

    roles: tuple[str, ...] = MANIFEST_ROLES
    sheet: Callable[[R], Sheet]
    moment: str = "made_at"
    file_name: Callable[[R], str] = lambda _: "FILE"
    stored: Callable[[R], str] = lambda _: ""
    ledger: Callable[[R], LedgerEvent | None] = lambda _: None

    def files(self, report: R) -> dict[str, bytes]:
        """Return what lies beside a report, by the ends of their names: its page, and its table if it has
        one."""
        sheet = self.sheet(report)
        page = replace(sheet, parts=(*sheet.parts, *self._how_to_check(report, table=sheet.data is not None)))
        return {PAGE: page.html()} | ({TABLE: sheet.csv()} if sheet.data is not None else {})

    def _how_to_check(self, report: R, *, table: bool) -> Iterator[Part]:
        name, place = self.file_name(report), self.stored(report)
        also = " and of the table" if table else ""
        stored = f" They are stored next to the backups, under {place} on each target." if place else ""
        said = (
            f"The signed document beside this page says the same, and holds the SHA-256 of the page{also}."
            f"{stored} With these files in one folder, and the installation's fingerprint, which you have "
            "from somebody you trust, this needs no network:"
        )
        yield Lines([said], "How to check this report")
        yield Lines([f"strongroom reports check {name}.json --signer sr1:…"], style="code")
        if (event := self.ledger(report)) is not None:
            sha256 = Cell(event.sha256, code=True)
            yield Lines(
                [
                    (f"It was read from the ledger up to event {event.number}, SHA-256 ", sha256, "."),
                    ("On a host of the installation, ", Cell("--ledger", code=True), " compares its ledger."),
                ]
            )


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
