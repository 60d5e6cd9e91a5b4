"""The exception tree.

Every error that can reach a person derives from :class:`StrongroomError`: it says
what happened, what that means for the data, what to do next (``hint``), whether
trying again can help (``transient``), and which exit code the command line uses.
Messages name secrets' *names* at most; a value never enters an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class StrongroomError(Exception):
    """Base of all expected failures.

    Args:
        message: what happened, in one sentence a person can act on.
        hint: what to do next; the class's own hint when left out.
    """

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    @property
    def code(self) -> str:
        """The stable machine name of this failure class, e.g. ``WrongKey``."""
        return type(self).__name__


# -- usage and configuration -------------------------------------------------


class UsageError(StrongroomError):
    """The command line or a call was put together wrongly."""

    exit_code = 2
    default_hint = "See --help."


class ConfigError(StrongroomError):
    """The configuration is wrong; nothing was read or written."""

    exit_code = 3
    default_hint = "Run 'strongroom config check' to see every problem at once."


class KeyFileUnreadable(ConfigError):
    """A file that is to hold a key, a PIN or a share cannot be read, or what is in it is not whole."""

    exit_code = 62
    default_hint = "Check the path, or bring the file back from its copy. No backup is affected."


class KeyFileExposed(ConfigError):
    """Others on this machine may use a key's file, so it is not used."""

    exit_code = 63
    default_hint = "Close the file to others (chmod 600). If somebody may have read it, make a new key."


class UnsafeSetup(ConfigError):
    """What was asked for would be lost, or lie open, together with what it is to protect; it is refused."""

    exit_code = 64
    default_hint = "There is no option that allows it: keep the two apart."


class NothingOpens(ConfigError):
    """No backup is touched: each opens where the private key, the HSM or the custodians of its policy are."""

    exit_code = 69
    default_hint = "Do it where the private key, the HSM or the custodians are."


class ConfirmationRequired(StrongroomError):
    """A person has to agree first, and did not."""

    exit_code = 4
    default_hint = "Nothing was changed. Repeat and confirm, or give --force."


# -- opening what was sealed -------------------------------------------------


class FormatError(StrongroomError):
    """Base of everything that is wrong with sealed bytes."""

    exit_code = 10


class WrongKey(FormatError):
    """No identity at hand opens this; the data is not known to be damaged."""

    exit_code = 10
    default_hint = "Nothing was damaged. Try another passphrase, key file or private key."


class NotABackup(FormatError):
    """What is there is no backup of Strongroom's."""

    exit_code = 11
    default_hint = "Check the path: this is not a file that Strongroom wrote."


class UnsupportedVersion(FormatError):
    """Written by a newer Strongroom, or with an unknown suite or flag."""

    exit_code = 12
    default_hint = "Use a Strongroom at least as new as the one that wrote it."


class Malformed(FormatError):
    """The structure breaks the format's rules."""

    exit_code = 13
    default_hint = "Do not trust this copy. Restore from another replica."


class Truncated(FormatError):
    """The bytes end before the format says they may."""

    exit_code = 14
    default_hint = "The copy is incomplete. Restore from another replica and run 'strongroom repair'."


class Tampered(FormatError):
    """Authentication failed: the bytes are not those that were sealed."""

    exit_code = 15
    default_hint = (
        "Keep this copy as evidence and restore from another replica: 'strongroom replicas BACKUP' says "
        "which are good, and --from-target names one."
    )


class MissingPiece(FormatError):
    """A container or manifest that should be there is not."""

    exit_code = 16
    default_hint = "Restore from another replica and run 'strongroom repair'."


class NotCovered(StrongroomError):
    """No backup that is there holds all that was asked for."""

    exit_code = 107
    default_hint = "See what there is: 'strongroom catalog list --from-target TARGET'."


class TargetsUnsound(StrongroomError):
    """All that was asked for is done, and a target that was to be read from is damaged or away."""

    exit_code = 108
    default_hint = (
        "What came of the command stands. Mend what is damaged: 'strongroom repair --all'. What is away is "
        "brought up once it is back."
    )


class LegacyFormat(FormatError):
    """An old Fernet file, which is read on an explicit flag only."""

    exit_code = 17
    default_hint = "Repeat with --legacy to read it, then make a new backup to re-seal it."


class UntrustedSigner(FormatError):
    """Nobody who is trusted here signed it."""

    exit_code = 18
    default_hint = "Compare the fingerprint with the recovery kit; then give it with --signer."


