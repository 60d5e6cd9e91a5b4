"""Drill reports on the targets, beside the backups: put there by the drill, read by any host.

A report is ``drills/<run>.json``, its page ``drills/<run>.html``, which is put first: a report that is
there has its page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.operations.drills.page import PREFIX, REPORT
from strongroom.operations.drills.report import DrillReport
from strongroom.operations.services import Services
from strongroom.operations.signed_report import PAGE, vouch, vouches
from strongroom.operations.statements import put_checked
from strongroom.targets import Target

_NAME = re.compile(PREFIX + r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})\.json")
LISTED = 1_000
"""Names that are read on one target, the newest first: anyone who may write there can leave any number."""


class Stored(Struct, frozen=True, kw_only=True):
    """Where a report was put, and where it could not be, with the reason."""

    on: tuple[str, ...]
    missed: dict[str, str]


def put_report(report: DrillReport, names: Sequence[str], services: Services, *, keep: timedelta) -> Stored:
    """Sign a report and put it with its page on targets. A target that is away keeps none from the others.

    If none takes it, any other target of this host may: a medium that did not come has no report of that.

    Args:
        keep: for how long it is locked where a target locks.
    """
    beside = REPORT.files(report)
    signed = REPORT.sign(vouch(report, beside), services.signers("control"))
    files = {f"{PREFIX}{report.run}.html": beside[PAGE], f"{PREFIX}{report.run}.json": signed}
    stored = put_files(names, files, services, keep=keep)
    if stored.on:
        return stored
    others = [name for name in services.targets if name not in names]
    instead = put_files(others, files, services, keep=keep)
    return Stored(on=instead.on, missed=stored.missed)


def put_files(
    names: Iterable[str], files: Mapping[str, bytes], services: Services, *, keep: timedelta
) -> Stored:
    """Put files on targets, in their order, and read them back. One that is away keeps none from others."""
    missed: dict[str, str] = {}
    on: list[str] = []
    for name in names:
        try:
            _put(services.target(name), files, until=datetime.now(UTC) + keep)
        except StrongroomError as error:
            missed[name] = f"{error.code}: {error.message}"
        else:
            on.append(name)
    return Stored(on=tuple(on), missed=missed)


def _put(target: Target, files: Mapping[str, bytes], *, until: datetime) -> None:
    for name, content in files.items():
        put_checked(target, name, content, until=until)


class StoredDrillReport(Struct, frozen=True, kw_only=True):
    """A report, as it was signed, and the targets that have it."""

    report: DrillReport
    signed: bytes
    on: tuple[str, ...]


class DrillReports(Struct, frozen=True, kw_only=True):
    """The reports on some targets, the newest first, the names that are of none, and the targets that do not
    answer, each with the reason."""

    reports: tuple[StoredDrillReport, ...]
    aside: dict[str, str]
    away: dict[str, StrongroomError]


def list_reports(targets: Sequence[Target], *, trusted: frozenset[str]) -> DrillReports:
    """Read all reports that somebody trusted signed."""
    found: dict[bytes, StoredDrillReport] = {}
    aside: dict[str, str] = {}
    away: dict[str, StrongroomError] = {}
    for target in targets:
        try:
            runs = _runs_on(target)
            for run in runs[:LISTED]:
                _read(target, run, trusted, found, aside)
            if len(runs) > LISTED:  # true reports may be hidden behind names that somebody made up
                aside[f"{PREFIX} on {target.name}"] = (
                    f"it has {len(runs):,} names; the first {LISTED:,} were read"
                )
        except StrongroomError as error:
            away[target.name] = error
    reports = sorted(
        found.values(), key=lambda stored: (stored.report.began, stored.report.run), reverse=True
    )
    return DrillReports(reports=tuple(reports), aside=aside, away=away)


def _runs_on(target: Target) -> list[str]:
    matches = (_NAME.fullmatch(info.name) for info in target.list(PREFIX))
    return sorted((match[1] for match in matches if match), reverse=True)


def _read(
    target: Target,
    run: str,
    trusted: frozenset[str],
    found: dict[bytes, StoredDrillReport],
    aside: dict[str, str],
) -> None:
    name = f"{PREFIX}{run}.json"
    signed = b"".join(target.read(name, length=REPORT.most + 1))
    try:
        known = found.get(signed)
        report = known.report if known else REPORT.parse(signed, trusted=trusted)
        if report.run != run:
            raise VerificationFailed("it is the report of another drill")
    except StrongroomError as error:  # of what lies there; that a target is away was told before
        aside[f"{name} on {target.name}"] = f"{error.code}: {error.message}"
    else:
        found[signed] = StoredDrillReport(
            report=report, signed=signed, on=(*(known.on if known else ()), target.name)
        )


def page_on(found: StoredDrillReport, targets: Sequence[Target]) -> bytes:
    """Return the page of a report, from the first target that has the one which the report vouches for.

    Raises:
        MissingPiece: none has.
    """
    for target in targets:
        if target.name in found.on:
            content = b"".join(target.read(f"{PREFIX}{found.report.run}.html", length=8 * REPORT.most))
            if vouches(found.report, content):
                return content
    raise MissingPiece(f"no target has the page that the report of drill {found.report.run} vouches for")
