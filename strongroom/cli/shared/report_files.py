"""The files of a signed report: the report (JSON), and what is written beside it and says the same."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from strongroom.container.signing import CertifiedSigner
from strongroom.errors import UsageError
from strongroom.operations.evidence.signed_report import BESIDE, ReportKind, beside, vouch
from strongroom.system.files import refuse_existing, write_whole

R = TypeVar("R", bound=Struct)


def refuse_files(file: Path | None, *, replace: bool, endings: Collection[str] = tuple(BESIDE)) -> None:
    """Refuse a file of another form, and to write over what is there, before anything is done."""
    if file is None:
        return
    if file.suffix.lower() not in ("", ".json"):
        raise UsageError(
            f"A report is JSON, signed as it stands; it cannot be written as '{file.suffix}'.",
            hint="Name a file that ends in .json: the page is written beside it. Nothing was written.",
        )
    for path in (file, *(beside(file, ending) for ending in endings)):
        refuse_existing(path, replace=replace)


def write_files(
    kind: ReportKind[R],
    report: R,
    signer: CertifiedSigner,
    file: Path,
    *,
    replace: bool,
) -> bytes:
    """Write what goes beside a report, then the signed report that vouches for it, and return that."""
    files = kind.files(report)
    signed = kind.sign(vouch(report, files), signer)
    for ending, content in files.items():
        write_whole(beside(file, ending), content, replace=replace)
    write_whole(file, signed, replace=replace)
    return signed


def said_of_files(file: Path) -> str:
    """Say where a report is, and how somebody else checks it."""
    page, table = (beside(file, ending).name for ending in BESIDE)
    return (
        f"The whole report is in {file}, signed; {page} is the page to read or print, {table} the table. "
        f"'strongroom reports check {file.name}' checks all three."
    )
