"""The retention rules: which backups are kept, by which rule, and what needs one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import msgspec
from msgspec import Struct

from strongroom.model import Depth, Selection, prepare
from strongroom.operations.archive.coverage import AHEAD, covers
from strongroom.operations.archive.live_comparison import FLOOR
from strongroom.operations.engine.layout import base_of
from strongroom.operations.engine.services import KeepRules, Services
from strongroom.operations.evidence.access_log import ATTEMPTED
from strongroom.operations.restore.journal import unfinished
from strongroom.state.records import Run, RunKind
from strongroom.times import rfc3339
from strongroom.words import plural

# -- The retention rules: which backups of a policy are kept, and by which rule. Pure -----------
#
# A backup is kept if any rule keeps it. One that is dropped always has a successor: a newer backup of the
# same policy and source that is kept, whole and verified, and covers it. So a rule that is set wrongly, a
# clock that is wrong, and a database that was lost can cost history, and never the last good copy
# (invariant 5).


DAY = 86_400.0
NOTHING: Mapping[str, str] = MappingProxyType({})


class RetentionRule(StrEnum):
    """What keeps a backup; ``SUPERSEDED`` drops it. The first that applies is told."""

    UNREADABLE = "unreadable"
    FOREIGN = "foreign"
    MISDATED = "misdated"
    HOLD = "hold"
    NEEDED = "needed"
    NO_RULES = "no-rules"
    NEWEST_VERIFIED = "newest-verified"
    MINIMUM_AGE = "minimum-age"
    MINIMUM_COUNT = "minimum-count"
    LAST = "last"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    NEWEST_OPENED = "newest-opened"
    NOT_READ = "not-read"
    NOT_COVERED = "not-covered"
    SUPERSEDED = "superseded"


class Candidate(Struct, frozen=True, kw_only=True):
    """A backup as its signed manifest and its targets show it.

    ``whole``: the targets that show all of it meet the policy's quorum. ``verified``: how deep a quorum of
    these was read back at least, and ``stale`` says since when that is too long ago. ``aside`` says why
    nothing may rely on it (quarantine), ``foreign`` whose it is if it is not this installation's,
    ``misdated`` what shows that a clock was wrong when it was made.
    ``created_at`` is in seconds since the epoch.
    """

    backup: str
    policy: str
    source: str
    created_at: float
    values: bool
    selection: Selection
    secrets: int
    size: int
    whole: bool
    verified: Depth | None
    stale: str = ""
    aside: str = ""
    foreign: str = ""
    misdated: str = ""

    def is_verified(self, depth: Depth = Depth.DIGEST) -> bool:
        """Tell whether it is whole, was once read back to a depth, and is not in quarantine."""
        order = list(Depth)
        deep = self.verified is not None and order.index(self.verified) >= order.index(depth)
        return self.whole and deep and not self.aside

    @property
    def is_reliable(self) -> bool:
        """Whether it may replace another, or take its place: it is verified, and that is not too long ago."""
        return self.is_verified() and not self.stale


class Judgement(Struct, frozen=True, kw_only=True):
    """Whether a backup is kept, by which rule and why. ``successor`` covers what is dropped."""

    backup: str
    keeps: bool
    rule: RetentionRule
    why: str
    successor: str = ""


def judge(
    candidates: Iterable[Candidate],
    rules: Mapping[str, KeepRules],
    *,
    needed: Mapping[str, str] = NOTHING,
    held: Mapping[str, str] = NOTHING,
    now: float,
) -> tuple[Judgement, ...]:
    """Judge every backup, newest first.

    Args:
        rules: by policy. A backup of any other policy is kept.
        needed: what needs a backup, by backup.
        held: why a backup is under a legal hold, by backup.
    """
    newest_first = sorted(candidates, key=_age_order, reverse=True)
    found = {
        this_candidate.backup: kept
        for this_candidate in newest_first
        if (kept := _stands_alone(this_candidate, rules, now))
    }
    scopes: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in newest_first:
        if candidate.backup not in found:
            scopes.setdefault((candidate.policy, candidate.source), []).append(candidate)
    for (policy, _), members in scopes.items():
        wanted = {
            **_wanted(members, rules[policy], now),
            **_reasons(RetentionRule.NEEDED, needed),
            **_reasons(RetentionRule.HOLD, held),
        }
        found |= {judgement.backup: judgement for judgement in _judge_scope(members, wanted)}
    return tuple(found[this_candidate.backup] for this_candidate in newest_first)


def _age_order(candidate: Candidate) -> tuple[float, str, int, str]:
    """Order by age. What was sealed anew has the time of what it replaces, and is newer."""
    base = base_of(candidate.backup)
    return candidate.created_at, base, len(candidate.backup), candidate.backup


def _stands_alone(candidate: Candidate, rules: Mapping[str, KeepRules], now: float) -> Judgement | None:
    """Keep what must neither be dropped nor be relied on: it takes no part in what the others are."""
    if candidate.foreign:
        return _kept(candidate, RetentionRule.FOREIGN, candidate.foreign)
    if candidate.policy not in rules:
        return _kept(candidate, RetentionRule.FOREIGN, f"there is no policy '{candidate.policy}' here")
    if candidate.created_at > now + AHEAD:
        return _kept(candidate, RetentionRule.MISDATED, "it is dated after now, so a clock is or was wrong")
    if candidate.created_at < 0:
        return _kept(candidate, RetentionRule.MISDATED, "it is dated before 1970, so a clock was wrong")
    return _kept(candidate, RetentionRule.MISDATED, candidate.misdated) if candidate.misdated else None


def _kept(candidate: Candidate, rule: RetentionRule, why: str) -> Judgement:
    return Judgement(backup=candidate.backup, keeps=True, rule=rule, why=why)


# -- one policy and source, newest first -----------------------------------------------------------

Reasons = Mapping[str, tuple[RetentionRule, str]]
"""The rule that keeps a backup, and why, by backup."""


def _reasons(rule: RetentionRule, why: Mapping[str, str]) -> Reasons:
    return {backup: (rule, words) for backup, words in why.items()}


def _judge_scope(members: Sequence[Candidate], wanted: Reasons) -> Iterator[Judgement]:
    """Judge from the newest to the oldest: whatever may cover a backup has been judged before it."""
    kept: list[Candidate] = []
    for candidate in members:
        judgement = (
            _kept(candidate, *wanted[candidate.backup])
            if candidate.backup in wanted
            else _replaced(candidate, kept)
        )
        if judgement.keeps and candidate.is_verified():
            kept.append(candidate)
        yield judgement


def _replaced(candidate: Candidate, kept: Sequence[Candidate]) -> Judgement:
    """Drop what no rule keeps if the newest of what is kept covers it, or any other."""
    covering = [newer for newer in kept if _covers(newer, candidate)]
    successor = next((newer for newer in covering if newer.is_reliable), None)
    if successor is None and covering:
        return _kept(
            candidate, RetentionRule.NOT_READ, f"{covering[0].backup} covers it, and was {covering[0].stale}"
        )
    if successor is None:
        return _kept(candidate, RetentionRule.NOT_COVERED, _describe_uncovered(candidate, kept))
    return Judgement(
        backup=candidate.backup,
        keeps=False,
        rule=RetentionRule.SUPERSEDED,
        why=f"no rule keeps it, and {successor.backup} covers it",
        successor=successor.backup,
    )


def _covers(newer: Candidate, older: Candidate) -> bool:
    """Tell whether a backup was made of all that an older one was, and is no less by much."""
    return (
        newer.values >= older.values
        and covers(newer.selection, older.selection)
        and newer.secrets >= FLOOR * older.secrets
    )


def _describe_uncovered(candidate: Candidate, candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return "no newer backup is whole and verified"
    newest = candidates[0]
    if newest.values < candidate.values:
        return f"it holds values, and {newest.backup} holds none"
    if not covers(newest.selection, candidate.selection):
        return f"{newest.backup} was made of a part of what it was made of"
    return f"it holds {plural(candidate.secrets, 'secret')}, and {newest.backup} only {newest.secrets:,}"


def _wanted(members: Sequence[Candidate], rules: KeepRules, now: float) -> Reasons:
    """Return what the policy's own rules keep. The rule that is told is the one that came last here."""
    wanted = dict(_newest(members, RetentionRule.NEWEST_OPENED, Depth.OPENED))
    for rule, places, part_of in reversed(_buckets(rules)):
        words = (
            f"{rule} = {places}"
            if rule is not RetentionRule.MINIMUM_COUNT
            else f"it is among the newest {places}"
        )
        filled = _fill(members, places, part_of)
        wanted |= {
            this_candidate.backup: (rule, f"{words}{_takes_none(this_candidate)}")
            for this_candidate in filled
        }
    for candidate in members:
        if candidate.created_at > now - rules.minimum_days * DAY:
            until = rfc3339(candidate.created_at + rules.minimum_days * DAY)
            wanted[candidate.backup] = (
                RetentionRule.MINIMUM_AGE,
                f"for {plural(rules.minimum_days, 'day')}, until {until}",
            )
    wanted |= _newest(members, RetentionRule.NEWEST_VERIFIED, Depth.DIGEST)
    if rules.keep_everything:
        wanted |= {
            member.backup: (RetentionRule.NO_RULES, f"policy '{member.policy}' has no keep rules")
            for member in members
        }
    return wanted