class Stale(FormatError):
    """An older generation or backup was put in a newer one's place."""

    exit_code = 19
    default_hint = "Suspect a rollback. Compare with another target before restoring."


# -- what was asked for ------------------------------------------------------


class NothingSelected(StrongroomError):
    """The filter matches no secret; no backup was written."""

    exit_code = 20
    default_hint = "Check the filter with 'strongroom list'."


class EmptySource(StrongroomError):
    """The source holds no secret at all; no backup was written."""

    exit_code = 21
    default_hint = "An empty backup would hide a loss. Check the source."


class DuplicateSecret(StrongroomError):
    """Two secrets of one name: which is right is not ours to guess."""

    exit_code = 22
    default_hint = "Remove or rename one of the two, then repeat."


class SecretNotFound(StrongroomError):
    """No secret of that name."""

    exit_code = 23
    default_hint = "See the names with 'strongroom list'."


class WouldOverwrite(StrongroomError):
    """Something of that name exists, and overwriting was not allowed."""

    exit_code = 24
    default_hint = "Nothing was changed. Choose another name, or move away what is there."


class Conflict(StrongroomError):
    """A secret, or a backup file, changed between reading and writing (check-and-set failed)."""

    exit_code = 25
    default_hint = "Somebody else changed it. Look at it, then repeat."


class VerificationFailed(StrongroomError):
    """What was read is not what was written, or a live secret is not as it should be."""

    exit_code = 26
    default_hint = "Restore from another replica; run 'strongroom repair' for the bad one."


class SecretTooLarge(StrongroomError):
    """A secret is larger than the container format allows."""

    exit_code = 27
    default_hint = "No backup was made. Split the secret or exclude it, then repeat."


# -- sources -----------------------------------------------------------------


class SourceError(StrongroomError):
    """The source refused or gave nonsense."""

    exit_code = 30
    default_hint = "No backup that was made before is touched by that. Check the source, then try again."


class SourceUnavailable(SourceError):
    """The source did not answer; trying again can help."""

    exit_code = 31
    transient = True


class SourceClosed(SourceError):
    """The source lets us do nothing at all: it refuses the login, or another server answers."""

    exit_code = 110
    default_hint = "Nothing more was tried. Renew the credential or correct the address, then repeat."


class SourceChanged(SourceError):
    """The source moved under the backup; trying again reads it afresh."""

    exit_code = 32
    transient = True


# -- shredding -----------------------------------------------------------------


class BackupShredded(StrongroomError):
    """The backup was shredded, or is being shredded: it is not to be brought back."""

    exit_code = 33
    default_hint = "Nothing was written. 'strongroom shred --status' shows what was destroyed, and when."


class NotErasable(StrongroomError):
    """The policy's backups may not be shredded, or what is asked for cannot be destroyed."""

    exit_code = 34
    default_hint = "Nothing was changed. See docs/how-to/shred-a-backup.md for what makes a policy erasable."


class OnLegalHold(StrongroomError):
    """A legal hold keeps what was to be shredded."""

    exit_code = 35
    default_hint = "Nothing was changed. Whoever set the hold lifts it: policies.NAME.legal_hold."


class KeyShared(StrongroomError):
    """The key that would be destroyed also opens what was not to be shredded."""

    exit_code = 36
    default_hint = (
        "Nothing was changed. Shred those too, or rotate first: to the key's next version with "
        "'strongroom rotate POLICY --renew', or to another key."
    )


class ShredPending(StrongroomError):
    """Something that was to be shredded could still be opened, or lies where nobody could look."""

    exit_code = 37
    default_hint = (
        "What was done stays done. The rest is tried again every hour, and by 'strongroom shred --resume'."
    )


# -- targets -----------------------------------------------------------------


class TargetError(StrongroomError):
    """The target refused for good."""

    exit_code = 40
    default_hint = "Run 'strongroom config check' and look at the target's address and rights."


class TargetUnavailable(TargetError):
    """The target did not answer; trying again can help.

    ``retry_after`` is how many seconds the target asked to be left alone for, if it said so.
    """

    exit_code = 41
    transient = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TargetReadOnly(TargetError):
    """The target accepts no writes."""

    exit_code = 42


class TargetFull(TargetError):
    """The target or the stage has no room."""

    exit_code = 43
    default_hint = "Nothing half-written was left. Free space, then run 'strongroom retry'."


