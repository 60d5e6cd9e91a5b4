"""Damage, loss, and the marks of somebody who should not be there."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about
from strongroom.operations.alerts.alert_kinds import Alert
from strongroom.operations.facts.records import Facts, Intrusion, Limits, Mended
from strongroom.timestamps import rfc3339
from strongroom.words import name_first_few, plural


def state(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield that the state could not be read."""
    if facts.state is not None:
        yield Alert(kind="state.unreachable", what=facts.state)


def damage(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield what is wrong with what lies on each target."""
    for place in facts.places:
        for kind, names, words in (
            ("replica.bad", place.bad, "damaged or incomplete, by the last look"),
            ("replica.lost", place.lost, "on record as good, and not there or not all there"),
            ("manifest.refused", place.refused, "under a manifest altered, or signed by nobody trusted"),
            ("replica.missing", place.missing, "not there, as is on record"),
        ):
            if names:
                what = (
                    f"target '{place.name}': {plural(len(names), 'backup')} {words}: {name_first_few(names)}"
                )
                yield Alert(kind=kind, subject=place.name, what=what, weight=len(names))


def mended(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield what was damaged on each target and is whole again: a disk fails, or somebody is at work."""
    for target in dict.fromkeys(one.target for one in facts.mended):
        mine = [one for one in facts.mended if one.target == target]
        said = tuple(f"{one.backup} ({one.why}{_from(one)})" for one in mine)
        what = f"target '{target}': {plural(len(mine), 'replica')} damaged and repaired in the last 24 hours"
        yield Alert(
            kind="replica.repaired", subject=target, what=f"{what}: {name_first_few(said)}", weight=len(mine)
        )


def _from(one: Mended) -> str:
    return f"; copied from {', '.join(one.sources)}" if one.sources else ""


def strangers(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield what somebody did who should not, or tried."""
    signs = facts.signs
    for pool, count in sorted(signs.messages.items()):
        what = f"{pool} workers refused {plural(count, 'message')} in the last 24 hours"
        # Doubled, not counted: whoever floods the broker must not flood the mailbox.
        yield Alert(kind="message.refused", subject=pool, what=what, weight=count.bit_length())
    for pool, count in sorted(signs.failed.items()):
        what = f"{pool} workers could not act on {plural(count, 'message')} of this installation's own"
        what += " in the last 24 hours"
        yield Alert(kind="message.failed", subject=pool, what=what, weight=count.bit_length())
    if signs.records:
        what = f"workers refused rows of {plural(len(signs.records), 'run')} in the last 24 hours: "
        yield Alert(
            kind="record.refused", what=what + name_first_few(signs.records), weight=len(signs.records)
        )
    if signs.shreds:
        what = f"{plural(signs.shreds, 'order')} to shred without a signature that counts"
        yield Alert(kind="shred.refused", what=what, weight=signs.shreds)
    if signs.broken_at is not None:
        yield Alert(kind="ledger.broken", what=f"from event {signs.broken_at} on the record was changed")
    elif signs.unlike is not None:
        yield Alert(kind="ledger.broken", what=signs.unlike.rstrip("."))


def approvals(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield what was done without approvals, what did not count as one, and what waits for them."""
    for one in facts.approvals:
        asked = f"{one.action} '{one.subject}', which {one.requester} asked for"
        if one.broken:
            what = f"{asked}, was done by break-glass"
            yield Alert(kind="approval.break-glass", subject=one.subject, what=what)
        if one.refused:
            what = f"{asked}: {plural(one.refused, 'approval')} did not count in the last 7 days"
            weight = one.refused.bit_length()
            yield Alert(kind="approval.refused", subject=one.subject, what=what, weight=weight)
        if one.late:
            what = f"{asked} {about(facts.now - one.asked_at)} ago, waits for approval"
            yield Alert(kind="approval.waiting", subject=one.subject, what=what)


def intrusions(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield who came to backups or keys by a server's log and by no record of ours, and which log is silent.

    One alert for each kind and somebody: who reads ten thousand objects is told once.
    """
    grouped: dict[tuple[str, str], list[Intrusion]] = {}
    for one in facts.intrusions:
        grouped.setdefault((one.kind, one.who or one.log), []).append(one)
    for (kind, subject), found in grouped.items():
        last = max(found, key=lambda one: one.at)
        times = sum(one.times for one in found)
        said = f"access log '{last.log}'"
        if kind == "access.log-silent":
            what = f"{said} has had nothing new for {about(facts.now - last.at)}"
        elif not last.who:
            what = f"{said}: file '{last.what}' was cut or replaced, or has lines of another format"
        else:
            who = f"{last.who}, from {last.origin or 'nowhere known'}"
            often = f"{plural(times, 'time')}, last {rfc3339(last.at)}"
            what = f"{who}: {last.how} of {last.what} ({often}), by {said}"
        yield Alert(kind=kind, subject=subject[:200], what=what, weight=times.bit_length())


def incidents(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the incidents that are open; those that should be closed by now are worse."""
    for one in facts.incidents:
        age = about(facts.now - one.opened)
        said = f"incident {one.incident} has been open for {age}; next: '{one.following}'"
        if facts.now > one.due:
            late = f"{said} (overdue for {about(facts.now - one.due)})"
            yield Alert(kind="incident.overdue", subject=one.incident, what=late)
        else:
            yield Alert(kind="incident.open", subject=one.incident, what=said)


def recoveries(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the recoveries that are not over; those past their objective are worse."""
    for one in facts.recoveries:
        said = f"recovery {one.recovery} has been open for {about(facts.now - one.opened)}"
        if facts.now > one.due:
            late = f"{said} (its objective passed {about(facts.now - one.due)} ago)"
            yield Alert(kind="recovery.overdue", subject=one.recovery, what=late)
        else:
            yield Alert(kind="recovery.open", subject=one.recovery, what=said)


def channels(facts: Facts, _limits: Limits) -> Iterator[Alert]:
    """Yield the channels that people cannot be told by: the others tell of it."""
    for one in facts.channels:
        what = (
            f"channel '{one.name}' has not worked for {about(facts.now - one.since)}: {one.why.rstrip('.')}"
        )
        yield Alert(kind="channel.failed", subject=one.name, what=what)
