"""security-review: the yearly review as a signed document, with a page to print and sign."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from msgspec import to_builtins
from msgspec.structs import replace

from strongroom.cli.shared.health_areas import check_areas
from strongroom.cli.shared.role_keys import RoleKeyStatus, installation_fingerprints, list_role_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import load_settings
from strongroom.container.document import MAX_DOCUMENT
from strongroom.container.errors import Tampered
from strongroom.errors import UsageError
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.review import (
    MADE,
    ReviewedSigner,
    SecurityReview,
    is_unmet,
    parse,
    sign,
)
from strongroom.operations.evidence.review_page import page_of
from strongroom.system.atomic_file import refuse_existing, write_whole
from strongroom.wiring.compliance import evidence
from strongroom.wiring.security_review import review

YEAR_DAYS = 365


def review_security(arguments: Namespace, output: Output) -> None:
    if arguments.check is None:
        _make(arguments, output)
    elif arguments.output or arguments.reviewer or arguments.force:
        raise UsageError("--check takes a review as it is, and no other option.")
    else:
        _check(arguments.check, output)


def _make(arguments: Namespace, output: Output) -> None:
    file: Path | None = arguments.output
    if file is not None:
        _require_json(file)
        for one in (file, _page_beside(file)):
            refuse_existing(one, replace=arguments.force)
    made = _review(arguments.reviewer)
    if file is not None:
        _write(made, file, replace_it=arguments.force)
    output.answer(to_builtins(made), _lines(made, file))


def _require_json(file: Path) -> None:
    if file.suffix.lower() != ".json":
        raise UsageError(
            f"The review is JSON, signed as it stands; it cannot be written as '{file.name}'.",
            hint="Name a file that ends in .json; the page is written beside it. Nothing was written.",
        )


def _page_beside(file: Path) -> Path:
    return file.with_suffix(".html")


def _review(reviewers: list[str]) -> SecurityReview:
    settings, services, now = load_settings(), open_services(), time.time()
    take(services.state_dir, services.store)
    signers = list_role_keys(datetime.now(UTC))
    areas = check_areas(settings, days=YEAR_DAYS, now=now)[0]
    made = review(
        services,
        evidence(settings, areas, now=now),
        [_signer(one) for one in signers],
        installation=next(iter(installation_fingerprints(signers)), ""),
        reviewers=reviewers,
        now=now,
    )
    return replace(made, page_sha256=hashlib.sha256(page_of(made)).hexdigest())


def _signer(one: RoleKeyStatus) -> ReviewedSigner:
    state = f"{one.state}, for over a year" if one.old else one.state
    return ReviewedSigner(
        role=one.role, fingerprint=one.key.fingerprint, since=one.key.since[:10], state=state
    )


def _write(made: SecurityReview, file: Path, *, replace_it: bool) -> None:
    """Write the page, then the signed file that vouches for it, and put on record that it was made."""
    services = open_services()
    content = sign(made, services.signers("control"))
    write_whole(_page_beside(file), page_of(made), replace=replace_it)
    write_whole(file, content, replace=replace_it)
    services.store.event(MADE, sha256=hashlib.sha256(content).hexdigest(), until=made.until)


def _lines(made: SecurityReview, file: Path | None) -> Iterator[str]:
    yield f"From {made.since[:10]} to {made.until[:10]}:"
    yield from (f"  {part.title}: {part.verdict}" for part in made.parts)
    unmet = sum(map(is_unmet, made.parts))
    if unmet:
        yield f"{plural(unmet, 'part')} to act on. The page says what, part by part."
    if file is None:
        yield "Nothing was written. --output FILE.json writes the signed review, and the page to sign."
        return
    yield f"The review is in {file}, signed by this installation; the page to print is {_page_beside(file)}."
    yield "Answer the questions on the page, and have it signed. An error that is quoted may name a secret."


def _check(file: Path, output: Output) -> None:
    services = open_services()
    made = parse(_read(file), trusted=services.signer_fingerprints)
    page = _page_beside(file)
    beside = page.is_file()
    if beside and hashlib.sha256(_read(page)).hexdigest() != made.page_sha256:
        raise Tampered(f"'{page}' is not the page of this review.", hint="Trust the signed file alone.")
    words = f"It is signed, of {made.made_at}, and says what this installation found."
    said = f"The page {page.name} is the one that was written with it." if beside else "No page is beside it."
    output.answer({"signed": True, "made_at": made.made_at, "page": beside}, [words, said])


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_DOCUMENT + 1)
