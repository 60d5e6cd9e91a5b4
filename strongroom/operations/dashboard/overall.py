"""Alerts, verification, drills and keys: each a view of the facts."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.durations import about, measured
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import PageFacts, moment, quoted, small, together
from strongroom.operations.facts.records import Dated, Drilled, Drills
from strongroom.operations.findings import Finding, Severity
from strongroom.operations.key_management.proofs import ProofState
from strongroom.operations.muted import Muted
from strongroom.operations.verification.coverage import Coverage
from strongroom.operations.verification.description import describe, percent
from strongroom.sheet import Cell, Content, Lines, Mood, Pairs, Part, Sheet, Table, marked


def alerts(shown: PageFacts) -> bytes:
    """Return everything that is wrong, the worst first, with what to do."""
    head = ("Alert", "What happened", "What it means", "What to do")
    rows = [_alert(alert, shown.muted) for alert in shown.alerts]
    table = Table(head, rows, nothing="Nothing is wrong, as far as is known.")
    return frame.document(Sheet(title="Alerts", parts=[table]), shown, here="/alerts")


def _alert(alert: Finding, muted: Muted) -> tuple[Content, ...]:
    mood = Mood.BAD if alert.severity is Severity.CRITICAL else Mood.WARN
    kind = Cell(alert.kind, code=True, small=alert.subject)
    what = together(alert.what, *map(small, muted.said_of(alert.key)))
    return (together(Cell(alert.severity.value, mood), kind), what, alert.means, alert.to_do)


def coverage(shown: PageFacts) -> bytes:
    """Return how much of all replicas was read again within the span."""
    facts = shown.facts
    found = facts.verification
    if found is None:
        why = facts.unverified or "Nothing is known yet: the targets have not been checked."
        return frame.document(Sheet(title="Verification", parts=[Lines([why])]), shown, here="/coverage")
    lines = [f"{line[:1].upper()}{line[1:]}." for line in describe(found, now=facts.now)]
    head = ("Target", "Read", "Containers", "Late", "Never read", "Longest ago")
    rows = [_coverage(name, read_share, facts.now) for name, read_share in found.targets.items()]
    table = Table(head, rows, "By target", nothing="No target holds a backup.")
    parts: list[Part] = [Lines(lines, style="list"), table]
    return frame.document(Sheet(title="Verification", parts=parts), shown, here="/coverage")


def _coverage(name: str, read_share: Coverage, now: float) -> tuple[Content, ...]:
    since = (
        "-" if read_share.oldest_since is None else f"{about(max(0.0, now - read_share.oldest_since))} ago"
    )
    target = marked(name, bad=bool(read_share.late))
    return (
        target,
        percent(read_share.share),
        read_share.containers,
        read_share.late,
        read_share.never,
        since,
    )


def drills(shown: PageFacts) -> bytes:
    """Return the drills, the newest first, each against its objective."""
    parts: list[Part] = [_drills(drill_state) for drill_state in shown.facts.drills]
    nothing = Lines(["No drill is scheduled, and none was done: 'strongroom drill full' rehearses one."])
    return frame.document(Sheet(title="Drills", parts=parts or [nothing]), shown, here="/drills")


def _drills(drill_state: Drills) -> Table:
    when = f", scheduled {drill_state.schedule} ({drill_state.time_zone})" if drill_state.schedule else ""
    head = ("Drill", "State", "Began", "Recovered in", "Objective")
    rows = [_drill(run) for run in drill_state.runs]
    return Table(head, rows, f"{drill_state.drill} of {drill_state.policy}{when}", nothing="None yet.")


def _drill(drill: Drilled) -> tuple[Content, ...]:
    took = "-" if drill.recovered_in is None else measured(drill.recovered_in)
    objective = measured(drill.objective) if drill.objective else "-"
    late = drill.recovered_in is not None and bool(drill.objective) and drill.recovered_in > drill.objective
    over = Cell("too slow", Mood.WARN) if late else ""
    name = Cell(drill.run, link=f"/runs/{quoted(drill.run)}")
    return (name, frame.state(drill.state), moment(drill.began), together(took, over), objective)


def keys(shown: PageFacts) -> bytes:
    """Return the keys, their age, and what is known of each."""
    found = shown.facts.keys
    ages = [_key(dated, shown) for dated in found.used]
    ends = [_certificate(dated, shown) for dated in shown.facts.certificates]
    parts: list[Part] = [
        Pairs(list(_checks(shown))),
        Table(("Key", "In use since", "Age", "To do"), ages, "In use", nothing="No backup is sealed to any."),
        Table(("Certificate", "Ends", "To do"), ends, "Certificates"),
    ]
    return frame.document(Sheet(title="Keys", parts=parts), shown, here="/keys")


_MARKS = {
    ProofState.PROVEN: Mood.GOOD,
    ProofState.NOT_YET: Mood.PLAIN,
    ProofState.DUE_AGAIN: Mood.WARN,
    ProofState.OVERDUE: Mood.BAD,
    ProofState.FAILED: Mood.BAD,
}


def _checks(shown: PageFacts) -> Iterator[tuple[str, Content]]:
    found = shown.facts.keys
    yield "Tried last", moment(found.checked_at) if found.checked_at else "never"
    yield "Schedule", f"{found.schedule} ({found.time_zone})" if found.schedule else "not scheduled"
    for proof in found.proofs:
        yield "Proof", Cell(proof.words, _MARKS[proof.proof])
    for asked in found.asked:
        yield "Not answered", together(asked.name, "asked", moment(asked.at))


def _key(dated: Dated, shown: PageFacts) -> tuple[Content, ...]:
    alert = shown.alert("key.aging", dated.name)
    old = alert is not None and alert.severity is Severity.CRITICAL
    due = Cell("rotate it", Mood.BAD) if old else Cell("rotate it soon", Mood.WARN) if alert else "-"
    return (marked(dated.name, bad=old), moment(dated.at), about(max(0.0, shown.facts.now - dated.at)), due)


def _certificate(dated: Dated, shown: PageFacts) -> tuple[Content, ...]:
    bad = shown.alert("certificate.ending", dated.name) is not None
    return (marked(dated.name, bad=bad), moment(dated.at), Cell("renew it", Mood.WARN) if bad else "-")
