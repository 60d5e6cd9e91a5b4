"""The targets and what lies on them, and this host's file systems and certificates."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about
from strongroom.operations.facts.records import AlertLimits, InstallationFacts, Mended, TargetFacts
from strongroom.operations.findings import Finding
from strongroom.operations.judge.kinds import good, moment, remark, wrong
from strongroom.operations.verification.description import describe_coverage, describe_outside
from strongroom.words import name_first_few, plural, size


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


def host(facts: InstallationFacts, limits: AlertLimits) -> Iterator[Finding]:
    """Judge where the room runs out, and which certificates end."""
    for room in facts.rooms:
        percent = 100.0 * room.free / room.total if room.total else 100.0
        what = f"{room.name}: {percent:.0f} % is free, {size(room.free)}"
        if not room.writable:
            yield wrong("space.low", room.name, what=f"{room.name}: nothing can be written there", grave=True)
        elif room.free < room.least:
            yield wrong("space.low", room.name, what=f"{what}; it takes {size(room.least)}", grave=True)
        elif percent < limits.free_percent:
            yield wrong("space.low", room.name, what=what)
        else:
            yield good("space.low", room.name, what=what)
    for dated in facts.certificates:
        left = dated.at - facts.now
        ends = f"ends in {about(left)}" if left > 0 else f"ended {about(-left)} ago"
        what = f"a certificate in {dated.name} {ends}"
        if left < limits.notice:
            yield wrong("certificate.ending", dated.name, what=what, weight=int(left <= 0))
        else:
            when = f"the certificates in {dated.name} hold until {moment(dated.at)}"
            yield good("certificate.ending", dated.name, what=when)
