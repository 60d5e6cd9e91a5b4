"""Rules on backups, on the keys that open them, and on the targets that they lie on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from statistics import median

from strongroom.alert_kinds import FEWEST, MONTH, SHORT, WAITS
from strongroom.operations.backup.medium import NOTICE
from strongroom.operations.backup.verified_share import describe_coverage, describe_outside
from strongroom.operations.engine.findings import Finding
from strongroom.operations.errors import MassChange
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    BackupContents,
    Dated,
    InstallationFacts,
    KeyFacts,
    Mended,
    Policy,
    Ran,
    TargetFacts,
    VerifiedBackup,
)
from strongroom.operations.judge.freshness import ENDED_WHOLE, Freshness, is_idle, judge
from strongroom.operations.judge.kinds import good, moment, remark, unknown, wrong
from strongroom.operations.keys.health import WARNING, KeyProof, ProofState
from strongroom.schedule import last_slot, next_slot
from strongroom.state.records import RunState
from strongroom.times import about
from strongroom.words import name_first_few, plural, verb

# -- The backups of each policy: as fresh as its schedule says, whole, read back, and like those before them


def backups(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge each policy."""
    for policy in facts.policies:
        if is_idle(policy):
            yield _idle(policy, facts)
        else:
            yield _fresh(policy, facts, limits)
            yield from _failed(policy)
        yield from _medium(policy, facts, limits)
        yield from _newest(policy, facts, limits)
        yield from _odd(policy, limits)
        yield from _slow(policy, facts, limits)
        yield from _compared(policy)
    if facts.policies and not any(policy.schedule for policy in facts.policies):
        words = "no policy has a schedule: backups are made only when asked for"
        yield remark("backup.overdue", what=words, hint=False)
    if facts.lost:
        many = plural(len(facts.lost), "backup")
        what = f"{many} on record, and on no target: {name_first_few(facts.lost)}"
        yield wrong("backup.lost", what=what, weight=len(facts.lost))


def _idle(policy: Policy, facts: InstallationFacts) -> Finding:
    """Judge a policy that has nothing to back up yet. As long as another one backs up all of its source, no
    secret is without a backup, and that nothing is tagged is no reason to call anybody."""
    what = f"policy '{policy.name}' has never had a backup: its source holds no secret that it is for"
    whole = (other for other in facts.policies if other.whole and other.source == policy.source)
    if covers := next((other.name for other in whole if other.verified and other is not policy), ""):
        return remark("policy.idle", policy.name, what=f"{what}; '{covers}' backs all of it up meanwhile")
    return wrong("policy.idle", policy.name, what=what)


# -- by the schedule -----------------------------------------------------------------


def _fresh(policy: Policy, facts: InstallationFacts, limits: AlertLimits) -> Finding:
    """Judge whether a backup was made when it was due, whoever should have made it. Silence is an alarm."""
    kind, name = "emergency.due" if policy.offline else "backup.overdue", policy.name
    if policy.blind:
        what = f"policy '{name}': neither the record nor any of its targets could be asked"
        return unknown(kind, name, what=what)
    fresh = judge(policy, threshold=limits.threshold_age, now=facts.now, recorded=facts.state is None)
    if fresh.overdue:
        return wrong(kind, name, what=_overdue(policy, fresh, facts.now), grave=True)
    if policy.schedule is None:
        return _by_hand(policy, fresh, facts.now)
    if fresh.missed_at:
        since = moment(fresh.missed_at)
        if policy.offline:
            return wrong(kind, name, what=f"policy '{name}': its medium has been waited for since {since}")
        due = f"policy '{name}' was due {since}, and its backup is not verified yet"
        return remark(kind, name, what=due, hint=False)
    return _in_time(policy, fresh, facts.now)


