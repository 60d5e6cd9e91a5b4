"""What an operation refuses, cannot find, or made less of than was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from strongroom.errors import (
    Alarm,
    CannotOpen,
    ConfigError,
    Degraded,
    InstallationError,
    Missing,
    Refused,
    TargetError,
    Untrusted,
    UsageError,
)
from strongroom.sources.errors import EmptySourceYet

if TYPE_CHECKING:
    from strongroom.operations.archive.shortfall import Shortfall


class ConfirmationRequired(Refused):
    """A person has to agree first, and did not."""

    default_hint = "Nothing was changed. Repeat and confirm, or give --force."


class ApprovalNeeded(Refused):
    """People named in the configuration have to approve this first. Nothing was changed.

    ``expires`` is the time (epoch seconds) after which it has to be asked for again.
    """

    default_hint = "See 'strongroom approvals list'."

    def __init__(self, message: str, *, expires: float = 0.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.expires = expires


class NotApproved(Refused):
    """People rejected this, did not approve it in time, or what they approved is over. This command changed
    nothing."""

    default_hint = (
        "See 'strongroom approvals list'. To ask again: repeat the command, make another plan, or "
        "'strongroom runs retry RUN'."
    )


class BreakGlass(Alarm):
    """Something was done without the approvals that it needs, by the people of break-glass together."""

    default_hint = "Look into it, then 'strongroom alerts ack approval.break-glass:ID --reason TEXT'."


class UnrecordedAccess(Alarm):
    """By a server's log, somebody came to backups or their keys, and no run or command on record did."""

    default_hint = "Treat it as an incident: 'strongroom incident open'."


class AccessLogDoubtful(Alarm):
    """An access log is silent, or was rewritten: who came to backups since is not known."""

    default_hint = "Look at the log where it lies, and who may write and stop it."


class KeyStillSeals(Refused):
    """What is made from now on would be sealed to the suspected key too, and have to be sealed again."""

    default_hint = "Nothing was changed. Put another key into the policy's recipients, then repeat."


class KeyStillNeeded(Refused):
    """A backup that is kept could not be opened without this key."""

    default_hint = (
        "Nothing was changed. Rotate to another key first ('strongroom keys rotate'), then retire this one."
    )


class RotationContended(Refused):
    """Another rotation of the same key ran at the same time. Trying again can help."""

    transient = True
    default_hint = "Nothing was lost: every backup still opens. Let one rotation end, then repeat the other."


class HoldNotWritten(TargetError):
    """A hold, or its end, is on record here, and no target could be given the mark."""

    default_hint = (
        "This installation respects it, other hosts do not. Bring a target back, then repeat the command."
    )


class PlanMismatch(Refused):
    """A restore plan was made for something else than what it is applied to."""

    default_hint = (
        "Nothing was changed. Make another plan with 'strongroom restore --plan-out FILE', and read it."
    )


class BackupQuarantined(Refused):
    """The backup was set aside in an incident, or nobody can tell whether it was. Strongroom does not restore
    from it until it is released."""

    default_hint = (
        "Restore another one, such as the backup that replaced it. 'strongroom incident status' says why it "
        "was set aside; 'strongroom incident release' is for a suspicion that proved wrong."
    )


class NothingOpens(CannotOpen):
    """This machine has no key that opens backups. No backup is affected."""

    default_hint = "Repeat it where the private key, the HSM or the custodians of the policy are."


class NoSuchIncident(Missing):
    """No incident that is known here was named, or more than one is meant. Nothing was changed."""

    default_hint = "'strongroom incident status' lists those that are open, 'incident list' all."


class IncidentClosed(Refused):
    """The incident is closed, so nothing more is put on record about it."""

    default_hint = "Nothing was changed. If there is news, open another one: 'strongroom incident open'."


class IncidentOverdue(Alarm):
    """An incident was not closed by its time."""

    default_hint = "'strongroom incident status' says what is left."


class RecoveryOverdue(Alarm):
    """A recovery is not over, and its objective has passed."""

    default_hint = "'strongroom recover --status' says what is left."


class StepsOpen(Refused):
    """Steps of the incident are neither done nor waived, so it stays open."""

    default_hint = "Nothing was changed. 'strongroom incident status' says what is left."


class StepIncomplete(Degraded):
    """A step of the incident did what it could, and something is left. All of it is on record."""

    default_hint = "'strongroom incident status' says what is left. Repeat the step once that is done."


class NothingSelected(Missing):
    """The filter matches no secret. Nothing was written."""

    default_hint = "Check the filter with 'strongroom list'."


class NothingSelectedYet(NothingSelected):
    """The filter matches no secret, and the policy never had a backup. Nothing was written."""

    default_hint = (
        "Tag the secrets that are meant at their source (in the local store: 'strongroom set NAME --tag "
        "KEY=VALUE') and run 'strongroom backup --policy POLICY', or remove the policy."
    )


