"""ledger: the record of events, searched, and held against heads of it that are known elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from string import hexdigits

from msgspec.structs import asdict

from strongroom.cli.commands.reports.arguments import CheckLedger, SearchLedger
from strongroom.cli.parameters import Nothing
from strongroom.cli.shared.services import existing_run_store, open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, verb
from strongroom.config import Settings, load_settings
from strongroom.container.errors import UntrustedSigner
from strongroom.container.marks import LedgerHead
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.heads import STRANGERS
from strongroom.operations.errors import WarningsRaised
from strongroom.operations.evidence import access_log
from strongroom.operations.evidence.ledger import Question, check, happened_at, origin_of, search, who_of
from strongroom.operations.evidence.ledger_heads import PlacedHead, TargetLedger, compare_with_heads, publish
from strongroom.sheet import Lines, Sheet
from strongroom.state.errors import StateError
from strongroom.state.records import Event
from strongroom.state.store import RunStore
from strongroom.targets.errors import TargetUnavailable
from strongroom.times import rfc3339
from strongroom.wiring.read_only import looking_services

# -- ledger: the head of the record of events, and whether the record still leads to those known elsewhere


DIGITS = 64
PUBLISH = "strongroom ledger publish"
_AGAIN = "What the others have holds. Bring it back, then repeat."
_NONE = f"'{PUBLISH}' puts one there. If there was one before, somebody removed it: that is an incident."
_ELSEWHERE = "Whether the newest were cut off, only a head elsewhere can tell: a printed one, or --targets."


def show_head(given: Nothing, output: Output) -> Answer:
    head = check(_store(load_settings())).head
    said = f"event {head.id}, {head.kind}, {head.at}" if head else "Nothing has happened yet."
    return Answer(record={"head": head}, sheet=Sheet(verdict=said, about=head and f"SHA-256 {head.sha256}"))


def publish_head(given: Nothing, output: Output) -> Answer:
    settings = load_settings()
    done = publish(open_services(settings), settings.online)
    said = "Nothing has happened yet."
    if done.head is not None:
        said = f"event {done.head.event}, {done.head.at}, SHA-256 {done.head.sha256}"
    lines = (
        [f"  {placed_head.target}: {_became(placed_head)}" for placed_head in done.places]
        if done.head
        else []
    )
    error: StrongroomError | None = None
    if doubted := [placed_head.target for placed_head in done.places if placed_head.doubt]:
        error = _unheld(doubted)
    elif done.missed:
        error = TargetUnavailable(f"The head is not on {', '.join(done.missed)}.", hint=_AGAIN)
    elif done.untaken:
        hint = "The heads are put. Look at that file's owner and mode, then repeat."
        error = StateError(done.untaken, hint=hint)
    return Answer(record=done, sheet=Sheet(verdict=said, parts=[Lines(lines)]), error=error)


def _unheld(targets: Iterable[str]) -> UntrustedSigner:
    words = f"Nobody who is trusted here signed the heads on {', '.join(targets)}."
    return UntrustedSigner(f"{words} The record was not compared with anything else there.", hint=STRANGERS)


def _became(placed_head: PlacedHead) -> str:
    if placed_head.missed:
        return f"not put there: {placed_head.missed}"
    if placed_head.doubt:
        return f"put; the record was not compared with what is stored there: {placed_head.doubt}"
    if placed_head.follows:
        return f"put; {_other(placed_head.follows)}"
    return "put" if placed_head.new else "there already"


def check_ledger(given: CheckLedger, output: Output) -> Answer:
    if (given.id is None) != (not given.sha256):
        raise UsageError("--id and --sha256 go together: both stand on the paper.")
    if given.known and not given.targets:
        raise UsageError("--known says which other records may be on targets: it goes with --targets.")
    digest = _digest(given.sha256) if given.sha256 else ""
    settings = load_settings()
    checked = check(_store(settings), number=given.id, sha256=digest)
    targets: tuple[TargetLedger, ...] = ()
    if given.targets:
        known = frozenset(given.known)
        targets = compare_with_heads(looking_services(settings), settings.online, known=known)
    lines = [f"{plural(checked.events, 'event')}: each is what was appended, and none is missing in between."]
    if checked.printed:
        lines.append(f"Up to event {checked.printed.id}, of {checked.printed.at}, it is what was printed.")
    lines += [_said(ledger) for ledger in targets] or ([] if checked.printed else [_ELSEWHERE])
    return Answer(
        record={**asdict(checked), "targets": targets},
        sheet=Sheet(parts=[Lines(lines)]),
        error=_lack(targets) if checked.events else _lack(targets, compared=True),
    )


def _lack(targets: Sequence[TargetLedger], *, compared: bool = False) -> StrongroomError | None:
    """Return what keeps a comparison with the heads on targets from being one."""
    if doubted := [ledger.target for ledger in targets if ledger.doubt]:
        return _unheld(doubted)
    if away := [ledger.target for ledger in targets if ledger.missed]:
        return TargetUnavailable(f"The record was not held against {', '.join(away)}.", hint=_AGAIN)
    if targets and not compared and not any(ledger.agree for ledger in targets):
        none = "No target has a signed head of this record: it was compared with none."
        return WarningsRaised(none, hint=_NONE)
    return None


def _store(settings: Settings) -> RunStore:
    """Return the record for a look: one that the look made would be called unchanged."""
    if (store := existing_run_store(settings)) is None:
        hint = "Look at STRONGROOM_STATE_DIR and 'state_dir'. If it is lost: docs/how-to/symptoms.md."
        raise StateError(
            f"There is no state database in {settings.state_dir}: no record of events.", hint=hint
        )
    return store


def _said(ledger: TargetLedger) -> str:
    """Say what a target has of the record, or of others."""
    if ledger.missed:
        return f"{ledger.target}: could not be asked: {ledger.missed}"
    if ledger.doubt:
        return f"{ledger.target}: not held against it: {ledger.doubt}"
    said = [f"no signed head of this record; '{PUBLISH}' puts one there"]
    if (newest := ledger.newest) is not None:
        heads = plural(ledger.agree, "head")
        said = [f"{heads} as the record has it, signed up to event {newest.event}, of {newest.at}"]
    if ledger.foreign:
        said.append(f"{ledger.foreign} that nobody signed who is trusted here")
    return f"{ledger.target}: {'; '.join([*said, *map(_other, ledger.others)])}"


def _other(head: LedgerHead) -> str:
    return f"another record, {head.ledger[:16]}, ends there with event {head.event}, of {head.at}"


def _digest(words: Sequence[str]) -> str:
    """Return what a person typed off a paper."""
    typed = "".join("".join(words).split()).lower()
    if len(typed) != DIGITS or not set(typed) <= set(hexdigits):
        count = f"{plural(len(typed), 'character')} {verb(len(typed), 'were')}"
        raise UsageError(f"A SHA-256 has {DIGITS} digits 0-9 a-f; {count} typed.")
    return typed


# -- ledger search: who did what, when, and from where, by the record of events -----------------


MOST = 1000
"""Events that are shown: the newest that fit."""
_TOLD = (
    "how",
    "what",
    "file",
    "odd",
    "backup",
    "backups",
    "where",
    "why",
    "log",
    "times",
    "command",
    "error",
    "reason",
)


def search_ledger(given: SearchLedger, output: Output) -> Answer:
    settings = load_settings()
    if (store := existing_run_store(settings)) is None:
        raise StateError(
            f"There is no state database in {settings.state_dir}: no record of events.",
            hint="Look at STRONGROOM_STATE_DIR and 'state_dir'.",
        )
    access_log.take(settings.state_dir, store)
    times = {name: at for name in ("since", "until") if (at := getattr(given, name)) is not None}
    question = Question(who=given.who, what=given.what, origin=given.origin, **times)
    found: deque[Event] = deque(maxlen=MOST)
    count = 0
    for event in search(store, question):
        found.append(event)
        count += 1
    lines = [_line(event) for event in found] or ["Nothing on record fits."]
    if count > MOST:
        lines.append(
            f"These are the newest {MOST:,} of {plural(count, 'event')}: narrow it down with --since."
        )
    return Answer(record={"events": list(found), "found": count}, sheet=Sheet(parts=[Lines(lines)]))


def _line(event: Event) -> str:
    told = [f"{name} {_detail_said(event, name)}" for name in _TOLD if event.detail.get(name)]
    run = [f"run {event.run}"] if event.run else []
    words = [f"by {who}" for who in [who_of(event)] if who] + [
        f"from {origin}" for origin in [origin_of(event)] if origin
    ]
    return f"{event.id}  {rfc3339(happened_at(event))}  {event.kind}: {', '.join(words + told + run)}"


def _detail_said(event: Event, name: str) -> str:
    said = event.detail[name]
    return " ".join(map(str, said)) if isinstance(said, list) else str(said)
