"""Alerts, verification, drills and keys: each a view of the facts."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about, measured
from strongroom.operations.alerts.alert_kinds import Alert, Severity
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import Line, Shown, mark, moment, quoted, small, together
from strongroom.operations.facts.records import Dated, Drilled, Drills
from strongroom.operations.key_management.proofs import Proof
from strongroom.operations.muted import Muted
from strongroom.operations.page import Markup, definitions, link, section, text
from strongroom.operations.verification.coverage import Coverage
from strongroom.operations.verification.description import describe, percent


def alerts(shown: Shown) -> bytes:
    """Return everything that is wrong, the worst first, with what to do."""
    head = ("Alert", "What happened", "What it means", "What to do")
    lines = (_alert(alert, shown.muted) for alert in shown.alerts)
    label, nothing = "Alerts, the worst first", "Nothing is wrong, as far as is known."
    table = frame.listed(lines, head=head, label=label, nothing=nothing)
    return frame.document("Alerts", table, shown, here="/alerts")


def _alert(alert: Alert, muted: Muted) -> Line:
    kind = "failed" if alert.severity is Severity.CRITICAL else "degraded"
    severity = mark(kind, alert.severity.value)
    name = together(severity, Markup(f"<code>{text(alert.kind)}</code>"), small(alert.subject))
    what = together(alert.what, *map(small, muted.said_of(alert.key)))
    return Line((name, what, alert.means, alert.do))


def coverage(shown: Shown) -> bytes:
    """Return how much of all replicas was read again within the span."""
    facts = shown.facts
    found = facts.verification
    if found is None:
        why = facts.unverified or "Nothing is known yet: the targets have not been checked."
        return frame.document("Verification", f"<p>{text(why)}</p>\n", shown, here="/coverage")
    lines = "".join(
        f"<li>{text(line[:1].upper() + line[1:])}.</li>\n" for line in describe(found, now=facts.now)
    )
    head = ("Target", "Read", "Containers", "Late", "Never read", "Longest ago")
    rows = [_coverage(name, one, facts.now) for name, one in found.targets.items()]
    table = frame.listed(rows, head=head, label="Verification by target", nothing="No target holds a backup.")
    content = f"<ul>\n{lines}</ul>\n" + section("By target", table)
    return frame.document("Verification", content, shown, here="/coverage")


def _coverage(name: str, one: Coverage, now: float) -> Line:
    since = "-" if one.oldest_since is None else f"{about(max(0.0, now - one.oldest_since))} ago"
    cells = (name, percent(one.share), f"{one.containers:,}", f"{one.late:,}", f"{one.never:,}", since)
    return Line(cells, bad=bool(one.late))


def drills(shown: Shown) -> bytes:
    """Return the drills, the newest first, each against its objective."""
    parts = "".join(section(_drill_title(one), _drills(one)) for one in shown.facts.drills)
    nothing = "<p>No drill is scheduled, and none was done: 'strongroom drill full' rehearses one.</p>\n"
    return frame.document("Drills", parts or nothing, shown, here="/drills")


def _drill_title(one: Drills) -> str:
    when = f", scheduled {one.schedule} ({one.time_zone})" if one.schedule else ""
    return f"{one.drill} of {one.policy}{when}"


def _drills(one: Drills) -> str:
    head = ("Drill", "State", "Began", "Recovered in", "Objective")
    return frame.listed(
        map(_drill, one.runs), head=head, label=f"Drills: {one.drill} of {one.policy}", nothing="None yet."
    )


def _drill(one: Drilled) -> Line:
    took = "-" if one.recovered_in is None else measured(one.recovered_in)
    objective = measured(one.objective) if one.objective else "-"
    late = one.recovered_in is not None and bool(one.objective) and one.recovered_in > one.objective
    over = mark("degraded", "too slow") if late else ""
    name = link(f"/runs/{quoted(one.run)}", one.run)
    return Line((name, frame.state(one.state), moment(one.began), together(took, over), objective))


def keys(shown: Shown) -> bytes:
    """Return the keys, their age, and what is known of each."""
    found = shown.facts.keys
    ages = [_key(one, shown) for one in found.used]
    table = frame.listed(
        ages,
        head=("Key", "In use since", "Age", "To do"),
        label="Keys in use",
        nothing="No backup is sealed to any.",
    )
    content = definitions(_checks(shown)) + section("In use", table)
    if shown.facts.certificates:
        ends = [_certificate(one, shown) for one in shown.facts.certificates]
        content += section(
            "Certificates",
            frame.listed(ends, head=("Certificate", "Ends", "To do"), label="Certificates", nothing=""),
        )
    return frame.document("Keys", content, shown, here="/keys")


_MARKS = {
    Proof.PROVEN: "passed",
    Proof.NOT_YET: "plain",
    Proof.DUE_AGAIN: "degraded",
    Proof.OVERDUE: "failed",
    Proof.FAILED: "failed",
}


def _checks(shown: Shown) -> Iterator[tuple[str, str]]:
    found = shown.facts.keys
    yield "Tried last", moment(found.checked_at) if found.checked_at else "never"
    yield "Schedule", f"{found.schedule} ({found.time_zone})" if found.schedule else "not scheduled"
    for proof in found.proofs:
        yield "Proof", mark(_MARKS[proof.proof], proof.words)
    for asked in found.asked:
        yield "Not answered", together(asked.name, "asked", moment(asked.at))


def _key(one: Dated, shown: Shown) -> Line:
    age = max(0.0, shown.facts.now - one.at)
    old = age > shown.limits.key_age
    soon = not old and age > shown.limits.key_age - shown.limits.notice
    due = mark("failed", "rotate it") if old else mark("degraded", "rotate it soon") if soon else ""
    return Line((one.name, moment(one.at), about(age), due or "-"), bad=old)


def _certificate(one: Dated, shown: Shown) -> Line:
    left = one.at - shown.facts.now
    bad = left < shown.limits.notice
    return Line((one.name, moment(one.at), mark("degraded", "renew it") if bad else "-"), bad=bad)
