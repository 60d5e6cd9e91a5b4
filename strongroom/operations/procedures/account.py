"""What is on record of a recovery or an incident, told in one way: how it stands, and its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from strongroom.sheet import Cell, Lines, Mood, Pairs, Part, Sheet, Table, marked
from strongroom.times import readable


class StepAccount(Struct, frozen=True, kw_only=True):
    """A step in words. ``found`` is what came of it, ``missing`` says why something of it is not done."""

    name: str
    state: str
    settled: bool
    by: str = ""
    at: str = ""
    found: Sequence[str] = ()
    missing: Mapping[str, str] = {}


class ProcedureAccount(Struct, frozen=True, kw_only=True):
    """What a report says of its case, in words.

    ``left`` is what people have to do still, ``next`` the command that goes on. ``main`` stands in the status
    too, ``details`` in the report alone.
    """

    kind: str
    case: str
    verdict: str
    mood: Mood
    about: str
    happened: Sequence[tuple[str, str]]
    steps: Sequence[StepAccount]
    left: Sequence[str]
    next: str
    main: Sequence[Part] = ()
    details: Sequence[Part] = ()

    @property
    def title(self) -> str:
        return f"{self.kind} {self.case}"

    def report(self, *, foot: str) -> Sheet:
        """Return all of it: what a signed document vouches for."""
        sheet = self._sheet()
        return replace(sheet, kind=f"{self.kind} report", parts=(*sheet.parts, *self.details), foot=foot)

    def status(self, *parts: Part) -> Sheet:
        """Return how it stands, what else there is to say, and last the command that goes on."""
        sheet = self._sheet()
        goes_on = Lines([self.next] if self.next else [], "Next", style="code")
        return replace(sheet, parts=(*sheet.parts, *parts, goes_on))

    def _sheet(self) -> Sheet:
        return Sheet(
            title=self.title,
            verdict=self.verdict,
            mood=self.mood,
            about=self.about,
            parts=list(self._parts()),
        )

    def _parts(self) -> Iterator[Part]:
        yield Pairs(self.happened, "What happened")
        rows = [
            (marked(step.name, bad=not step.settled), step.state, _outcome_of(step)) for step in self.steps
        ]
        yield Table(("Step", "State", "Outcome"), rows, "What was done")
        missing = [
            (marked(step.name, bad=True), what, why)
            for step in self.steps
            for what, why in step.missing.items()
        ]
        if missing:
            yield Table(("Step", "What", "Why"), missing, "What is not done, and why")
        yield Lines(self.left, "What is left to do", style="list")
        yield from self.main


def together(accounts: Iterable[ProcedureAccount]) -> Iterator[Part]:
    """Yield how several cases stand, one after the other."""
    for account in accounts:
        sheet = account.status()
        yield Lines([Cell(sheet.verdict, sheet.mood), sheet.about], sheet.title)
        yield from (replace(part, sub=True) for part in sheet.parts)


def _outcome_of(step: StepAccount) -> str:
    who = ", ".join(filter(None, (step.by, readable(step.at))))
    return "; ".join((*step.found, *([who] if who else [])))