class TargetLocked(TargetError):
    """The object is under a retention lock: it cannot be removed or replaced yet."""

    exit_code = 45
    default_hint = "It stays until its lock ends. 'strongroom repair' puts a whole copy beside a damaged one."


class TargetGarbled(TargetUnavailable):
    """What came back was changed on the way, though it lies whole; reading again can help."""

    exit_code = 46
    default_hint = "Nothing on the target is damaged. Look at what lies between, and use TLS."


class RightMissing(StrongroomError):
    """A probe found that something which has to work does not."""

    exit_code = 47
    default_hint = "Grant what is named, and no more: ops/ holds policies that fit. Then probe again."


class RefusalMissing(StrongroomError):
    """A probe found that something which has to be refused is not: a credential can do too much."""

    exit_code = 48
    default_hint = "Take away what is named: ops/ holds policies that fit. Then probe again."


class QuorumNotMet(TargetError):
    """Fewer targets or regions hold the backup than the policy demands."""

    exit_code = 44
    default_hint = "There is no new backup; the last good one is untouched. Bring a target back, then retry."


# -- state and runs ----------------------------------------------------------


class StateError(StrongroomError):
    """The state database is unusable."""

    exit_code = 50
    default_hint = (
        "No backup on a target is affected. Where the database is lost, 'strongroom catalog rebuild --from "
        "TARGET' enters each target's backups anew."
    )


class StateUnavailable(StateError):
    """The state database did not answer or stayed locked; trying again can help."""

    exit_code = 51
    default_hint = "Nothing was lost. Try again; 'strongroom status' tells what else is at work."
    transient = True


class SchemaMismatch(StateError):
    """The database has a schema this version does not know."""

    exit_code = 52
    default_hint = "Run the version of Strongroom that last migrated it, or upgrade this one."


class RunNotFound(StateError):
    """No run of that id."""

    exit_code = 53
    default_hint = "See the runs with 'strongroom status'. A run just submitted may still be queued."


class RunFailed(StateError):
    """The run ended without a backup."""

    exit_code = 54
    default_hint = "The last good backup is untouched. See 'strongroom status RUN', then 'strongroom retry'."


class RunDegraded(StateError):
    """The run made something good, and less than it was to make."""

    exit_code = 96
    default_hint = (
        "What there is can be restored. See 'strongroom status RUN'; docs/how-to/symptoms.md has each case."
    )


class RunCancelled(StateError):
    """The run was cancelled; what it had staged is removed."""

    exit_code = 55


class RunEnded(StateError):
    """The run has ended already, so there is nothing to cancel."""

    exit_code = 49
    default_hint = (
        "A backup that it made stays: see 'strongroom catalog list'. 'strongroom status' shows what runs."
    )


class StillEnding(StateError):
    """The run is cancelled as soon as a process has let go of a step; that had not happened yet."""

    exit_code = 112
    default_hint = (
        "Nothing new of it begins, and no good backup is touched. 'strongroom cancel RUN' waits once more; "
        "a cluster ends it by itself. If the process named is hung, end it: its lease runs out then."
    )


class StateUnkept(StateError):
    """The state database accepted a change and did not make it: something in it forbids changes."""

    exit_code = 113
    default_hint = (
        "No backup on a target is affected. Strongroom makes no trigger and no rule in its database: find "
        "those that somebody added (in SQLite: select name, sql from sqlite_master), and who did it."
    )


class KeyStillNeeded(StateError):
    """Without this key a backup that is kept could not be opened any more."""

    exit_code = 59
    default_hint = (
        "Nothing was changed. Rotate to another key first ('strongroom rotate'), then retire this one."
    )


class RotationContended(StateError):
    """Another rotation of the same key went on at the same time; trying again can help."""

    exit_code = 58
    transient = True
    default_hint = "Nothing was lost: every backup still opens. Let one rotation end, then repeat the other."


class ClaimLost(StateError):
    """Another worker holds this step now; its result counts, ours does not."""

    exit_code = 56


class RecordRefused(StateError):
    """A row disagrees with this worker's own configuration or with a signature."""

    exit_code = 57
    default_hint = "Somebody or something edited the state database. Treat it as an incident."


# -- broker and messages -----------------------------------------------------


class BrokerUnavailable(StrongroomError):
    """The broker did not answer; nothing was submitted."""

    exit_code = 60
    transient = True
    default_hint = "Start it with 'strongroom up', or run without a broker: 'strongroom backup'."


