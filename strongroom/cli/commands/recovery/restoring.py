"""Steps four and five: restore, after a look at what that would change, and validate what came back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from strongroom.cli.commands.recovery.child import Ran, Shown
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.terminal.output import in_line, plural, verb
from strongroom.operations.archive.recoveries import About, Part, Step
from strongroom.operations.errors import ApprovalNeeded, ConfirmationRequired

STANDS = ("", "TargetsUnsound", "LeftAside")
"""How a restore may end whose result stands: what is wrong is a target, and that is left to do."""
_UNSOUND = {
    "TargetsUnsound": "A target that was read is damaged or away: 'strongroom repair --all' once it is back.",
    "LeftAside": "Newer manifests on a target did not count: check who put them there "
    "('strongroom catalog list').",
}


def restore(desk: Desk) -> Shown:
    """Restore every part that was not restored yet, once somebody agreed to what that changes."""
    proved = desk.recovery.steps[Step.RESTORE].proved
    parts = [part for part in desk.recovery.parts if part.backup not in proved]
    agreed = desk.recovery.agreed
    if agreed is not None and set(agreed.lines) == {part.backup for part in desk.recovery.parts}:
        desk.say(f"  {agreed.by} agreed at {agreed.at}: going on.")
    elif (shown := _agree(desk, parts)).error is not None:
        return shown
    for part in parts:
        shown = (_on_cluster if desk.arguments.on_cluster else _restore)(desk, part)
        if shown.error is not None:
            return shown
    return Shown()


def _agree(desk: Desk, parts: Sequence[Part]) -> Shown:
    """Show what a restore would change, and ask for a yes."""
    differ = 0
    for part in parts:
        ran = _plan(desk, part, overwrite=False)
        desk.say(*(f"  {line}" for line in _would(part, ran.document)))
        if ran.code not in STANDS:
            return ran.shown("Nothing was written. Remove the cause, then try again.")
        differ += int(ran.document.get("left", 0))
    overwrite = bool(differ) and desk.dialogue.confirm(
        "overwrite",
        f"{plural(differ, 'secret')} there have another value than the backup. Replace them? "
        "What they hold now is kept.",
    )
    into = ", ".join(dict.fromkeys(f"'{part.into}'" for part in parts))
    if not desk.dialogue.confirm("restore", f"Write into {into} now?"):
        error = ConfirmationRequired("The answer was no, so nothing was written.", hint="")
        return Shown(error=error)
    backups = tuple(part.backup for part in desk.recovery.parts)
    # Each plan is made anew when its turn comes, unless it is what was shown and still fits.
    for part in parts if overwrite else [part for part in parts if not _is_first(desk, part)]:
        _plan_file(desk, part).unlink(missing_ok=True)
    desk.note(About.AGREED, Step.RESTORE, lines=backups, overwrite=overwrite, reason=_differing(differ))
    return Shown()


def _differing(differ: int) -> str:
    return f"{differ:,} differ" if differ else _NOTHING


_NOTHING = "nothing differs"


def _restore(desk: Desk, part: Part) -> Shown:
    """Restore one part by its plan.

    The plan is kept while people have to approve it, and after a kill; any other end makes a new one.
    """
    file = _plan_file(desk, part)
    if not file.exists():
        planned = _plan(desk, part, overwrite=_overwrites(desk, part))
        if planned.code not in STANDS:
            return planned.shown("Nothing was written. Remove the cause, then try again.")
    words = ["--plan", str(file), "--verify-after-restore", "--force"]
    ran = desk.run(Step.RESTORE, "restore", *words, *_with(desk, part), of=part.backup, well=STANDS)
    desk.say(*(f"  {line}" for line in _came_of(ran.document)))
    if ran.code != ApprovalNeeded.__name__:
        file.unlink(missing_ok=True)
    if ran.code not in STANDS:
        return ran.shown(_goes_on(ran))
    if ran.code:
        desk.left(_UNSOUND[ran.code])
    return Shown()


def _on_cluster(desk: Desk, part: Part) -> Shown:
    """Have the cluster restore one part, in one run: what was submitted before is followed on."""
    run = _submitted(desk, part)
    if not run:
        desk.know_backups(Step.RESTORE)
        more = ["--overwrite-existing"] if _overwrites(desk, part) else []
        ran = desk.run(Step.RESTORE, "submit", "--recovery", part.backup, "--to", part.into, *more)
        if ran.code:
            return ran.shown("Nothing was written. Remove the cause, then try again.")
        run = str(ran.document["run"])
        desk.prove(Step.RESTORE, _SUBMITTED, f"run {run} recovers backup {part.backup}", of=run)
    ran = desk.run(Step.RESTORE, "status", run, "--follow", of=part.backup, well=STANDS)
    _prove_by_run(desk, run, ran.document)
    if ran.code in STANDS:
        desk.say("  Restored, read back and compared.", f"  This undoes it: strongroom submit --undo {run}")
        return Shown()
    return ran.shown(
        f"'strongroom status {run}' says what is left, and 'strongroom retry {run}' goes on with it."
    )


def _prove_by_run(desk: Desk, run: str, document: Mapping[str, Any]) -> None:
    """Put on record what the run showed of its worker's host, and of what came back."""
    found = document.get("restore") or {}
    if check := found.get("recovery_check"):
        bad = [one for one in check["checks"] if one["state"] != "good"]
        said = [f"{plural(len(check['checks']) - len(bad), 'check')} good"]
        said += [f"{one['state']}: {one['check']}: {in_line(one['what'])}" for one in bad]
        code = next((one["code"] for one in bad if one["code"]), "")
        desk.prove(Step.RESTORE, "host of the recover worker", *said, of=run, code=code)
        desk.say(f"  The recover worker's host: {'; '.join(said)}.")
    if validated := found.get("recovery_validate"):
        wrong = sum(validated["wrong"].values())
        said = [f"{plural(validated['secrets'], 'secret')} validated, {wrong:,} wrong"]
        desk.prove(Step.VALIDATE, "validation by the run", *said, of=run, code="RunDegraded" if wrong else "")
        desk.say(f"  {said[0]}.")


