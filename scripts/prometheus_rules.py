"""The rules for Prometheus, from the kinds of alerts: severity, hint and threshold are those of the judge.

``make_reference.py`` writes them into ``ops/prometheus/strongroom.rules.yml``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from textwrap import indent
from typing import Final

from msgspec import Struct

from strongroom.alert_kinds import BEAT_IS_GONE, BEAT_RESTS, KINDS, NO_NEWS, SHORT, Severity
from strongroom.operations.judge.fact_records import AlertLimits
from strongroom.operations.judge.inspection import SUCCESS

LIMITS: Final = AlertLimits()
"""What nobody has set otherwise. Prometheus knows one setting alone: how old a key may be."""
FAILED: Final = 1 - SUCCESS
LOOKED: Final = 3600
"""Seconds after which a look at the targets is missed: several of ``check_targets``."""


class Rule(Struct, frozen=True, kw_only=True):
    """An alert of Prometheus.

    ``kinds`` are those that it tells of by another metric, the one with its hint first; ``label`` has the
    subject that the hint names. What is told of no kind says its severity and what to do itself.
    ``grave``: where that can be critical, it is.
    """

    name: str
    when: str
    summary: str
    kinds: tuple[str, ...] = ()
    label: str = ""
    grave: bool = False
    severity: Severity | None = None
    do: str = ""
    wait: str = ""

    def text(self) -> str:
        """Return it as YAML."""
        kind = KINDS[self.kinds[0]] if self.kinds else None
        severity = self.severity
        if kind is not None and severity is None:
            severity = kind.severities[0] if self.grave else kind.severity
        do = self.do or (kind.do.format(subject=f"{{{{ $labels.{self.label} }}}}") if kind else "")
        lines = [f"- alert: {self.name}", f"  expr: '{self.when}'"]
        lines += [f"  for: {self.wait}"] if self.wait else []
        lines += [f"  labels: {{severity: {severity.value}}}"] if severity else []
        texts = (
            f"    {name}: {json.dumps(words)}" for name, words in (("summary", self.summary), ("do", do))
        )
        return "\n".join([*lines, "  annotations:", *texts]) + "\n"


POLICY: Final = "policy {{ $labels.policy }}"
USUAL: Final = "quantile_over_time(0.5, {}[30d])"
STRANGERS: Final = (
    *("ledger.broken", "manifest.refused", "message.refused", "record.refused", "approval.refused"),
    *("access.unrecorded", "access.log"),
)


def _odd(metric: str) -> str:
    usual, factor = USUAL.format(metric), f"{LIMITS.size_factor:g}"
    return f"{metric} > {factor} * {usual} or {metric} * {factor} < {usual}"


CRITICAL: Final = (
    Rule(
        name="StrongroomBackupFailing",
        kinds=("backup.overdue",),
        label="policy",
        when=f"time() - strongroom_backup_missed_timestamp_seconds > {LIMITS.threshold_age:g}",
        summary=f"{POLICY.capitalize()} has had no verified backup for more than a day after its time",
    ),
    Rule(
        name="StrongroomBackupCorrupt",
        kinds=("replica.bad",),
        label="target",
        grave=True,
        when="strongroom_target_damaged_backups > 0 or strongroom_replica_good == 0",
        summary="Backups on target {{ $labels.target }} are damaged, incomplete or missing",
    ),
    Rule(
        name="StrongroomKeyRotationFailed",
        kinds=("rotation.failed",),
        label="policy",
        when="strongroom_rotation_failed == 1 or time() - strongroom_key_used_timestamp_seconds "
        "> on (job, instance) group_left () strongroom_key_age_limit_seconds",
        summary="Keys were not rotated: policy {{ $labels.policy }}, key {{ $labels.key }}",
        do="See 'strongroom check keys' and docs/how-to/rotate-keys.md.",
    ),
    Rule(
        name="StrongroomUnauthorizedAccess",
        when=f'strongroom_alerts{{kind=~"{"|".join(STRANGERS)}"}} > 0',
        summary="Somebody did what nobody may: {{ $labels.kind }}",
        severity=Severity.CRITICAL,
        do="Treat it as an incident: docs/how-to/respond-to-a-leak.md.",
    ),
)
WARNING: Final = (
    Rule(
        name="StrongroomBackupSizeOdd",
        kinds=("backup.size",),
        when=f"{_odd('strongroom_backup_size_bytes')} or {_odd('strongroom_backup_secrets')}",
        summary=f"The newest backup of {POLICY} is far larger or smaller than usual",
    ),
    # backup.slow is passed on besides: it also means a run that has not ended yet.
    Rule(
        name="StrongroomBackupSlow",
        when=f"strongroom_backup_duration_seconds > {SHORT:g} and strongroom_backup_duration_seconds "
        f"> {LIMITS.duration_factor:g} * {USUAL.format('strongroom_backup_duration_seconds')}",
        summary=f"The newest backup of {POLICY} took {{{{ $value | humanizeDuration }}}}",
        severity=KINDS["backup.slow"].severity,
        do=KINDS["backup.slow"].do,
    ),
    Rule(
        name="StrongroomKeyAging",
        kinds=("key.aging",),
        when=f"time() - strongroom_key_used_timestamp_seconds + {LIMITS.notice:g} "
        "> on (job, instance) group_left () strongroom_key_age_limit_seconds",
        summary=f"Key {{{{ $labels.key }}}} is to be rotated within {LIMITS.notice / 86400:g} days",
    ),
)
SILENCE: Final = (
    Rule(
        name="StrongroomSilent",
        when="absent(strongroom_build_info)",
        wait="5m",
        summary="Nobody hands out Strongroom's metrics",
        severity=Severity.CRITICAL,
        do="Is the host there? Start 'strongroom up --metrics', or its service.",
    ),
    Rule(
        name="StrongroomRecordUnreadable",
        kinds=("state.unreachable",),
        when="strongroom_record_up == 0",
        wait="5m",
        summary="The state database cannot be read: nobody knows what was backed up since",
    ),
    Rule(
        name="StrongroomBeatSilent",
        kinds=("beat.silent",),
        grave=True,
        when=f"time() - strongroom_beat_seen_timestamp_seconds > {BEAT_RESTS:g} < {BEAT_IS_GONE:g}",
        wait="2m",
        summary="Beat asks for nothing: what is due is begun late, or not at all",
    ),
    Rule(
        name="StrongroomTargetsUnchecked",
        when=f"time() - strongroom_targets_checked_timestamp_seconds > {LOOKED}",
        wait="5m",
        summary="The targets have not been checked for {{ $value | humanizeDuration }}",
        severity=Severity.WARNING,
        do="See the log of the process that serves metrics.",
    ),
    Rule(
        name="StrongroomProcessDown",
        when="strongroom_process_up == 0",
        wait="2m",
        summary="Process {{ $labels.process }} does not run",
        severity=KINDS["process.down"].severity,
        do=KINDS["process.down"].do,
    ),
    Rule(
        name="StrongroomProcessRestarting",
        when="increase(strongroom_process_starts_total[15m]) > 3",
        summary="Process {{ $labels.process }} ends again and again",
        severity=Severity.WARNING,
        do="See its log.",
    ),
    Rule(
        name="StrongroomTargetDown",
        when="strongroom_target_up == 0",
        wait="1h",
        summary="Target {{ $labels.target }} does not answer",
        severity=KINDS["target.away"].severity,
        do=KINDS["target.away"].do,
    ),
)
EARLY: Final = (
    Rule(
        name="StrongroomQuorumMissed",
        when="strongroom_backup_quorum_met == 0 and strongroom_backup_newest_timestamp_seconds",
        wait="1h",
        summary=f"The newest backup of {POLICY} lies on fewer targets than demanded",
        severity=KINDS["backup.degraded"].severities[0],
        do=KINDS["backup.degraded"].do,
    ),
    Rule(
        name="StrongroomErrorBudgetSpent",
        when="strongroom:backup_error_budget:ratio30d < 0",
        summary=f"More than one in a thousand attempts to back {POLICY} up failed in 30 days",
        severity=Severity.WARNING,
        do="'strongroom runs' lists the runs that failed, each with its reason.",
    ),
    Rule(
        name="StrongroomQueueStuck",
        when=f'strongroom_queue_oldest_seconds{{queue!="recover"}} > {NO_NEWS:g}',
        wait="5m",
        summary="A step has waited for a {{ $labels.queue }} worker for {{ $value | humanizeDuration }}",
        severity=Severity.WARNING,
        do="Start the pool: 'strongroom up', or its service.",
    ),
    Rule(
        name="StrongroomVerificationLate",
        kinds=("verification.late",),
        when="strongroom_verification_late_containers > 0",
        wait="1h",
        summary="On target {{ $labels.target }} something was not read again within the span",
    ),
    Rule(
        name="StrongroomDrillFailed",
        kinds=("drill.failed",),
        when="strongroom_drill_passed == 0 or strongroom_drill_recovery_seconds "
        "> strongroom_drill_objective_seconds",
        summary="The {{ $labels.drill }} drill of policy {{ $labels.policy }} failed or took too long",
    ),
)


def _passed_on() -> Rule:
    """Return the rule for all that no other one tells of in every case; its severity is the alert's own."""
    told = [kind for rule in (*CRITICAL, *WARNING, *SILENCE, *EARLY) for kind in rule.kinds]
    others = "|".join((*STRANGERS, *told))
    return Rule(
        name="StrongroomAlert",
        when=f'strongroom_alerts{{kind!~"{others}"}} > 0 '
        'or strongroom_alerts{kind="replica.bad",severity="warning"} > 0',
        summary="'strongroom alerts' reports {{ $labels.kind }}",
        do="docs/reference/alerts.md says what it means and what to do.",
    )


