"""Whether every replica is read again within the span: by the record, nothing is read for it."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.operations.errors import VerificationOverdue
from strongroom.operations.facts.records import Facts
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.verification.description import describe_coverage, describe_outside

VERIFICATION = "verification"


def covered(check: str, facts: Facts) -> Iterator[Finding]:
    """Say of each target how much of it was read within the span, and what nobody reads.

    Args:
        check: what the findings belong to.
    """
    found, now = facts.verification, facts.now
    if found is None:
        return
    if facts.unverified:
        yield remark(check, f"verification is not done by itself: {facts.unverified}")
    if not found.targets:
        yield good(check, describe_coverage(found.all, span=found.span, now=now))
    for target, coverage in found.targets.items():
        words = describe_coverage(coverage, span=found.span, now=now)
        finding = wrong(check, VerificationOverdue(words)) if coverage.late else good(check, words)
        yield finding.on(target=target)
    for target, count in found.outside.items():
        yield remark(check, describe_outside(target, count)).on(target=target)
