"""How verification stands, in words: the same in status, health and alerts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from strongroom.durations import about
from strongroom.operations.verification.coverage import Coverage, VerificationState
from strongroom.operations.verification.order import MANIFEST, DueContainer
from strongroom.timestamps import for_people, if_any
from strongroom.words import plural


def describe(found: VerificationState, *, now: float) -> Iterator[str]:
    """Yield a line for what is covered, and one for each thing that is not."""
    yield describe_coverage(found.all, span=found.span, now=now)
    for target, count in found.outside.items():
        yield describe_outside(target, count)
    if found.going:
        yield f"{plural(found.going, 'backup')} marked for deletion: not verified any more"
    if found.offline:
        yield (
            f"{found.offline:,} lie on media in a safe and are not verified by themselves: mount one, then "
            "'strongroom backups verify' with its target"
        )


def describe_coverage(found: Coverage, *, span: float, now: float) -> str:
    """Say how much was read within the span, how deep, what was not read for longest, and when it will be."""
    if found.oldest is None or found.oldest_since is None:
        return "there is nothing to verify yet"
    share = f"{found.read:,} of {found.containers:,} containers and manifests read within {about(span)}"
    depths = ", ".join(f"{count:,} {depth.value}" for depth, count in found.depths.items())
    oldest = f"the longest ago: {name_item(found.oldest)}, {about(now - found.oldest_since)}"
    oldest += "" if found.oldest.read_at(now) else " old and never read"
    ends = f"; all will be read by {for_people(found.ends_at)}" if found.ends_at is not None else ""
    return f"{percent(found.share)} verified: {share}{f' ({depths})' if depths else ''}; {oldest}{ends}"


def describe_outside(target: str, count: int) -> str:
    """Say that backups of a target are not covered."""
    return (
        f"target '{target}' has {plural(count, 'backup')} that the record does not know: not verified. "
        f"'strongroom backups rebuild --from {target}' enters those that this installation signed"
    )


def name_item(item: DueContainer) -> str:
    """Name a container."""
    what = "the manifest" if item.piece == MANIFEST else f"container {item.piece}"
    return f"{what} of {item.backup} on {item.target}"


def percent(share: float) -> str:
    """Write a share; what is not all is never written as 100 %."""
    return "100 %" if share >= 1 else f"{min(share * 100, 99.9):.1f} %"


def coverage_document(found: VerificationState, *, now: float) -> dict[str, Any]:
    """Return how verification stands for machines: over all, and by target."""
    return {
        "span_days": found.span / 86_400,
        **_document(found.all, now),
        "targets": {target: _document(coverage, now) for target, coverage in found.targets.items()},
        "not_on_record": dict(found.outside),
        "marked_for_deletion": found.going,
        "offline": found.offline,
    }


def _document(found: Coverage, now: float) -> dict[str, Any]:
    oldest, since = found.oldest, found.oldest_since
    return {
        "containers": found.containers,
        "verified": found.read,
        "late": found.late,
        "never": found.never,
        "share": round(found.share, 4),
        "depths": {depth.value: count for depth, count in found.depths.items()},
        "oldest": oldest and {"backup": oldest.backup, "target": oldest.target, "container": oldest.piece},
        "oldest_age_seconds": None if since is None else round(now - since, 1),
        "ends_at": if_any(found.ends_at),
    }