HEAD: Final = f"""# Alerts from Strongroom's metrics.
# Made from the kinds of alerts: python scripts/make_reference.py
#
# The first seven are those of the backup procedures: four critical ones, three warnings. The next ones tell
# of silence: whoever stops telling is told of. The rest say early what would become one of the others.

groups:
  - name: strongroom-budget
    rules:
      # The aim is that more than {SUCCESS:.1%} of the backups succeed: one attempt in a thousand may fail.
      - record: strongroom:backup_failures:ratio30d
        expr: >-
          sum by (job, instance, policy) (increase(strongroom_run_failures_total{{kind="backup"}}[30d]))
          / (sum by (job, instance, policy)
          (increase(strongroom_run_attempts_total{{kind="backup"}}[30d])) > 0)
      - record: strongroom:backup_error_budget:ratio30d
        expr: 1 - strongroom:backup_failures:ratio30d / {FAILED:.3f}
"""


def rules_yaml() -> str:
    """Return the file."""
    groups = {"critical": CRITICAL, "warning": WARNING, "silence": SILENCE, "early": (_passed_on(), *EARLY)}
    return HEAD + "".join(_group(name, rules) for name, rules in groups.items())


def _group(name: str, rules: Iterable[Rule]) -> str:
    return f"\n  - name: strongroom-{name}\n    rules:\n" + "\n".join(
        indent(rule.text(), "      ") for rule in rules
    )
