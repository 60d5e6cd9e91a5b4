"""What validate found, for people and machines, and what the whole comes to. No value is in any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from strongroom.cli.shared import options
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import in_line, plural
from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError
from strongroom.operations.validation.live import LiveComparison, Validated
from strongroom.operations.validation.policies import PolicyComparison
from strongroom.operations.validation.value_checks import SecretFinding
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.sources.errors import SecretNotFound

NAMED = 5
SHOWN = 200
"""Findings that people are shown; machines get all of them."""

_TWICE = frozenset({"missing", "unreadable"})
"""What both looks at a secret tell, by itself and beside a backup, in words of their own."""


def answer(looked: Sequence[Validated], held: Sequence[PolicyComparison]) -> Answer:
    """Answer with all that was found; with SecretNotFound if secrets are missing and nothing else is wrong,
    with VerificationFailed if anything is."""
    findings = all_findings(looked, held)
    wrong = [finding for finding in findings if finding.wrong]
    remarks = len(findings) - len(wrong)
    return Answer(
        record={
            "sources": [_document(validated) for validated in looked],
            "policies": [_document(policy_comparison) for policy_comparison in held],
            "findings": findings,
            "wrong": len(wrong),
            "remarks": remarks,
        },
        sheet=Sheet(
            verdict="" if wrong else f"Nothing is wrong; {plural(remarks, 'remark')}.",
            parts=list(_parts(looked, held, findings)),
        ),
        error=_error(wrong) if wrong else None,
    )


def all_findings(looked: Sequence[Validated], held: Sequence[PolicyComparison]) -> list[SecretFinding]:
    """Return each finding once, with its source, the wrong ones first."""
    found: dict[tuple[str, str, str, str], SecretFinding] = {}
    pairs = [(validated.source, finding) for validated in looked for finding in validated.findings]
    pairs += [
        (policy_comparison.source, finding)
        for policy_comparison in held
        for finding in policy_comparison.findings
    ]
    for source, finding in pairs:
        named = replace(finding, source=finding.source or source)
        key = (named.source, named.secret, named.check, "" if named.check in _TWICE else named.text)
        if key not in found or named.wrong:
            found[key] = named
    return sorted(found.values(), key=lambda secret_finding: not secret_finding.wrong)


def _document(validated: Validated | PolicyComparison) -> dict[str, Any]:
    return {name: getattr(validated, name) for name in validated.__struct_fields__ if name != "findings"}


def _parts(
    looked: Sequence[Validated], held: Sequence[PolicyComparison], findings: Sequence[SecretFinding]
) -> Iterator[Part]:
    lines = []
    for validated in looked:
        lines.append(f"{_name(validated.source)}: {plural(validated.secrets, 'secret')} looked at")
        if validated.compared is not None:
            lines.append(f"  compared with the backup: {_words(validated.compared)}")
    yield Lines(lines)
    policies = [
        (
            policy_comparison.policy,
            policy_comparison.source,
            policy_comparison.backup or "-",
            policy_comparison.held,
            policy_comparison.now,
            policy_comparison.depth.value,
            _compared(policy_comparison),
        )
        for policy_comparison in held
    ]
    yield Table(("Policy", "Source", "Backup", "Held", "Now", "Depth", "Compared"), policies)
    rows = [
        (
            "wrong" if finding.wrong else "remark",
            finding.source,
            finding.secret or "-",
            finding.check,
            finding.text,
        )
        for finding in findings[:SHOWN]
    ]
    yield Table(("State", "Source", "Secret", "Check", "What"), rows)
    if len(findings) > SHOWN:
        yield Lines([f"{plural(len(findings) - SHOWN, 'more finding')}: --json has all of them."])


def _compared(policy_comparison: PolicyComparison) -> str:
    return "-" if policy_comparison.compared is None else _words(policy_comparison.compared)


def _words(counts: LiveComparison) -> str:
    numbers = {
        "the same": counts.same,
        "otherwise": counts.differs,
        "missing from the source": counts.missing,
        "not in the backup": counts.not_in_backup,
    }
    return ", ".join(f"{number:,} {words}" for words, number in numbers.items() if number) or "nothing there"


def _name(source: str) -> str:
    return "The local store" if source == options.LOCAL else f"'{source}'"


def _error(wrong: Sequence[SecretFinding]) -> StrongroomError:
    """Return what the whole comes to: names that are missing alone are one thing, all else another."""
    if all(finding.check == "missing" for finding in wrong):
        return SecretNotFound(
            f"{plural(len(wrong), 'secret')} that should be there {'is' if len(wrong) == 1 else 'are'} not.",
            hint="Each is listed. If it was deleted on purpose since, all is well; else restore it.",
        )
    named = ", ".join(
        in_line(f"{finding.secret or finding.source}: {finding.check}") for finding in wrong[:NAMED]
    )
    more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return VerificationFailed(
        f"{plural(len(wrong), 'thing')} wrong: {named}{more}.",
        hint="Each line above says what. Restore that secret once more, or put it right at its source.",
    )