def _newest(members: Sequence[Candidate], rule: RetentionRule, depth: Depth) -> Reasons:
    newest = next((candidate for candidate in members if candidate.is_verified(depth)), None)
    if newest is None:
        return {}
    return {newest.backup: (rule, f"it is the newest that was verified, to '{newest.verified}'")}


PartOf = Callable[[Candidate], Hashable]


def _buckets(rules: KeepRules) -> list[tuple[RetentionRule, int, PartOf]]:
    """Return what is counted, in the order in which it is told. What was sealed anew counts once."""

    def local(candidate: Candidate) -> datetime:
        return datetime.fromtimestamp(candidate.created_at, rules.zone)

    return [
        (RetentionRule.MINIMUM_COUNT, rules.minimum_count, lambda candidate: base_of(candidate.backup)),
        (RetentionRule.LAST, rules.last, lambda candidate: base_of(candidate.backup)),
        (RetentionRule.DAILY, rules.daily, lambda candidate: local(candidate).date()),
        (RetentionRule.WEEKLY, rules.weekly, lambda candidate: local(candidate).isocalendar()[:2]),
        (
            RetentionRule.MONTHLY,
            rules.monthly,
            lambda candidate: (local(candidate).year, local(candidate).month),
        ),
        (RetentionRule.YEARLY, rules.yearly, lambda candidate: local(candidate).year),
    ]


