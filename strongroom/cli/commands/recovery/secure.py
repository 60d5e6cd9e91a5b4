"""Step two: whether this machine can do this recovery, with the keys, targets and destinations that it names.

'check machine' asks about everything that is configured. This asks about what is to be restored,
so it needs no configuration, and what the restore does not need keeps nobody from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import PurePath

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.commands.checks.single_file import believed, machine_alone, room, run_guarded
from strongroom.cli.commands.recovery.arguments import Recover
from strongroom.cli.commands.recovery.assess import choices_of
from strongroom.cli.commands.recovery.tools import RecoveryTools
from strongroom.cli.commands.restore.arguments import Restore, RestoreInto
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import backup_selection, identities, sources
from strongroom.cli.shared.options import FileOrTargets, OpeningOptions
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.container.errors import DAMAGE, MissingPiece
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener
from strongroom.keys.passphrase import unasked
from strongroom.operations.archive.coverage import Asked, BackupChoice
from strongroom.operations.archive.recoveries import RecoveryScope, RecoveryStep
from strongroom.operations.archive.salvage import LostParts
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.checks.backups import DESTINATION, OPENS, TARGET, destination, opens
from strongroom.operations.checks.machine import CORE, clock
from strongroom.operations.engine.findings import Finding, FindingState, remark, worst_error, wrong

CONFIGURATION = "configuration"


class MachineFindings(Struct, frozen=True, kw_only=True):
    """What was found of this machine, and of what opens the backups."""

    findings: tuple[Finding, ...]


def secure(at: RecoveryTools) -> StrongroomError | None:
    """Show that this machine can do this recovery, and is a place where secrets may be."""
    at.screen.say(
        "  Check with your own eyes: you know who uses this machine, and nobody looks over your shoulder."
    )
    scope = at.record.recovery.scope
    assert scope is not None
    done = at.apart.run(partial(_look, given=at.given, scope=scope), MachineFindings)
    if done.answer is None:
        at.record.prove(RecoveryStep.SECURE, "this machine", code=done.code)
        return done.failure("Put that right, then try again.")
    findings = done.answer.findings
    shown = [finding for finding in findings if finding.state is not FindingState.GOOD]
    at.screen.say(*(f"  {finding.state}: {_about(finding)}: {in_line(finding.what)}" for finding in shown))
    at.screen.say(f"  {plural(len(findings) - len(shown), 'check')} good.")
    error = worst_error(findings)
    counted = [f"{sum(finding.state is state for finding in findings):,} {state}" for state in FindingState]
    at.record.prove(RecoveryStep.SECURE, "this machine", ", ".join(counted), code=error.code if error else "")
    if error is None:
        return None
    at.screen.say(f"  To restore elsewhere, stop and type: {at.goes_on} --assess")
    return error


def note_lost(at: RecoveryTools, lost: LostParts, *, source: str) -> None:
    """Put on record what of a backup no target that answers has, and how to get it from the others."""
    elsewhere = _not_read(at, lost.backup)
    told = "; ".join(line.strip() for line in lost.lines())
    once = (
        _once_it_answers(at, lost.backup, elsewhere, into=at.record.recovery.into(source))
        if elsewhere
        else ""
    )
    at.record.left(f"{told}.{once}")


def _not_read(at: RecoveryTools, backup: str) -> list[str]:
    """Return the targets that were to have a backup and that nobody could look at: one may have it whole."""
    chooser = backup_selection.chooser_of(at.source(), at.here)
    asked = Asked(backup=backup, partial=True, use_quarantined=True)
    read = {PurePath(name).name for name in chooser.listings}
    return [target.name for target in chooser.choose(asked).manifest.targets if target.name not in read]


def _once_it_answers(at: RecoveryTools, backup: str, elsewhere: list[str], *, into: str) -> str:
    target = elsewhere[0] if elsewhere[0] in at.here.section("targets") else "TARGET"
    origin = at.source(backup=backup)
    again = Restore(
        origin=replace(origin, where=FileOrTargets(from_target=(target,))),
        full_restore=True,
        into=RestoreInto(to=into),
        overwrite_existing=True,
    )
    names = ", ".join(f"'{name}'" for name in elsewhere)
    return (
        f" {names} {verb(len(elsewhere), 'were')} not read and may have it whole. Once that can be read, see "
        f"what it brings, then repeat this without --dry-run: {command_line('restore', again)} --dry-run"
    )


def _about(finding: Finding) -> str:
    return " ".join(filter(None, (finding.check, finding.target, finding.backup)))


# -- apart --------------------------------------------------------------------------------


def _look(
    opening: OpeningOptions, output: Output, *, given: Recover, scope: RecoveryScope
) -> MachineFindings:
    here = place.find()
    findings = list(machine_alone(CORE))
    if here.problem:
        findings.append(remark(CONFIGURATION, here.problem))
    trusted, said = believed(here, given.trust)
    chooser = backup_selection.make_chooser(given.origin.from_target, here, trusted)
    findings += said
    findings += (remark(TARGET, error.message, error.hint).on(target=n) for n, error in chooser.away.items())
    openers = identities.identities_of(opening, output, here, ask=False)
    chosen: list[BackupChoice] = []
    for source in scope.lost:
        found = _Opening(chooser, openers, trusted, given.origin.at)
        chosen += found.choose(source)
        findings += found.findings
    into = dict.fromkeys(scope.into.values())
    for name in into:
        findings += run_guarded(DESTINATION, partial(_destination, name))
    findings += room(here, max((choice.manifest.counts.size for choice in chosen), default=0))
    made = {choice.manifest.backup_id: choice.manifest.created_at for choice in chosen}
    findings += (_remark(finding) for finding in clock(made))
    return MachineFindings(findings=tuple(findings))


class _Opening:
    """Opens the backups of one source, and of a damaged one those that stand in for it."""

    def __init__(
        self, chooser: Chooser, openers: list[Opener], trusted: Signers, until: float | None
    ) -> None:
        self._chooser, self._openers, self._trusted, self._until = chooser, openers, trusted, until
        self.findings: list[Finding] = []

    def choose(self, source: str) -> list[BackupChoice]:
        """Return the backups of a source that are to be read, and find out what opens them."""
        choices = choices_of(self._chooser, source, self._until)
        for choice in choices:
            self._find_out(choice)
        return choices

    def _find_out(self, choice: BackupChoice) -> None:
        """Note what opens a backup; if it is damaged, also what opens those that stand in for it."""
        found = self._open(choice)
        self.findings.append(_remark(found) if found.damage else found)
        for before in islice(self._chooser.before(choice.manifest, Asked()), 1 if found.damage else 0):
            self._find_out(before)

    def _open(self, choice: BackupChoice) -> Finding:
        """Open a backup from the first target that gives it."""
        worst: StrongroomError = MissingPiece("no target that answers has it undamaged")
        for replica in choice.replicas:
            try:
                with unasked():
                    found = opens(replica.objects, choice.manifest, self._openers, trusted=self._trusted)
            except StrongroomError as error:
                worst = error if not isinstance(worst, DAMAGE) else worst
            else:
                return found.on(backup=choice.manifest.backup_id)
        return wrong(OPENS, worst).on(backup=choice.manifest.backup_id)


def _destination(name: str) -> Iterator[Finding]:
    """Say how a destination stands. What its credential may not write is left out of the restore, and named
    there: nobody knows yet which of it the backup holds."""
    try:
        there = sources.destination_of(name, place.find())
    except UsageError as error:
        yield wrong(DESTINATION, error).on(target=name)
        return
    for finding in destination(there):
        yield (_remark(finding) if finding.code == "RightMissing" else finding).on(target=name)


def _remark(finding: Finding) -> Finding:
    return (
        finding
        if finding.state is FindingState.GOOD
        else remark(finding.check, finding.what, finding.to_do).on(
            backup=finding.backup, target=finding.target
        )
    )
