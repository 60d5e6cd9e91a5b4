"""A security review as a sheet to print and sign: a pure function of it, whose file vouches for the page."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.operations.evidence.compliance import ControlState
from strongroom.operations.evidence.review import SecurityReview, is_unmet
from strongroom.operations.findings import FindingState
from strongroom.operations.signed_report import LedgerEvent, ReportKind
from strongroom.sheet import Lines, Mood, Pairs, Part, Sheet, Table, marked
from strongroom.words import plural

LINES_TO_SIGN = 2
"""Places for names where nobody was named beforehand."""
_BAD = frozenset(
    {
        FindingState.WRONG.value,
        FindingState.UNKNOWN.value,
        ControlState.UNMET.value,
        ControlState.UNKNOWN.value,
    }
)


def sheet_of(review: SecurityReview) -> Sheet:
    """Return the review; each thing that was found, and each question to whoever signs, is a row of its
    data."""
    unmet = [part.title for part in review.parts if is_unmet(part)]
    beyond = "What no program can see stands under each part as a question to the person who signs."
    return Sheet(
        kind="Yearly security review",
        title=f"Security review, {review.since[:10]} to {review.until[:10]}",
        verdict=f"{plural(len(unmet), 'part')} to act on" if unmet else "No part is unmet",
        mood=Mood.BAD if unmet else Mood.GOOD,
        about=f"{', '.join(unmet)}. {beyond}" if unmet else beyond,
        parts=list(_parts(review)),
        foot=f"{review.strongroom}, {review.made_at}",
        data=Table(("part", "verdict", "state", "found", "to do"), list(_rows(review))),
    )


def _parts(review: SecurityReview) -> Iterator[Part]:
    for part in review.parts:
        lines = [(marked(line.state, bad=line.state in _BAD), line.what, line.to_do) for line in part.lines]
        heading = f"{part.title}: {part.verdict}"
        yield Table(("State", "Found", "To do"), lines, heading, nothing="Nothing was checked.")
        if part.yours:
            yield Lines([f"☐ {question}" for question in part.yours])
    keys = [(key.key, key.type, key.opens, key.alone, key.by_copy) for key in review.keys]
    head = ("Key", "Kind", "Opens", "Alone", "By an old envelope")
    yield Table(head, keys, "Keys that open backups", nothing="No key opens a backup that is kept.")
    if review.unread:
        yield Lines([f"{plural(review.unread, 'backup')} could not be read."])
    yield Pairs([("Installation", review.installation)], "Keys that sign")
    signers = [(signer.role, signer.fingerprint, signer.since, signer.state) for signer in review.signers]
    yield Table(("Role", "Key", "Since", "State"), signers)
    runs = [
        (kind, ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())))
        for kind, states in sorted(review.outcomes.items())
    ]
    yield Table(("Runs", "How they ended"), runs, "What happened", nothing="There was no run.")
    yield Table(("Events", "How many"), sorted(review.access.items()), nothing="There was no such event.")
    names = [(name, "", "") for name in review.reviewers or ("",) * LINES_TO_SIGN]
    yield Table(("Name and role", "Date", "Signature"), names, "Signed by", to_fill=True)


def _rows(review: SecurityReview) -> Iterator[tuple[str, ...]]:
    for part in review.parts:
        yield from ((part.title, part.verdict, line.state, line.what, line.to_do) for line in part.lines)
        yield from ((part.title, part.verdict, "yours to answer", task, "") for task in part.yours)


REPORT = ReportKind(
    name="security-review",
    words="security review",
    record=SecurityReview,
    sheet=sheet_of,
    ledger=lambda review: (
        LedgerEvent(number=review.event, sha256=review.event_sha256) if review.event else None
    ),
)