NOTHING_YET: Final = frozenset({NothingSelectedYet.__name__, EmptySourceYet.__name__})
"""What a backup ends with where there is nothing to back up, and never was."""


class HostIsAlone(UsageError):
    """Only one of several hosts can do that. Nothing was changed."""

    default_hint = (
        "If it is to be the first of several, begin: strongroom cluster init. If it is to be one more, join: "
        "strongroom cluster join TOKEN."
    )


class NothingToDo(UsageError):
    """An entry of the calendar that was asked for has nothing to do now. No run was made."""


class NothingToRehearse(Missing):
    """There is no backup that could be recovered, so no recovery was rehearsed."""

    default_hint = "Make one: 'strongroom backup --policy POLICY'. Then drill again."


class NotCovered(Missing):
    """No backup holds everything that was asked for."""

    default_hint = "See what there is: 'strongroom backups list --from-target TARGET'."


class NewestUnseen(Missing):
    """A newer backup is known than any place shows that was asked: it was deleted, or a target put back."""

    default_hint = "Suspect a rollback, or an emptied target: check who could write there."


class QuorumNotMet(TargetError):
    """Fewer targets or regions hold the backup than the policy demands."""

    default_hint = "There is no new backup; the last good one is untouched. Bring a target back, then retry."


class RecoveryTooSlow(Degraded):
    """Everything came back as it was backed up, but not within the objective."""

    default_hint = (
        "The report says which step took long. Make that faster, or agree on another objective "
        "([drill.objective_seconds])."
    )


class NotYetSeen(Degraded):
    """The broker has the request, but no worker has answered yet."""

    transient = True
    default_hint = "See 'strongroom runs'. Submitting again makes another run."


class RunCancelled(Alarm):
    """The run was cancelled, and what it had staged was removed. It made no backup."""

    default_hint = "The last good backup is untouched. Begin again when you are ready."


class StillEnding(Degraded):
    """The run is cancelled, but a process has not let go of a step yet."""

    default_hint = (
        "Nothing new of it begins, and no good backup is touched. 'strongroom runs cancel RUN' waits once "
        "more; "
        "a cluster ends it by itself. If the process named is hung, end it: its lease runs out then."
    )


class LeftAside(Degraded):
    """The result stands, but an object beside the backup does not count."""

    default_hint = (
        "If a rotation wrote it, its older readers are let back on this copy: 'strongroom backups repair "
        "BACKUP' "
        "brings it from another target. If nobody here wrote it, somebody else writes there: keep it as "
        "evidence, then remove it. See docs/how-to/symptoms.md."
    )


class SetAside(Degraded):
    """What is shown stands, but a backup among it is in quarantine: nothing restores it by default."""

    default_hint = (
        "'strongroom incident status' says why it was set aside; 'strongroom incident release' is for a "
        "suspicion that proved wrong."
    )


class TargetUnsound(Degraded):
    """Everything that was asked for is done, but a target that had to be read is damaged, holds junk among
    its marks, lacks what is known to be there, or does not answer."""

    default_hint = (
        "The result stands. Repair what is damaged: 'strongroom backups repair --all'. A target that did "
        "not answer "
        "gets what it missed when it answers again. Junk among marks changes nothing: see who writes there."
    )


class LessThanKnown(Degraded):
    """What was done stands, but the backup holds less than is known, or was made after a mass change."""

    default_hint = (
        "It is said what is missing, and which backup has it. 'strongroom restore --full-restore' brings it "
        "back too with --fill-from-earlier, or all as another backup has it with --backup ID."
    )


class LeakedValue(Degraded):
    """Among what is restored is a value that an incident has as known to others."""

    default_hint = (
        "Change it where it is used: 'strongroom incident rotate' does that, and finds what is left."
    )


class NotAllRead(Degraded):
    """What was found stands, but something could not be read, and may hold more."""

    default_hint = (
        "What each lacks is said above: a key that opens it, or a sound copy. Then repeat the command."
    )


class KeysOutOfPolicy(Alarm):
    """A backup opens for keys that its policy does not name, or for a retired key."""

    default_hint = "No backup is damaged. Bring it to the policy's keys: 'strongroom keys rotate POLICY'."


class RequirementUnmet(Alarm):
    """The configuration or the record does not meet a framework's requirement."""

    default_hint = "Each control says what is missing. No backup is known to be lost or damaged by that."


class RightMissing(Alarm):
    """A probe shows that a credential lacks a right that it needs."""

    default_hint = "Grant what is named, and no more: 'strongroom cluster rules' prints it. Then probe again."


class RefusalMissing(Alarm):
    """A probe shows that a credential can do more than it should."""

    default_hint = "Take away what is named: 'strongroom cluster rules' prints what fits. Then probe again."


