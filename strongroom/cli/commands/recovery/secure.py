"""Step two: whether this machine can do this recovery, with the keys, targets and destinations that it names.

'check-recovery-environment' asks about everything that is configured. This asks about what is to be restored,
so it needs no configuration, and what the restore does not need keeps nobody from it.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePath
from shlex import quote

from msgspec import Struct

from strongroom.cli.commands.readiness.single_file import believed, machine_alone, room, run_guarded
from strongroom.cli.commands.recovery.assess import NOWHERE_WHOLE, choices_of
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.commands.recovery.forked_step import Shown
from strongroom.cli.shared import backup_selection, identities, sources, trust
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.container.errors import DAMAGE, MissingPiece
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import Opener
from strongroom.keys.prompting import unasked
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.recoveries import Scope, Step
from strongroom.operations.archive.select_backup import Choice, Chooser
from strongroom.operations.findings import Finding, State, remark, worst_error, wrong
from strongroom.operations.readiness.backups import OPENS, TARGET, opens
from strongroom.operations.readiness.destinations import DESTINATION, destination
from strongroom.operations.readiness.libraries import CORE
from strongroom.operations.readiness.machine import clock

CONFIGURATION = "configuration"
DAMAGED = "damage"
"""The check that no target that answers has a backup undamaged: steps 3 and 4 take another one."""


class Looked(Struct, frozen=True, kw_only=True):
    """What was found of this machine, and the backups that no target that answers has undamaged, each with
    its source and the reason."""

    findings: tuple[Finding, ...]
    damaged: Mapping[str, tuple[str, str]]


def secure(desk: Desk) -> Shown:
    """Show that this machine can do this recovery, and is a place where secrets may be."""
    desk.say(
        "  Check with your own eyes: you know who uses this machine, and nobody looks over your shoulder."
    )
    scope = desk.recovery.scope
    assert scope is not None
    done = desk.look_with(partial(_look, scope=scope, known=frozenset(damaged(desk))), Looked)
    if done.answer is None:
        desk.prove(Step.SECURE, "this machine", code=done.code)
        return done.shown("Put that right, then try again.")
    findings = done.answer.findings
    for backup, (source, why) in done.answer.damaged.items():
        note_damage(desk, backup, why, source=source)
    shown = [one for one in findings if one.state is not State.GOOD]
    desk.say(*(f"  {one.state}: {_about(one)}: {in_line(one.what)}" for one in shown))
    desk.say(f"  {plural(len(findings) - len(shown), 'check')} good.")
    error = worst_error(findings)
    counted = [f"{sum(one.state is state for one in findings):,} {state}" for state in State]
    desk.prove(Step.SECURE, "this machine", ", ".join(counted), code=error.code if error else "")
    if error is None:
        return Shown()
    desk.say(f"  To restore elsewhere, stop and type: {desk.goes_on} --assess")
    return Shown(error=error)


def damaged(desk: Desk) -> dict[str, str]:
    """Return the backups that no target that answered had undamaged, each with the error's class."""
    proofs = desk.recovery.steps[Step.LOCATE].proofs
    return {one.of: one.code for one in proofs if one.check == DAMAGED}


def note_damage(desk: Desk, backup: str, why: str, *, source: str) -> None:
    """Put on record that no target that answers has a backup undamaged, and how to get it from the others."""
    desk.prove(Step.LOCATE, DAMAGED, NOWHERE_WHOLE, of=backup, code=why)
    elsewhere = _not_read(desk, backup)
    everywhere = NOWHERE_WHOLE if elsewhere else "it is damaged on every target"
    desk.left(
        f"Backup {backup}: {everywhere} ({why}), so an older one was taken."
        + (_once_it_answers(desk, backup, elsewhere, into=desk.into(source)) if elsewhere else "")
    )


