"""Step four: restore, after a look at what that would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from strongroom.cli.commands.recovery.forked_step import ForkedStepEnd
from strongroom.cli.commands.recovery.secure import note_lost
from strongroom.cli.commands.recovery.tools import RecoveryTools, know_backups
from strongroom.cli.commands.restore.arguments import PlanOptions, Restore, RestoreInto
from strongroom.cli.commands.restore.on_cluster import task_of
from strongroom.cli.commands.restore.perform import RestoreAnswer, RestoreOutcome
from strongroom.cli.commands.restore.restore import restore_for
from strongroom.cli.commands.runs.status import require_end
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import admission, options
from strongroom.cli.shared.options import LOCAL
from strongroom.cli.shared.runs import follow
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.config import load_settings
from strongroom.container.errors import DAMAGE
from strongroom.errors import Degraded, StrongroomError, UsageError, by_name
from strongroom.operations.archive.recoveries import RecoveryEntryKind, RecoveryPart, RecoveryStep
from strongroom.operations.errors import ApprovalNeeded, ConfirmationRequired, RunDegraded
from strongroom.operations.procedures.recovery_job import RecoveryFacts, recovery_facts_of
from strongroom.operations.restore.journal import STOPPED, NotDone
from strongroom.operations.restore.plan import RestoreAction
from strongroom.operations.restore.plan_file import STANDS_IN, PlanFile

STANDS: Final = ("", "TargetUnsound", "LeftAside", "LessThanKnown", "LeakedValue")
"""How a restore may end whose result stands: what is wrong is not in what it wrote, and is left to do."""
_UNSOUND: Final = {
    "TargetUnsound": "A target that was read is damaged or away: 'strongroom backups repair --all' once it "
    "is back.",
    "LessThanKnown": "What was restored is not all that is known: see what step 3 says of the newest backup.",
    "LeakedValue": "Values were restored that an incident has as known to others: "
    "'strongroom incident rotate' changes them.",
    "LeftAside": "Newer manifests on a target did not count: check who put them there "
    "('strongroom backups list').",
}
DATED: Final = 20
"""Secrets that are named with the date of their value."""
NAMED: Final = 8
"""Secrets that a line names of each thing that happens; the plan's file has all of them."""
EARLIER: Final = "from earlier backups"
"""The check that says how many secrets came from which earlier backups."""
LEFT_OUT: Final = "left out"
"""The check that says, in digits, how many secrets a restore left as they are."""


def restore(at: RecoveryTools) -> StrongroomError | None:
    """Restore every part that was not restored yet, once somebody agreed to what that changes."""
    agreed = at.record.recovery.agreed
    short: frozenset[str] | None = None
    if agreed is not None and set(agreed.lines) == {part.backup for part in at.record.recovery.parts}:
        at.screen.say(f"  {agreed.by} agreed at {agreed.at}: going on.")
    else:
        agreed_now = _agree(at)
        if isinstance(agreed_now, StrongroomError):
            return agreed_now
        short = agreed_now
    for part in _to_restore(at):
        done = _on_cluster(at, part, short) if at.given.cluster else _restore(at, part)
        if (error := done) is not None:
            return error
    return None


def _to_restore(at: RecoveryTools) -> list[RecoveryPart]:
    proved = at.record.recovery.steps[RecoveryStep.RESTORE].proved
    return [part for part in at.record.recovery.parts if part.backup not in proved]


# -- what would be done, and whether it may ------------------------------------------------


class Taken(NamedTuple):
    """A secret that the newest backup lacks, the earlier one that it is taken from, and its value's date."""

    name: str
    backup: str
    date: str


class _PlannedPart(NamedTuple):
    """What restoring a part would come to, and what of it is from earlier backups."""

    part: RecoveryPart
    came: RestoreOutcome
    taken: Sequence[Taken]


