"""Steps five and six: validate what came back, and an incident for the leaked keys, from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.commands.checks.arguments import CheckSecrets, ComparedPlace, ComparedWith
from strongroom.cli.commands.checks.validate import all_findings, look_at_production, look_at_source
from strongroom.cli.commands.incident import incident as incidents
from strongroom.cli.commands.incident.arguments import (
    CloseIncident,
    OpenIncident,
    ResealBackups,
    RotateExposed,
    SuspectedOptions,
    WaiveStep,
    WhichIncident,
)
from strongroom.cli.commands.incident.steps import (
    close_approved,
    incident_steps,
    key_of,
    not_everywhere,
    write_names,
)
from strongroom.cli.commands.recovery.forked_step import ForkedStepEnd, Work
from strongroom.cli.commands.recovery.restoring import left_out
from strongroom.cli.commands.recovery.tools import RecoveryTools, know_backups
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import identities, options
from strongroom.cli.shared.services import check_areas, open_services
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.config import load_settings
from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.operations.archive.cases import Incident, StepStanding, Suspicion, steps_of
from strongroom.operations.archive.cases import IncidentStep as Of
from strongroom.operations.archive.recoveries import RecoveryPart, RecoveryStep
from strongroom.operations.checks.live import OTHERWISE, Validated
from strongroom.operations.checks.value_checks import SecretFinding
from strongroom.operations.engine.findings import Finding as Looked
from strongroom.operations.engine.findings import FindingState
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import ConfirmationRequired, StepIncomplete
from strongroom.operations.procedures.incident import find_incident, require_open, waive
from strongroom.operations.procedures.incident_exposure import compromised_names
from strongroom.operations.procedures.incident_report import write_report
from strongroom.operations.procedures.perform import AfterFailure, Guide, Procedure, lead
from strongroom.system.process import who

# -- Step five: validate what came back, and look at the whole installation ---------------------


SHOWN: Final = 20
DAYS: Final = 30
"""The window of the key metrics, as 'check' has it."""


def validate(at: RecoveryTools) -> StrongroomError | None:
    """Hold each destination against its backups; then look at all else: what is wrong there is left to do."""
    for part in at.record.recovery.parts:
        if (error := _of_part(at, part)) is not None:
            return error
    if at.is_configured:
        _production(at)
        _health(at)
    return None


def _of_part(at: RecoveryTools, part: RecoveryPart) -> StrongroomError | None:
    origin = at.source(part.on, backup=part.backup, partial=bool(part.limits))
    compared = ComparedWith(
        where=ComparedPlace(from_target=origin.where.from_target),
        choice=origin.choice,
        opening=origin.opening,
        trust=origin.trust,
    )
    typed = command_line("check secrets", CheckSecrets(source=part.into, origin=compared))
    work = partial(_as_in, source=part.into, origin=origin)
    done = at.apart.run(work, Validated, typed=typed, command="check secrets")
    if done.answer is None:
        at.record.prove(RecoveryStep.VALIDATE, "validate", of=part.backup, code=done.code)
        return done.failure("Put that right, then try again.")
    later = [
        recovery_part
        for recovery_part in at.record.recovery.parts
        if recovery_part.into == part.into and recovery_part.made_at > part.made_at
    ]
    wrong, remarks = _judged(done.answer, superseded=bool(later))
    left = len(wrong) <= left_out(at)
    at.screen.say(*_lines("left as it is" if left else "wrong", wrong), *_lines("remark", remarks))
    same = done.answer.compared.same if done.answer.compared is not None else 0
    said = [f"{same:,} as in the backup, {len(wrong):,} not", plural(len(remarks), "remark")]
    code = "" if left else VerificationFailed.__name__
    at.record.prove(RecoveryStep.VALIDATE, "validate", *said, of=part.backup, code=code)
    if left:
        return None
    differ = f"{plural(len(wrong), 'secret')} in '{part.into}' {verb(len(wrong), 'are')} not as in the backup"
    return VerificationFailed(
        f"{differ}, such as {in_line(wrong[0].secret)}: {wrong[0].text}.",
        hint="Somebody may have changed it since. Restore it once more, or leave it so, then try again.",
    )


def _judged(validated: Validated, *, superseded: bool) -> tuple[list[SecretFinding], list[SecretFinding]]:
    """Return what is not as in the backup, and what stands out and was so before the loss.

    Args:
        superseded: whether a newer part was restored over it, so that values may differ.
    """
    otherwise = [finding for finding in validated.findings if finding.check in OTHERWISE and finding.wrong]
    wrong = [finding for finding in otherwise if not (superseded and finding.check == "differs")]
    named = {finding.secret for finding in otherwise}
    others = [finding for finding in validated.findings if finding.wrong and finding.secret not in named]
    unique = {finding.secret: finding for finding in wrong}
    remarks = [replace(finding, text=f"{finding.text} (as in the backup)", wrong=False) for finding in others]
    return list(unique.values()), remarks


def _lines(state: str, findings: Sequence[SecretFinding]) -> Iterator[str]:
    yield from (
        f"  {state}: {in_line(finding.secret or finding.source)}: {finding.text}"
        for finding in findings[:SHOWN]
    )
    if len(findings) > SHOWN:
        yield f"  and {len(findings) - SHOWN:,} more of these"


# -- all else -----------------------------------------------------------------------------


def _production(at: RecoveryTools) -> None:
    """Look at every source that a policy names, where all is back where it was. What is wrong there was not
    restored by this recovery."""
    if not all(part.into == part.source for part in at.record.recovery.parts):
        return
    origin = ComparedWith(opening=at.opening, trust=at.source().trust)
    typed = command_line("check secrets", CheckSecrets(production=True, origin=origin))
    work = partial(_in_production, signers=at.given.trust.signer)
    done = at.apart.run(work, tuple[SecretFinding, ...], typed=typed, command="check secrets")
    wrong = [finding for finding in done.answer or () if finding.wrong]
    said = f"{plural(len(wrong), 'thing')} wrong" if done.answer is not None else ""
    at.record.prove(RecoveryStep.VALIDATE, "validate --production", *filter(None, [said]), code=done.code)
    at.screen.say(*_lines("wrong", wrong))
    if wrong or done.code:
        at.record.left(
            "'strongroom check secrets --production' says what else is wrong with the secrets in use."
        )


def _as_in(
    opening: options.OpeningOptions, output: Output, *, source: str, origin: options.RestoreFrom
) -> Validated:
    return look_at_source(source, output, origin=replace(origin, opening=opening))


def _in_production(
    opening: options.OpeningOptions, output: Output, *, signers: Sequence[str]
) -> tuple[SecretFinding, ...]:
    return tuple(all_findings(*look_at_production(opening, signers, output)))


def _is_left(finding: Looked) -> bool:
    """Tell whether it is left to do after a loss. Of warnings that is a lost region; the others were there
    before."""
    away = finding.kind == "target.away" and finding.state is not FindingState.GOOD
    return finding.state is FindingState.WRONG or away


def _health(at: RecoveryTools) -> None:
    """Look at the whole installation. After a loss much is still wrong there, and no reason to stop here."""
    done = at.apart.run(_areas, tuple[Looked, ...], typed="strongroom check")
    wrong = [finding for finding in done.answer or () if _is_left(finding)]
    checks = ", ".join(dict.fromkeys(finding.check for finding in wrong))
    if done.answer is None:
        said = f"it could not be read ({done.code})"
    else:
        said = f"{plural(len(wrong), 'thing')} wrong: {checks}" if wrong else "nothing is wrong"
    at.record.prove(RecoveryStep.VALIDATE, "check", said)
    at.screen.say(f"  {said}")
    if done.answer is None:
        at.record.left(f"'strongroom check' ended with {done.code}, so nobody looked at the installation.")
    elif wrong:
        are = verb(len(wrong), "are")
        at.record.left(f"'strongroom check' says that {plural(len(wrong), 'thing')} {are} wrong: {checks}.")


def _areas(opening: options.OpeningOptions, output: Output) -> tuple[Looked, ...]:
    findings, _ = check_areas(load_settings(), days=DAYS, now=time.time())
    return tuple(findings)


# -- Step six: an incident for the leaked keys, led through its own steps, from its beginning to its end


Act = Callable[[Services, Incident, Output], object]
INCIDENT: Final = "incident"
NAMED: Final = 8


def rotate(at: RecoveryTools) -> StrongroomError | None:
    """Isolate what the leaked keys open, find who read it, seal it anew, change the secrets, and close."""
    scope = at.record.recovery.scope
    assert scope is not None
    if _is_closed(at):
        return None
    named = ", ".join(scope.leaked)
    question = f"Put each backup that opens with {named} into quarantine, and seal it again?"
    tried = bool(at.record.recovery.steps[RecoveryStep.ROTATE].proofs)  # somebody said yes to that
    if not tried and not at.ask.confirm("quarantine", question):
        return ConfirmationRequired("The answer was no, so nothing was put into quarantine.", hint="")
    know_backups(at, RecoveryStep.ROTATE)
    done = _open(at, scope.leaked)
    if done.answer is None:
        return done.failure("Do what the lines above say, then try again.")
    steps = _Apart(at, done)
    try:
        lead(steps, _LeadingIncident(at, steps))
    except _SaidNo as no:
        return no.error
    return _close(at, done.answer.id)


class _SaidNo(Exception):
    def __init__(self, error: StrongroomError) -> None:
        super().__init__(error.message)
        self.error = error


class _Apart(Procedure[Of]):
    """The steps of an incident, each done in a process of its own."""

    def __init__(self, at: RecoveryTools, opened: ForkedStepEnd[Incident]) -> None:
        assert opened.answer is not None
        self._tools, self._opened = at, opened
        self.incident = opened.answer
        self._tried: set[Of] = set()

    def next_step(self, left: Collection[Of]) -> Of | None:
        return next(
            (step_standing.step for step_standing in steps_of(self.incident) if not step_standing.settled),
            None,
        )

    def perform(self, step: Of) -> StrongroomError | None:
        """Do a step, or tell of the first try of one that was made when the incident was opened."""
        state, again = self.standing(step).state, step in self._tried
        self._tried.add(step)
        first = step in incidents.OPENING and state != "open" and not again
        asked = step is Of.ROTATE and state == "open" and not again
        if asked and not _may_change(self._tools, self.incident):
            said = "The answer was no, so no secret got a new value. The incident stays open."
            raise _SaidNo(ConfirmationRequired(said, hint=""))
        ran = self._opened if first else self._try(step)
        self.incident = ran.answer or self.incident
        return None if self.standing(step).settled else self._incomplete(ran, step)

    def waive(self, step: Of, reason: str) -> None:
        case = self.incident.id
        self._tools.record.left(f"Incident {case}, step {step}: waived ({reason}).")
        typed = command_line("incident waive", WaiveStep(incident=case, step=step.value, reason=reason))
        work = _work(
            case, lambda services, incident, _: waive(services, incident, step, reason=reason, by=who())
        )
        done = self._tools.do(RecoveryStep.ROTATE, "incident waive", typed, work, Incident)
        self.incident = done.answer or self.incident

    def standing(self, step: Of) -> StepStanding:
        """Return how a step stands."""
        return next(step_standing for step_standing in steps_of(self.incident) if step_standing.step is step)

    def _try(self, step: Of) -> ForkedStepEnd[Incident]:
        case, names = self.incident.id, None
        if step is Of.ROTATE:
            names = self._tools.here.state_dir / "recoveries" / "plans"
            names /= f"{self._tools.record.recovery.id}-to-change.json"
            names.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            names.unlink(missing_ok=True)
        work = _work(case, partial(_do, step=step, names=names))
        typed = self._typed(step, names)
        ran = self._tools.do(RecoveryStep.ROTATE, f"incident {step}", typed, work, Incident, of=step)
        if names is not None and names.exists():
            where = f"  The secrets that need a new value are in {names}. Change each at its source."
            self._tools.screen.say(where)
        return ran

    def _typed(self, step: Of, names: Path | None = None) -> str:
        """Return the command that does a step; whether values may change was asked already."""
        case, keys = self.incident.id, self._tools.keys
        given: WhichIncident = WhichIncident(incident=case)
        if step is Of.RESEAL:
            given = ResealBackups(incident=case, opening=keys)
        elif step is Of.ROTATE:
            given = RotateExposed(incident=case, force=names is not None, secrets=names, opening=keys)
        return command_line(f"incident {step}", given)

    def _incomplete(self, ran: ForkedStepEnd[Incident], step: Of) -> StrongroomError:
        """Return what is missing of a step, and the command that does it by hand."""
        by_hand = f"By hand: '{self._typed(step)}'."
        if missing := self.standing(step).outcome.missing:
            what, why = next(iter(missing.items()))
            more = f" And {len(missing) - 1:,} more." if len(missing) > 1 else ""
            said = f"Step '{step}' of the incident is not done: {what}: {why}.{more}"
            return StepIncomplete(said, hint=f"Put that right, or skip it with a reason. {by_hand}")
        if ran.error is None:
            return StepIncomplete(f"Step '{step}' of the incident is not done yet.", hint=by_hand)
        return ran.failure(by_hand)


class _LeadingIncident(Guide[Of]):
    """Leads whoever recovers through the steps of the incident."""

    def __init__(self, at: RecoveryTools, steps: _Apart) -> None:
        self._tools, self._steps = at, steps

    def ended(self, step: Of, error: StrongroomError | None) -> None:
        if error is None:
            self._tools.screen.say(f"  {step}: {self._steps.standing(step).state}")

    def after_failure(self, step: Of, error: StrongroomError) -> AfterFailure:
        name, call = f"{RecoveryStep.ROTATE}.{step}", self._tools.screen.call
        return self._tools.ask.after_failure(name, error, call, may_skip=True, goes_on=False)


class ExposedSecrets(Struct, frozen=True, kw_only=True):
    """How many secrets others may know, and the names of the first few."""

    count: int
    names: tuple[str, ...]


def _may_change(at: RecoveryTools, incident: Incident) -> bool:
    """Ask before values change: services go on with the old ones until somebody hands them the new ones."""
    typed = command_line("incident status", WhichIncident(incident=incident.id))
    exposed = at.apart.run(partial(_exposed, case=incident.id), ExposedSecrets, typed=typed).answer
    if exposed is not None and exposed.names:
        more = f" and {exposed.count - NAMED:,} more" if exposed.count > NAMED else ""
        said = f"{plural(exposed.count, 'secret')}: {', '.join(map(in_line, exposed.names))}{more}"
        at.screen.say(f"  Anyone who has those keys may know the values of {said}.")
    question = "Give the secrets in those backups new values now, by the rotators of the configuration?"
    return at.ask.confirm("rotate", question)


def _is_closed(at: RecoveryTools) -> bool:
    """Tell whether the incident that this recovery opened is closed: it is not opened again."""
    proofs = at.record.recovery.steps[RecoveryStep.ROTATE].proofs
    known = next((proof.of for proof in proofs if proof.check == INCIDENT), None)
    if known is None:
        return False
    typed = command_line("incident status", WhichIncident(incident=known))
    done = at.do(RecoveryStep.ROTATE, "incident status", typed, _work(known, lambda *_: None), Incident)
    return done.answer is not None and done.answer.closed is not None


def _open(at: RecoveryTools, leaked: tuple[str, ...]) -> ForkedStepEnd[Incident]:
    """Open the incident. Repeated with the same words, the same one goes on."""
    reason = at.record.recovery.reason or f"recovery {at.record.recovery.id}"
    suspected = SuspectedOptions(key=leaked)
    given = OpenIncident(suspected=suspected, reason=reason, force=True, opening=at.keys)
    typed = command_line("incident open", given)
    work = partial(_begin, leaked=leaked, reason=reason)
    done = at.do(RecoveryStep.ROTATE, "incident open", typed, work, Incident)
    if done.answer is not None:
        at.record.prove(RecoveryStep.ROTATE, INCIDENT, "it was opened by this recovery", of=done.answer.id)
        for standing in steps_of(done.answer):
            counts = "; ".join(f"{what}: {count:,}" for what, count in standing.outcome.counts.items())
            at.screen.say(f"  {standing.step}: {standing.state}" + (f" ({counts})" if counts else ""))
    return done


def _close(at: RecoveryTools, case: str) -> StrongroomError | None:
    reason = f"recovery {at.record.recovery.id}"
    typed = command_line("incident close", CloseIncident(incident=case, reason=reason, opening=at.keys))
    work = _work(case, partial(_closed, reason=reason))
    done = at.do(RecoveryStep.ROTATE, "incident close", typed, work, Incident)
    if done.answer is None or done.answer.closed is None:
        return done.failure("Put that right, then try again.")
    for step in steps_of(done.answer):
        at.record.left(*step.outcome.left)
    return None


# -- apart --------------------------------------------------------------------------------


def _opened_services(opening: options.OpeningOptions, output: Output) -> Services:
    keys = options.FurtherOpeningOptions(identity=opening.identity, passphrase_file=opening.passphrase_file)
    return identities.with_identities(open_services(), keys, output)


def _exposed(opening: options.OpeningOptions, output: Output, *, case: str) -> ExposedSecrets:
    services = _opened_services(opening, output)
    names = list(compromised_names(services, find_incident(services, case)).names)
    return ExposedSecrets(count=len(names), names=tuple(names[:NAMED]))


def _begin(
    opening: options.OpeningOptions, output: Output, *, leaked: Sequence[str], reason: str
) -> Incident:
    settings, services = load_settings(), _opened_services(opening, output)
    suspicion = Suspicion(keys=tuple(sorted(key_of(word, settings) for word in leaked)))
    performing, failed = incidents.begin(services, suspicion, output, reason=reason)
    output.end_with(
        incidents.not_all_seen(performing.incident, None)
        or incidents.worst(failed)
        or not_everywhere(performing.missed)
    )
    return performing.incident


def _work(case: str, act: Act) -> Work[Incident]:
    """Return work that does something about an incident; its record then says how it stands."""

    def work(opening: options.OpeningOptions, output: Output) -> Incident:
        services = _opened_services(opening, output)
        try:
            act(services, find_incident(services, case), output)
        except StrongroomError as error:
            output.end_with(error)
        return find_incident(services, case)

    return work


def _do(
    services: Services, incident: Incident, output: Output, *, step: Of, names: Path | None = None
) -> None:
    """Do a step; write to a file which secrets still have a value that others may know."""
    require_open(incident)
    performing = incident_steps(services, incident, output)
    error = performing.perform(step)
    if performing.unchanged:
        write_names(services, performing.incident, names, only=performing.unchanged, replace=True)
    if error is not None:
        raise error


def _closed(services: Services, incident: Incident, output: Output, *, reason: str) -> None:
    write_report(services, close_approved(services, incident, reason=reason).incident)
