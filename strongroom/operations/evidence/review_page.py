"""A security review as a page to print and sign: a pure function of the review, whose file vouches for it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from strongroom.operations.evidence.compliance import Verdict
from strongroom.operations.evidence.csv_table import table_of
from strongroom.operations.evidence.review import Part, SecurityReview, is_unmet
from strongroom.operations.findings import State
from strongroom.operations.page import HOW_TO_CHECK, definitions, page, row, section, table
from strongroom.words import plural

LINES_TO_SIGN = 2
"""Places for names where nobody was named beforehand."""
_BAD = frozenset({State.WRONG.value, State.UNKNOWN.value, Verdict.UNMET.value, Verdict.UNKNOWN.value})


def page_of(review: SecurityReview) -> bytes:
    """Return the page."""
    title = f"Security review, {review.since[:10]} to {review.until[:10]}"
    foot = f"{review.strongroom}, {review.made_at}"
    return page("Yearly security review", title, _sections(review), foot=foot, style=_SIGNING)


def _sections(review: SecurityReview) -> Iterator[str]:
    yield _verdict(review)
    yield from (section(f"{part.title}: {part.verdict}", _part(part)) for part in review.parts)
    yield section("Keys that open backups", _keys(review))
    yield section("Keys that sign", _signers(review))
    yield section("What happened", _happened(review))
    yield section("Signed by", _names(review))
    yield section("How to check this review", _check(review))


def _verdict(review: SecurityReview) -> str:
    unmet = [part.title for part in review.parts if is_unmet(part)]
    words = f"{plural(len(unmet), 'part')} to act on" if unmet else "No part is unmet"
    listed = f"<p>{escape(', '.join(unmet))}.</p>" if unmet else ""
    beyond = "What no program can see stands under each part as a question to the person who signs."
    return (
        f'<div class="verdict {"failed" if unmet else "passed"}"><strong>{words}</strong>'
        f"{listed}<p>{beyond}</p></div>\n"
    )


def _part(part: Part) -> str:
    rows = (row((one.state, one.what, one.to_do), bad=one.state in _BAD) for one in part.lines)
    found = table(("State", "Found", "To do"), rows) if part.lines else "<p>Nothing was checked.</p>\n"
    questions = "".join(
        f'<li class="ask"><span class="box"></span>{escape(one)}</li>\n' for one in part.yours
    )
    return found + (f"<ul>\n{questions}</ul>\n" if questions else "")


def _keys(review: SecurityReview) -> str:
    rows = (row((one.key, one.type, one.opens, one.alone, one.by_copy)) for one in review.keys)
    head = ("Key", "Kind", "Opens", "Alone", "By an old envelope")
    unread = f"<p>{plural(review.unread, 'backup')} could not be read.</p>\n" if review.unread else ""
    return table(head, rows) + unread


def _signers(review: SecurityReview) -> str:
    rows = (row((one.role, one.fingerprint, one.since, one.state)) for one in review.signers)
    return definitions([("Installation", review.installation)]) + table(
        ("Role", "Key", "Since", "State"), rows
    )


def _happened(review: SecurityReview) -> str:
    runs = [
        row((kind, ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))))
        for kind, states in sorted(review.outcomes.items())
    ]
    events = [row((kind, f"{count:,}")) for kind, count in sorted(review.access.items())]
    return table(("Runs", "How they ended"), runs) + table(("Events", "How many"), events)


def _names(review: SecurityReview) -> str:
    names = review.reviewers or ("",) * LINES_TO_SIGN
    rows = (f"<tr><td>{escape(name)}</td><td></td><td></td></tr>\n" for name in names)
    return f'<div class="sign">{table(("Name and role", "Date", "Signature"), rows)}</div>\n'


def _check(review: SecurityReview) -> str:
    return HOW_TO_CHECK + (
        f"<p>It was read from the ledger up to event {review.event}, SHA-256 "
        f"<code>{escape(review.event_sha256)}</code>.</p>\n"
    )


_SIGNING = """
.sign td{height:3.2rem;min-width:9rem;vertical-align:bottom}
.ask{list-style:none;position:relative}
.box{position:absolute;left:-1.4rem;top:.35rem;width:.8rem;height:.8rem;border:1px solid var(--soft)}
"""

# -- the table ---------------------------------------------------------------------

_HEAD = ("part", "verdict", "state", "found", "to do")


def csv_of(review: SecurityReview) -> bytes:
    """Return the table: a row for each thing that was found, and for each question to whoever signs."""
    return table_of(_HEAD, _rows(review))


def _rows(review: SecurityReview) -> Iterator[tuple[str, ...]]:
    for part in review.parts:
        yield from ((part.title, part.verdict, one.state, one.what, one.to_do) for one in part.lines)
        yield from ((part.title, part.verdict, "yours to answer", one, "") for one in part.yours)