class BackupOverdue(Alarm):
    """A backup should have been made by now, and was not."""

    default_hint = "Fetch the medium, mount it, and run 'strongroom emergency backup'."


class VerificationOverdue(Alarm):
    """Replicas were not read back within their span: nobody knows whether they are still whole."""

    default_hint = (
        "'strongroom schedule' says when verification ran last, and 'strongroom runs' what is left. Run it "
        "now: 'strongroom schedule run verification'."
    )


class MassChange(Alarm):
    """So many secrets changed or vanished at once that somebody has to look. The backups are untouched."""

    default_hint = (
        "If nobody did this on purpose, treat it as an incident. If somebody did: back up, then 'strongroom "
        "backups hold release --policy POLICY --reason WHY'."
    )


class SecretNotRotated(Alarm):
    """The secret has no new value that works. The message says which value is current at the source."""

    default_hint = "Remove the cause, then rotate this secret alone: 'strongroom secrets rotate NAME'."


class RunFailed(Alarm):
    """A run failed, or was not made in time. The last good backup is untouched."""

    default_hint = "See 'strongroom runs show RUN', then run 'strongroom runs retry RUN'."


class SettingsRefused(ConfigError):
    """A changed configuration file is wrong. The settings before it stay in force."""


class HookFailed(Alarm):
    """A hook failed or took too long. Before a run, nothing of the run was begun."""

    default_hint = "No backup is affected. Run what the hook calls by hand, then 'strongroom runs retry RUN'."


class RunDegraded(Degraded):
    """The run made something good, but less than it should have made.

    ``backup`` is the id of the backup that it made or was about, where there is one. ``shortfall`` is what
    earlier ones have and it does not, after a restore or a drill.
    """

    default_hint = (
        "What there is can be restored. See 'strongroom runs show RUN'; docs/how-to/symptoms.md has each "
        "case."
    )

    def __init__(
        self, message: str, *, hint: str | None = None, backup: str = "", shortfall: Shortfall | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.backup = backup
        self.shortfall = shortfall


class WarningsRaised(Degraded):
    """Nothing is broken, but there are warnings that will not stay harmless."""

    default_hint = "Each warning says what to do. No backup is known to be lost or damaged."


class MessageRefused(Untrusted):
    """A message was unsigned, altered, foreign, or from a role that may not send it."""

    event: ClassVar[str] = "message-refused"
    default_hint = "Look for the sender: this is either an old worker or an attack."


class OwnMessageFailed(InstallationError):
    """A message that this installation sent itself could not be acted on. What it asked for may be late."""

    event: ClassVar[str] = "message-failed"
    default_hint = (
        "This is a fault of Strongroom, and nobody broke in. Report it with the lines "
        "'message-failed' of the log. What belongs to a run is sent again by itself."
    )


class ChannelUnavailable(InstallationError):
    """A channel did not take a message in time. Trying again can help.

    ``missed`` are those who were not told; ``partly``: others of the channel were.
    """

    transient = True
    default_hint = (
        "No backup is affected. The next check sends the same again; routes with a second channel used it."
    )

    def __init__(
        self, message: str, *, missed: Sequence[str] = (), partly: bool = False, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.missed = tuple(missed)
        self.partly = partly


class ChannelRefused(ChannelUnavailable):
    """A channel refused a message."""

    transient = False
    default_hint = "No backup is affected. Correct the channel in [channels], or what it is sent to."


class MailUnavailable(ChannelUnavailable):
    """The mail server did not answer in time. Trying again can help."""

    default_hint = "No backup is affected. Strongroom sends the same mail later; check [mail] until then."


class MailRefused(MailUnavailable):
    """The mail server refused the login, the mail, or a recipient of it."""

    transient = False
    default_hint = "No backup is affected. Correct [mail], or the addresses that are notified."


class BackupShredded(Refused):
    """The backup was shredded, or is being shredded. Strongroom does not bring it back."""

    default_hint = "Nothing was written. 'strongroom keys shred --status' shows what was destroyed, and when."


class NotErasable(Refused):
    """The policy's backups may not be shredded, or what was named cannot be destroyed."""

    default_hint = "Nothing was changed. See docs/how-to/shred-a-backup.md for what makes a policy erasable."


class OnLegalHold(Refused):
    """A legal hold keeps the backup from being shredded."""

    default_hint = (
        "Nothing was changed. The person who set the hold lifts it: 'strongroom backups hold release', or "
        "policies.NAME.legal_hold."
    )


class KeyShared(Refused):
    """The key that would be destroyed also opens backups that should stay."""

    default_hint = (
        "Nothing was changed. Shred those too, or rotate first: to the key's next version with "
        "'strongroom keys rotate POLICY --renew', or to another key."
    )
