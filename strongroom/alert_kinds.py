"""Every kind of alert: how bad it is, what it means, what to do, and from when on something is one. The names
are what routes and silences take; docs/reference/alerts.md lists them.

The order is that of badness: the worst first. ``{subject}`` in what is to be done is the policy, target or
other thing that it is about. docs/explanation/judgement.md says why each threshold is what it is. It stands
this low so that a configuration knows the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from strongroom.errors import by_name


class Severity(StrEnum):
    """How bad an alert is."""

    CRITICAL = "critical"
    WARNING = "warning"


def exit_code_of(name: str) -> int:
    """Return the exit code of an error class."""
    error = by_name(name)
    assert error is not None, name
    return error.exit_code


WARNINGS: Final = "WarningsRaised"
HOUR, DAY = 3600.0, 86_400.0

# -- from when on: what no setting says. ``strongroom.config.alerts`` has the others ----------------------

NO_NEWS, ONE_STEP = HOUR, 4 * HOUR
"""How long a run may stand without news, and with a step that is being worked on."""
WAITS = 7 * DAY
"""How long a rotation waits for keys that people bring, and a challenge for its answer."""
IN_VAIN = 3
"""Prunes in a row that fall short before that is wrong."""
BEAT_RESTS, BEAT_IS_GONE = 75.0, 14 * DAY
"""Beat asks every half minute: two of its intervals, and a moment until it is recorded.