def _in_time(policy: Policy, fresh: Freshness, now: float) -> Finding:
    kind, name = "emergency.due" if policy.offline else "backup.overdue", policy.name
    if fresh.judged is None:
        first = moment(fresh.next_due or 0.0)
        return remark(
            kind, name, what=f"policy '{name}': no backup yet; the first is due {first}", hint=False
        )
    return good(kind, name, what=f"policy '{name}': {_of(fresh.judged, now)}")


def _by_hand(policy: Policy, fresh: Freshness, now: float) -> Finding:
    newest, name = fresh.judged or policy.newest, policy.name
    if newest is None:
        return remark("backup.overdue", name, what=f"policy '{name}' has no schedule, and no backup yet")
    words = f"policy '{name}': {_of(newest, now)}"
    if now - newest.made_at > MONTH:
        return remark("backup.overdue", name, what=f"{words}; no schedule makes another")
    return good("backup.overdue", name, what=words)


def _overdue(policy: Policy, fresh: Freshness, now: float) -> str:
    if fresh.judged is None:  # the schedule may be older than the installation
        whole = f"; {_of(policy.newest, now)}" if policy.newest else ""
        return f"policy '{policy.name}' is due and has no verified backup{whole}"
    late = f"has been due for {about(now - fresh.missed_at)}" if fresh.missed_at else "is due"
    newer = policy.newest  # one that nobody read back
    since = f"; {_of(newer, now)}" if newer is not None and newer.made_at > fresh.judged.made_at else ""
    return f"policy '{policy.name}' {late}: {_of(fresh.judged, now)}{since}"


def _of(seen: VerifiedBackup, now: float) -> str:
    how = f"verified to depth '{seen.depth.value}'" if seen.depth else "not known to be verified"
    return f"backup {seen.backup}, {how}, is {about(now - seen.made_at)} old"


