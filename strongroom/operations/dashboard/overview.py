"""The first page: is all well, how each policy lies on each target, and what runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.durations import about
from strongroom.operations.alerts.alert_kinds import Severity
from strongroom.operations.dashboard import frame
from strongroom.operations.dashboard.frame import Line, Shown, mark, moment, quoted, small, together
from strongroom.operations.facts.freshness import Freshness, judge
from strongroom.operations.facts.records import Facts, OnTarget, Pace, Policy, Ran, Running
from strongroom.operations.page import Markup, definitions, link, section, text
from strongroom.operations.verification.description import percent
from strongroom.schedule import next_slot
from strongroom.state.records import RunState
from strongroom.words import plural


def overview(shown: Shown) -> bytes:
    """Return the page."""
    content = (
        _verdict(shown)
        + section("Policies and targets", _matrix(shown))
        + section("Running now", _running(shown.facts))
        + section("At a glance", definitions(_glance(shown)))
    )
    return frame.document("Overview", content, shown, here="/")


def _verdict(shown: Shown) -> str:
    if not shown.alerts:
        seen = "" if shown.looked_at else " By the record: the targets have not been checked yet."
        return frame.verdict("passed", "All is well", f"No alert.{seen}")
    worst = shown.alerts[0]
    kind = "failed" if worst.severity is Severity.CRITICAL else "degraded"
    more = together(text(worst.what), link("/alerts", "What it means, and what to do"))
    return frame.verdict(kind, frame.alerts_in_words(shown.alerts, shown.muted), more)


# -- policies x targets ----------------------------------------------------------------


def _matrix(shown: Shown) -> str:
    policies = shown.facts.policies
    targets = sorted({one.target for policy in policies for one in policy.on_targets} | _known(shown))
    head = ("Policy", "Verified backup", "Newest run", "Replicas", *(f"On {name}" for name in targets))
    rows = (_policy(policy, targets, shown) for policy in policies)
    return frame.listed(rows, head=head, label="Policies and targets", nothing="No policy is configured.")


def _known(shown: Shown) -> set[str]:
    return {place.name for place in shown.facts.places}


def _policy(policy: Policy, targets: Sequence[str], shown: Shown) -> Line:
    facts = shown.facts
    found = judge(policy, threshold=shown.limits.threshold_age, now=facts.now, recorded=facts.state is None)
    lies = {one.target: one for one in policy.on_targets}
    cells = (_cell(lies.get(name), name, shown) for name in targets)
    name = link(f"/backups?policy={quoted(policy.name)}", policy.name)
    newest = next(iter(policy.runs), None)
    bad = found.overdue or (newest is not None and newest.state is RunState.FAILED)
    run = _newest_run(policy, newest, found, facts.now)
    return Line((name, _verified(found), run, _replicas(policy), *cells), bad=bad)


def _verified(found: Freshness) -> Markup:
    late = mark("failed", "overdue") if found.overdue else ""
    if found.judged is None:
        return together("none", late)
    age = small("" if found.age is None else f"{about(found.age)} ago")
    return together(link(f"/backups/{quoted(found.judged.backup)}", found.judged.backup), late, age)


def _newest_run(policy: Policy, newest: Ran | None, found: Freshness, now: float) -> Markup:
    """Return how the newest run of a policy stands, of what it failed, and when there is to be another."""
    if newest is None:
        said: tuple[object, ...] = ("none",)
    else:
        when = f"{about(max(0.0, now - newest.began))} ago"
        ended = small(f"{newest.code}, {when}" if newest.code else when)
        said = (link(f"/runs/{quoted(newest.run)}", newest.run), frame.state(newest.state), ended)
    following = next_slot(policy.schedule, now, policy.time_zone) if policy.schedule else None
    late = small(f"due for {about(now - found.missed_at)}") if found.missed_at is not None else ""
    return together(*said, late, small(f"next in {about(following - now)}") if following else "")


def _replicas(policy: Policy) -> Markup:
    good = sum(one.good for one in policy.on_targets)
    return together(
        f"{good} of {policy.wanted}", mark("failed", "fewer than demanded") if policy.lacks else ""
    )


def _cell(one: OnTarget | None, target: str, shown: Shown) -> Markup:
    """Return how a policy's newest backup lies on a target, and whether the target answers."""
    away = any(place.name == target and place.away is not None for place in shown.facts.places)
    silent = mark("failed", "no answer") if away else ""
    if one is None:
        return together(Markup('<span aria-label="no replica">-</span>') if not silent else "", silent)
    return together(replica(one.good, one.depth, one.read_at, shown.facts.now), silent, locked(one))


def replica(good: bool, depth: object, read_at: float | None, now: float) -> Markup:  # noqa: FBT001
    """Return how a replica is, to what depth it was read back, and how long ago."""
    if not good:
        return mark("failed", "damaged or missing")
    if read_at is None:
        return together(mark("degraded", "not read back"))
    return together(mark("passed", "good"), small(f"{depth}, {about(max(0.0, now - read_at))} ago"))


def locked(one: OnTarget) -> Markup:
    """Return until when a replica cannot be removed, where it is locked."""
    return together(small(together("locked until", moment(one.locked_until))) if one.locked_until else "")


# -- what runs -------------------------------------------------------------------------


def _running(facts: Facts) -> str:
    """Return the runs that have not ended, with rate and time left."""
    head = ("Run", "What", "Since", "How far", "Rate", "Left")
    lines = (_run(one, facts.now) for one in facts.active)
    return frame.listed(lines, head=head, label="Runs that have not ended", nothing="Nothing runs.")


def _run(one: Running, now: float) -> Line:
    waits = small("waits for approval") if one.waits_for_approval else ""
    what = together(f"{one.kind.value} of {one.policy}", waits)
    name, since = link(f"/runs/{quoted(one.run)}", one.run), about(max(0.0, now - one.began))
    return Line((name, what, since, far(one.pace), one.pace.rate_words, one.pace.left_words))


def far(pace: Pace) -> Markup:
    """Return how far something is: as a bar and in words."""
    if not pace.total:
        return Markup("begins")
    bar = f'<progress max="{pace.total}" value="{pace.done}" aria-label="How far"></progress>'
    return together(Markup(bar), small(pace.words))


# -- at a glance -----------------------------------------------------------------------


def _glance(shown: Shown) -> Iterator[tuple[str, str]]:
    facts = shown.facts
    if facts.verification is not None:
        share = facts.verification.all.share
        yield "Verification", link("/coverage", f"{percent(share)} read within the span")
    newest = [ran for drills in facts.drills for ran in drills.runs]
    last = max(newest, key=lambda ran: ran.began, default=None)
    if last is not None:
        yield (
            "Newest drill",
            together(link("/drills", last.drill), frame.state(last.state), moment(last.began)),
        )
    yield "Keys in use", link("/keys", plural(len(facts.keys.used), "key"))
    yield "Incidents open", link("/incidents", str(len(facts.incidents)))
    yield "Waiting for approval", str(len(facts.approvals))
    beat = "never seen" if facts.beat_age is None else f"seen {about(facts.beat_age)} ago"
    yield "Beat", beat
