"""Whether every replica is read again within the span: by the record, nothing is read for it."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.operations.errors import VerificationOverdue
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.operations.shredding.record import shredded_backups
from strongroom.operations.verification.coverage import scope_of, standing
from strongroom.operations.verification.description import describe_coverage, describe_outside

VERIFICATION = "verification"


def covered(check: str, services: Services, entry: Scheduled, *, now: float) -> Iterator[Finding]:
    """Say of each target how much of it was read within the span, and what nobody reads.

    Args:
        check: what the findings belong to.
        entry: the calendar's entry of the verification.
    """
    gone = shredded_backups(services.store, services.signer_fingerprints)
    found = standing(services.store, scope_of(entry, now), now=now, gone=gone)
    if entry.needs:
        yield remark(check, f"verification is not done by itself: {entry.needs}")
    if not found.targets:
        yield good(check, describe_coverage(found.all, span=found.span, now=now))
    for target, coverage in found.targets.items():
        words = describe_coverage(coverage, span=found.span, now=now)
        finding = wrong(check, VerificationOverdue(words)) if coverage.late else good(check, words)
        yield finding.on(target=target)
    for target, count in found.outside.items():
        yield remark(check, describe_outside(target, count)).on(target=target)
