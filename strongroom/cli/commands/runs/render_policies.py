"""How each policy's newest backup stands, by the record, and how it lies on each target."""

from __future__ import annotations

from typing import Any

from strongroom.durations import about
from strongroom.model import Depth
from strongroom.operations.facts.freshness import Freshness, judge
from strongroom.operations.facts.records import AlertLimits, InstallationFacts, NewestOnTarget, Policy
from strongroom.sheet import Table
from strongroom.timestamps import for_people, if_any

HEAD = ("Policy", "Verified backup", "Age", "Replicas", "Read back to", "Locked until")


def table_of(facts: InstallationFacts, limits: AlertLimits) -> Table:
    """Return a table with a row for each policy."""
    return Table(HEAD, [_row(policy, _judged(policy, facts, limits)) for policy in facts.policies])


def as_document(facts: InstallationFacts, limits: AlertLimits) -> list[dict[str, Any]]:
    """Return the same for machines, with each target."""
    return [_document(policy, _judged(policy, facts, limits)) for policy in facts.policies]


def overdue(facts: InstallationFacts, limits: AlertLimits) -> list[str]:
    """Return the policies that are overdue."""
    return [policy.name for policy in facts.policies if _judged(policy, facts, limits).overdue]


def _judged(policy: Policy, facts: InstallationFacts, limits: AlertLimits) -> Freshness:
    return judge(policy, threshold=limits.threshold_age, now=facts.now)


def _row(policy: Policy, found: Freshness) -> tuple[str, ...]:
    late = " (overdue)" if found.overdue else ""
    none = late or (f" yet, due {for_people(found.next_due)}" if found.next_due else " yet")
    good = [newest for newest in policy.on_targets if newest.good]
    return (
        policy.name,
        found.judged.backup if found.judged else f"none{none}",
        "-" if found.age is None else f"{about(found.age)}{late}",
        _replicas(policy, good),
        _depth(good),
        _locked(good),
    )


def _replicas(policy: Policy, good: list[NewestOnTarget]) -> str:
    lacks = ": fewer than demanded" if policy.lacks else ""
    return f"{len(good)} of {policy.wanted}{lacks}"


def _depth(good: list[NewestOnTarget]) -> str:
    """Return to what depth all of them were read back."""
    if not good:
        return "-"
    depths = [newest.depth for newest in good if newest.depth]
    return min(depths, key=list(Depth).index).value if len(depths) == len(good) else "not all read"


def _locked(good: list[NewestOnTarget]) -> str:
    """Return until when the first of those that are locked is."""
    ends = [newest.locked_until for newest in good if newest.locked_until]
    return f"{for_people(min(ends))} on {len(ends)}" if ends else "-"


def _document(policy: Policy, found: Freshness) -> dict[str, Any]:
    return {
        "policy": policy.name,
        "backup": found.judged.backup if found.judged else None,
        "made_at": if_any(found.judged.made_at if found.judged else None),
        "age_seconds": found.age,
        "overdue": found.overdue,
        "next_due": if_any(found.next_due),
        "lacks": policy.lacks,
        "targets": [
            {
                "target": newest.target,
                "good": newest.good,
                "depth": newest.depth,
                "read_at": if_any(newest.read_at),
                "locked_until": if_any(newest.locked_until),
            }
            for newest in policy.on_targets
        ],
    }