After two weeks another does its work: what it missed is overdue by then."""
HOST_IS_GONE = DAY
"""How long a host counts as one of several after it was last heard: one that is off at night is back."""
UNCOVERED = 2 * DAY
"""How long an event may be under no signed head. Each backup puts one, and workers one an hour."""
MONTH = 31 * DAY
"""How old a rehearsal, or a backup that no schedule makes, may be before it is remarked on."""
CLOCKS_MAY_DIFFER, CLOCKS_FAR_APART = 2.0, 60.0
"""Seconds by which two clocks may differ, and from when on leases and slots go wrong."""
FEWEST = 3
"""From so many backups on a median says something."""
SHORT = 60.0
"""Seconds that a run may always take: what is quick is soon three times as long."""


class AlertKind(Struct, frozen=True, kw_only=True):
    """A kind of judgement. ``error`` names the class whose exit code a command ends with that finds it.

    ``area`` is what a check shows it under, ``about`` what its subject is: a ``policy``, at the end of it, a
    ``target``, or another thing.
    ``severity`` is how bad it is. A warning with a ``grave`` class becomes critical where its rule says so,
    and ends with that one.
    ``looks``: it rests on what targets show, so that it is not over while one does not answer.
    ``local``: it is about one host, which its subject ends with, and another cannot say that it is over.
    ``glimpsed``: one check may read what the next one does not, so that no message says it is over.
    """

    area: str
    means: str
    do: str
    error: str = WARNINGS
    severity: Severity = Severity.CRITICAL
    about: str = ""
    grave: str = ""
    looks: bool = False
    local: bool = False
    glimpsed: bool = False

    @property
    def severities(self) -> tuple[Severity, ...]:
        """How bad it can be, the worst first."""
        return (Severity.CRITICAL, self.severity) if self.grave else (self.severity,)

    @property
    def exit_codes(self) -> tuple[int, ...]:
        """What a command can end with that finds it, the worst first."""
        return tuple(dict.fromkeys(exit_code_of(name) for name in (self.grave, self.error) if name))


def _warning(
    area: str,
    means: str,
    do: str,
    *,
    error: str = WARNINGS,
    grave: str = "",
    about: str = "",
    looks: bool = False,
    local: bool = False,
) -> AlertKind:
    return AlertKind(
        area=area,
        means=means,
        do=do,
        error=error,
        severity=Severity.WARNING,
        about=about,
        grave=grave,
        looks=looks,
        local=local,
    )


KINDS: Final[Mapping[str, AlertKind]] = {
    "state.unreachable": AlertKind(
        area="state",
        error="StateUnavailable",
        means="Nobody can see what runs, failed or was verified. The backups on targets were judged all the "
        "same.",
        do="No backup on a target is affected. Bring the state database back; then 'strongroom runs'.",
    ),
    "state.damaged": AlertKind(
        area="state",
        error="StateError",
        means="Pages or rows of the state database cannot be read: a disk is failing, or somebody else wrote "
        "to it. No backup on a target is affected.",
        do="Keep a copy of the database. docs/how-to/symptoms.md says how to begin a new one; then "
        "'strongroom backups rebuild --from TARGET' for each target.",
    ),
    "backup.overdue": AlertKind(
        area="slots",
        about="policy",
        error="BackupOverdue",
        means="What changed since the newest verified backup would be lost with its source.",
        do="Look at 'strongroom runs', and whether beat and the workers run; then "
        "'strongroom backup --policy {subject}'.",
        looks=True,
    ),
    "target.all-away": AlertKind(
        area="targets",
        error="TargetUnavailable",
        means="No target answers, or none of the policy's. No backup can be made there, and none can be "
        "restored from here. Runs that are under way wait. The backups there are not known to be damaged.",
        do="'strongroom check storage' says what each answers. If all went at once, look at this "
        "host's network, its name service and its clock first.",
    ),
    "backup.lost": AlertKind(
        area="replicas",
        error="MissingPiece",
        means="A backup is on record, and none of its targets has its manifest: there is no such backup.",
        do="Check with 'strongroom check rights' who may delete there. Treat it as an incident.",
        looks=True,
    ),
    "backup.failed": AlertKind(
        area="runs",
        about="policy",
        error="RunFailed",
        means="Since the newest whole backup every run that ended has failed. That backup is untouched.",
        do="See why with 'strongroom runs show RUN', put it right, then 'strongroom runs retry RUN'.",
    ),
    "backup.shrunk": AlertKind(
        area="changes",
        about="policy",
        error="MassChange",
        means="The newest backup holds so many secrets fewer that somebody may have deleted them, or a "
        "permission may be lost. The backups before it have them.",
        do="Look at the source. 'strongroom backups diff' names what is missing, where a key is. Until that "
        "is "
        "clear, keep all of them: 'strongroom backups hold add --policy {subject} --reason \"it shrank\"'.",
    ),
    "drift.mass-change": AlertKind(
        area="changes",
        about="policy",
        error="MassChange",
        means="So many secrets of its source changed or vanished at once that it may be an attack. "
        "Nothing of the policy is deleted until the hold is released.",
        do="Look at the source, and who changed it: 'strongroom check secrets --production' names the "
        "secrets. "
        "If it was wanted: 'strongroom backup --policy {subject}', then "
        "'strongroom backups hold release --policy {subject} --reason WHY'.",
    ),
    "ledger.broken": AlertKind(
        area="ledger",
        error="LedgerChanged",
        means="The record of events is not what was appended: somebody or something edited the state "
        "database.",
        do="Keep a copy of the database, treat it as an incident, and compare: 'strongroom ledger check'.",
        looks=True,
    ),
    "record.refused": AlertKind(
        area="ledger",
        error="RecordRefused",
        means="The record holds a row that disagrees with a signature, or with a worker's own configuration. "
        "Nobody acted on it.",
        do="Somebody edited the state database, or two hosts are configured differently. See 'strongroom "
        "runs show RUN'. An order to shred that nobody signed is an incident: keep a copy of the database.",
    ),
    "message.refused": AlertKind(
        area="messages",
        error="MessageRefused",
        means="Messages came that are unsigned, altered, foreign, or of a role that may not send them. "
        "No worker acted on them.",
        do="Look for the sender: an old worker, or somebody who reaches the broker.",
    ),
    "message.failed": AlertKind(
        area="messages",
        error="OwnMessageFailed",
        means="Workers could not act on messages that this installation sent itself. That is a fault of "
        "Strongroom, and nobody broke in. What belongs to a run is sent again; other work may be late.",
        do="Report it with the lines 'message-failed' of the log. If a version was just installed, go back "
        "to the one before.",
    ),
    "manifest.refused": AlertKind(
        area="replicas",
        about="target",
        error="UntrustedSigner",
        means="Manifests lie on this target that nobody who is trusted here signed, or that were altered.",
        do="If they are of an installation of yours, name its signer in trust.signers, or give each its own "
        "prefix. Otherwise treat it as an incident.",
        looks=True,
        glimpsed=True,
    ),
    "access.unrecorded": AlertKind(
        area="access",
        error="UnrecordedAccess",
        means="A server's log says that somebody read a backup, used its key, lifted its lock, changed who "
        "may, or was refused several times in a row, and no run and no command on record did. Somebody may "
        "have a copy.",
        do="'strongroom ledger search --what access.' has who, from where and what. If none of you did it, "
        "take the credential back and treat it as an incident: 'strongroom incident open --backup ID', or "
        "'--key NAME' if a key was used. 'strongroom check rights' shows who may what now.",
    ),
    "access.log": AlertKind(
        area="access",
        error="AccessLogDoubtful",
        means="This access log was cut or replaced, has lines of another format, or has had nothing new for "
        "too long: somebody may hide what they did. A stranger who reads backups now is not seen.",
        do="Look at the log where it lies, who may write there, whether its files arrive, and whether the "
        "verify workers run ('strongroom schedule'). What was read of it before stays on record.",
    ),
    "approval.break-glass": AlertKind(
        area="approvals",
        error="BreakGlass",
        means="Something was done without the approvals that it needs, by the people of break-glass "
        "together.",
        do="Look into it: 'strongroom approvals show {subject}'. Then "
        "'strongroom alerts ack approval.break-glass:{subject} --reason TEXT'.",
    ),
    "approval.refused": AlertKind(
        area="approvals",
        error="SignatureRefused",
        means="An approval did not count: forged, of somebody without a say, of the one who asked, or used "
        "before.",
        do="See 'strongroom approvals show {subject}'. If nobody made a mistake, treat it as an incident.",
    ),
    "broker.away": AlertKind(
        area="broker",
        error="BrokerUnavailable",
        means="The broker does not answer: no run goes on, and none is begun. What was made stays whole.",
        do="Start it: 'strongroom up', or its service. Runs go on where they stopped.",
        glimpsed=True,
    ),
    "worker.silent": AlertKind(
        area="workers",
        error="BrokerUnavailable",
        means="No worker answers for a queue: what is on it waits.",
        do="Start them: 'strongroom up', or their service. Runs go on where they stopped.",
        glimpsed=True,
    ),
    "stage.unshared": AlertKind(
        area="stage",
        error="ConfigError",
        means="What one host leaves there for the next step of a run, the others do not find: runs fail as "
        "soon as another host goes on with them, and an approval counts once on each host. Backups that were "
        "made stay whole.",
        do="Name a place that all hosts reach in [stages.default], in the strongroom.toml of each, and start "
        "their processes again: docs/how-to/deploy.md#the-stage has examples.",
    ),
    "file.exposed": AlertKind(
        area="files",
        error="KeyFileExposed",
        means="Others on this machine may read or change a file that holds a key, a password or the state.",
        do="Take their rights away. If somebody may have used a key there, make a new one: 'strongroom keys "
        "new', then 'strongroom keys rotate'.",
        local=True,
    ),
    "clock.apart": AlertKind(
        area="clock",
        error="StateError",
        means="Slots and leases use the database's clock, and backups this machine's: what is due may "
        "run at a wrong time.",
        do="Set both by NTP.",
        local=True,
    ),
    "store.unusable": AlertKind(
        area="store",
        error="SourceError",
        means="The local store is gone or cannot be opened: what was in it is in the backups alone.",
        do="Bring its master key back from where you keep it, or the store by 'strongroom restore "
        "--from-target TARGET --full-restore'.",
        local=True,
    ),
    "rotation.failed": AlertKind(
        area="runs",
        about="policy",
        error="RunFailed",
        means="The newest rotation failed, left something out, or waits for keys: backups still open with "
        "the old key. None is lost.",
        do="See why with 'strongroom runs show RUN'. Bring back what did not answer, or start the recover "
        "workers for as long as it takes; then 'strongroom keys rotate {subject}'.",
    ),
    "run.waiting": AlertKind(
        area="runs",
        error="RunDegraded",
        means="These runs do not move: their process is gone, or they wait for workers that are stopped, "
        "such as those that recover, or for custodians and their key.",
        do="'strongroom runs show RUN' says what it waits for; 'strongroom runs retry RUN' goes on with it, "
        "'strongroom runs cancel RUN' ends it.",
    ),
    "key.unchecked": AlertKind(
        area="keys",
        error="KeyUnproven",
        means="Not all keys that backups depend on were tried at their time: one may be gone and nobody "
        "knows.",
        do="Check whether the verify workers run, and bring back the target of what could not be read; then "
        "'strongroom check keys'. If a file is gone for good, say so: 'strongroom backups gone BACKUP'.",
    ),
    "custodian.silent": AlertKind(
        area="keys",
        error="KeyUnproven",
        means="The holder of this key was asked for a proof more than a week ago and has not answered.",
        do="Ask them: 'strongroom keys prove answer' where the key is, then 'strongroom keys prove confirm'.",
    ),
    "drill.failed": AlertKind(
        area="drills",
        about="policy",
        error="RunFailed",
        means="The newest rehearsed recovery failed, was too slow, left something behind, or found less than "
        "is known: nobody has shown that these backups can be brought back as they should.",
        do="See why with 'strongroom drill show RUN', put it right before it is needed, and drill again.",
    ),
    "drill.overdue": AlertKind(
        area="drills",
        about="policy",
        error="RunFailed",
        means="No rehearsed recovery ended since its time: nobody knows that these backups can be brought "
        "back.",
        do="Check whether the drill workers run, and see 'strongroom schedule'; or 'strongroom drill full' "
        "where a key of the policy is.",
    ),
    "channel.failed": AlertKind(
        area="notifications",
        error="ChannelUnavailable",
        means="A message or ping did not go through this channel. Another one may have been used instead.",
        do="Check the address and the service behind channel '{subject}'. It is over when the channel takes "
        "the next message, such as this one.",
    ),
    "replica.bad": _warning(
        "replicas",
        "Replicas on this target are damaged, incomplete, or not there. It is critical unless they never "
        "came, or are known to be gone.",
        "'strongroom backups replicas' lists them. The scheduled repair copies each from a good one; at "
        "once: "
        "'strongroom backups repair --target {subject}'. If good ones vanished, check who may delete there: "
        "'strongroom check rights'.",
        about="target",
        error="RunDegraded",
        grave="VerificationFailed",
        looks=True,
    ),
    "key.unproven": _warning(
        "keys",
        "This key did not open when it was tried, or nobody has proven for a quarter that it still opens. "
        "Two weeks before that it is a warning. Backups depend on it.",
        "Where the key is: 'strongroom check keys --identity FILE'. If its holder has it elsewhere: "
        "'strongroom keys prove challenge {subject} --output FILE', which the holder answers.",
        grave="KeyUnproven",
    ),
    "key.aging": _warning(
        "keys",
        "This key is due to be rotated soon; it is critical once its time is over.",
        "Put a new key into the policies that name it ('strongroom keys new'), then 'strongroom keys "
        "rotate'. "
        "See docs/how-to/rotate-keys.md.",
        grave="KeysOutOfPolicy",
    ),
    "emergency.due": _warning(
        "emergency",
        "The medium of the emergency backup is needed soon, or is waited for. It is critical when it has not "
        "come for a week: what lies in the safe is older than it should be.",
        "Fetch the medium, mount it, and run 'strongroom emergency backup {subject}'.",
        about="policy",
        grave="BackupOverdue",
    ),
    "schedule.late": _warning(
        "slots",
        "An entry of the calendar was paused for longer than it rests between two times. It is critical if "
        "one came due and could not be begun. The others are, and it is tried again.",
        "'strongroom schedule' says who paused '{subject}' and why, or what keeps it back; 'strongroom "
        "schedule resume {subject}' ends a pause, 'strongroom schedule run {subject}' does it at once.",
        grave="BackupOverdue",
    ),
    "beat.silent": _warning(
        "slots",
        "Beat was alive once and is not now. It is critical while backups are due, or while no target tells "
        "whether they were made. The transfer workers ask in its place as long as they run. If something "
        "else asks for backups now, it ends after two weeks.",
        "Start it ('strongroom up', or its unit), then 'strongroom runs'.",
        error="BackupOverdue",
        grave="BackupOverdue",
    ),
    "check.failed": _warning(
        "checks",
        "A check of the calendar found something wrong that may be no alert by itself. It is critical if it "
        "could not be done: nobody knows what it would have found.",
        "'strongroom runs show RUN' says what it found and what to do, or why it failed: then "
        "'strongroom runs retry RUN'.",
        grave="RunFailed",
    ),
    "settings.unused": _warning(
        "configuration",
        "A changed configuration file is not in force on this host. It is critical if it is wrong: then no "
        "process of that host can start again.",
        "If it waits for a restart, restart the processes of that host ('strongroom up', or their units). "
        "If it is wrong, run 'strongroom check config' there and put right what it names.",
        grave="SettingsRefused",
    ),
    "incident.open": _warning(
        "incidents",
        "An incident is open, and nothing of the affected policies is deleted until it is closed. It is "
        "critical after its time: others may still open backups, or know secrets in use.",
        "'strongroom incident status {subject}' says what comes next. Waive what cannot be done.",
        grave="IncidentOverdue",
        looks=True,
    ),
    "recovery.open": _warning(
        "incidents",
        "A recovery is under way, or somebody stopped in the middle of one. It is critical after its "
        "objective has passed: what was lost may still be missing.",
        "'strongroom recover --status' says what is left; 'strongroom recover --resume {subject}' goes on.",
        grave="RecoveryOverdue",
        looks=True,
    ),
    "space.low": _warning(
        "disk",
        "When this file system is full, backups fail; those that were made stay whole. It is critical when "
        "the next backup has no room, or nothing can be written.",
        "Free space there, or enlarge it; check how it is mounted, and its owner and mode.",
        grave="TargetFull",
        local=True,
    ),
    "process.down": _warning(
        "workers",
        "A process of the cluster on this machine does not run: what it does waits. It is critical when its "
        "supervisor is gone, which would start it again.",
        "See its log. If its supervisor is gone: 'strongroom up', or its service. Runs go on where they "
        "stopped.",
        error="BrokerUnavailable",
        grave="BrokerUnavailable",
        local=True,
    ),
    "target.away": _warning(
        "targets",
        "This target could not be checked. Its status is that of the last check.",
        "'strongroom check storage' says what it answers.",
        about="target",
        error="TargetUnavailable",
    ),
    "prune.incomplete": _warning(
        "runs",
        "Backups that no retention rule keeps are still there: several prunes in a row could not delete all.",
        "See why with 'strongroom runs show RUN'. What a lock keeps for a known time is not meant.",
    ),
    "replica.repaired": _warning(
        "replicas",
        "Replicas on this target were found damaged, and are whole again. The good ones were never touched.",
        "Look for the cause: a failing disk, or somebody who may write there ('strongroom "
        "check rights'). 'strongroom backups replicas' and 'strongroom runs' tell more.",
        about="target",
    ),
    "ledger.uncovered": _warning(
        "ledger",
        "Events of the last days are under no signed head on a target: what is cut off the record of events "
        "would not show.",
        "Let the control workers run, or: 'strongroom ledger publish'.",
        error="RequirementUnmet",
        looks=True,
    ),
    "verification.late": _warning(
        "verification",
        "Not every replica on this target was read again within its span: damage there may not be known yet.",
        "'strongroom schedule' says when verification ran last. A target that is back is caught up with; "
        "otherwise raise verification.rate, or its span.",
        about="target",
        error="VerificationOverdue",
    ),
    "policy.idle": _warning(
        "backups",
        "The source of this policy holds no secret, or none that its filter matches, and it has never had a "
        "backup: it protects nothing.",
        "Look at the source, or tag the secrets that are meant ('strongroom set NAME --tag KEY=VALUE'), and "
        "run 'strongroom backup --policy {subject}', or remove the policy from the configuration.",
        about="policy",
        looks=True,
    ),
    "backup.degraded": _warning(
        "backups",
        "The newest backup is good, and less than the policy asks for. It is critical if it is on fewer "
        "targets, regions or providers than the policy demands.",
        "'strongroom runs show RUN' says what is missing; docs/how-to/symptoms.md has each case. What a "
        "replica "
        "or a lock lacks, 'strongroom backups repair BACKUP' mends.",
        about="policy",
        grave="QuorumNotMet",
    ),
    "replica.unverified": _warning(
        "replicas",
        "The newest backup was not read back on every target as deep as its policy says.",
        "'strongroom backups verify BACKUP --cluster', or 'strongroom backups verify TARGET --backup BACKUP' "
        "for each target.",
        about="policy",
    ),
    "backup.ahead": _warning(
        "backups",
        "A clock is or was wrong. This backup counts for nothing here; elsewhere it is taken for the newest.",
        "Set the clocks of all hosts and of the database by NTP; restore from another backup, by its name.",
        about="policy",
        looks=True,
    ),
    "backup.size": _warning(
        "changes",
        "The backup holds much more or much less than those before it: so does one of a source that gives "
        "much less or more, of values that were emptied, or of a permission that was lost.",
        "Look at the source, and whether somebody deleted, emptied or imported that much.",
        about="policy",
    ),
    "backup.slow": _warning(
        "runs",
        "A run takes much longer than those before it: a source, target or host has become slow.",
        "'strongroom runs show RUN' shows which step takes the time.",
        about="policy",
    ),
    "catalog.lacks": _warning(
        "replicas",
        "Backups lie on this target that the catalog does not know: it may have been lost or put back.",
        "'strongroom backups rebuild --from {subject}' enters them.",
        about="target",
        looks=True,
    ),
    "drift.unknown": _warning(
        "changes",
        "The newest comparison of the backups with their source failed, or left out a part. An attack on the "
        "source would not be noticed by it.",
        "See why with 'strongroom runs show RUN': the source, the target or the key may be away.",
        about="policy",
    ),
    "certificate.ending": _warning(
        "certificates",
        "When it has ended, what is reached with it is not reached any more.",
        "Put a new certificate into the file that {subject} names.",
        local=True,
    ),
    "hook.failed": _warning(
        "runs",
        "What is called after a run failed, refused or took too long. The run itself stands.",
        "Run what the hook calls by hand; the log has 'hook-failed' with the reason.",
    ),
    "approval.waiting": _warning(
        "approvals",
        "Somebody asked for this, and half of the time for it is over. It is not done until it is approved.",
        "'strongroom approvals show {subject}' says who may; they type 'strongroom approvals approve "
        "{subject}'. If it "
        "is approved, the workers that do it may be stopped.",
    ),
}
