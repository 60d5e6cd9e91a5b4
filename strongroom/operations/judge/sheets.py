"""A judgement as a sheet: one text for one thing, whoever shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from strongroom.operations.engine.findings import Finding, FindingState, worst_error, worst_first
from strongroom.operations.engine.muted import Muted
from strongroom.sheet import Cell, Lines, Mood, Pairs, Part, Sheet, Table
from strongroom.words import plural

TO_ACT_ON: Final = (FindingState.WRONG, FindingState.UNKNOWN, FindingState.WARNING)
WORDS: Final = {
    FindingState.WRONG: "critical",
    FindingState.UNKNOWN: "could not look",
    FindingState.WARNING: "warning",
    FindingState.REMARK: "remark",
    FindingState.GOOD: "good",
}
MOODS: Final = {
    FindingState.WRONG: Mood.BAD,
    FindingState.UNKNOWN: Mood.BAD,
    FindingState.WARNING: Mood.WARN,
    FindingState.REMARK: Mood.PLAIN,
    FindingState.GOOD: Mood.GOOD,
}


def told(finding: Finding, muted: Muted | None = None) -> Lines:
    """Return what happened, what to do, and what people said of it."""
    said = muted.said_of(finding.key) if muted is not None else ()
    to_do = [f"What to do: {finding.to_do}"] if finding.to_do else []
    heading = f"{WORDS[finding.state].upper()}  {finding.key or finding.check}"
    return Lines([finding.what, *to_do, *said], heading=Cell(heading, MOODS[finding.state]))


def counted(findings: Iterable[Finding]) -> str:
    """Count findings by how bad they are: the same words and numbers wherever they are counted."""
    states = [finding.state for finding in findings]
    many = ((state, states.count(state)) for state in FindingState)
    return ", ".join(f"{count:,} {_word(state, count)}" for state, count in many if count)


def _word(state: FindingState, count: int) -> str:
    nouns = {FindingState.WARNING: "warning", FindingState.REMARK: "remark"}
    return plural(count, nouns[state]).partition(" ")[2] if state in nouns else WORDS[state]


def verdict(findings: Sequence[Finding], what: str) -> tuple[str, Mood]:
    """Return one sentence that says how it stands, and its mood."""
    states = {finding.state for finding in findings}
    worst = worst_error(findings)
    well = "nothing is wrong, and everything was checked"
    bad = "not everything is known" if FindingState.UNKNOWN in states else "not all is well"
    bad = "not well" if FindingState.WRONG in states else bad
    named = f"; exit code {worst.exit_code}, {worst.code}" if worst else ""
    mood = min((MOODS[finding.state] for finding in findings), key=_WORST.index, default=Mood.GOOD)
    said = counted(findings) or "nothing to check"
    return f"{what}: {bad if worst else well} ({said}{named}).", Mood.GOOD if worst is None else mood


_WORST = (Mood.BAD, Mood.WARN, Mood.PLAIN, Mood.GOOD)


def installation(findings: Sequence[Finding], metrics: Sequence[tuple[str, str]]) -> Sheet:
    """Return an installation as it was judged, the worst first, then what is good of it."""
    ordered = worst_first(findings)
    said, mood = verdict(findings, "This installation")
    bad = [told(finding) for finding in ordered if finding.state in TO_ACT_ON]
    parts: list[Part] = [
        *bad,
        *_rest(ordered, FindingState.REMARK, "Remarks"),
        *_rest(ordered, FindingState.GOOD, "Good"),
    ]
    return Sheet(verdict=said, mood=mood, parts=[*parts, Pairs(metrics, heading="Key metrics")])


def _rest(findings: Iterable[Finding], state: FindingState, heading: str) -> Iterator[Part]:
    mine = [finding for finding in findings if finding.state is state]
    rows = [
        (finding.check, Cell(finding.what, small=finding.to_do and f"({finding.to_do})")) for finding in mine
    ]
    if rows:
        yield Table(("Area", "What"), rows, heading=heading)


def backups(findings: Sequence[Finding], many: int) -> Sheet:
    """Return backups that were looked at: a table for each, and one of what is about none."""
    said, mood = verdict(findings, plural(many, "backup"))
    parts: list[Part] = []
    for name in sorted({finding.backup for finding in findings}, key=lambda name: (name == "", name)):
        mine = [finding for finding in findings if finding.backup == name]
        heading = f"{name}, of policy '{mine[0].policy}'" if name else "Keys, targets and policies"
        merged = worst_first(_merged(mine))
        rows = [
            (
                finding.check,
                Cell(WORDS[finding.state], MOODS[finding.state]),
                finding.target or "-",
                finding.what,
            )
            for finding in merged
        ]
        parts.append(Table(("Check", "State", "Target", "What"), rows, heading=heading))
        to_do = dict.fromkeys(
            finding.to_do for finding in merged if finding.to_do and finding.state is not FindingState.GOOD
        )
        parts += [Lines(list(to_do), style="list", heading="To do", sub=True)] if to_do else []
    return Sheet(verdict=said, mood=mood, parts=parts)


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield what is the same on several targets once."""
    found: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.check, finding.state, finding.what, finding.to_do), []).append(finding)
    for same in found.values():
        yield same[0].on(
            target=", ".join(
                dict.fromkeys(other_finding.target for other_finding in same if other_finding.target)
            )
        )
