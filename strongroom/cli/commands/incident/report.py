"""The report of an incident: written, checked, and the last word of one that is closed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from msgspec import to_builtins

from strongroom.cli.commands.incident import render
from strongroom.cli.shared import approval, trust
from strongroom.cli.shared.person import who
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.container.document import MAX_DOCUMENT
from strongroom.container.errors import Tampered
from strongroom.errors import UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.archive.incidents import Incident, Outcome, Step
from strongroom.operations.incident import words
from strongroom.operations.incident.isolate import subjects
from strongroom.operations.incident.report import Written, is_page, parse, write_report
from strongroom.operations.incident.steps import (
    Recorded,
    close,
    find_incident,
    record_outcome,
    require_settled,
)
from strongroom.operations.services import Services
from strongroom.system.atomic_file import refuse_existing, write_whole


def make_report(arguments: Namespace, output: Output) -> None:
    if arguments.check is not None:
        _check(arguments, output)
        return
    refuse_files(arguments.output, replace=arguments.replace)
    services = open_services()
    incident = find_incident(services, arguments.incident)
    recorded = Recorded(incident=incident, missed={})
    if incident.closed is None:
        said = "" if arguments.output is None else f"written to {arguments.output.name}"
        recorded = record_outcome(services, incident, Step.REPORT, Outcome(), by=who(), said=said)
    _answer(services, recorded, arguments.output, output, replace=arguments.replace)


def close_incident(arguments: Namespace, output: Output) -> None:
    refuse_files(arguments.output, replace=False)
    services = open_services()
    incident = find_incident(services, arguments.incident)
    if incident.closed is None:
        require_settled(incident)
        _require_approved(incident)
    recorded = close(services, incident, reason=arguments.reason, by=who())
    _answer(services, recorded, arguments.output, output, replace=False)


def _require_approved(incident: Incident) -> None:
    """Closing lifts holds, so whoever has to approve that approves this."""
    if held := list(subjects(incident)):
        what = ", ".join(f"{kind} '{name}'" for kind, name in held)
        approval.require_approved(
            place.find(),
            ApprovalAction.RELEASE,
            {"incident": incident.id},
            lines=(f"close incident {incident.id}: lift its hold on {what}",),
        )


def _answer(
    services: Services, recorded: Recorded, path: Path | None, output: Output, *, replace: bool
) -> None:
    written = write_report(services, recorded.incident)
    lines = [*render.lines_of(recorded.incident), *_save(written, path, replace=replace)]
    output.answer({**render.as_document(recorded.incident), "report": to_builtins(written.report)}, lines)
    render.require_complete({}, {**recorded.missed, **written.stored.missed})


def write_files(services: Services, incident: Incident, path: Path | None) -> list[str]:
    """Write how an incident stands now to files, if that was asked for; say where that is."""
    return [] if path is None else list(_save(write_report(services, incident), path, replace=False))


def _save(written: Written, path: Path | None, *, replace: bool) -> Iterator[str]:
    if path is None:
        yield f"The report is on {len(written.stored.on)} targets. --output FILE.json writes it here too."
        return
    write_whole(page_beside(path), written.page, replace=replace)
    write_whole(path, written.signed, replace=replace)
    yield f"The report is in {path}, signed by this installation; the page is {page_beside(path)}."


def page_beside(path: Path) -> Path:
    """Return where the page of a report is."""
    return path.with_suffix(".html")


def refuse_files(path: Path | None, *, replace: bool) -> None:
    """Refuse to write a report over another file, before anything is done."""
    if path is None:
        return
    if path.suffix.lower() == ".html":
        raise UsageError(
            "The report is signed JSON; the page is written beside it.", hint="Name a .json file."
        )
    for one in (path, page_beside(path)):
        refuse_existing(one, replace=replace)


def _check(arguments: Namespace, output: Output) -> None:
    """Check a report without a network, and its page if it is beside it."""
    report = parse(_read(arguments.check), trusted=trust.trusted_signers(place.find(), arguments.signer))
    page = page_beside(arguments.check)
    beside = page.is_file()
    if beside and not is_page(report, _read(page)):
        raise Tampered(
            f"'{page}' is not the page that the report vouches for.",
            hint="The report itself is signed and whole: read that. Do not trust this copy of the page.",
        )
    lines = [
        "The report is signed" + (f", and vouches for {page.name}." if beside else ". No page is beside it."),
        f"incident {report.incident}: {words.title(report).lower()}. {words.verdict(report)}",
    ]
    output.answer({**to_builtins(report), "page_checked": beside}, lines)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_DOCUMENT + 1)
