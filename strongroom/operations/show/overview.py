"""The first page, and what stands behind it: alerts, verification, drills and keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Final

from strongroom.alert_kinds import Severity
from strongroom.operations.backup.verified_share import Coverage, describe, percent
from strongroom.operations.engine import run_log
from strongroom.operations.engine.findings import Finding
from strongroom.operations.judge.fact_records import (
    Dated,
    Drilled,
    Drills,
    InstallationFacts,
    NewestOnTarget,
    Policy,
    Ran,
    Running,
    RunPace,
)
from strongroom.operations.judge.freshness import Freshness, is_idle, judge
from strongroom.operations.keys.health import ProofState
from strongroom.operations.show import frame
from strongroom.operations.show.acting import link
from strongroom.operations.show.frame import PageFacts, moment, quoted, small, together
from strongroom.schedule import next_slot
from strongroom.sheet import Bars, Cell, Content, Lines, Mood, Pairs, Part, Share, Sheet, Table, marked
from strongroom.state.records import RunState
from strongroom.times import about, measured
from strongroom.words import name_first_few, plural

# -- The first page: is all well, how each policy lies on each target, and what runs ------------


def overview(shown: PageFacts) -> bytes:
    """Return the page."""
    worst = next(iter(shown.alerts), None)
    if worst is None:
        seen = "" if shown.looked_at else " By the record: the targets have not been checked yet."
        verdict, mood, more = "All is well", Mood.GOOD, together(f"No alert.{seen}")
    else:
        verdict = frame.alerts_in_words(shown.alerts, shown.muted)
        mood = Mood.BAD if worst.severity is Severity.CRITICAL else Mood.WARN
        more = together(worst.what, Cell("What it means, and what to do", link="/alerts"))
    parts: list[Part] = [
        _matrix(shown),
        _waiting(shown.facts),
        _running(shown.facts),
        Pairs(list(_glance(shown)), "At a glance"),
    ]
    page = Sheet(title="Overview", verdict=verdict, mood=mood, about=more, parts=parts)
    return frame.document(page, shown, here="/")


# -- policies x targets ----------------------------------------------------------------


def _matrix(shown: PageFacts) -> Table:
    policies = shown.facts.policies
    targets = sorted({newest.target for policy in policies for newest in policy.on_targets} | _known(shown))
    runs = ("Last 30 days", "Newest run")
    head = ("Policy", "Verified backup", *runs, "Replicas", *(f"On {name}" for name in targets))
    rows = [_policy(policy, targets, shown) for policy in policies]
    return Table(head, rows, "Policies and targets", nothing="No policy is configured.")


def _known(shown: PageFacts) -> set[str]:
    return {place.name for place in shown.facts.places}


def _policy(policy: Policy, targets: Sequence[str], shown: PageFacts) -> tuple[Content, ...]:
    facts = shown.facts
    found = judge(policy, threshold=shown.limits.threshold_age, now=facts.now, recorded=facts.state is None)
    lies = {on_target.target: on_target for on_target in policy.on_targets}
    cells = (_cell(lies.get(name), name, shown) for name in targets)
    name = Cell(policy.name, link=f"/backups?policy={quoted(policy.name)}")
    newest = next(iter(policy.runs), None)
    bad = found.overdue or shown.alert("backup.failed", policy.name) is not None
    run = _newest_run(policy, newest, found, facts.now)
    return (marked(name, bad=bad), _verified(found), _days(policy), run, _replicas(policy), *cells)


_DAYS: Final = {
    RunState.DONE: (Mood.GOOD, "done"),
    RunState.DEGRADED: (Mood.WARN, "degraded"),
    RunState.CANCELLED: (Mood.WARN, "cancelled"),
    RunState.FAILED: (Mood.BAD, "failed"),
    RunState.ACTIVE: (Mood.PLAIN, "running"),
}


def _days(policy: Policy) -> Content:
    """Return a bar for each day by how its last run stands, and in words the days that are not good."""
    bars: list[tuple[Mood | None, str]] = []
    by_state: dict[str, list[str]] = {}
    for day in policy.days:
        mood, word = _DAYS[day.state] if day.state else (None, "no run")
        if day.state is RunState.FAILED and is_idle(policy):
            mood, word = Mood.PLAIN, run_log.NOTHING_YET_IN_WORDS
        bars.append((mood, f"{day.date}: {word}"))
        by_state.setdefault(word, []).append(day.date)
    if not bars:
        return "-"
    odd = ("failed", "degraded", "cancelled")
    said = [
        f"{word} on {plural(len(dates), 'day')}{f' ({name_first_few(dates[::-1])})' if word in odd else ''}"
        for word, dates in by_state.items()
    ]
    return Bars(bars, f"By the last run of each day: {'; '.join(said)}.")


def _verified(found: Freshness) -> Content:
    late = Cell("overdue", Mood.BAD) if found.overdue else ""
    if found.judged is None:
        return together("none", late)
    age = "" if found.age is None else small(f"{about(found.age)} ago")
    return together(Cell(found.judged.backup, link=f"/backups/{quoted(found.judged.backup)}"), late, age)


def _newest_run(policy: Policy, newest: Ran | None, found: Freshness, now: float) -> Content:
    """Return how the newest run of a policy stands, of what it failed, and when there is to be another."""
    if newest is None:
        said: tuple[object, ...] = ("none",)
    else:
        when = f"{about(max(0.0, now - newest.began))} ago"
        why = small(frame.reason_of(newest.code)) if newest.code else ""
        run = Cell(newest.run, link=f"/runs/{quoted(newest.run)}")
        ended = Cell(run_log.NOTHING_YET_IN_WORDS) if is_idle(policy) else frame.state_mark(newest.state)
        said = (run, ended, small(when), why)
    following = next_slot(policy.schedule, now, policy.time_zone) if policy.schedule else None
    late = small(f"due for {about(now - found.missed_at)}") if found.missed_at is not None else ""
    return together(*said, late, small(f"next in {about(following - now)}") if following else "")


def _replicas(policy: Policy) -> Content:
    good = sum(newest.good for newest in policy.on_targets)
    return together(
        f"{good} of {policy.wanted}", Cell("fewer than demanded", Mood.BAD) if policy.lacks else ""
    )


def _cell(newest: NewestOnTarget | None, target: str, shown: PageFacts) -> Content:
    """Return how a policy's newest backup lies on a target, and whether the target answers."""
    away = any(place.name == target and place.away is not None for place in shown.facts.places)
    silent = Cell("no answer", Mood.BAD) if away else ""
    if newest is None:
        return silent or "-"
    locked = small(together("locked until", moment(newest.locked_until))) if newest.locked_until else ""
    return together(replica(newest.good, newest.depth, newest.read_at, shown.facts.now), silent, locked)


