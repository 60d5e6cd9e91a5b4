"""The yearly security review: what can be shown of encryption, access and compliance, for people to sign.

It is put together from evidence that exists. What no program can see is named beside it, as a question to
whoever signs. No value is in it; an error that is quoted may name a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from strongroom.operations.evidence.compliance import (
    BACKUPS,
    DRILLS,
    KEYS,
    RECORD,
    REPLICAS,
    SLOTS,
    Assessed,
    ControlState,
    Framework,
    assess,
    verdict_of,
)
from strongroom.operations.evidence.controls import (
    COPIES,
    CUSTODY,
    LOCKS,
    MONITORING,
    OFFLINE,
    RETENTION,
    SCHEDULE,
    SEALING,
)
from strongroom.operations.findings import Finding, FindingState, worst_first

MADE = "review.made"


class ReviewLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that was found, how it stands, and what to do about it."""

    state: str
    what: str
    to_do: str = ""


class ReviewPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One part of the review. ``yours`` is what whoever signs has to look at, for no program can."""

    title: str
    verdict: str
    lines: tuple[ReviewLine, ...]
    yours: tuple[str, ...]


class ReviewedKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key: how many kept backups open with it, how many with it alone, and how many open with it still by a
    container's own envelope although it was rotated away."""

    key: str
    type: str
    opens: int
    alone: int
    by_copy: int


class ReviewedSigner(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that signs for a role, since when, and how it stands."""

    role: str
    fingerprint: str
    since: str
    state: str


class SecurityReview(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The review. Times are RFC 3339; ``since`` is in the span and ``until`` is not.

    ``outcomes`` counts runs by kind and state, ``access`` events of access, keys and incidents by kind.
    ``event`` and ``event_sha256`` are the head of the record that all of this was read from.
    ``page_sha256`` is the digest of the page beside it, which says the same and has the places for names;
    ``csv_sha256`` that of the table.
    """

    strongroom: str
    installation: str
    made_at: str
    since: str
    until: str
    reviewers: tuple[str, ...]
    parts: tuple[ReviewPart, ...]
    keys: tuple[ReviewedKey, ...]
    unread: int
    signers: tuple[ReviewedSigner, ...]
    outcomes: Mapping[str, Mapping[str, int]]
    access: Mapping[str, int]
    event: int
    event_sha256: str
    page_sha256: str = ""
    csv_sha256: str = ""


# -- the parts ---------------------------------------------------------------------


class ReviewSubject(Struct, frozen=True, kw_only=True):
    """What a part is about: the checks that it rests on, and what is beyond them."""

    title: str
    checks: tuple[str, ...]
    yours: tuple[str, ...]


SUBJECTS = (
    ReviewSubject(
        title="Backup encryption assessment",
        checks=(SEALING, KEYS, REPLICAS, "verification"),
        yours=(
            "Are the algorithms still sound? Look for news of AES-256-GCM, HPKE and the keys' own kinds.",
            "Is every key where it belongs, and does nobody else have a copy of it?",
        ),
    ),
    ReviewSubject(
        title="Access control validation",
        checks=(CUSTODY, LOCKS, RECORD, MONITORING, "files"),
        yours=(
            "Who may write and delete on each target by the cloud's own policies, and with a second factor?",
            "Do all who hold a key, a share or a PIN still work here, and does each know it?",
            "Was each opening of a backup that is counted below somebody's task?",
        ),
    ),
    ReviewSubject(
        title="Recovery and retention",
        checks=(BACKUPS, COPIES, OFFLINE, SCHEDULE, SLOTS, RETENTION, DRILLS),
        yours=(
            "Does the plan for recovery still fit the company, and do its people know it?",
            "Is the medium in the safe, and who fetched it last?",
        ),
    ),
)


def parts(findings: Sequence[Finding]) -> tuple[ReviewPart, ...]:
    """Return the parts of a review: its subjects, then the compliance audit, a part for each framework."""
    subjects = (_part(subject, findings) for subject in SUBJECTS)
    return (*subjects, *(_audit(framework, findings) for framework in Framework))


def _part(subject: ReviewSubject, findings: Sequence[Finding]) -> ReviewPart:
    found = worst_first(finding for finding in findings if finding.check in subject.checks)
    looked = {finding.check for finding in found}
    lines = [
        ReviewLine(state=finding.state.value, what=_what(finding), to_do=finding.to_do) for finding in found
    ]
    verdicts = [verdict_of([finding for finding in found if finding.check == check]) for check in looked]
    return ReviewPart(
        title=subject.title,
        verdict=min(verdicts, key=list(ControlState).index, default=ControlState.UNKNOWN).value,
        lines=tuple(lines),
        yours=subject.yours,
    )


def _what(finding: Finding) -> str:
    about = ", ".join(
        named for named in (finding.policy, finding.backup, finding.target) if named not in finding.what
    )
    return f"{finding.check}{f' ({about})' if about else ''}: {finding.what}"


def _audit(framework: Framework, findings: Sequence[Finding]) -> ReviewPart:
    assessed = assess(framework, findings)
    return ReviewPart(
        title=f"Compliance audit: {framework.value}",
        verdict=min((control.verdict for control in assessed), key=list(ControlState).index).value,
        lines=tuple(map(_control, assessed)),
        yours=tuple(
            dict.fromkeys(f"{control.number}: {control.beyond}" for control in assessed if control.beyond)
        ),
    )


def _control(control: Assessed) -> ReviewLine:
    lacking = [finding for finding in control.findings if finding.state is not FindingState.GOOD]
    because = "; ".join(dict.fromkeys(finding.what.rstrip(".") for finding in lacking[:_SHOWN]))
    what = f"{control.number} {control.demands}{f': {because}' if because else ''}"
    return ReviewLine(
        state=control.verdict.value, what=what, to_do=next((finding.to_do for finding in lacking), "")
    )


_SHOWN = 3


def is_unmet(part: ReviewPart) -> bool:
    """Tell whether somebody has to act on a part."""
    return part.verdict in (ControlState.UNMET.value, ControlState.UNKNOWN.value)
