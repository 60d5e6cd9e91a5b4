"""The marks of somebody who should not be there, and what people have to approve, close or be told by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from strongroom.durations import about
from strongroom.operations.access.look import REWRITTEN, SILENT
from strongroom.operations.facts.records import AlertLimits, InstallationFacts, Intrusion
from strongroom.operations.findings import Finding
from strongroom.operations.judge.kinds import good, moment, remark, unknown, wrong
from strongroom.words import name_first_few, plural


def state(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether the state could be read."""
    if facts.state is not None:
        yield wrong("state.unreachable", what=facts.state)


def strangers(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge what somebody did who should not, or tried."""
    signs = facts.signs
    for pool, count in sorted(signs.messages.items()):
        what = f"{pool} workers refused {plural(count, 'message')} in the last 24 hours"
        # Doubled, not counted: whoever floods the broker must not flood the mailbox.
        yield wrong("message.refused", pool, what=what, weight=count.bit_length())
    for pool, count in sorted(signs.failed.items()):
        what = f"{pool} workers could not act on {plural(count, 'message')} of this installation's own"
        yield wrong("message.failed", pool, what=f"{what} in the last 24 hours", weight=count.bit_length())
    if signs.records:
        many, named = plural(len(signs.records), "run"), name_first_few(signs.records)
        what = f"workers refused rows of {many} in the last 24 hours: {named}"
        yield wrong("record.refused", what=what, weight=len(signs.records))
    if signs.shreds:
        what = f"{plural(signs.shreds, 'order')} to shred without a signature that counts"
        yield wrong("record.refused", "shredding", what=what, weight=signs.shreds)


def ledger(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge whether the record of events is what was appended, and leads on from the signed heads of it."""
    signs = facts.signs
    if signs.broken_at is not None:
        yield wrong("ledger.broken", what=f"from event {signs.broken_at} on the record was changed")
    elif signs.unlike is not None:
        yield wrong("ledger.broken", what=signs.unlike.rstrip("."))
    elif signs.events is not None:
        on = [on_target.target for on_target in signs.heads if on_target.agree]
        led = f", and the signed heads on {', '.join(on)} lead up to it" if on else ""
        many = plural(signs.events, "event")
        yield good("ledger.broken", what=f"{many} on record: each is what was appended{led}")
    for target_ledger in signs.heads:
        if target_ledger.doubt:
            yield unknown("ledger.broken", what=target_ledger.doubt)
        for head in target_ledger.others:
            words = (
                f"target '{target_ledger.target}': another record ends there with "
                f"event {head.event}, of {head.at}: "
            )
            yield remark("ledger.broken", what=f"{words}this lacks what that had", hint=False)


def approvals(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge what was done without approvals, what did not count as one, and what waits for them."""
    for approval in facts.approvals:
        asked = f"{approval.action} '{approval.subject}', which {approval.requester} asked for"
        if approval.broken:
            yield wrong("approval.break-glass", approval.subject, what=f"{asked}, was done by break-glass")
        if approval.refused:
            what = f"{asked}: {plural(approval.refused, 'approval')} did not count in the last 7 days"
            yield wrong("approval.refused", approval.subject, what=what, weight=approval.refused.bit_length())
        if approval.late:
            what = f"{asked} {about(facts.now - approval.asked_at)} ago, waits for approval"
            yield wrong("approval.waiting", approval.subject, what=what)


_DOUBTFUL: Final = frozenset({REWRITTEN, SILENT})


def intrusions(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge who came to backups or keys by a server's log and by no record of ours, and which log is silent.

    One judgement for each somebody, with the last of each thing they did: who reads ten thousand objects is
    told once.
    """
    grouped: dict[tuple[str, str], list[Intrusion]] = {}
    for intrusion in facts.intrusions:
        kind = "access.log" if intrusion.kind in _DOUBTFUL else "access.unrecorded"
        grouped.setdefault((kind, intrusion.who or intrusion.log), []).append(intrusion)
    for (kind, subject), found in grouped.items():
        alike = [
            [intruder for intruder in found if intruder.kind == name]
            for name in dict.fromkeys(intruder.kind for intruder in found)
        ]
        what = "; ".join(_said(same, facts.now) for same in alike)
        weight = sum(intruder.times for intruder in found).bit_length() + len(alike) - 1
        yield wrong(kind, subject[:200], what=what, weight=weight)


def _said(found: list[Intrusion], now: float) -> str:
    last = max(found, key=lambda intrusion: intrusion.at)
    log = f"access log '{last.log}'"
    if last.kind == SILENT:
        return f"{log} has had nothing new for {about(now - last.at)}"
    if not last.who:
        return f"{log}: file '{last.what}' was cut or replaced, or has lines of another format"
    who = f"{last.who}, from {last.origin or 'nowhere known'}"
    often = f"{plural(sum(intrusion.times for intrusion in found), 'time')}, last {moment(last.at)}"
    return f"{who}: {last.how} of {last.what} ({often}), by {log}"


def cases(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the incidents and recoveries that are open; those that should be over by now are worse."""
    for open_incident in facts.incidents:
        age, late = about(facts.now - open_incident.opened), facts.now > open_incident.due
        said = f"incident {open_incident.incident} has been open for {age}; next: '{open_incident.following}'"
        said += f" (overdue for {about(facts.now - open_incident.due)})" if late else ""
        yield wrong("incident.open", open_incident.incident, what=said, grave=late)
    for case in facts.recoveries:
        late = facts.now > case.due
        said = f"recovery {case.recovery} has been open for {about(facts.now - case.opened)}"
        said += f" (its objective passed {about(facts.now - case.due)} ago)" if late else ""
        yield wrong("recovery.open", case.recovery, what=said, grave=late)


def told(facts: InstallationFacts, _limits: AlertLimits) -> Iterator[Finding]:
    """Judge the channels that people cannot be told by, and the settings that are not in force."""
    for channel in facts.channels:
        since = about(facts.now - channel.since)
        what = f"channel '{channel.name}' has not worked for {since}: {channel.why.rstrip('.')}"
        yield wrong("channel.failed", channel.name, what=what)
    for file in facts.unused:
        why = f"{name_first_few(file.waits)} changed" if file.waits else file.problem
        what = f"host '{file.host}' goes on with older settings: {why}"
        yield wrong("settings.unused", file.host, what=what, grave=not file.waits)
