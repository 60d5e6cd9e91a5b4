"""A judgement of a kind: what ``strongroom.alert_kinds`` says of the kind, about a subject."""

from __future__ import annotations

from collections.abc import Iterable

from strongroom.alert_kinds import KINDS, AlertKind, Severity, exit_code_of
from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.times import rfc3339


def wrong(
    kind: str, subject: str = "", *, what: str, weight: int = 0, grave: bool = False, code: str = ""
) -> Finding:
    """Judge that something is as bad as its kind says; that it is ``grave``, where a warning can be.

    Args:
        weight: how bad it is within its severity: it is worse if this has grown.
        code: the class of the error, where another one fits than the kind's.
    """
    known = KINDS[kind]
    is_grave = grave and bool(known.grave)
    critical = is_grave or known.severity is Severity.CRITICAL
    state = FindingState.WRONG if critical else FindingState.WARNING
    code = code or (known.grave if is_grave else known.error)
    return _of(kind, state, subject, what, code, weight=weight)


def remark(kind: str, subject: str = "", *, what: str, hint: bool = True) -> Finding:
    """Judge that something stands out, and is no reason for an alert yet."""
    return _of(kind, FindingState.REMARK, subject, what, "", hint=hint)


def unknown(kind: str, subject: str = "", *, what: str) -> Finding:
    """Judge that nobody could look."""
    return _of(kind, FindingState.UNKNOWN, subject, what, KINDS[kind].grave or KINDS[kind].error)


def good(kind: str, subject: str = "", *, what: str) -> Finding:
    """Judge that something is as it should be."""
    return _of(kind, FindingState.GOOD, subject, what, "", hint=False)


def _of(
    kind: str,
    state: FindingState,
    subject: str,
    what: str,
    code: str,
    *,
    weight: int = 0,
    hint: bool = True,
) -> Finding:
    known = KINDS[kind]
    return Finding(
        check=known.area,
        state=state,
        what=what,
        to_do=known.do.format(subject=subject) if hint else "",
        means=known.means if code else "",
        policy=subject.rpartition(" ")[2] if known.about == "policy" else "",
        target=subject if known.about == "target" else "",
        code=code,
        exit_code=exit_code_of(code) if code else 0,
        kind=kind,
        subject=subject,
        weight=weight,
    )


def moment(at: float) -> str:
    """Write a time; an odd row keeps nothing from being judged."""
    try:
        return rfc3339(at)
    except (ValueError, OverflowError):
        return "an impossible time"


def kind_of(key: str) -> AlertKind | None:
    """Return the kind that the key of an alert begins with."""
    return KINDS.get(key.partition(":")[0])


def policy_of(key: str) -> str:
    """Return the policy that an alert is about, by its key; empty if it is about something else."""
    kind = kind_of(key)
    return key.partition(":")[2].rpartition(" ")[2] if kind is not None and kind.about == "policy" else ""


def alerts_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return what people are told of, the worst first, otherwise in the order given."""
    return tuple(
        sorted((finding for finding in findings if finding.is_alert), key=lambda finding: finding.severity)
    )