class MessageRefused(StrongroomError):
    """A message was unsigned, altered, foreign or from a role that may not send it."""

    exit_code = 61
    default_hint = "Look for the sender: this is either an old worker or an attack."


class NotYetSeen(StrongroomError):
    """Nobody has answered yet: whether a run comes of the request is not known."""

    exit_code = 100
    transient = True
    default_hint = "See 'strongroom status'. Submitting again makes another run."


# -- keepers of keys: HSM, Vault transit, KMS ----------------------------------


class KeyServiceError(StrongroomError):
    """An HSM, a Vault or a KMS refused to use a key, or gave nonsense."""

    exit_code = 70
    default_hint = "No backup is damaged. Look at the key and its keeper, or open with another recipient."


class KeyServiceUnavailable(KeyServiceError):
    """The keeper of a key did not answer, or was unplugged; trying again can help."""

    exit_code = 71
    transient = True
    default_hint = "No backup is damaged. Bring the HSM, Vault or KMS back, or use another recipient."


class KeyNotFound(KeyServiceError):
    """The keeper is there, and has no such key or version."""

    exit_code = 72
    default_hint = "Compare label and version with the recovery kit. Never make a new key in its place."


class KeyAmbiguous(KeyServiceError):
    """Several keys answer to one label and version: which is right is not ours to guess."""

    exit_code = 73
    default_hint = "Give one of them another id in the token, then repeat."


class KeyDenied(KeyServiceError):
    """The keeper does not let us use the key."""

    exit_code = 74
    default_hint = "No backup is damaged. Have the right granted, then repeat."


class KeyDisabled(KeyServiceError):
    """The key is switched off."""

    exit_code = 75
    default_hint = "No backup is damaged. Switch the key on again, or use another recipient."


class KeyPendingDeletion(KeyServiceError):
    """The key waits to be deleted; after that, nothing sealed for it alone opens any more."""

    exit_code = 76
    default_hint = "Cancel the deletion now, then re-wrap the backups before deleting it."


class KeyVersionTooOld(KeyServiceError):
    """The key's keeper no longer decrypts with this version."""

    exit_code = 77
    default_hint = "Lower the key's minimum version, re-wrap what still needs the old one, then raise it."


class PinRefused(KeyServiceError):
    """The token does not take the PIN, or it is not tried so that the token is not locked."""

    exit_code = 78
    default_hint = "It is not tried again. Correct the PIN, then log in once by hand."


class PinLocked(KeyServiceError):
    """The token's PIN is locked after too many wrong ones."""

    exit_code = 79
    default_hint = "The token's security officer has to set a new PIN. The keys are still there."


class MechanismMissing(KeyServiceError):
    """The token cannot do what this kind of recipient needs."""

    exit_code = 80
    default_hint = "Use another kind of recipient with this token: see docs/how-to/choose-recipients.md."


class TokenFull(KeyServiceError):
    """The token did not keep a new key: it has no room."""

    exit_code = 81
    default_hint = "No key of that name is to be used. Make room in the token, then make it again."


class KeyExists(KeyServiceError):
    """There is such a key already, and a key is never overwritten."""

    exit_code = 82
    default_hint = "What was sealed for it could not be opened any more. Take the next version."


class KeyNotDestroyed(KeyServiceError):
    """A keeper did not destroy a key, or could not be made to."""

    exit_code = 38
    default_hint = "The backups still open. Have the right to destroy granted, or do it by hand, then resume."


# -- shares of a quorum --------------------------------------------------------


class BackupOverdue(StrongroomError):
    """A backup should have been made by now, and there is none."""

    exit_code = 93
    default_hint = "Fetch the medium, mount it, and run 'strongroom emergency-backup'."


class SignersUnsettled(StateError):
    """Some backups could not be signed anew, so they are refused as long as their signer is distrusted."""

    exit_code = 65
    default_hint = (
        "What is signed anew stays. Bring the targets back, then repeat 'strongroom signers resign'."
    )


class StateFull(StateError):
    """The disk under the state database is full: nothing more can be put on record there."""

    exit_code = 68
    default_hint = (
        "What was on record is whole, and no backup on a target is affected. Free space on that disk, then "
        "repeat."
    )


class LedgerChanged(StateError):
    """The record of events is not what it was: something in it was changed, added or removed."""

    exit_code = 66
    default_hint = (
        "Compare the digits with the paper first. If they are right, somebody wrote to the state database: "
        "keep a copy of it, treat it as an incident, and go by the targets, which do not depend on it."
    )