def _agree(at: RecoveryTools) -> StrongroomError | frozenset[str]:
    """Show what a restore would change, and ask for a yes; return the backups that earlier ones fill up."""
    planned = _plans(at, fill=True)
    if isinstance(planned, StrongroomError):
        return planned
    fill = _may_fill(at, planned)
    if not fill and isinstance(planned := _plans(at, fill=False), StrongroomError):
        return planned
    short = (
        frozenset(taken_part.part.backup for taken_part in planned if taken_part.taken)
        if fill
        else frozenset()
    )
    overwrite = _may_overwrite(at, planned)
    into = ", ".join(dict.fromkeys(f"'{taken_part.part.into}'" for taken_part in planned))
    if not at.ask.confirm("restore", f"Write into {into} now?"):
        return ConfirmationRequired("The answer was no, so nothing was written.", hint="")
    parts = [taken_part.part for taken_part in planned]
    # Each plan is made anew when its turn comes, unless it is what was shown and still fits.
    for part in parts if overwrite else [part for part in parts if not _is_first(at, part)]:
        _plan_file(at, part).unlink(missing_ok=True)
    backups = tuple(part.backup for part in at.record.recovery.parts)
    differ = sum(taken_part.came.left for taken_part in planned)
    reason = (f"{differ:,} differ" if differ else _NOTHING) + ("" if fill else _ALONE)
    at.record.note(
        RecoveryEntryKind.AGREED, RecoveryStep.RESTORE, lines=backups, overwrite=overwrite, reason=reason
    )
    return short


def _may_fill(at: RecoveryTools, planned: Sequence[_PlannedPart]) -> bool:
    """Ask whether what the newest backup lacks comes back out of earlier ones: name each, with its date."""
    taken = [taken_part for each in planned for taken_part in each.taken]
    if not taken:
        return True
    are = verb(len(taken), "are")
    at.screen.say(
        "", f"  {plural(len(taken), 'secret')} {are} not in the newest backup, and in earlier ones:"
    )
    at.screen.say(
        *(
            f"    {in_line(taken_part.name)}: value of {taken_part.date}, from {taken_part.backup}"
            for taken_part in taken[:DATED]
        )
    )
    if len(taken) > DATED:
        files = [str(_plan_file(at, taken_part.part)) for taken_part in planned if taken_part.taken]
        at.screen.say(
            f"    and {len(taken) - DATED:,} more: all are in {', '.join(files)}, each with its 'backup'"
        )
    question = "  Restore 'all', the newest backup and what earlier ones have besides, or 'newest' alone?"
    if at.ask.one("missing", question, ("all", "newest"), "all") == "all":
        return True
    at.record.left(f"{plural(len(taken), 'secret')} of earlier backups {are} not restored, as was said.")
    return False


def _plans(at: RecoveryTools, *, fill: bool) -> list[_PlannedPart] | StrongroomError:
    """Plan every part."""
    planned: list[_PlannedPart] = []
    refused: ForkedStepEnd[RestoreOutcome] | None = None
    for part in _to_restore(at):
        done = _plan(at, part, overwrite=False, fill=fill)
        if done.answer is not None:
            at.screen.say(*(f"  {line}" for line in _would(part, done.answer)))
        if done.answer is None or not (_stands(done) or _goes_without(done.answer)):
            return done.failure(f"Nothing was written. {_elsewhere(at)}")
        planned.append(_PlannedPart(part, done.answer, _taken(at, part)))
        refused = refused or done if _is_all_refused(done.answer) else refused
    if refused is not None and all(_is_all_refused(taken_part.came) for taken_part in planned):
        return refused.failure(f"Nothing was written. {_elsewhere(at)}")
    return planned


def _stands(done: ForkedStepEnd[RestoreOutcome]) -> bool:
    """Tell whether what a restore wrote stands, or what it planned would: also if the rest of it is lost."""
    came = done.answer
    return done.code in STANDS or (came is not None and came.lost is not None and came.total > 0)


def _elsewhere(at: RecoveryTools) -> str:
    return f"To restore elsewhere, stop and type: {at.goes_on} --assess"


def _goes_without(came: RestoreOutcome) -> bool:
    """Tell whether some secrets, or all of a source, cannot be restored: others must not wait for them."""
    others = not _is_all_refused(came) or not any(map(_may_pass, came.refused))
    return came.not_done > 0 and others


def _is_all_refused(came: RestoreOutcome) -> bool:
    """Tell whether no secret of a backup can be restored."""
    return came.not_done == came.total > 0