def _submitted(desk: Desk, part: Part) -> str:
    """Return the run that was submitted for a part by this recovery; empty if none was."""
    proofs = desk.recovery.steps[Step.RESTORE].proofs
    said = f" recovers backup {part.backup}"
    runs = [proof.of for proof in proofs if proof.check == _SUBMITTED and proof.said[0].endswith(said)]
    return runs[-1] if runs else ""


_SUBMITTED = "submitted run"


def _plan(desk: Desk, part: Part, *, overwrite: bool) -> Ran:
    """Make the plan of a part, in a file that only its owner can read: it holds names."""
    file = _plan_file(desk, part)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    more = ["--overwrite-existing"] if overwrite else []
    partial = ["--partial"] if part.limits else []
    words = ["restore", "--full-restore", "--backup", part.backup, *partial, "--to", part.into, *more]
    return desk.look(*words, "--plan-out", str(file), "--force", *_with(desk, part))


def _plan_file(desk: Desk, part: Part) -> Path:
    return desk.here.state_dir / "recoveries" / "plans" / f"{desk.recovery.id}-{part.backup}"


def _overwrites(desk: Desk, part: Part) -> bool:
    """Tell whether a part may replace what differs.

    Where nothing differed before, a newer part replaces only what an older part of this recovery wrote.
    """
    agreed = desk.recovery.agreed
    assert agreed is not None
    return agreed.overwrite or (agreed.reason == _NOTHING and not _is_first(desk, part))


def _is_first(desk: Desk, part: Part) -> bool:
    first = next(one for one in desk.recovery.parts if one.into == part.into)
    return first.backup == part.backup


def _with(desk: Desk, part: Part) -> Iterator[str]:
    """Yield from where and with what, as options. A lost region is not waited for again."""
    named = list(desk.from_targets())
    yield from named or [word for name in part.on for word in ("--from-target", name)]
    yield from (*desk.keys(), *desk.signers())


