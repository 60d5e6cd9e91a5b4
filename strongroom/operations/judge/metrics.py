"""Facts as metrics: what each is called, and what is written of it in Prometheus' format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from strongroom.alert_kinds import KINDS
from strongroom.model import COMMAND, EVERY_POLICY, Depth
from strongroom.operations.backup.verified_share import Coverage
from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.operations.engine.steps import pools
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    Dated,
    Drilled,
    InstallationFacts,
    NewestOnTarget,
    Policy,
    TargetFacts,
)
from strongroom.operations.judge.freshness import ENDED_WHOLE, judge
from strongroom.operations.judge.judgement import alerts
from strongroom.operations.judge.judgement import judge as judge_all
from strongroom.state.records import Pool, RunCount, RunKind, RunState, StepState

# -- Every metric there is: its name, what it says, its labels, and where its values come from ---
#
# A label is the name of a policy, target, key, queue or process of the configuration, or a word of our own:
# so their number is bounded, whatever the record holds, and none is the name of a secret.


OTHER: Final = "other"
"""The label of what is on record under a name that the configuration does not have."""
ENDED: Final = (*ENDED_WHOLE, RunState.FAILED)


class Process(Struct, frozen=True, kw_only=True):
    """A process of the cluster on this machine, with those that it forked."""

    name: str
    is_up: bool
    starts: int
    memory: int


class Observed(Struct, frozen=True, kw_only=True):
    """What metrics are made of.

    ``facts`` are by the record, as it is now. ``look`` are those of the newest look at the targets, which
    costs more and comes less often; how much was verified is taken from it too. ``alerts`` are what was wrong
    then and is not silenced.
    """

    facts: InstallationFacts
    limits: AlertLimits
    version: str
    look: InstallationFacts | None = None
    alerts: tuple[Finding, ...] = ()
    processes: tuple[Process, ...] = ()


Labels = tuple[str, ...]
Sample = tuple[Labels, float | None]


class Measure(NamedTuple):
    """A metric. A sample whose value is ``None`` is left out: nothing is known."""

    name: str
    kind: Literal["gauge", "counter"]
    says: str
    labels: Labels
    samples: Callable[[Observed], Iterable[Sample]]


# -- policies ----------------------------------------------------------------------


def _known(seen: Observed) -> tuple[Policy, ...]:
    """Return the policies; none if the record could not be read: a 0 would say what nobody knows."""
    return seen.facts.policies if seen.facts.state is None else ()


def _of_policy(value: Callable[[Policy, Observed], float | None]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        for policy in _known(seen):
            yield (policy.name,), value(policy, seen)

    return samples


def _made_at(policy: Policy, _seen: Observed) -> float | None:
    return policy.newest.made_at if policy.newest else None


def _verified_at(policy: Policy, seen: Observed) -> float | None:
    judged = judge(policy, threshold=seen.limits.threshold_age, now=seen.facts.now).judged
    return judged.made_at if judged else None


def _missed_at(policy: Policy, seen: Observed) -> float | None:
    return judge(policy, threshold=seen.limits.threshold_age, now=seen.facts.now).missed_at


def _interval(policy: Policy, seen: Observed) -> float | None:
    return policy.interval(seen.facts.now)


def _secrets(policy: Policy, _seen: Observed) -> float | None:
    return policy.held[0].secrets if policy.held else None


def _size(policy: Policy, _seen: Observed) -> float | None:
    return policy.held[0].size if policy.held else None


def _duration(policy: Policy, _seen: Observed) -> float | None:
    return next((ran.took for ran in policy.runs if ran.state in ENDED_WHOLE), None)


def _replicas(policy: Policy, _seen: Observed) -> float:
    return sum(newest.good for newest in policy.on_targets)


def _wanted_replicas(policy: Policy, _seen: Observed) -> float:
    return policy.wanted


def _quorum(policy: Policy, _seen: Observed) -> float:
    return bool(policy.on_targets) and policy.lacks is None


def _judged(kind: str) -> Callable[[Observed], Iterator[Sample]]:
    """Return what says of each policy whether it is judged to be wrong."""

    def samples(seen: Observed) -> Iterator[Sample]:
        wrong = {finding.policy for finding in alerts(seen.facts, seen.limits) if finding.kind == kind}
        yield from (((policy.name,), float(policy.name in wrong)) for policy in _known(seen))

    return samples


def _unproven(seen: Observed) -> float:
    found = judge_all(seen.facts, seen.limits)
    return float(
        sum(finding.kind == "key.unproven" and finding.state is FindingState.WRONG for finding in found)
    )


# -- replicas ----------------------------------------------------------------------


def _of_replica(value: Callable[[NewestOnTarget], float | None]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        for policy in _known(seen):
            for newest in policy.on_targets:
                yield (policy.name, newest.target), value(newest)

    return samples


def _depth(newest: NewestOnTarget) -> float:
    return list(Depth).index(newest.depth) + 1 if newest.depth else 0


# -- targets -----------------------------------------------------------------------


def _of_coverage(value: Callable[[Coverage], float | None]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        found = seen.look.verification if seen.look else None
        for target, coverage in found.targets.items() if found else ():
            yield (target,), value(coverage)

    return samples


def _of_place(value: Callable[[TargetFacts], float | None]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        for place in seen.look.places if seen.look else ():
            yield (place.name,), value(place)

    return samples


def _damaged(place: TargetFacts) -> float | None:
    return None if place.away else len({*place.lost, *place.bad, *place.refused})


# -- runs and steps ----------------------------------------------------------------


def _counted(seen: Observed, value: Callable[[RunCount], float]) -> Iterator[Sample]:
    """Yield sums by policy and kind; also those of the backups of each policy of which there was none: a
    counter that begins with its first failure would hide it."""
    policies = [policy.name for policy in _known(seen)]
    sums: Counter[tuple[str, str]] = Counter({(name, RunKind.BACKUP.value): 0 for name in policies})
    names = {*policies, EVERY_POLICY, COMMAND}
    for count in seen.facts.counts:
        sums[count.policy if count.policy in names else OTHER, count.kind.value] += int(value(count))
    yield from sums.items()


def _attempts(seen: Observed) -> Iterator[Sample]:
    return _counted(seen, lambda count: count.retries + (count.runs if count.state in ENDED else 0))


def _failures(seen: Observed) -> Iterator[Sample]:
    return _counted(seen, lambda count: count.failures)


def _active(seen: Observed) -> Iterator[Sample]:
    return _counted(seen, lambda count: count.runs if count.state is RunState.ACTIVE else 0)


def _left(seen: Observed) -> Iterator[Sample]:
    """Yield how long the run takes that takes longest, by kind; nothing where nobody knows."""
    longest: dict[str, float] = {}
    for run in seen.facts.active:
        if run.pace.left is not None:
            longest[run.kind.value] = max(longest.get(run.kind.value, 0.0), run.pace.left)
    yield from (((kind,), left) for kind, left in longest.items())


def _steps(seen: Observed) -> Iterator[Sample]:
    states = [state.value for state in StepState if not state.settled]
    depths = Counter({(queue, state): 0 for queue in _queues(seen) for state in states})
    for waiting_step in seen.facts.waiting:
        depths[pools()[waiting_step.kind].value, waiting_step.state.value] += waiting_step.steps
    yield from depths.items()


def _queues(seen: Observed) -> tuple[str, ...]:
    return tuple(pool.value for pool in Pool) if seen.facts.state is None else ()


def _oldest_step(seen: Observed) -> Iterator[Sample]:
    oldest = dict.fromkeys(_queues(seen), 0.0)
    for waiting_step in seen.facts.waiting:
        if waiting_step.state is not StepState.RUNNING:
            queue = pools()[waiting_step.kind].value
            oldest[queue] = max(oldest[queue], seen.facts.now - waiting_step.since)
    yield from (((queue,), age) for queue, age in oldest.items())


# -- the rest ----------------------------------------------------------------------


def _of_drill(value: Callable[[Drilled], float | None]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        for drills in seen.facts.drills:
            if newest := next((ran for ran in drills.runs if ran.state in ENDED), None):
                yield (drills.policy, drills.drill), value(newest)

    return samples


def _of_keys(value: Callable[[Dated], float]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        oldest: dict[str, Dated] = {}
        for used in seen.facts.keys.used:  # one name may have stood for several keys
            oldest[used.name] = min(used, oldest.get(used.name, used), key=lambda dated: dated.at)
        yield from (((name,), value(used)) for name, used in oldest.items())

    return samples


def _of_process(value: Callable[[Process], float]) -> Callable[[Observed], Iterator[Sample]]:
    return lambda seen: (((process.name,), value(process)) for process in seen.processes)


def _alone(value: Callable[[Observed], float | None]) -> Callable[[Observed], Iterator[Sample]]:
    def samples(seen: Observed) -> Iterator[Sample]:
        yield (), value(seen)

    return samples


def _beat_at(seen: Observed) -> float | None:
    return None if seen.facts.beat_age is None else seen.facts.now - seen.facts.beat_age


def _looked_at(seen: Observed) -> float | None:
    return seen.look.now if seen.look else None


def _alerts(seen: Observed) -> Iterator[Sample]:
    """Yield each kind there is, so that one that ends is seen to end; none before the first look."""
    counts = Counter((alert.kind, alert.severity) for alert in seen.alerts)
    for kind in KINDS if seen.look else ():
        for severity in KINDS[kind].severities:
            yield (kind, severity.value), counts[kind, severity]


def _rooms(seen: Observed, *, free: bool) -> Iterator[Sample]:
    for room in seen.look.rooms if seen.look else ():
        yield (room.name,), room.free if free else room.total


def _certificates(seen: Observed) -> Iterator[Sample]:
    for dated in seen.look.certificates if seen.look else ():
        yield (dated.name,), dated.at


def _version(seen: Observed) -> Iterator[Sample]:
    yield (seen.version,), 1.0


POLICY, REPLICA, TARGET = ("policy",), ("policy", "target"), ("target",)
RUNS, DRILL, KEY, PROCESS = ("policy", "kind"), ("policy", "drill"), ("key",), ("process",)
AT = "seconds since the epoch"

MEASURES: Final[tuple[Measure, ...]] = (
    Measure(
        "strongroom_backup_verified_timestamp_seconds",
        "gauge",
        f"When the newest backup was made that was read back since, in {AT}.",
        POLICY,
        _of_policy(_verified_at),
    ),
    Measure(
        "strongroom_backup_newest_timestamp_seconds",
        "gauge",
        f"When the newest whole backup was made, verified or not, in {AT}.",
        POLICY,
        _of_policy(_made_at),
    ),
    Measure(
        "strongroom_backup_expected_interval_seconds",
        "gauge",
        "How far apart the backups of a policy are by its schedule.",
        POLICY,
        _of_policy(_interval),
    ),
    Measure(
        "strongroom_backup_missed_timestamp_seconds",
        "gauge",
        "The first time of the schedule that has passed since the newest verified backup; nothing while none "
        "has.",
        POLICY,
        _of_policy(_missed_at),
    ),
    Measure(
        "strongroom_backup_duration_seconds",
        "gauge",
        "How long the newest run took that made a backup.",
        POLICY,
        _of_policy(_duration),
    ),
    Measure(
        "strongroom_backup_secrets", "gauge", "Secrets in the newest backup.", POLICY, _of_policy(_secrets)
    ),
    Measure("strongroom_backup_size_bytes", "gauge", "Size of the newest backup.", POLICY, _of_policy(_size)),
    Measure(
        "strongroom_backup_replicas",
        "gauge",
        "Targets that hold the newest backup whole, by the record.",
        POLICY,
        _of_policy(_replicas),
    ),
    Measure(
        "strongroom_backup_replicas_expected",
        "gauge",
        "Targets that the policy names.",
        POLICY,
        _of_policy(_wanted_replicas),
    ),
    Measure(
        "strongroom_backup_quorum_met",
        "gauge",
        "1 if the newest backup is on as many targets, regions and providers as the policy demands.",
        POLICY,
        _of_policy(_quorum),
    ),
    Measure(
        "strongroom_backup_degraded",
        "gauge",
        "1 if the newest backup is less than its policy asks for.",
        POLICY,
        _judged("backup.degraded"),
    ),
    Measure(
        "strongroom_backup_failed",
        "gauge",
        "1 if every run that ended since the newest whole backup failed.",
        POLICY,
        _judged("backup.failed"),
    ),
    Measure(
        "strongroom_rotation_failed",
        "gauge",
        "1 if the newest rotation of the policy's backups failed, is incomplete, or waits for a week.",
        POLICY,
        _judged("rotation.failed"),
    ),
    Measure(
        "strongroom_replica_good",
        "gauge",
        "1 if a target holds the newest backup of a policy whole, by the record.",
        REPLICA,
        _of_replica(lambda newest: float(newest.good)),
    ),
    Measure(
        "strongroom_replica_verified_depth",
        "gauge",
        "How deep it was read back: 0 not at all, 1 present, 2 digest, 3 opened, 4 compared, 5 live.",
        REPLICA,
        _of_replica(_depth),
    ),
    Measure(
        "strongroom_replica_read_timestamp_seconds",
        "gauge",
        f"When it was read back last, in {AT}.",
        REPLICA,
        _of_replica(lambda newest: newest.read_at),
    ),
    Measure(
        "strongroom_replica_locked_until_timestamp_seconds",
        "gauge",
        f"Until when the target lets nobody remove it, in {AT}; nothing where it is not locked.",
        REPLICA,
        _of_replica(lambda newest: newest.locked_until),
    ),
    Measure(
        "strongroom_verification_covered_ratio",
        "gauge",
        "What part of a target's containers was read again within the span.",
        TARGET,
        _of_coverage(lambda coverage: coverage.share),
    ),
    Measure(
        "strongroom_verification_late_containers",
        "gauge",
        "Containers that were not read again within the span.",
        TARGET,
        _of_coverage(lambda coverage: float(coverage.late)),
    ),
    Measure(
        "strongroom_verification_oldest_timestamp_seconds",
        "gauge",
        f"Since when the container has not been read that was read longest ago, in {AT}.",
        TARGET,
        _of_coverage(lambda coverage: coverage.oldest_since),
    ),
    Measure(
        "strongroom_target_up",
        "gauge",
        "1 if the target answered the last check.",
        TARGET,
        _of_place(lambda place: float(place.away is None)),
    ),
    Measure(
        "strongroom_target_damaged_backups",
        "gauge",
        "Backups on a target that are damaged, incomplete, or under a manifest that nobody trusted signed.",
        TARGET,
        _of_place(_damaged),
    ),
    Measure(
        "strongroom_run_attempts",
        "counter",
        "Attempts of runs that ended; each retry of a run is one more. 'other' is what no policy is named "
        "for.",
        RUNS,
        _attempts,
    ),
    Measure("strongroom_run_failures", "counter", "Attempts of runs that failed.", RUNS, _failures),
    Measure("strongroom_runs_active", "gauge", "Runs that have not ended.", RUNS, _active),
    Measure(
        "strongroom_run_left_seconds",
        "gauge",
        "How long the active run of a kind that takes longest still takes, at the rate it had so far.",
        ("kind",),
        _left,
    ),
    Measure(
        "strongroom_queue_steps",
        "gauge",
        "Steps that have not ended, by the record: ready, sent to the broker, or running.",
        ("queue", "state"),
        _steps,
    ),
    Measure(
        "strongroom_queue_oldest_seconds",
        "gauge",
        "How long the oldest step of a queue has waited for a worker.",
        ("queue",),
        _oldest_step,
    ),
    Measure(
        "strongroom_drill_recovery_seconds",
        "gauge",
        "How long the recovery took in the newest drill of a kind.",
        DRILL,
        _of_drill(lambda ran: ran.recovered_in),
    ),
    Measure(
        "strongroom_drill_objective_seconds",
        "gauge",
        "How long that recovery may take.",
        DRILL,
        _of_drill(lambda ran: ran.objective),
    ),
    Measure(
        "strongroom_drill_passed",
        "gauge",
        "1 if the newest drill of a kind passed.",
        DRILL,
        _of_drill(lambda ran: float(ran.state is RunState.DONE)),
    ),
    Measure(
        "strongroom_drill_timestamp_seconds",
        "gauge",
        f"When the newest drill of a kind began, in {AT}.",
        DRILL,
        _of_drill(lambda ran: ran.began),
    ),
    Measure(
        "strongroom_key_used_timestamp_seconds",
        "gauge",
        f"Since when a key has been sealed to, in {AT}.",
        KEY,
        _of_keys(lambda used: used.at),
    ),
    Measure(
        "strongroom_key_age_limit_seconds",
        "gauge",
        "How old a key may be: alerts.key_age.",
        (),
        _alone(lambda seen: seen.limits.key_age),
    ),
    Measure(
        "strongroom_keys_checked_timestamp_seconds",
        "gauge",
        f"When all keys were tried last, in {AT}.",
        (),
        _alone(lambda seen: seen.facts.keys.checked_at),
    ),
    Measure(
        "strongroom_keys_unproven",
        "gauge",
        "Keys that failed their newest trial, or were not proven in time.",
        (),
        _alone(_unproven),
    ),
    Measure(
        "strongroom_alerts",
        "gauge",
        "How many alerts of a kind the last check of the targets raised, but for silenced ones.",
        ("kind", "severity"),
        _alerts,
    ),
    Measure(
        "strongroom_targets_checked_timestamp_seconds",
        "gauge",
        f"When the targets were checked last, in {AT}.",
        (),
        _alone(_looked_at),
    ),
    Measure(
        "strongroom_beat_seen_timestamp_seconds",
        "gauge",
        f"When beat was last seen to ask for what is due, in {AT}.",
        (),
        _alone(_beat_at),
    ),
    Measure(
        "strongroom_record_up",
        "gauge",
        "1 if the state database could be read. What rests on it is missing otherwise.",
        (),
        _alone(lambda seen: float(seen.facts.state is None)),
    ),
    Measure(
        "strongroom_process_up",
        "gauge",
        "1 if a process of the cluster on this machine runs.",
        PROCESS,
        _of_process(lambda process: float(process.is_up)),
    ),
    Measure(
        "strongroom_process_starts",
        "counter",
        "How often the supervisor has started a process.",
        PROCESS,
        _of_process(lambda process: float(process.starts)),
    ),
    Measure(
        "strongroom_process_resident_memory_bytes",
        "gauge",
        "Memory of a process and of those that it forked.",
        PROCESS,
        _of_process(lambda process: float(process.memory)),
    ),
    Measure(
        "strongroom_disk_free_bytes",
        "gauge",
        "Free space where the state, the stage and directories of targets lie.",
        ("place",),
        lambda seen: _rooms(seen, free=True),
    ),
    Measure(
        "strongroom_disk_size_bytes",
        "gauge",
        "Size of those file systems.",
        ("place",),
        lambda seen: _rooms(seen, free=False),
    ),
    Measure(
        "strongroom_certificate_end_timestamp_seconds",
        "gauge",
        f"When the first certificate of a ca_file ends, in {AT}.",
        ("file",),
        _certificates,
    ),
    Measure("strongroom_build_info", "gauge", "1, with the version that runs.", ("version",), _version),
)
"""In the order in which they are shown. Prometheus adds ``_total`` to the name of a counter."""


# -- Metrics as text: for Prometheus to scrape, for node_exporter to read, or for a person ------


Family = CounterMetricFamily | GaugeMetricFamily


class MetricsCollector(Collector):
    """What Prometheus' client collects, anew for each scrape."""

    def __init__(self, observe: Callable[[], Observed]) -> None:
        self._observe = observe

    def collect(self) -> Iterator[Family]:
        """Yield every metric of which something is known."""
        seen = self._observe()
        for measure in MEASURES:
            family = _family(measure, seen)
            if family.samples:
                yield family

    def describe(self) -> Iterator[Family]:
        """Yield every metric without values: registering asks, and nothing is to be gathered for that."""
        return (_empty(measure) for measure in MEASURES)


def registry_of(observe: Callable[[], Observed]) -> CollectorRegistry:
    """Return what hands out metrics, for Prometheus' client."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(observe))
    return registry


def as_text(observed: Observed) -> bytes:
    """Return metrics in Prometheus' text format."""
    return generate_latest(registry_of(lambda: observed))


def _family(measure: Measure, seen: Observed) -> Family:
    family = _empty(measure)
    for labels, value in measure.samples(seen):
        if value is not None:
            family.add_metric(labels, float(value))
    return family


def _empty(measure: Measure) -> Family:
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    return kind(measure.name, measure.says, labels=measure.labels)
