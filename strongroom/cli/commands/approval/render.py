"""A request for approval as it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import plural
from strongroom.operations.approval.judge import ApprovalState
from strongroom.operations.approval.record import ApprovalCase
from strongroom.operations.approval.request import ApprovalDocument, ApprovalRequest
from strongroom.sheet import Lines, Pairs, Sheet
from strongroom.timestamps import for_people, rfc3339


class ApprovalAnswer(Struct, frozen=True, kw_only=True):
    """A request, how far it is, who signed it, what it still needs, and what of it does not count."""

    id: str
    state: str
    asked_at: str
    expires: str
    rejected: str | None
    request: ApprovalRequest
    signed_by: tuple[str, ...]
    lacks: tuple[str, ...]
    approved: bool
    refused: tuple[str, ...]


def approval_state(case: ApprovalCase, standing: ApprovalState, *, now: float) -> ApprovalAnswer:
    """Return how a request is."""
    return ApprovalAnswer(
        id=case.document.id,
        state=_state_of(case, now=now),
        asked_at=rfc3339(case.at),
        expires=case.document.expires,
        rejected=case.rejected or None,
        request=case.document.request,
        signed_by=standing.by,
        lacks=standing.lacks,
        approved=standing.enough,
        refused=tuple(refusal.why for refusal in standing.refused),
    )


def _state_of(case: ApprovalCase, *, now: float) -> str:
    if case.broken:
        return "break-glass" if case.acknowledged else "break-glass, not looked into"
    if case.used:
        return "used"
    if case.rejected:
        return "rejected"
    return "open" if now < case.document.ends else "expired"


def answer_standing(said: str, case: ApprovalCase, standing: ApprovalState, *, now: float) -> Answer:
    """Answer with what was done for a request, and how it is now."""
    sheet = Sheet(verdict=said, parts=[Lines(list(standing_lines(standing)))])
    return Answer(record=approval_state(case, standing, now=now), sheet=sheet)


def document_sheet(document: ApprovalDocument, *, more: Sequence[tuple[str, str]] = ()) -> Sheet:
    """Return what people approve, all of it."""
    request = document.request
    pairs = [
        ("asked by", request.requester),
        ("destination", request.destination),
        ("policy", request.policy),
        ("about", "" if request.size is None else plural(request.size, "secret")),
        *(("" if at else "what", line) for at, line in enumerate(request.lines)),
        ("digest", request.digest),
        ("installation", document.installation),
        ("holds until", for_people(document.ends)),
        *more,
    ]
    return Sheet(parts=[Pairs(pairs, f"{request.action.value} '{request.subject}'")])


def standing_lines(standing: ApprovalState) -> Iterator[str]:
    """Yield how a request stands."""
    if standing.by:
        yield f"signed by {', '.join(standing.by)}"
    if standing.break_glass:
        yield "break-glass: it goes on without the approvals, and is an alarm until it is looked into"
    elif standing.lacks:
        yield from (f"still needs {lack}" for lack in standing.lacks)
    else:
        yield "approved"
    yield from (f"does not count: {refusal.why}" for refusal in standing.refused)
