"""Step five: validate what came back, and look at the whole installation."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from strongroom.cli.commands.recovery.restoring import left_out
from strongroom.cli.commands.recovery.tools import RecoveryTools
from strongroom.cli.commands.validation.production import look_at_production
from strongroom.cli.commands.validation.render import all_findings
from strongroom.cli.commands.validation.validate import look_at_source
from strongroom.cli.shared.health_areas import check_areas
from strongroom.cli.terminal.output import Output, in_line, plural, verb
from strongroom.config import load_settings
from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.operations.archive.recoveries import RecoveryPart, RecoveryStep
from strongroom.operations.findings import Finding as Looked
from strongroom.operations.findings import FindingState
from strongroom.operations.validation.live import OTHERWISE, Validated
from strongroom.operations.validation.value_checks import SecretFinding

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
    partial_ = ["--partial"] if part.limits else []
    words = [
        "check",
        "secrets",
        "--source",
        part.into,
        "--backup",
        part.backup,
        *partial_,
        *at.given.reading(part.on),
    ]
    done = at.apart.command(words, look_at_source, Validated)
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
    return None if left else _not_as_in(part, wrong)


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


def _not_as_in(part: RecoveryPart, wrong: Sequence[SecretFinding]) -> VerificationFailed:
    said = f"{plural(len(wrong), 'secret')} in '{part.into}' {verb(len(wrong), 'are')} not as in the backup"
    return VerificationFailed(
        f"{said}, such as {in_line(wrong[0].secret)}: {wrong[0].text}.",
        hint="Somebody may have changed it since. Restore it once more, or leave it so, then try again.",
    )


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
    words = ["check", "secrets", "--production", *at.given.keys(), *at.given.signers()]
    done = at.apart.command(words, _findings, tuple[SecretFinding, ...])
    wrong = [finding for finding in done.answer or () if finding.wrong]
    said = f"{plural(len(wrong), 'thing')} wrong" if done.answer is not None else ""
    at.record.prove(RecoveryStep.VALIDATE, "validate --production", *filter(None, [said]), code=done.code)
    at.screen.say(*_lines("wrong", wrong))
    if wrong or done.code:
        at.record.left(
            "'strongroom check secrets --production' says what else is wrong with the secrets in use."
        )


def _findings(arguments: Namespace, output: Output) -> tuple[SecretFinding, ...]:
    return tuple(all_findings(*look_at_production(arguments, output)))


def _is_left(finding: Looked) -> bool:
    """Tell whether it is left to do after a loss. Of warnings that is a lost region; the others were there
    before."""
    away = finding.kind == "target.away" and finding.state is not FindingState.GOOD
    return finding.state is FindingState.WRONG or away


def _health(at: RecoveryTools) -> None:
    """Look at the whole installation. After a loss much is still wrong there, and no reason to stop here."""
    done = at.apart.run(_areas, tuple[Looked, ...], typed=["check"])
    wrong = [finding for finding in done.answer or () if _is_left(finding)]
    checks = ", ".join(dict.fromkeys(finding.check for finding in wrong))
    if done.answer is None:
        said = f"it could not be read ({done.code})"
    else:
        said = f"{plural(len(wrong), 'thing')} wrong: {checks}" if wrong else "nothing is wrong"
    at.record.prove(RecoveryStep.VALIDATE, "check", said)
    at.screen.say(f"  {said}")
    if wrong:
        are = verb(len(wrong), "are")
        at.record.left(f"'strongroom check' says that {plural(len(wrong), 'thing')} {are} wrong: {checks}.")


def _areas(arguments: Namespace, output: Output) -> tuple[Looked, ...]:
    findings, _ = check_areas(load_settings(), days=DAYS, now=time.time())
    return tuple(findings)