class LedgerCut(StateError):
    """The record of events ends before an event that was printed, or whose signed head is on a target."""

    exit_code = 67
    default_hint = (
        "The database was put back to an earlier state, or its newest events were removed. Look for another "
        "copy of it; backups do not depend on it: a new one can begin ('strongroom catalog rebuild')."
    )


class KeyUnproven(StrongroomError):
    """A key failed its trial, or was not proven for too long; backups may depend on it."""

    exit_code = 94
    default_hint = "Try it ('strongroom key-health check'), or have its keeper answer a challenge."


class KeysOutOfPolicy(StrongroomError):
    """A backup opens for others than its policy names now, or for a key that was to be done with."""

    exit_code = 83
    default_hint = "No backup is damaged. Bring it to the policy's keys: 'strongroom rotate POLICY'."


class BackupQuarantined(StrongroomError):
    """The backup was set aside in an incident, and is not restored from until it is released."""

    exit_code = 95
    default_hint = (
        "Restore another one, such as what it was sealed anew as. 'strongroom incident release' gives it "
        "free."
    )


class SharesTooFew(StrongroomError):
    """Fewer shares than the quorum needs; they reveal nothing of the key."""

    exit_code = 85
    default_hint = "Ask further custodians for their shares."


class SharesTooMany(StrongroomError):
    """More shares than the quorum needs."""

    exit_code = 86
    default_hint = "Give exactly as many as the quorum needs; leave the others on paper."


class ShareRepeated(StrongroomError):
    """One share was given twice."""

    exit_code = 87
    default_hint = "Each custodian gives a share once. Take another custodian's."


class ShareForeign(StrongroomError):
    """A share belongs to another quorum."""

    exit_code = 88
    default_hint = "Compare the quorum's name on the paper: an older quorum's share may lie beside it."


class ShareMistyped(StrongroomError):
    """A share has a word too many or too few, an unknown one, or a wrong one."""

    exit_code = 89
    default_hint = "Look at that word on the paper and type the share again. Nothing is locked."


class SharesWrong(StrongroomError):
    """The shares are whole and fit each other's labels, and give another key than the quorum's."""

    exit_code = 90
    default_hint = "One of the papers is not from this quorum. Try with another custodian's share."


class QuorumFileWrong(StrongroomError):
    """The quorum's file is damaged, or its public key is not the one of its shares."""

    exit_code = 91
    default_hint = "Bring the file back from another copy. If its key was exchanged, treat it as an incident."


class CeremonyBroken(StrongroomError):
    """A quorum's ceremony was left or done out of order; no quorum came of it."""

    exit_code = 92
    default_hint = "Burn the papers and begin again: shares of an unfinished ceremony open nothing."


# -- alerts ---------------------------------------------------------------------


class MailUnavailable(StrongroomError):
    """The mail server did not answer, or not in time; trying again can help.

    ``missed`` are those who were not told.
    """

    exit_code = 97
    transient = True
    default_hint = "No backup is touched by that. The same is sent when it is back; check [mail] till then."

    def __init__(self, message: str, *, missed: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.missed = tuple(missed)


class MailRefused(MailUnavailable):
    """The mail server refused the login, the mail, or somebody who was to get it."""

    exit_code = 98
    transient = False
    default_hint = "No backup is touched by that. Correct [mail], or the addresses in alerts.email."


class WarningsRaised(StrongroomError):
    """Nothing is broken, but something was noticed that will not stay harmless."""

    exit_code = 99
    default_hint = "Each warning says what to do. No backup is known to be lost or damaged."


class RequirementUnmet(StrongroomError):
    """Something that a framework demands is not met by what is configured, or on record."""

    exit_code = 84
    default_hint = "Each control says what it lacks. No backup is known to be lost or damaged by that."


class LeftAside(StrongroomError):
    """The result stands, and something that lies beside the backup does not count."""

    exit_code = 104
    default_hint = (
        "If a rotation wrote it, its older readers are let back on this copy: 'strongroom repair BACKUP' "
        "brings it from another target. If nobody here wrote it, somebody else writes there: keep it as "
        "evidence, then remove it. See docs/how-to/symptoms.md."
    )


# -- what tells of damage ------------------------------------------------------

DAMAGE = (Malformed, MissingPiece, NotABackup, Stale, Tampered, Truncated, VerificationFailed)
"""What shows that a replica is damaged, foreign, older than the others, or lacks something. That it was
not reached, or that no key opens it, shows nothing."""
