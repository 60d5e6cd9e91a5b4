"""security-review: the yearly review as a signed document, with a page to print and sign."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.shared.health_areas import check_areas
from strongroom.cli.shared.report_files import refuse_files, said_of_files, write_files
from strongroom.cli.shared.role_keys import RoleKeyStatus, installation_fingerprints, list_role_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.review import (
    MADE,
    REPORT,
    ReviewedSigner,
    SecurityReview,
    is_unmet,
)
from strongroom.operations.evidence.review_page import csv_of, page_of
from strongroom.operations.signed_report import PAGE, TABLE
from strongroom.wiring.compliance import evidence
from strongroom.wiring.security_review import review

YEAR_DAYS = 365


def review_security(arguments: Namespace, output: Output) -> None:
    file: Path | None = arguments.output
    refuse_files(file, replace=arguments.force)
    made = _review(arguments.reviewer)
    if file is not None:
        _write(made, file, replace_it=arguments.force)
    output.answer(to_builtins(made), _lines(made, file))


def _review(reviewers: list[str]) -> SecurityReview:
    settings, services, now = load_settings(), open_services(), time.time()
    take(services.state_dir, services.store)
    signers = list_role_keys(datetime.now(UTC))
    areas = check_areas(settings, days=YEAR_DAYS, now=now)[0]
    return review(
        services,
        evidence(settings, areas, now=now),
        [_signer(one) for one in signers],
        installation=next(iter(installation_fingerprints(signers)), ""),
        reviewers=reviewers,
        now=now,
    )


def _signer(one: RoleKeyStatus) -> ReviewedSigner:
    state = f"{one.state}, for over a year" if one.old else one.state
    return ReviewedSigner(
        role=one.role, fingerprint=one.key.fingerprint, since=one.key.since[:10], state=state
    )


def _write(made: SecurityReview, file: Path, *, replace_it: bool) -> None:
    """Write the page and the table, then the signed file that vouches for both; put it on record."""
    services = open_services()
    files = {PAGE: page_of(made), TABLE: csv_of(made)}
    signed = write_files(REPORT, made, files, services.signers("control"), file, replace=replace_it)
    services.store.event(MADE, sha256=hashlib.sha256(signed).hexdigest(), until=made.until)


def _lines(made: SecurityReview, file: Path | None) -> Iterator[str]:
    yield f"From {made.since[:10]} to {made.until[:10]}:"
    yield from (f"  {part.title}: {part.verdict}" for part in made.parts)
    unmet = sum(map(is_unmet, made.parts))
    if unmet:
        yield f"{plural(unmet, 'part')} to act on. The page says what, part by part."
    if file is None:
        yield "Nothing was written. --output FILE.json writes the signed review, and the page to sign."
        return
    yield said_of_files(file)
    yield "Answer the questions on the page, and have it signed. An error that is quoted may name a secret."
