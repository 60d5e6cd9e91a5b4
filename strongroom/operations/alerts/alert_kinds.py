"""Every kind of alert: how bad it is, what it means, and what to do. docs/reference/alerts.md lists them.

The order is that of badness: the worst first. ``{subject}`` in what is to be done is the policy, target or
other thing that the alert is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from strongroom.container.errors import MissingPiece, UntrustedSigner, VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.keys.errors import KeyUnproven, SignatureRefused
from strongroom.operations.errors import (
    AccessLogDoubtful,
    BackupOverdue,
    BreakGlass,
    ChannelUnavailable,
    IncidentOverdue,
    MassChange,
    MessageRefused,
    OwnMessageFailed,
    RecoveryOverdue,
    RunDegraded,
    RunFailed,
    SettingsRefused,
    UnrecordedAccess,
    WarningsRaised,
)
from strongroom.state.errors import LedgerChanged, RecordRefused, StateUnavailable
from strongroom.targets.errors import TargetUnavailable


class Severity(StrEnum):
    """How bad an alert is."""

    CRITICAL = "critical"
    WARNING = "warning"


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of alert. ``error`` is the class whose exit code a command ends with.

    ``looks``: it rests on what targets show, so that it is not over while one does not answer.
    ``local``: it is about one host, which its subject ends with, and another cannot say that it is over.
    ``glimpsed``: one check may read what the next one does not, so that no message says it is over.
    """

    severity: Severity
    means: str
    do: str
    error: type[StrongroomError]
    looks: bool = False
    local: bool = False
    glimpsed: bool = False


def _critical(
    error: type[StrongroomError], means: str, do: str, *, looks: bool = False, glimpsed: bool = False
) -> Kind:
    severity = Severity.CRITICAL
    return Kind(severity=severity, means=means, do=do, error=error, looks=looks, glimpsed=glimpsed)


def _warning(means: str, do: str, *, looks: bool = False, local: bool = False) -> Kind:
    error = WarningsRaised
    return Kind(severity=Severity.WARNING, means=means, do=do, error=error, looks=looks, local=local)


_INCIDENT = (
    "Treat it as an incident: 'strongroom {}'. 'strongroom ledger search --what access.' has who, from where "
    "and what."
)