def _takes_none(candidate: Candidate) -> str:
    return (
        f"; it takes no place, for it was {candidate.stale}"
        if candidate.is_verified() and candidate.stale
        else ""
    )


def _fill(members: Sequence[Candidate], places: int, part_of: PartOf) -> Iterator[Candidate]:
    """Yield the newest of each part, until so many are reliable.

    What is not is kept beside them and takes no place: verification may yet find it bad.
    """
    filled: set[Hashable] = set()
    for candidate in members:
        if len(filled) >= places:
            return
        if part_of(candidate) not in filled:
            yield candidate
            if candidate.is_reliable:
                filled.add(part_of(candidate))


# -- What needs a backup: as long as something does, no rule drops it ---------------------------
#
# Judged by the record alone. Where it was lost nobody knows what ran, but whatever a deletion takes was
# marked days before, and may be undeleted until then.


OPENED_LATELY = 86_400.0
"""Seconds for which a backup is kept that a command began to read: such a command is no run."""
RESUMED = 30 * 86_400.0
"""Seconds for which the backup of an interrupted restore is kept: the next restore goes on with it."""


def needed_backups(services: Services, *, now: float) -> dict[str, str]:
    """Return the backups that something needs, each with what that is."""
    return dict([*_opened_lately(services, now), *_being_restored(services, now), *_in_runs(services)])


def _opened_lately(services: Services, now: float) -> Iterator[tuple[str, str]]:
    for event in services.store.happened(ATTEMPTED, since=now - OPENED_LATELY):
        command = event.detail.get("command", "a command")
        yield str(event.detail.get("backup", "")), f"'{command}' began to read it at {rfc3339(event.at)}"


def _being_restored(services: Services, now: float) -> Iterator[tuple[str, str]]:
    for folder, journal in unfinished(services.state_dir / "undo"):
        if journal.started_at > rfc3339(now - RESUMED):
            yield journal.backup, f"the restore in {folder} has not ended, and may go on with it"


def _in_runs(services: Services) -> Iterator[tuple[str, str]]:
    for run in services.store.active():
        for backup in _about(run, services):
            yield backup, f"run {run.id} ({run.spec.kind.value}) is at work on it"


def _about(run: Run, services: Services) -> Sequence[str]:
    """Return the backups that a run makes or reads. A rotation that names none reads all of its policy."""
    named = run.spec.options.get("backups", ())
    if run.spec.kind is RunKind.ROTATE and not named:
        return services.store.names(run.spec.policy)
    return (run.id, run.spec.backup, *named, *_chosen(run))


class _Picked(Struct, frozen=True):
    backup: str


class _ChosenBackups(Struct, frozen=True):
    """The backups that a run chose itself: what a drill picked, and since which one a source is compared."""

    picked: _Picked | None = None
    since: str = ""


def _chosen(run: Run) -> Iterator[str]:
    try:
        facts = msgspec.convert(run.facts, _ChosenBackups)
    except msgspec.ValidationError:  # the run refuses such a row itself
        return
    if facts.picked is not None:
        yield facts.picked.backup
    yield facts.since


prepare(_ChosenBackups)
