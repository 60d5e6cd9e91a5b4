"""A request for approval as it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from strongroom.cli.terminal.output import fields, plural
from strongroom.operations.approval.judge import Standing
from strongroom.operations.approval.record import Case
from strongroom.operations.approval.request import Document
from strongroom.timestamps import for_people, rfc3339


def document_lines(document: Document) -> Iterator[str]:
    """Yield what people approve, all of it."""
    request = document.request
    yield f"{request.action.value} '{request.subject}'"
    pairs: list[tuple[str, object]] = [("asked by", request.requester), ("destination", request.destination)]
    pairs.append(("policy", request.policy))
    if request.size is not None:
        pairs.append(("about", plural(request.size, "secret")))
    pairs += [("what" if at == 0 else "", line) for at, line in enumerate(request.lines)]
    pairs += [
        ("digest", request.digest),
        ("installation", document.installation),
        ("holds until", for_people(document.ends)),
    ]
    yield from (f"  {line}" for line in fields(pairs))


def standing_lines(standing: Standing) -> Iterator[str]:
    """Yield how a request stands."""
    if standing.by:
        yield f"  signed by {', '.join(standing.by)}"
    if standing.break_glass:
        yield "  break-glass: it goes on without the approvals, and is an alarm until it is looked into"
    elif standing.lacks:
        yield from (f"  still needs {lack}" for lack in standing.lacks)
    else:
        yield "  approved"
    yield from (f"  does not count: {refusal.why}" for refusal in standing.refused)


def state_of(case: Case, *, now: float) -> str:
    """Return in a word or two how far a request is."""
    if case.broken:
        return "break-glass" if case.acknowledged else "break-glass, not looked into"
    if case.used:
        return "used"
    if case.rejected:
        return "rejected"
    return "open" if now < case.document.ends else "expired"


def as_document(case: Case, standing: Standing | None, *, now: float) -> dict[str, Any]:
    """Return a request for machines."""
    return {
        "id": case.document.id,
        "state": state_of(case, now=now),
        "asked_at": rfc3339(case.at),
        "expires": case.document.expires,
        "rejected": case.rejected or None,
        "request": msgspec.to_builtins(case.document.request),
        "signed_by": list(standing.by) if standing else None,
        "lacks": list(standing.lacks) if standing else None,
        "approved": standing.enough if standing else None,
        "refused": [refusal.why for refusal in standing.refused] if standing else None,
    }