def _would(part: Part, document: Mapping[str, Any]) -> Iterator[str]:
    """Say in short what a restore would change."""
    counts = {
        "would be created": document.get("created", 0),
        "{differ} and would be left": document.get("left", 0),
        "{are} already as in the backup": document.get("unchanged", 0),
        "cannot be restored": document.get("not_done", 0),
    }
    yield f"From backup {part.backup} into '{part.into}':"
    yield from (f"  {_counted(number, words)}" for words, number in counts.items() if number)
    if seconds := document.get("least_seconds"):
        yield f"  It takes at least {seconds:,.0f} seconds."


def _counted(number: int, words: str) -> str:
    verbs = {many: verb(number, many) for many in ("are", "were", "differ")}
    return f"{plural(number, 'secret')} {words.format_map(verbs)}"


def _came_of(document: Mapping[str, Any]) -> Iterator[str]:
    counts = {
        "created": document.get("created", 0),
        "changed": document.get("changed", 0),
        "{were} already as in the backup": document.get("unchanged", 0),
        "{differ} and {were} left": document.get("left", 0),
        "{were} not restored": document.get("not_done", 0),
        "compared once more at the end, and equal": document.get("verified") or 0,
    }
    yield from (_counted(number, words) for words, number in counts.items() if number)
    for command in document.get("undo_by") or ():
        yield f"This undoes it: {_PIPED.sub('', command)}"


_PIPED = re.compile(r" --passphrase-file /dev/fd/[0-9]+")
"""The passphrase that was asked for once: nobody else can read it there."""


def _goes_on(ran: Ran) -> str:
    command = _PIPED.sub("", ran.document.get("goes_on") or "")
    return f"What was restored stays. Remove the cause, then try again, or type: {command}" if command else ""


# -- 5 --------------------------------------------------------------------------------------


def validate(desk: Desk) -> Shown:
    """Validate each destination; then look at the whole installation: what is wrong there is left to do."""
    for words in _checks(desk):
        ran = desk.run(Step.VALIDATE, *words)
        findings = [
            one for one in ran.document.get("findings", ()) if isinstance(one, dict) and one.get("wrong")
        ]
        desk.say(
            *(
                f"  wrong: {one.get('secret') or one.get('source')}: {one.get('text')}"
                for one in findings[:20]
            )
        )
        if ran.code:
            return ran.shown("Put that right, or restore that secret once more. Then try again.")
    if desk.is_configured:
        _health(desk)
    return Shown()


def _checks(desk: Desk) -> Iterator[list[str]]:
    """Yield the commands: production as a whole if all is where it was, and each destination with its newest
    backup."""
    parts = desk.recovery.parts
    for into, part in {part.into: part for part in parts}.items():
        partial = ["--partial"] if part.limits else []
        yield ["validate", "--source", into, "--backup", part.backup, *partial, *_with(desk, part)]
    if desk.is_configured and all(part.into == part.source for part in parts):
        yield ["validate", "--production", *desk.keys(), *desk.signers()]


def _health(desk: Desk) -> None:
    """Look at the whole installation. After a loss much is still wrong there, and no reason to stop here."""
    ran = desk.look("health-advanced")
    findings = [one for one in ran.document.get("findings", ()) if isinstance(one, dict)]
    wrong = [one for one in findings if one.get("state") == "wrong"]
    checks = ", ".join(dict.fromkeys(str(one["check"]) for one in wrong))
    said = f"{plural(len(wrong), 'thing')} wrong: {checks}" if wrong else "nothing is wrong"
    desk.prove(Step.VALIDATE, "health-advanced", said)
    desk.say(f"  {said}")
    if wrong:
        are = verb(len(wrong), "are")
        desk.left(
            f"'strongroom health-advanced' says that {plural(len(wrong), 'thing')} {are} wrong: {checks}."
        )
