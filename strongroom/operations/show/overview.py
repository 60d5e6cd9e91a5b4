"""The first page: is all well, how each policy lies on each target, and what runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.durations import about
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import PageFacts, moment, quoted, small, together
from strongroom.operations.facts.freshness import Freshness, judge
from strongroom.operations.facts.records import (
    InstallationFacts,
    NewestOnTarget,
    Policy,
    Ran,
    Running,
    RunPace,
)
from strongroom.operations.findings import Severity
from strongroom.operations.verification.description import percent
from strongroom.schedule import next_slot
from strongroom.sheet import Cell, Content, Mood, Pairs, Part, Share, Sheet, Table, marked
from strongroom.words import plural


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
    parts: list[Part] = [_matrix(shown), _running(shown.facts), Pairs(list(_glance(shown)), "At a glance")]
    page = Sheet(title="Overview", verdict=verdict, mood=mood, about=more, parts=parts)
    return frame.document(page, shown, here="/")


# -- policies x targets ----------------------------------------------------------------


def _matrix(shown: PageFacts) -> Table:
    policies = shown.facts.policies
    targets = sorted({newest.target for policy in policies for newest in policy.on_targets} | _known(shown))
    head = ("Policy", "Verified backup", "Newest run", "Replicas", *(f"On {name}" for name in targets))
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
    return (marked(name, bad=bad), _verified(found), run, _replicas(policy), *cells)


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
        ended = small(f"{newest.code}, {when}" if newest.code else when)
        said = (Cell(newest.run, link=f"/runs/{quoted(newest.run)}"), frame.state(newest.state), ended)
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
            together(Cell(last.drill, link="/drills"), frame.state(last.state), moment(last.began)),
        )
    yield "Keys in use", Cell(plural(len(facts.keys.used), "key"), link="/keys")
    yield "Incidents open", Cell(str(len(facts.incidents)), link="/incidents")
    yield "Waiting for approval", str(len(facts.approvals))
    beat = "never seen" if facts.beat_age is None else f"seen {about(facts.beat_age)} ago"
    yield "Beat", beat