def replica(good: bool, depth: object, read_at: float | None, now: float) -> Content:  # noqa: FBT001
    """Return how a replica is, to what depth it was read back, and how long ago."""
    if not good:
        return Cell("damaged or missing", Mood.BAD)
    if read_at is None:
        return Cell("not read back", Mood.WARN)
    return Cell("good", Mood.GOOD, small=f"{depth}, {about(max(0.0, now - read_at))} ago")


# -- what waits for people --------------------------------------------------------------


def _waiting(facts: InstallationFacts) -> Table:
    """Return what people have to approve, with the line to type."""
    head = ("Asked for", "By", "Asked", "Until", "To approve it, type")
    rows = [
        (
            marked(f"{approval.action} ({approval.subject})", bad=approval.late),
            approval.requester,
            f"{about(max(0.0, facts.now - approval.asked_at))} ago",
            moment(approval.ends),
            Cell(f"strongroom approvals approve {quote(approval.subject)}", code=True),
        )
        for approval in facts.approvals
        if approval.waits
    ]
    return Table(head, rows, "Waits for approval")


# -- what runs -------------------------------------------------------------------------


def _running(facts: InstallationFacts) -> Table:
    """Return the runs that have not ended, with rate and time left."""
    head = ("Run", "What", "Since", "How far", "Rate", "Left")
    rows = [_run(running, facts.now) for running in facts.active]
    return Table(head, rows, "Running now", nothing="Nothing runs.")


def _run(running: Running, now: float) -> tuple[Content, ...]:
    waits = small("waits for approval") if running.waits_for_approval else ""
    what = together(f"{running.kind.value} of {running.policy}", waits)
    name, since = Cell(running.run, link=f"/runs/{quoted(running.run)}"), about(max(0.0, now - running.began))
    return (name, what, since, far(running.pace), running.pace.rate_words, running.pace.left_words)


def far(pace: RunPace) -> Content:
    """Return how far something is: as a bar and in words."""
    return Share(pace.done / pace.total, pace.words) if pace.total else "begins"


# -- at a glance -----------------------------------------------------------------------


def _glance(shown: PageFacts) -> Iterator[tuple[str, Content]]:
    facts = shown.facts
    if facts.verification is not None:
        share = facts.verification.all.share
        yield "Verification", Cell(f"{percent(share)} read within the span", link="/coverage")
    newest = [ran for drills in facts.drills for ran in drills.runs]
    last = max(newest, key=lambda ran: ran.began, default=None)
    if last is not None:
        yield (
            "Newest drill",
            together(Cell(last.drill, link="/drills"), frame.state_mark(last.state), moment(last.began)),
        )
    yield "Keys in use", Cell(plural(len(facts.keys.used), "key"), link="/keys")
    yield "Incidents open", Cell(str(len(facts.incidents)), link="/incidents")
    yield "Waiting for approval", str(sum(approval.waits for approval in facts.approvals))
    beat = "never seen" if facts.beat_age is None else f"seen {about(facts.beat_age)} ago"
    yield "Beat", beat


# -- Alerts, verification, drills and keys: each a view of the facts ----------------------------


def alerts(shown: PageFacts) -> bytes:
    """Return everything that is wrong, the worst first, with what to do."""
    head = ("Alert", "What happened", "What it means", "What to do")
    rows = [_alert(alert, shown) for alert in shown.alerts]
    table = Table(head, rows, nothing="Nothing is wrong, as far as is known.")
    return frame.document(Sheet(title="Alerts", parts=[table]), shown, here="/alerts")


def _alert(alert: Finding, shown: PageFacts) -> tuple[Content, ...]:
    mood = Mood.BAD if alert.severity is Severity.CRITICAL else Mood.WARN
    kind = Cell(alert.kind, code=True, small=alert.subject)
    told = list(map(small, shown.muted.said_of(alert.key)))
    answer = link("acknowledge", alert.key) if shown.acts else ""
    what = together(alert.what, *told, answer)
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
    return (name, frame.state_mark(drill.state), moment(drill.began), together(took, over), objective)


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