def _may_overwrite(at: RecoveryTools, planned: Sequence[_PlannedPart]) -> bool:
    """Ask whether to replace what differs; name it."""
    differ = sum(taken_part.came.left for taken_part in planned)
    if not differ:
        return False
    names = list(
        dict.fromkeys(name for taken_part in planned for name in taken_part.came.named(RestoreAction.LEAVE))
    )
    at.screen.say("", f"  Another value than in the backup: {_named(names, differ)}.")
    if differ > NAMED:
        files = [str(_plan_file(at, taken_part.part)) for taken_part in planned if taken_part.came.left]
        at.screen.say(f"  All of them are in {', '.join(files)}, with the action 'leave'.")
    it = "it" if differ == 1 else "them"
    return at.ask.confirm(
        "overwrite",
        f"{plural(differ, 'secret')} there {verb(differ, 'have')} another value than the backup. "
        f"Replace {it}? What {'it holds' if differ == 1 else 'they hold'} now is kept.",
    )


_NOTHING = "nothing differs"
_ALONE = ", and the newest backup alone"


def _plan(
    at: RecoveryTools, part: RecoveryPart, *, overwrite: bool, fill: bool
) -> ForkedStepEnd[RestoreOutcome]:
    """Make the plan of a part, in a file that only its owner can read: it holds names.

    Args:
        fill: whether what the backup lacks is taken from earlier ones.
    """
    file = _plan_file(at, part)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    planned = replace(
        _restored(at, part, overwrite=overwrite, fill=fill), planning=PlanOptions(plan_out=file), force=True
    )
    return _run(at, planned)


def _restored(at: RecoveryTools, part: RecoveryPart, *, overwrite: bool, fill: bool) -> Restore:
    """Return what restores a part."""
    return Restore(
        origin=at.source(part.on, backup=part.backup, partial=bool(part.limits)),
        full_restore=True,
        fill_from_earlier=fill and not part.limits,
        into=RestoreInto(to=part.into),
        overwrite_existing=overwrite,
    )


def _run(at: RecoveryTools, given: Restore) -> ForkedStepEnd[RestoreOutcome]:
    typed = command_line("restore", given)
    return at.apart.run(partial(_came, given=given), RestoreOutcome, typed=typed, command="restore")


def _came(opening: options.OpeningOptions, output: Output, *, given: Restore) -> RestoreOutcome:
    given = replace(given, origin=replace(given.origin, opening=opening))
    return restore_for(given, output, partial(_settled, output=output))


def _settled(job: RestoreAnswer, *, output: Output) -> RestoreOutcome:
    outcome = job.settle()
    if outcome is not None and not isinstance(outcome, StrongroomError):
        raise outcome
    if outcome is not None and not isinstance(outcome, Degraded):
        output.ending = outcome  # it is worse than what was said of the backup on the way
    output.end_with(outcome)
    return job.outcome()


def _taken(at: RecoveryTools, part: RecoveryPart) -> list[Taken]:
    """Return what a plan takes from earlier backups."""
    trusted = admission.trusted_signers(at.here, at.given.trust.signer)
    with _plan_file(at, part).open("rb") as file:
        plan = PlanFile(file, trusted=trusted)
        made = {earlier_backup.backup: earlier_backup.created_at for earlier_backup in plan.head.earlier}
        return [
            Taken(entry.to, entry.backup, entry.written_at or made.get(entry.backup, ""))
            for entry in plan.entries()
            if entry.backup in made
            and entry.why != STANDS_IN  # that is no choice: nobody has the newer value
        ]


def _plan_file(at: RecoveryTools, part: RecoveryPart) -> Path:
    return at.here.state_dir / "recoveries" / "plans" / f"{at.record.recovery.id}-{part.backup}"


def _overwrites(at: RecoveryTools, part: RecoveryPart) -> bool:
    """Tell whether a part may replace what differs.

    Where nothing differed before, a newer part replaces only what an older part of this recovery wrote.
    """
    agreed = at.record.recovery.agreed
    assert agreed is not None
    nothing = agreed.reason.startswith(_NOTHING)
    return agreed.overwrite or (nothing and not _is_first(at, part))


def _fills(at: RecoveryTools) -> bool:
    agreed = at.record.recovery.agreed
    return agreed is None or not agreed.reason.endswith(_ALONE)


def _is_first(at: RecoveryTools, part: RecoveryPart) -> bool:
    first = next(
        recovery_part for recovery_part in at.record.recovery.parts if recovery_part.into == part.into
    )
    return first.backup == part.backup


# -- doing it -------------------------------------------------------------------------------


