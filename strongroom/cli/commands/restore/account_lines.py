"""How a restore and an undo tell what they did, or would do: counts, names, reasons, what to type next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from strongroom.cli.terminal.output import in_line, plural, verb
from strongroom.errors import StrongroomError
from strongroom.operations.restore.journal import DONE, PARTIAL, STOPPED, NotDone, RestoreAccount, Restored
from strongroom.operations.restore.plan import PlanEntry, RestoreAction, Side

NAMED = 100
"""Secrets that are named for each thing that happens to them, unless all are asked for."""

SUCH_AS = 5
"""Secrets that are named for each thing that cannot be reproduced."""


WOULD = {
    RestoreAction.CREATE: "would be created",
    RestoreAction.FINISH: "would be finished: an interrupted restore began to write them",
    RestoreAction.CHANGE: "would be changed to what the backup has",
    RestoreAction.SAME: "already as in the backup",
    RestoreAction.MOVED: "changed since the plan was made and would be left",
    RestoreAction.LEAVE: "{differ} and would be left (--overwrite-existing would replace them)",
    RestoreAction.CANNOT: "could not be restored",
    RestoreAction.MISSING: "not in it, and in earlier backups (--fill-from-earlier restores them too)",
    RestoreAction.LOST: "lost: the values are damaged, and no earlier backup has one",
}


ONE = WOULD | {
    RestoreAction.LEAVE: "{differ} and would be left (--overwrite-existing would replace it)",
}


def how_ended(done: Restored, stopped: BaseException | None) -> str:
    """Return the word that the record has for an end."""
    if stopped is not None:
        return STOPPED
    return PARTIAL if done.not_done else DONE


def counted(*counts: tuple[int, str]) -> Iterator[str]:
    """Yield a line for each number of secrets that is not zero, and what became of them."""
    yield from (f"  {plural(number, 'secret')} {words}" for number, words in counts if number)


def names_left(account: RestoreAccount, *, every: bool) -> Iterator[str]:
    """Yield the names of what was left as it is."""
    yield from _named(account.left, account.counts.left, every=every)


def names_moved(account: RestoreAccount, *, every: bool) -> Iterator[str]:
    """Yield the names of what is no longer as the plan found it."""
    yield from _named(account.moved, account.counts.moved, every=every)


def not_done(account: RestoreAccount, words: str, *, every: bool) -> Iterator[str]:
    """Yield what could not be done, with the reasons, and the file that has all names."""
    if count := account.counts.not_done:
        yield f"  {plural(count, 'secret')} {verb(count, 'were')} not {words}:"
        yield from _reasons(account, every=every)
    if account.names_file is not None:
        yield f"  all of their names are in {account.names_file}"


def summed(worst: StrongroomError, account: RestoreAccount, words: str, *, hint: str) -> StrongroomError:
    """Return an error of the worst one's class that tells of all."""
    count = account.counts.not_done
    codes = ", ".join(f"{number:,} {code}" for code, number in account.by_code.items())
    said = f"{plural(count, 'secret')} {verb(count, 'were')} not {words} ({codes}), and all others were."
    return type(worst)(f"{said} The worst: {worst.message}", hint=hint)


def they(count: int) -> str:
    return "it is" if count == 1 else "they are"


class PlanLines:
    """What a dry run found, by what would happen; names of as many as are asked for."""

    def __init__(self, words: Mapping[RestoreAction, str], *, every: bool) -> None:
        self._words = words
        self.counts: Counter[RestoreAction] = Counter()
        self.codes: Counter[str] = Counter()
        self._every = every
        self._held: dict[RestoreAction, list[PlanEntry]] = {action: [] for action in RestoreAction}
        self._losses: dict[str, tuple[int, list[str]]] = {}

    def add(self, planned: PlanEntry) -> None:
        self.counts[planned.action] += 1
        if planned.action is RestoreAction.CANNOT:
            self.codes[planned.code] += 1
        if planned.loss and len(self._losses) < NAMED:
            self._note_loss(planned)
        held = self._held[planned.action]
        if self._every or (len(held) < NAMED and planned.action is not RestoreAction.SAME):
            held.append(planned)

    def of(self, action: RestoreAction) -> list[PlanEntry]:
        """Return what is held of one thing that would happen."""
        return self._held[action]

    def all(self) -> list[PlanEntry]:
        return [planned for held in self._held.values() for planned in held]

    def lines(self) -> Iterator[str]:
        for action, words in self._words.items():
            if count := self.counts[action]:
                yield f"  {plural(count, 'secret')} {words.format(differ=verb(count, 'differ'))}"
                held = sorted(self._held[action], key=lambda each: each.to)
                yield from (f"      {in_line(each.to)}{_compared(each)}" for each in held)
                if len(held) < count and action is not RestoreAction.SAME:
                    yield f"      and {count - len(held):,} more, which --all-names and --json name"
        for loss, (count, names) in self._losses.items():
            more = ", …" if count > len(names) else ""
            said = f"{plural(count, 'secret')} could not be reproduced in full"
            yield f"  {said} ({', '.join(map(in_line, names))}{more}): {in_line(loss)}"

    def _note_loss(self, planned: PlanEntry) -> None:
        count, names = self._losses.get(planned.loss, (0, []))
        self._losses[planned.loss] = (count + 1, [*names, planned.to][:SUCH_AS])


_NEWER = {
    Side.BACKUP: "the backup's is newer",
    Side.THERE: "what is there is newer",
    Side.NEITHER: "both of the same time",
    Side.UNKNOWN: "which is newer is not known",
}


def _compared(planned: PlanEntry) -> str:
    if planned.action in (RestoreAction.CANNOT, RestoreAction.STAY):
        return f": {in_line(planned.why)}"
    if planned.backup:
        dated = f", version of {in_line(planned.written_at)}" if planned.written_at else ""
        return f"{_other_name(planned)}: in backup {planned.backup}{dated}"
    if planned.newer is None:
        return _other_name(planned)
    there = _version(planned.expected or 0, planned.there_written_at)
    ours = _version(planned.version, planned.written_at)
    return f"{_other_name(planned)}: {_NEWER[planned.newer]} (there {there}; backup {ours})"


def _other_name(planned: PlanEntry) -> str:
    return f" (in the backup: {in_line(planned.name)})" if planned.name != planned.to else ""


def _version(number: int, written_at: str | None) -> str:
    return f"version {number}" + (f" of {in_line(written_at)}" if written_at else "")


def _named(names: Sequence[str], count: int, *, every: bool, indent: int = 4) -> Iterator[str]:
    shown = names if every else names[:NAMED]
    yield from (f"{' ' * indent}{in_line(name)}" for name in shown)
    if len(shown) < count:
        yield f"{' ' * indent}and {count - len(shown):,} more"


def _reasons(account: RestoreAccount, *, every: bool) -> Iterator[str]:
    """Yield, for each class of error, how many secrets were not written, and which."""
    for code, count in account.by_code.items():
        held = (undone for undone in account.not_done if undone.code == code)
        these = sorted(held, key=lambda undone: undone.name)
        yield f"    {count:,} for {code}{_such_as(these)}"
        if count > 1:
            yield from _named([undone.name for undone in these], count, every=every, indent=6)


def _such_as(these: Sequence[NotDone]) -> str:
    return f": {in_line(these[0].why)}" if these else ""
