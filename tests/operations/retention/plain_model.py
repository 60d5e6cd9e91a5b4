"""The retention rules once more, as sentences: slow, and without a line of the product's.

Each rule is a question about one backup and its peers, asked from the beginning each time. The product
walks once from the newest to the oldest instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime

from strongroom.model import Selection
from strongroom.operations.engine.services import KeepRules
from strongroom.operations.retention.rules import Candidate

DEEP = ("digest", "opened", "compared", "live")
OPENED = DEEP[1:]
SKEW = 300
DAY = 86_400


def kept(
    found: Sequence[Candidate],
    rules: Mapping[str, KeepRules],
    *,
    needed: Mapping[str, str],
    held: Mapping[str, str],
    now: float,
) -> set[str]:
    """Return the backups that are kept."""

    def is_kept(one: Candidate) -> bool:
        if not takes_part(one, rules, now) or one.backup in needed or one.backup in held:
            return True
        peers = [
            peer
            for peer in found
            if takes_part(peer, rules, now) and (peer.policy, peer.source) == (one.policy, one.source)
        ]
        newer = [peer for peer in peers if age_key(peer) > age_key(one)]
        if is_wanted(one, newer, rules[one.policy], now):
            return True
        return not any(is_fresh(peer) and covers(peer, one) and is_kept(peer) for peer in newer)

    return {one.backup for one in found if is_kept(one)}


def takes_part(one: Candidate, rules: Mapping[str, KeepRules], now: float) -> bool:
    """Tell whether a backup is one of ours, of a policy that there is, and of a time that may be."""
    return not one.foreign and one.policy in rules and 0 <= one.created_at <= now + SKEW


def is_good(one: Candidate, depths: Sequence[str] = DEEP) -> bool:
    return one.whole and not one.aside and one.verified is not None and one.verified.value in depths


def is_fresh(one: Candidate) -> bool:
    return is_good(one) and one.stale == ""


def age_key(one: Candidate) -> tuple[float, str, int]:
    return one.created_at, first_id(one), int(one.backup.partition("-r")[2] or 0)


def first_id(one: Candidate) -> str:
    return one.backup.partition("-r")[0]


def is_wanted(one: Candidate, newer: Sequence[Candidate], rules: KeepRules, now: float) -> bool:
    """Tell whether one of the policy's rules keeps a backup."""

    def made(candidate: Candidate) -> datetime:
        return datetime.fromtimestamp(candidate.created_at, rules.zone)

    counted: list[tuple[int, Callable[[Candidate], Hashable]]] = [
        (rules.minimum_count, first_id),
        (rules.last, first_id),
        (rules.daily, lambda each: made(each).strftime("%Y-%m-%d")),
        (rules.weekly, lambda each: made(each).strftime("%G week %V")),
        (rules.monthly, lambda each: made(each).strftime("%Y-%m")),
        (rules.yearly, lambda each: made(each).strftime("%Y")),
    ]
    good = [peer for peer in newer if is_good(peer)]
    fresh = [peer for peer in newer if is_fresh(peer)]
    return (
        not any((rules.last, rules.daily, rules.weekly, rules.monthly, rules.yearly))
        or now - one.created_at < rules.minimum_days * DAY
        or (is_good(one) and not good)
        or (is_good(one, OPENED) and not any(is_good(peer, OPENED) for peer in newer))
        or any(has_place(one, fresh, places, part) for places, part in counted)
    )


def has_place(
    one: Candidate, good: Sequence[Candidate], places: int, part: Callable[[Candidate], Hashable]
) -> bool:
    """Tell whether fewer parts than there are places have a newer good backup, and its own part has none."""
    taken = {part(peer) for peer in good}
    return part(one) not in taken and len(taken) < places


def covers(newer: Candidate, older: Candidate) -> bool:
    """Tell whether a backup holds values if the other does, of all its names, and nine tenths as many."""
    enough = 10 * newer.secrets >= 9 * older.secrets
    return enough and (newer.values or not older.values) and means_all(newer.selection, older.selection)


def means_all(wide: Selection, narrow: Selection) -> bool:
    """Tell whether one of the test's selections means all that another means."""
    return wide == Selection() or wide == narrow