def _not_read(desk: Desk, backup: str) -> list[str]:
    """Return the targets that were to have a backup and that nobody could look at: one may have it whole."""
    trusted = trust.trusted_signers(desk.here, desk.arguments.signer)
    chooser = backup_selection.make_chooser(desk.arguments, desk.here, trusted)
    asked = Asked(backup=backup, partial=True, use_quarantined=True)
    read = {PurePath(name).name for name in chooser.listings}
    return [one.name for one in chooser.choose(asked).manifest.targets if one.name not in read]


def _once_it_answers(desk: Desk, backup: str, elsewhere: list[str], *, into: str) -> str:
    known = desk.here.section("targets")
    on = [word for name in elsewhere[:1] for word in ("--from-target", name if name in known else "TARGET")]
    given = map(quote, (*desk.keys(), *desk.signers()))
    words = ["strongroom restore --full-restore --overwrite-existing --backup", backup, "--to", quote(into)]
    names = ", ".join(f"'{name}'" for name in elsewhere)
    return (
        f" {names} {verb(len(elsewhere), 'were')} not read and may have it whole. Once that can be read, see "
        f"what it brings, then repeat this without --dry-run: {' '.join([*words, *on, *given])} --dry-run"
    )


def _about(one: Finding) -> str:
    return " ".join(filter(None, (one.check, one.target, one.backup)))


# -- apart --------------------------------------------------------------------------------


def _look(arguments: Namespace, output: Output, *, scope: Scope, known: frozenset[str]) -> Looked:
    here = place.find()
    findings = list(machine_alone(CORE))
    if here.problem:
        findings.append(remark(CONFIGURATION, here.problem))
    trusted, said = believed(here, arguments)
    chooser = backup_selection.make_chooser(arguments, here, trusted)
    findings += said
    findings += (remark(TARGET, error.message, error.hint).on(target=n) for n, error in chooser.away.items())
    openers = identities.identities_of(arguments, output, here, ask=False)
    broken: dict[str, tuple[str, str]] = {}
    chosen: list[Choice] = []
    for source in scope.lost:
        found = _Opening(chooser, openers, trusted, arguments.at)
        chosen += found.choose(source, known)
        findings += found.findings
        broken |= {backup: (source, why) for backup, why in found.broken.items()}
    into = dict.fromkeys(scope.into.values())
    for name in into:
        findings += run_guarded(DESTINATION, partial(_destination, name))
    findings += room(here, max((one.manifest.counts.size for one in chosen), default=0))
    made = {one.manifest.backup_id: one.manifest.created_at for one in chosen}
    findings += (_remark(one) for one in clock(made))
    return Looked(findings=tuple(findings), damaged=broken)


class _Opening:
    """Opens the backups of one source, the newest that is not damaged."""

    def __init__(
        self, chooser: Chooser, openers: list[Opener], trusted: Signers, until: float | None
    ) -> None:
        self._chooser, self._openers, self._trusted, self._until = chooser, openers, trusted, until
        self.findings: list[Finding] = []
        self.broken: dict[str, str] = {}

    def choose(self, source: str, known: frozenset[str]) -> list[Choice]:
        """Return the backups of a source that are to be read, and find out what opens them."""
        while True:
            choices = choices_of(self._chooser, source, self._until, known | frozenset(self.broken))
            found = {one.manifest.backup_id: self._open(one) for one in choices}
            if not self._damage(found):
                self.findings += (finding for _, finding in sorted(found.items()))
                return choices

    def _damage(self, found: Mapping[str, Finding]) -> bool:
        """Note which of these are damaged, and tell whether any is."""
        bad = {backup: one for backup, one in found.items() if one.damage}
        self.broken |= {backup: one.code for backup, one in bad.items()}
        self.findings += (_remark(one) for one in bad.values())
        return bool(bad)

    def _open(self, choice: Choice) -> Finding:
        """Open a backup from the first target that gives it."""
        worst: StrongroomError = MissingPiece(NOWHERE_WHOLE)
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
    for one in destination(there):
        yield (_remark(one) if one.code == "RightMissing" else one).on(target=name)


def _remark(one: Finding) -> Finding:
    return (
        one
        if one.state is State.GOOD
        else remark(one.check, one.what, one.to_do).on(backup=one.backup, target=one.target)
    )