def _restore(at: RecoveryTools, part: RecoveryPart) -> StrongroomError | None:
    """Restore one part by its plan.

    The plan is kept while people have to approve it, and after a kill; any other end makes a new one.
    """
    file = _plan_file(at, part)
    if not file.exists():
        planned = _plan(at, part, overwrite=_overwrites(at, part), fill=_fills(at))
        if planned.answer is None or not (_stands(planned) or _goes_without(planned.answer)):
            return planned.failure("Nothing was written. Remove the cause, then try again.")
    taken = Counter(taken_part.backup for taken_part in _taken(at, part))
    planning = PlanOptions(plan=file)
    done = _run(
        at, Restore(origin=at.source(part.on), planning=planning, verify_after_restore=True, force=True)
    )
    if done.code != ApprovalNeeded.__name__:
        file.unlink(missing_ok=True)
    came = done.answer
    if came is None:
        at.record.prove(RecoveryStep.RESTORE, "restore", of=part.backup, code=done.code)
        return done.failure("")
    at.screen.say(*(f"  {line}" for line in _told(came)))
    stands = (_stands(done) and not came.moved) or _is_as_agreed(came)
    at.record.prove(
        RecoveryStep.RESTORE, "restore", *_counts(came), of=part.backup, code="" if stands else done.code
    )
    if not stands:
        again = f"What was restored stays. Remove the cause, then try again, or type: {_rest_of(at, part)}"
        return done.failure(again if came.goes_on else "")
    if taken:
        said = (f"{plural(many, 'secret')} from backup {backup}" for backup, many in taken.items())
        at.record.prove(RecoveryStep.RESTORE, EARLIER, *said, of=f"{part.backup} {EARLIER}")
    _note_left(at, part, done.code, came)
    return None


def _is_as_agreed(came: RestoreOutcome) -> bool:
    """Tell whether all is restored but what cannot be, or was not to be replaced: waiting helps neither."""
    if came.ended == STOPPED or came.moved or came.verified_otherwise or not came.not_done + came.left:
        return False
    return not any(map(_may_pass, came.refused))


def _may_pass(undone: NotDone) -> bool:
    """Tell whether trying again may help: a server was away, or what came back was not what was written."""
    kind = by_name(undone.code)
    return kind is None or kind.transient or issubclass(kind, DAMAGE)


def _note_left(at: RecoveryTools, part: RecoveryPart, code: str, came: RestoreOutcome) -> None:
    """Put on record what is left to do after a restore that stands; no name, which the terminal has."""
    if code in _UNSOUND:
        at.record.left(_UNSOUND[code])
    if came.lost is not None:
        note_lost(at, came.lost.without_names, source=part.source)
    if came.not_done:
        said = f"{plural(came.not_done, 'secret')} {verb(came.not_done, 'were')} not restored"
        again = f" Once the cause is removed: {_rest_of(at, part)}"
        at.record.left(f"{said} into '{part.into}' from backup {part.backup}.{again}")
    if came.left:
        said = f"{plural(came.left, 'secret')} in '{part.into}' {verb(came.left, 'differ')}"
        at.record.left(f"{said} from backup {part.backup} and {verb(came.left, 'were')} left, as was said.")
    if came.not_done + came.left:
        at.record.prove(
            RecoveryStep.RESTORE, LEFT_OUT, str(came.not_done + came.left), of=f"{part.backup} {LEFT_OUT}"
        )


def left_out(at: RecoveryTools) -> int:
    """Return how many secrets this recovery left as they are."""
    proofs = at.record.recovery.steps[RecoveryStep.RESTORE].proofs
    return sum(int(proof.said[0]) for proof in proofs if proof.check == LEFT_OUT and proof.said)


# -- on the cluster ---------------------------------------------------------------------------


