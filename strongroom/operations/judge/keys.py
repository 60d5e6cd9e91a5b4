"""The keys that backups open with: tried, proven, answered for, and changed in time."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about
from strongroom.operations.facts.records import AlertLimits, Dated, InstallationFacts, KeyFacts
from strongroom.operations.findings import Finding
from strongroom.operations.judge.kinds import WAITS, good, moment, remark, unknown, wrong
from strongroom.operations.key_management.proofs import WARNING, KeyProof, ProofState
from strongroom.schedule import last_slot
from strongroom.words import name_first_few, plural


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