KINDS: Final[Mapping[str, Kind]] = {
    "backup.overdue": _critical(
        BackupOverdue,
        "What changed since the newest verified backup would be lost with its source.",
        "Look at 'strongroom status', and whether beat and the workers run; then "
        "'strongroom backup --policy {subject}'.",
        looks=True,
    ),
    "target.all-away": _critical(
        TargetUnavailable,
        "No target answers, or none of the policy's. No backup can be made there, and none can be restored "
        "from here. Runs that are under way wait. The backups there are not known to be damaged.",
        "'strongroom test-backup-storage' says what each answers. If all went at once, look at this host's "
        "network, its name service and its clock first.",
    ),
    "backup.lost": _critical(
        MissingPiece,
        "A backup is on record, and none of its targets has its manifest: there is no such backup.",
        "Check with 'strongroom check-backup-permissions' who may delete there. Treat it as an incident.",
        looks=True,
    ),
    "backup.failed": _critical(
        RunFailed,
        "Since the newest whole backup every run that ended has failed. That backup is untouched.",
        "See why with 'strongroom status RUN', put it right, then 'strongroom retry RUN'.",
    ),
    "backup.shrunk": _critical(
        MassChange,
        "The newest backup holds so many secrets fewer that somebody may have deleted them, or a permission "
        "may be lost. The backups before it have them.",
        "Look at the source. 'strongroom diff' names what is missing, where a key is. Until that is clear, "
        "keep all of them: 'strongroom hold add --policy {subject} --reason \"it shrank\"'.",
    ),
    "replica.bad": _critical(
        VerificationFailed,
        "Replicas on this target were damaged or incomplete when they were last checked.",
        "'strongroom replicas' lists them; 'strongroom repair BACKUP' copies each from a good one.",
        looks=True,
    ),
    "replica.lost": _critical(
        MissingPiece,
        "Replicas that are on record as good are not on this target any more.",
        "Check who may delete there: 'strongroom check-backup-permissions'. The scheduled repair copies them "
        "again; at once: 'strongroom repair --target NAME'.",
        looks=True,
    ),
    "ledger.broken": _critical(
        LedgerChanged,
        "The record of events is not what was appended: somebody or something edited the state database.",
        "Keep a copy of the database, treat it as an incident, and compare: 'strongroom ledger check'.",
        looks=True,
    ),
    "incident.overdue": _critical(
        IncidentOverdue,
        "An incident should be closed by now. Others may still open backups, or know secrets in use.",
        "'strongroom incident status {subject}' says what is left. Waive what cannot be done.",
        looks=True,
    ),
    "recovery.overdue": _critical(
        RecoveryOverdue,
        "A recovery is not over, and its objective has passed. What was lost may still be missing.",
        "'strongroom recover --status' says what is left, and which command goes on.",
        looks=True,
    ),
    "record.refused": _critical(
        RecordRefused,
        "A worker refused a row that disagrees with its own configuration or with a signature.",
        "Somebody edited the state database, or two hosts are configured differently. "
        "See 'strongroom status RUN'.",
    ),
    "message.refused": _critical(
        MessageRefused,
        "Messages came that are unsigned, altered, foreign, or of a role that may not send them. "
        "No worker acted on them.",
        "Look for the sender: an old worker, or somebody who reaches the broker.",
    ),
    "message.failed": _critical(
        OwnMessageFailed,
        "Workers could not act on messages that this installation sent itself. That is a fault of "
        "Strongroom, and nobody broke in. What belongs to a run is sent again; other work may be late.",
        "Report it with the lines 'message-failed' of the log. If a version was just installed, go back to "
        "the one before.",
    ),
    "manifest.refused": _critical(
        UntrustedSigner,
        "Manifests lie on this target that nobody who is trusted here signed, or that were altered.",
        "If they are of an installation of yours, name its signer in trust.signers, or give each its own "
        "prefix. Otherwise treat it as an incident.",
        looks=True,
        glimpsed=True,
    ),
    "access.unrecorded": _critical(
        UnrecordedAccess,
        "A server's log says that a backup was read, and no run and no command on record did. Somebody may "
        "have a copy.",
        _INCIDENT.format("incident open --backup ID"),
    ),
    "access.key-used": _critical(
        UnrecordedAccess,
        "A server's log says that a key of backups was used, and no run and no command on record did. What "
        "it opens may be known.",
        _INCIDENT.format("incident open --key NAME"),
    ),
    "access.unlocked": _critical(
        UnrecordedAccess,
        "A server's log says that the lock of a backup was shortened or lifted, which Strongroom never does.",
        _INCIDENT.format("check-backup-permissions"),
    ),
    "access.changed": _critical(
        UnrecordedAccess,
        "A server's log says that who may read backups, or what is logged, was changed. Strongroom never "
        "does that.",
        "Ask who did it, and whether it was meant: 'strongroom check-backup-permissions' shows what holds "
        "now. 'strongroom ledger search --what access.changed' has each change.",
    ),
    "access.refused": _critical(
        UnrecordedAccess,
        "A server refused somebody several times in a row who wanted a backup or its key.",
        "Find out who that is: 'strongroom ledger search --what access.refused'. Take the credential back.",
    ),
    "access.log-rewritten": _critical(
        AccessLogDoubtful,
        "A file of this access log was cut or replaced, or has lines of another format: somebody may hide "
        "what they did.",
        "Look at the log where it lies, and who may write there. What was read of it before stays on record.",
    ),
    "access.log-silent": _critical(
        AccessLogDoubtful,
        "This access log has had nothing new for too long: somebody may withhold it. A stranger who reads "
        "backups now is not seen.",
        "Check whether the server still logs, whether its files arrive, and whether the verify workers run "
        "('strongroom schedule').",
    ),
    "approval.break-glass": _critical(
        BreakGlass,
        "Something was done without the approvals that it needs, by the people of break-glass together.",
        "Look into it: 'strongroom approvals show {subject}'. Then "
        "'strongroom ack approval.break-glass:{subject} --reason TEXT'.",
    ),
    "approval.refused": _critical(
        SignatureRefused,
        "An approval did not count: forged, of somebody without a say, of the one who asked, or used before.",
        "See 'strongroom approvals show {subject}'. If nobody made a mistake, treat it as an incident.",
    ),
    "shred.refused": _critical(
        RecordRefused,
        "The record holds orders to shred that nobody who may give them signed. They are not carried out.",
        "Somebody wrote to the state database: keep a copy of it, and treat it as an incident.",
    ),
    "state.unreachable": _critical(
        StateUnavailable,
        "Nobody can see what runs, failed or was verified. The backups on targets were judged all the same.",
        "No backup on a target is affected. Bring the state database back; then 'strongroom status'.",
    ),
    "rotation.failed": _critical(
        RunFailed,
        "The newest rotation failed, or met another one: backups still open with the old key. None is lost.",
        "See why with 'strongroom status RUN', then 'strongroom rotate {subject}'.",
    ),
    "rotation.incomplete": _critical(
        RunDegraded,
        "Not every backup was rotated on every target: what was not still opens with the old key.",
        "Bring back what did not answer, then 'strongroom rotate {subject}'.",
    ),
    "rotation.waiting": _critical(
        RunDegraded,
        "It waits for the recover workers, which are normally stopped, or for custodians.",
        "Start the recover workers for as long as it takes, or run 'strongroom rotate {subject}' yourself.",
    ),
    "run.waiting": _critical(
        RunDegraded,
        "It waits for workers that are stopped, such as those that recover, or for custodians and their key.",
        "'strongroom status RUN' says what it waits for; 'strongroom cancel RUN' ends it.",
    ),
    "key.unproven": _critical(
        KeyUnproven,
        "This key did not open when it was tried, or nobody has proven for a quarter that it still opens. "
        "Backups depend on it.",
        "Where the key is: 'strongroom key-health check --identity FILE'. If its holder has it elsewhere: "
        "'strongroom key-health challenge {subject} --output FILE', which the holder answers.",
    ),
    "key.unread": _critical(
        KeyUnproven,
        "Backups could not be read at the newest trial of keys: which keys they need, nobody knows.",
        "Bring their target back, then 'strongroom key-health check'. If one's file is gone for good, say "
        "so: 'strongroom keys --gone BACKUP'.",
    ),
    "key.unchecked": _critical(
        KeyUnproven,
        "The keys that backups depend on were not tried at their time: one may be gone and nobody knows.",
        "Check whether the verify workers run; then 'strongroom key-health check'.",
    ),
    "custodian.silent": _critical(
        KeyUnproven,
        "The holder of this key was asked for a proof more than a week ago and has not answered.",
        "Ask them: 'strongroom key-health answer' where the key is, then 'strongroom key-health confirm'.",
    ),
    "drift.mass-change": _critical(
        MassChange,
        "So many secrets of its source changed or vanished at once that it may be an attack. "
        "Nothing of the policy is deleted until the hold is released.",
        "Look at the source, and who changed it: 'strongroom validate --production' names the secrets. "
        "If it was wanted: 'strongroom backup --policy {subject}', then "
        "'strongroom hold release --policy {subject} --reason WHY'.",
    ),
    "emergency.overdue": _critical(
        BackupOverdue,
        "The medium of the emergency backup has not come. The one in the safe is older than it should be.",
        "Fetch the medium, mount it, and run 'strongroom emergency-backup {subject}'.",
    ),
    "drill.failed": _critical(
        RunFailed,
        "The newest rehearsed recovery failed: nobody has shown that these backups can be brought back.",
        "See why with 'strongroom status RUN', put it right before it is needed, and drill again.",
    ),
    "drill.late": _critical(
        RunDegraded,
        "The newest rehearsal was too slow, left something behind, or its backup is not all that is known.",
        "See where the time went, what was left, or what is missing with 'strongroom drill show RUN'.",
    ),
    "drill.overdue": _critical(
        RunFailed,
        "No rehearsed recovery ended since its time: nobody knows that these backups can be brought back.",
        "Check whether the drill workers run; see 'strongroom status'.",
    ),
    "check.failed": _critical(
        RunFailed,
        "A check of the calendar could not be done, so nobody knows what it would have found.",
        "See why with 'strongroom status RUN', put it right, then 'strongroom retry RUN'.",
    ),
    "schedule.refused": _critical(
        BackupOverdue,
        "An entry of the calendar came due and could not be begun. The others are, and it is tried again.",
        "'strongroom schedule' says what keeps '{subject}' back.",
    ),
    "settings.refused": _critical(
        SettingsRefused,
        "The changed configuration file of a host is wrong. The settings before it stay in force, but no "
        "process of that host can start again.",
        "Run 'strongroom config check' on that host and put right what it names. No restart is needed.",
    ),
    "channel.failed": _critical(
        ChannelUnavailable,
        "A message or ping did not go through this channel. Another one may have been used instead.",
        "Check the address and the service behind channel '{subject}'. It is over when the channel takes the "
        "next message, such as this one.",
    ),
    "target.away": Kind(
        severity=Severity.WARNING,
        means="This target could not be checked. Its status is that of the last check.",
        do="'strongroom test-backup-storage' says what it answers.",
        error=TargetUnavailable,
    ),
    "prune.incomplete": _warning(
        "Backups that no retention rule keeps are still there: several prunes in a row could not delete all.",
        "See why with 'strongroom status RUN'. What a lock keeps for a known time is not meant.",
    ),
    "incident.open": _warning(
        "An incident is open. Nothing of the affected policies is deleted until it is closed.",
        "'strongroom incident status {subject}' says what comes next.",
        looks=True,
    ),
    "recovery.open": _warning(
        "A recovery is under way, or somebody stopped in the middle of one.",
        "'strongroom recover --resume {subject}' goes on with it.",
        looks=True,
    ),
    "replica.missing": _warning(
        "Backups have no replica on this target: it did not answer, or the replica was bad and is gone.",
        "The calendar's next 'repair' copies them, or 'strongroom repair BACKUP' now.",
        looks=True,
    ),
    "replica.repaired": _warning(
        "Replicas on this target were found damaged, and are whole again. The good ones were never touched.",
        "Look for the cause: a failing disk, or somebody who may write there ('strongroom "
        "check-backup-permissions'). 'strongroom replicas' and 'strongroom status' tell more.",
    ),
    "verification.late": _warning(
        "Not every replica on this target was read again within its span: damage there may not be known yet.",
        "'strongroom schedule' says when verification ran last. A target that is back is caught up with; "
        "otherwise raise calendar.verification.rate, or its span.",
    ),
    "policy.idle": _warning(
        "The source of this policy holds no secret, or none that its filter matches, and it has never had a "
        "backup: it protects nothing.",
        "Look at the source, or tag the secrets that are meant ('strongroom set NAME --tag KEY=VALUE'), and "
        "run 'strongroom backup --policy {subject}', or remove the policy from the configuration.",
        looks=True,
    ),
    "backup.degraded": _warning(
        "The newest run that made a backup made a good one, and less than the policy asks for.",
        "'strongroom status RUN' says what is missing; docs/how-to/symptoms.md has each case.",
    ),
    "replica.unverified": _warning(
        "The newest backup was not read back on every target as deep as its policy says.",
        "'strongroom submit --verify BACKUP', or 'strongroom verify-backup' where a key is.",
    ),
    "backup.ahead": _warning(
        "A clock is or was wrong. This backup counts for nothing here; elsewhere it is taken for the newest.",
        "Set the clocks of all hosts and of the database by NTP; restore from another backup, by its name.",
        looks=True,
    ),
    "backup.count": _warning(
        "A source that gives much less, or much more, looks like this; so does a lost permission.",
        "Look at the source, and whether somebody deleted or imported that much.",
    ),
    "backup.size": _warning(
        "The backup holds much more or much fewer bytes than those before it.",
        "Look at the source: large values, or values that were emptied.",
    ),
    "backup.slow": _warning(
        "A run takes much longer than those before it: a source, target or host has become slow.",
        "'strongroom status RUN' shows which step takes the time.",
    ),
    "catalog.lacks": _warning(
        "Backups lie on this target that the catalog does not know: it may have been lost or put back.",
        "'strongroom catalog rebuild --from {subject}' enters them.",
        looks=True,
    ),
    "drift.unknown": _warning(
        "The newest comparison of the backups with their source failed, or left out a part. An attack on the "
        "source would not be noticed by it.",
        "See why with 'strongroom status RUN': the source, the target or the key may be away.",
    ),
    "emergency.coming": _warning(
        "The emergency backup is due within three days, and its medium lies in the safe.",
        "Fetch the medium; when it is due, mount it and run 'strongroom emergency-backup {subject}'.",
    ),
    "key.proof-due": _warning(
        "Within two weeks somebody has to prove that this key still opens what depends on it.",
        "Where the key is: 'strongroom key-health check --identity FILE'. If its holder has it elsewhere: "
        "'strongroom key-health challenge {subject} --output FILE', which the holder answers.",
    ),
    "key.aging": _warning(
        "This key is due to be rotated, or will be soon.",
        "Put a new key into the policies that name it, then 'strongroom rotate'. "
        "See docs/how-to/rotate-keys.md.",
    ),
    "certificate.ending": _warning(
        "When it has ended, what is reached with it is not reached any more.",
        "Put a new certificate into the file that {subject} names.",
        local=True,
    ),
    "space.low": _warning(
        "When this file system is full, backups fail; those that were made stay whole.",
        "Free space there, or enlarge it.",
        local=True,
    ),
    "schedule.paused": _warning(
        "Somebody paused an entry of the calendar, and what it does has been missing since.",
        "'strongroom schedule' says who paused '{subject}' and why; 'strongroom schedule resume {subject}' "
        "ends it.",
    ),
    "check.found": _warning(
        "A check of the calendar found something wrong that may be no alert by itself.",
        "'strongroom status RUN' says what it found and what to do.",
    ),
    "hook.failed": _warning(
        "What is called after a run failed, refused or took too long. The run itself stands.",
        "Run what the hook calls by hand; the log has 'hook-failed' with the reason.",
    ),
    "approval.waiting": _warning(
        "Somebody asked for this, and half of the time for it is over. It is not done until it is approved.",
        "'strongroom approvals show {subject}' says who may; they type 'strongroom approve {subject}'. If it "
        "is approved, the workers that do it may be stopped.",
    ),
    "settings.waiting": _warning(
        "The changed configuration file of a host changes what a process uses from its start to its end. "
        "Nothing in it is in force there yet.",
        "Restart the processes of that host: 'strongroom up', or their units.",
    ),
    "beat.dead": _critical(
        BackupOverdue,
        "Beat is stopped or hung while backups are due, or while no target tells whether they were made.",
        "Start it again ('strongroom up', or its unit), then 'strongroom status'. The transfer workers ask "
        "in its place as long as they run.",
    ),
    "beat.silent": _warning(
        "Beat was alive once and is not now. The transfer workers ask in its place as long as they run.",
        "Start it again ('strongroom up', or its unit). If something else asks for backups now, this ends "
        "after two weeks.",
    ),
}


class Alert(Struct, frozen=True, kw_only=True):
    """Something that is wrong, in words for a person; no name of a secret and no value is in it.

    Args:
        kind: one of :data:`KINDS`.
        subject: what it is about, such as a policy; with the kind it makes the stable key.
        what: what happened.
        weight: how bad it is within its severity: it is worse if this has grown.
    """

    kind: str
    subject: str = ""
    what: str
    weight: int = 0

    @property
    def key(self) -> str:
        """What stays the same as long as it is the same alert."""
        return f"{self.kind}:{self.subject}"[:255] if self.subject else self.kind

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    @property
    def error(self) -> type[StrongroomError]:
        """The class of what is wrong, which gives an exit status."""
        return KINDS[self.kind].error

    @property
    def means(self) -> str:
        return KINDS[self.kind].means

    @property
    def do(self) -> str:
        return KINDS[self.kind].do.format(subject=self.subject)


def worst_first(alerts: list[Alert]) -> tuple[Alert, ...]:
    """Return alerts in the order of badness."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    return tuple(sorted(alerts, key=lambda alert: (order[alert.kind], alert.subject)))