def _on_cluster(
    at: RecoveryTools, part: RecoveryPart, short: frozenset[str] | None
) -> StrongroomError | None:
    """Have the cluster restore one part, in one run: what was submitted before is followed on."""
    run = _submitted(at, part)
    if not run:
        know_backups(at, RecoveryStep.RESTORE)
        given = Restore(
            origin=options.RestoreFrom(choice=options.CoveringBackupOptions(backup=part.backup)),
            into=RestoreInto(to=part.into),
            overwrite_existing=_overwrites(at, part),
            way=options.ClusterOptions(cluster=True),
            validate=True,
        )
        typed = command_line("restore", given)
        submitted = at.do(RecoveryStep.RESTORE, "restore", typed, partial(_submit, given=given), str)
        if submitted.answer is None:
            return submitted.failure("Nothing was written. Remove the cause, then try again.")
        run = submitted.answer
        at.record.prove(RecoveryStep.RESTORE, _SUBMITTED, f"run {run} recovers backup {part.backup}", of=run)
    ran = at.apart.run(partial(_follow, run=run), RecoveryFacts, typed=f"strongroom runs show {run} --follow")
    facts = ran.answer or RecoveryFacts()
    stands = ran.code in STANDS or _is_as_agreed_by(facts, ran.code)
    _prove_by_run(at, run, facts)
    if not stands:
        at.record.prove(RecoveryStep.RESTORE, "status", *_summed(facts), of=part.backup, code=ran.code)
        return ran.failure(
            f"'strongroom runs show {run}' says what is left; 'strongroom runs retry {run}' goes on with it."
        )
    at.screen.say(
        "  Restored, read back and compared.", f"  This undoes it: strongroom restore undo {run} --cluster"
    )
    if facts.restore_plan is not None and facts.restore_plan.lost is not None:
        note_lost(at, facts.restore_plan.lost, source=part.source)
    if facts.restore is not None and facts.restore.not_done + facts.restore.left:
        kept = facts.restore.not_done + facts.restore.left
        at.record.left(
            f"{plural(kept, 'secret')} {verb(kept, 'were')} left as they are: 'strongroom runs show {run}'."
        )
        at.record.prove(RecoveryStep.RESTORE, LEFT_OUT, str(kept), of=f"{part.backup} {LEFT_OUT}")
    error = _rest(at, part, short)
    if error is None:  # only now is this part restored: a kill before goes on with the rest
        at.record.prove(RecoveryStep.RESTORE, "status", *_summed(facts), of=part.backup)
    return error


def _rest(at: RecoveryTools, part: RecoveryPart, short: frozenset[str] | None) -> StrongroomError | None:
    """Restore here what a run did not, since the backup that it restored does not hold it.

    Args:
        short: the backups that earlier ones make up for; ``None`` if that was agreed to by another process.
    """
    if not _fills(at) or part.limits or (short is not None and part.backup not in short):
        return None
    planned = _plan(at, part, overwrite=False, fill=True)
    if planned.answer is None:
        return planned.failure("What the cluster restored stays.")
    if not _taken(at, part):
        _plan_file(at, part).unlink(missing_ok=True)
        return None
    at.screen.say("  What is missing from that backup is restored here, out of earlier ones.")
    return _restore(at, part)


def _submit(opening: options.OpeningOptions, output: Output, *, given: Restore) -> str:
    """Hand it to the cluster; return the run."""
    if given.into.to == LOCAL:
        raise UsageError(
            "The cluster restores into no local store. Nothing was submitted.",
            hint="Choose another place with --assess, or restore here, without --cluster.",
        )
    task, asked = task_of(given, load_settings())
    run: str = task.delay(**asked).run
    return run


def _follow(opening: options.OpeningOptions, output: Output, *, run: str) -> RecoveryFacts:
    followed = follow(output, run)
    try:
        require_end(followed)
    except StrongroomError as error:
        output.end_with(error)
    return recovery_facts_of(followed)


def _is_as_agreed_by(facts: RecoveryFacts, code: str) -> bool:
    """Tell whether a run restored all that its backup holds, but what cannot be, or was to be left."""
    done, compared, plan = facts.restore, facts.restore_compare, facts.restore_plan
    if done is None or compared is None or plan is None or done.moved:
        return False
    if code != RunDegraded.__name__ and plan.lost is None:
        return False
    kept = done.not_done + done.left
    if compared.differ > kept or not (kept or plan.less or plan.lost):
        return False
    validated = facts.recovery_validate
    refused = (by_name(kind) for kind in done.not_done_by)
    return not (
        any(kind is None or kind.transient or issubclass(kind, DAMAGE) for kind in refused)
        or (validated is not None and validated.wrong)
    )


def _summed(facts: RecoveryFacts) -> Iterator[str]:
    if facts.restore is not None:
        yield _numbers(facts.restore.created, facts.restore.changed, facts.restore.unchanged)