def _medium(policy: Policy, facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Remind whoever fetches the medium of an emergency backup, before it is due."""
    now = facts.now
    due = next_slot(policy.schedule, now, policy.time_zone) if policy.offline and policy.schedule else None
    if due is None or due - now > NOTICE:
        return
    fresh = judge(policy, threshold=limits.threshold_age, now=now, recorded=facts.state is None)
    if policy.blind or not (fresh.overdue or fresh.missed_at):  # else it is waited for already
        what = f"policy '{policy.name}': its medium is needed on {moment(due)}"
        yield wrong("emergency.due", policy.name, what=what)


def _failed(policy: Policy) -> Iterator[Finding]:
    made_at = policy.newest.made_at if policy.newest else 0.0
    since = takewhile(lambda ran: ran.began > made_at and ran.state not in ENDED_WHOLE, policy.runs)
    failed = [ran for ran in since if ran.state is RunState.FAILED]
    if failed:
        newest = failed[0]
        why = f" ({newest.code})" if newest.code else ""
        what = f"policy '{policy.name}': {plural(len(failed), 'run')} failed since its newest whole backup"
        what += f"; the last was run {newest.run}{why}"
        # Doubled, not counted: a policy of every hour must not send a mail every hour.
        yield wrong("backup.failed", policy.name, what=what, weight=len(failed).bit_length())


# -- the newest backup ---------------------------------------------------------------


def _newest(policy: Policy, facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    lacks = list(_lacks(policy))
    if lacks:
        what = f"policy '{policy.name}': {'; '.join(lacks)}"
        yield wrong("backup.degraded", policy.name, what=what, grave=policy.lacks is not None)
    elif policy.newest is not None:
        targets = sum(on_target.good for on_target in policy.on_targets)
        where = f", good on {plural(targets, 'target')}" if policy.on_targets else ""
        words = f"policy '{policy.name}': newest is {policy.newest.backup}{where}"
        yield good("backup.degraded", policy.name, what=words)
    if many := len(policy.ahead):
        what = f"policy '{policy.name}': {plural(many, 'backup')} {verb(many, 'say')} "
        what += f"to be made later than now, by this host's clock: {name_first_few(policy.ahead)}"
        yield wrong("backup.ahead", policy.name, what=what, weight=many)
    newest = policy.newest
    if newest is None or not newest.shallow:
        return
    what = f"policy '{policy.name}': backup {newest.backup} was not verified to depth "
    what += f"'{policy.depth.value}' on {', '.join(newest.shallow)}"
    if facts.now - newest.made_at < limits.threshold_age:  # it may still be read back
        yield remark("replica.unverified", policy.name, what=what)
    else:
        yield wrong("replica.unverified", policy.name, what=what, weight=len(newest.shallow))


def _lacks(policy: Policy) -> Iterator[str]:
    """Say what the newest backup lacks of what its policy asks for."""
    newest = next((ran for ran in policy.runs if ran.state in ENDED_WHOLE), None)
    if newest is not None and newest.state is RunState.DEGRADED and newest.run not in policy.mended:
        yield f"run {newest.run} ended degraded"
    if policy.lacks is not None:
        yield f"its newest backup lacks of its quorum: {policy.lacks}"
    if policy.unlocked:
        yield f"its newest backup is not locked on {', '.join(policy.unlocked)}"


# -- beside those before it ----------------------------------------------------------


def _odd(policy: Policy, limits: AlertLimits) -> Iterator[Finding]:
    """Compare the newest backup with the median of those before it, in both directions.

    That many secrets are gone is as bad as drift finds it, which only a host with a key can look for.
    """
    before = policy.held[1 : limits.compared + 1]
    if before and (lost := _lost_at_once(policy.held[0], before, limits)):
        what = f"policy '{policy.name}': backup {policy.held[0].backup} holds {plural(lost, 'secret')} fewer"
        yield wrong("backup.shrunk", policy.name, what=f"{what} than those before it")
        return
    if len(before) < FEWEST:
        return
    newest = policy.held[0]
    counted = (
        (newest.secrets, median(held.secrets for held in before), "secret"),
        (newest.size, median(held.size for held in before), "byte"),
    )
    odd = [
        f"{plural(is_now, unit)}, where those before it hold {plural(round(usual), unit)} (median)"
        for is_now, usual, unit in counted
        if is_now > usual * limits.size_factor or is_now * limits.size_factor < usual
    ]
    if odd:
        what = f"policy '{policy.name}': beside the {len(before)} before it, backup {newest.backup} holds "
        what += "; ".join(odd)
        yield wrong("backup.size", policy.name, what=what)


def _lost_at_once(newest: BackupContents, before: Sequence[BackupContents], limits: AlertLimits) -> int:
    """Return how many secrets the newest backup lacks, if they are as many as in a mass change; else none.

    They may have come a short while ago: what the one before it held counts, and not the median alone.
    """
    usual = max(before[0].secrets, median(held.secrets for held in before))
    lost = usual - newest.secrets
    return round(lost) if limits.mass_change.exceeded(lost, round(usual)) else 0


def _slow(policy: Policy, facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Compare the newest run, ended or not, with the median of those before it."""
    timed = [ran for ran in policy.runs if ran.state in (*ENDED_WHOLE, RunState.ACTIVE)]
    before = _seconds(timed[1:], limits.compared)
    if len(before) < FEWEST:
        return
    newest = timed[0]
    took, usual = (newest.ended or facts.now) - newest.began, median(before)
    if took > max(usual * limits.duration_factor, SHORT):
        verb_ = "took" if newest.ended else "has taken"
        what = f"policy '{policy.name}': run {newest.run} {verb_} {about(took)}, where the {len(before)} "
        yield wrong("backup.slow", policy.name, what=f"{what}before it took {about(usual)} (median)")


def _seconds(runs: Sequence[Ran], most: int) -> list[float]:
    return [ran.ended - ran.began for ran in runs if ran.ended is not None][:most]


def _compared(policy: Policy) -> Iterator[Finding]:
    """Judge the newest comparison with the source: whether much of it changed at once, or it could not be."""
    judged = (RunState.DONE, RunState.DEGRADED, RunState.FAILED)
    newest = next((ran for ran in policy.drifts if ran.state in judged), None)
    if newest is None:
        return
    if newest.code == MassChange.__name__:
        what = f"policy '{policy.name}': much of its source changed at once; run {newest.run} says how much"
        yield wrong("drift.mass-change", policy.name, what=what)
    elif newest.state is not RunState.DONE:
        why = f" ({newest.code})" if newest.code else ""
        what = f"policy '{policy.name}': run {newest.run} could not compare all{why}"
        yield wrong("drift.unknown", policy.name, what=what)
    else:
        what = f"policy '{policy.name}': compared with its source {moment(newest.began)}, no mass change"
        yield good("drift.mass-change", policy.name, what=what)


# -- The keys that backups open with: tried, proven, answered for, and changed in time ----------


def keys(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge each key, and the trials of all of them."""
    found = facts.keys
    yield from (proven(proof, now=facts.now) for proof in found.proofs)
    yield from (aging(dated, limits, now=facts.now) for dated in found.used)
    for asked in found.asked:
        what = f"the holder of '{asked.name}' was asked {about(facts.now - asked.at)} ago"
        late = facts.now - asked.at > WAITS
        yield (wrong if late else remark)("custodian.silent", asked.name, what=what)
    yield from _tried(facts, limits)
    for name, why in found.unasked.items():
        yield unknown("key.unproven", name, what=why)


def proven(proof: KeyProof, *, now: float) -> Finding:
    """Judge whether somebody has shown that a key still opens what depends on it."""
    if proof.wrong:
        return wrong("key.unproven", proof.name, what=proof.words, grave=True)
    if now > proof.by - WARNING:
        return wrong("key.unproven", proof.name, what=proof.words)
    if proof.proof is not ProofState.PROVEN:
        return remark("key.unproven", proof.name, what=proof.words)
    return good("key.unproven", proof.name, what=proof.words)


def aging(used: Dated, limits: AlertLimits, *, now: float) -> Finding:
    """Judge whether a key is due to be changed."""
    age, left = now - used.at, used.at + limits.key_age - now
    when = f"is due in {about(left)}" if left > 0 else f"was due {about(-left)} ago"
    what = f"key '{used.name}' has been in use for {about(age)}; its rotation {when}"
    if age > limits.key_age - limits.notice:
        return wrong("key.aging", used.name, what=what, weight=int(left <= 0), grave=left <= 0)
    return good("key.aging", used.name, what=what)


def _tried(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge the trial of all keys: whether it came at its time, and what it could not read."""
    found = facts.keys
    before = facts.now - limits.threshold_age
    had_to = last_slot(found.schedule, before, found.time_zone) if found.schedule else None
    in_use = had_to is not None and any(used.at <= had_to for used in found.used)
    said = []
    if had_to is not None and in_use and (found.checked_at is None or found.checked_at < had_to):
        said.append(f"the trial of all keys has been due for {about(facts.now - had_to)}")
    if found.unread:
        said.append(_unread(found))
    if said:
        yield wrong("key.unchecked", what="; ".join(said), weight=len(found.unread))
    elif found.checked_at is not None:
        when = moment(found.checked_at)
        yield good("key.unchecked", what=f"all available keys were last tried {when}")


def _unread(keys: KeyFacts) -> str:
    when, many = moment(keys.checked_at or 0.0), plural(len(keys.unread), "backup")
    return f"the trial of keys of {when} could not read {many}: {name_first_few(keys.unread)}"


# -- The targets and what lies on them, and this host's file systems and certificates -----------


def answering(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge which targets answer; one judgement more if none does, or none of a policy's."""
    away = set(facts.away)
    for place in facts.places:
        if place.away is not None:
            what = place.away if place.name in place.away else f"target '{place.name}': {place.away}"
            yield wrong("target.away", place.name, what=what)
    if facts.places and not away:
        yield good("target.away", what=f"{plural(len(facts.places), 'target')}: each answers")
    if facts.places and len(away) == len(facts.places):
        named = name_first_few(tuple(place.name for place in facts.places))
        what = f"none of {plural(len(facts.places), 'target')} answers: {named}"
        yield wrong("target.all-away", what=what)
        return
    for policy in facts.policies:
        if policy.targets and not policy.offline and away.issuperset(policy.targets):
            of = plural(len(policy.targets), "target")
            what = f"policy '{policy.name}': none of its {of} answers: {name_first_few(policy.targets)}"
            yield wrong("target.all-away", policy.name, what=what)


def replicas(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge what lies on each target: whole, signed by somebody trusted, known to the catalog."""
    for place in facts.places:
        found = list(_replicas(place))
        if place.away is None and not found:
            words = f"target '{place.name}': no replica is damaged, lost or missing, as far as is known"
            found.append(good("replica.bad", place.name, what=words))
        yield from found
    for target in dict.fromkeys(repair.target for repair in facts.mended):
        mine = [repair for repair in facts.mended if repair.target == target]
        said = name_first_few(tuple(f"{repair.backup} ({repair.why}{_from(repair)})" for repair in mine))
        what = f"target '{target}': {plural(len(mine), 'replica')} damaged and repaired in the last 24 hours"
        yield wrong("replica.repaired", target, what=f"{what}: {said}", weight=len(mine))
    if facts.quarantined:
        words = f"{plural(facts.quarantined, 'backup')} in quarantine: restores leave them out"
        yield remark("incident.open", what=words, hint=False)


def _replicas(place: TargetFacts) -> Iterator[Finding]:
    counted = (
        (place.bad, "damaged or incomplete, by the last look"),
        (place.lost, "on record as good, and not there or not all there"),
        (place.missing, "not there, as is on record"),
    )
    lack = [
        f"{plural(len(names), 'backup')} {words}: {name_first_few(names)}"
        for names, words in counted
        if names
    ]
    if lack:
        what, weight = f"target '{place.name}': {'; '.join(lack)}", sum(len(names) for names, _ in counted)
        yield wrong("replica.bad", place.name, what=what, weight=weight, grave=bool(place.bad or place.lost))
    if place.refused:
        what = f"target '{place.name}': {plural(len(place.refused), 'backup')} under a manifest altered, or "
        what += f"signed by nobody trusted: {name_first_few(place.refused)}"
        yield wrong("manifest.refused", place.name, what=what, weight=len(place.refused))
    if place.unknown:
        what = f"target '{place.name}' has {plural(len(place.unknown), 'backup')} the catalog does not know: "
        yield wrong("catalog.lacks", place.name, what=what + name_first_few(place.unknown))


def _from(repair: Mended) -> str:
    return f"; copied from {', '.join(repair.sources)}" if repair.sources else ""


def verification(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge of each target how much of it was read within the span, and what nobody reads."""
    found, now = facts.verification, facts.now
    if found is None:
        return
    if facts.unverified:
        words = f"verification is not done by itself: {facts.unverified}"
        yield remark("verification.late", what=words, hint=False)
    if not found.targets:
        words = describe_coverage(found.all, span=found.span, now=now)
        yield good("verification.late", what=words)
    for target, coverage in found.targets.items():
        what = f"target '{target}': {describe_coverage(coverage, span=found.span, now=now)}"
        if not coverage.late:
            yield good("verification.late", target, what=what)
        elif facts.unverified:
            yield remark("verification.late", target, what=what)
        else:  # Doubled, not counted: a target that is away falls behind with each hour.
            yield wrong("verification.late", target, what=what, weight=coverage.late.bit_length())
    for target, count in found.outside.items():
        yield remark("verification.late", target, what=describe_outside(target, count), hint=False)