def _prove_by_run(at: RecoveryTools, run: str, facts: RecoveryFacts) -> None:
    """Put on record what the run showed of its worker's host, and of what came back."""
    if check := facts.recovery_check:
        bad = [finding for finding in check.checks if finding.state != "good"]
        said = [f"{plural(len(check.checks) - len(bad), 'check')} good"]
        said += [f"{finding.state}: {finding.check}: {in_line(finding.what)}" for finding in bad]
        code = next((finding.code for finding in bad if finding.code), "")
        at.record.prove(RecoveryStep.RESTORE, "host of the recover worker", *said, of=run, code=code)
        at.screen.say(f"  The recover worker's host: {'; '.join(said)}.")
    if validated := facts.recovery_validate:
        wrong = sum(validated.wrong.values())
        said = [f"{plural(validated.secrets, 'secret')} validated, {wrong:,} wrong"]
        at.record.prove(
            RecoveryStep.VALIDATE, "validation by the run", *said, of=run, code="RunDegraded" if wrong else ""
        )
        at.screen.say(f"  {said[0]}.")


def _submitted(at: RecoveryTools, part: RecoveryPart) -> str:
    """Return the run that was submitted for a part by this recovery; empty if none was."""
    proofs = at.record.recovery.steps[RecoveryStep.RESTORE].proofs
    said = f" recovers backup {part.backup}"
    runs = [proof.of for proof in proofs if proof.check == _SUBMITTED and proof.said[0].endswith(said)]
    return runs[-1] if runs else ""


_SUBMITTED = "submitted run"


# -- telling ----------------------------------------------------------------------------------


def _would(part: RecoveryPart, came: RestoreOutcome) -> Iterator[str]:
    """Say in short what a restore would change."""
    yield f"From backup {part.backup}, made {part.made_at}, into '{part.into}':"
    yield from _line(came.created, "would be created", came.named(RestoreAction.CREATE, RestoreAction.FINISH))
    yield from _line(came.left, "{differ} and would be left", came.named(RestoreAction.LEAVE))
    yield from _line(came.unchanged, "{are} already as in the backup", ())
    yield from _refused(came, "cannot be restored, and {are} left out")
    if came.least_seconds:
        yield f"  It takes at least {came.least_seconds:,.0f} seconds."


def _told(came: RestoreOutcome) -> Iterator[str]:
    yield from _line(came.created, "created", ())
    yield from _line(came.changed, "changed", ())
    yield from _line(came.unchanged, "{were} already as in the backup", ())
    yield from _line(came.left, "{differ} and {were} left", came.named(RestoreAction.LEAVE))
    yield from _refused(came, "{were} not restored")
    yield from _line(came.verified or 0, "compared once more at the end, and equal", ())
    yield from (f"This undoes it: {command}" for command in came.undo_by)


def _refused(came: RestoreOutcome, words: str) -> Iterator[str]:
    """Name what cannot be restored, by the reasons."""
    count = came.not_done
    yield from _line(count, words, ())
    yield from (f"    {in_line(undone.name)}: {in_line(undone.why)}" for undone in came.refused[:NAMED])
    if count > NAMED:
        yield f"    and {count - NAMED:,} more"


def _line(number: int, words: str, names: Sequence[str]) -> Iterator[str]:
    if number:
        verbs = {many: verb(number, many) for many in ("are", "were", "differ")}
        named = f": {_named(names, number)}" if names else ""
        yield f"  {plural(number, 'secret')} {words.format_map(verbs)}{named}"


def _named(names: Sequence[str], count: int) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {count - NAMED:,} more" if count > NAMED else ""
    return f"{', '.join(in_line(name) for name in names[:NAMED])}{more}"


def _counts(came: RestoreOutcome) -> Iterator[str]:
    yield _numbers(came.created, came.changed, came.unchanged)
    if came.not_done + came.left:
        yield f"{came.not_done:,} not restored, {came.left:,} left as they are"


def _numbers(created: int, changed: int, unchanged: int) -> str:
    return f"{created:,} created, {changed:,} changed, {unchanged:,} already as in the backup"


def _rest_of(at: RecoveryTools, part: RecoveryPart) -> str:
    """Return the command for what was not restored: it makes a plan of its own, as that of here is gone."""
    agreed = at.record.recovery.agreed
    overwrite = agreed is not None and agreed.overwrite
    return command_line("restore", _restored(at, part, overwrite=overwrite, fill=_fills(at)))
