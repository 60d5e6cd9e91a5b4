"""Steps one and three: what is lost and what is compromised, and which backups bring it back."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from strongroom.cli.commands.incident.suspected import key_of
from strongroom.cli.commands.recovery.assess import LossSurvey, destinations, survey, usual_destination
from strongroom.cli.commands.recovery.backups import know_backups
from strongroom.cli.commands.recovery.tools import RecoveryTools
from strongroom.cli.shared.configured_keys import configured_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, in_line, plural, table
from strongroom.config import load_settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.operations.archive.incidents import StepOutcome, Suspicion
from strongroom.operations.archive.recoveries import (
    RecoveryEntryKind,
    RecoveryPart,
    RecoveryScope,
    RecoveryStep,
    SourceSeen,
)
from strongroom.operations.archive.shortfall import BackupDoubt, Why
from strongroom.operations.incident.readers import readers_of
from strongroom.operations.key_management.usage import KeyUse
from strongroom.operations.key_management.usage import survey as survey_keys
from strongroom.words import verb


def assess(at: RecoveryTools) -> StrongroomError | None:
    """Find out what is lost, ask what is compromised, and put both on record."""
    try:
        found = survey(at.given.arguments, at.here)
    except StrongroomError as error:
        at.record.prove(RecoveryStep.ASSESS, "sources and targets", code=error.code)
        return error
    at.screen.say(*(f"  {line}" for line in _sources(found)), *(f"  {line}" for line in _away(found)))
    at.screen.say(*(f"  {line}" for line in _doubts(found)))
    names = [source.name for source in found.sources]
    lacking = [source.name for source in found.sources if source.lacks or _is_doubted(found, source.name)]
    lost = at.ask.choose("lost", "Which sources are lost?", names, lacking)
    leaked = _leaked(at)
    if leaked:
        _show_exposed(at, leaked)
    scope = RecoveryScope(
        sources=found.sources, away=found.away, lost=lost, leaked=leaked, into=_into(at, found, lost)
    )
    at.record.note(RecoveryEntryKind.SCOPE, RecoveryStep.ASSESS, scope=scope)
    at.record.prove(RecoveryStep.ASSESS, "sources", f"{plural(len(lost), 'source')} lost of {len(names)}")
    at.record.prove(
        RecoveryStep.ASSESS,
        "targets",
        f"{plural(len(found.away), 'target')} {verb(len(found.away), 'do')} not answer",
    )
    return None


def _sources(found: LossSurvey) -> list[str]:
    rows = [
        (source.name, "no answer" if source.there is None else source.there, source.held, _in_short(source))
        for source in found.sources
    ]
    return table(("SOURCE", "SECRETS THERE", "IN ITS BACKUP", "REMARK"), rows)


def _doubts(found: LossSurvey) -> Iterator[str]:
    """Say what the newest backup of a source lacks of those before it, and what speaks against it."""
    for name, shortfall in found.lacking.items():
        if lines := list(shortfall.lines()):
            yield f"The newest backup of '{name}', made {shortfall.created_at}: {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])


def _unseen(found: LossSurvey, name: str) -> Iterator[BackupDoubt]:
    """Yield what speaks for a newer backup that cannot be read, or not be trusted to be newer."""
    if name in found.lacking:
        yield from (doubt for doubt in found.lacking[name].findings if doubt.why in _NEWER)


_NEWER: Final = (Why.LOST, Why.DAMAGED, Why.AHEAD)


def _is_doubted(found: LossSurvey, name: str) -> bool:
    """Tell whether the newest backup was made after the damage, so that a source that is like it is lost."""
    return name in found.lacking and any(doubt.why in _AFTER for doubt in found.lacking[name].findings)


_AFTER: Final = (Why.SHRUNK, Why.MASS_CHANGE)


def _in_short(source: SourceSeen) -> str:
    return in_line(source.why)[:100] or "nothing is missing"


def _away(found: LossSurvey) -> list[str]:
    if not found.away:
        return ["Every target answers."]
    return [f"Target '{name}' does not answer: {in_line(why)[:140]}" for name, why in found.away.items()]


def _leaked(at: RecoveryTools) -> tuple[str, ...]:
    known = list(at.here.section("keys"))
    if not known:
        return ()
    question = f"Which keys may be in wrong hands? There are: {', '.join(known)}."
    return at.ask.choose("leaked", question, known, ())


def _show_exposed(at: RecoveryTools, leaked: tuple[str, ...]) -> None:
    """Say which backups the leaked keys open, as far as this machine knows its backups."""
    know_backups(at, RecoveryStep.ASSESS)
    looked = at.apart.run(_uses, dict[str, KeyUse], typed=("keys", "list"))
    for name, use in (looked.answer or {}).items():
        if name in leaked:
            many = plural(len(use.backups), "backup")
            said = f"'{name}' opens {many}, made from {use.oldest} to {use.newest}"
            at.record.prove(RecoveryStep.ASSESS, "keys", said, of=name)
            at.screen.say(f"  {said}.")
    _show_readers(at, leaked)
    at.screen.say("  Step 6 seals them again, and gives their secrets new values.")


def _uses(arguments: Namespace, output: Output) -> dict[str, KeyUse]:
    """Return what each configured key opens of the backups on record here."""
    settings = load_settings()
    services = open_services(settings)
    looked = survey_keys(services, services.store.backups())
    named, _ = configured_keys(settings)
    return {
        name: use
        for name, configured_key in named.items()
        if (use := looked.of(configured_key.key)) is not None
    }


def _show_readers(at: RecoveryTools, leaked: tuple[str, ...]) -> None:
    """Say who opened those backups, as far as this host knows, and who knows of others.

    No incident is opened yet: it would put into quarantine what is to be restored first.
    """
    keys = [word for key in leaked for word in ("--key", key)]
    again = " ".join(("strongroom incident readers", *keys))
    work = partial(_readers, leaked=leaked, again=again)
    looked = at.apart.run(work, StepOutcome, typed=("incident", "readers", *keys))
    found = looked.answer or StepOutcome()
    lines = [
        f"{opener.who} {opener.did}: {plural(opener.times, 'time')}, last at {opener.last}"
        for opener in found.readers
    ]
    more = [f"and {len(lines) - READERS:,} more"] if len(lines) > READERS else []
    if looked.answer is None or (found.missing and not lines):
        said = ["not known on this host"]
    else:
        said = [*lines[:READERS], *more] or ["nobody, by the record of this host"]
    at.record.prove(RecoveryStep.ASSESS, "who read them", *said, code=looked.code)
    at.screen.say("  Who opened them:", *(f"    {line}" for line in said))
    at.screen.say(*(f"    {in_line(line)}" for line in found.left))


def _readers(arguments: Namespace, output: Output, *, leaked: Sequence[str], again: str) -> StepOutcome:
    settings = load_settings()
    keys = tuple(sorted(key_of(word, settings) for word in leaked))
    return readers_of(open_services(settings), Suspicion(keys=keys), again=again)


READERS: Final = 20
"""Readers that are shown and kept on record, the latest first: 'strongroom incident readers' has all."""


def _into(at: RecoveryTools, found: LossSurvey, lost: tuple[str, ...]) -> dict[str, str]:
    known = destinations(at.here)
    into: dict[str, str] = {}
    for source in found.sources:
        if source.name in lost:
            usual = usual_destination(source, at.here)
            question = f"Where is '{source.name}' restored into? There is: {', '.join(known)}."
            into[source.name] = at.ask.one(f"into.{source.name}", question, known, usual)
    return into


# -- 3 ------------------------------------------------------------------------------------


def locate(at: RecoveryTools) -> StrongroomError | None:
    """Choose the backups: for each lost source the newest that is trusted and in no quarantine."""
    try:
        found = survey(at.given.arguments, at.here)
    except StrongroomError as error:
        at.record.prove(RecoveryStep.LOCATE, "choice of backups", code=error.code)
        return error
    scope = at.record.recovery.scope
    assert scope is not None
    for line in found.passed:
        at.screen.say(f"  skipped: {line}")
    at.screen.say(*(f"  {line}" for line in _doubts(found)))
    at.record.left(*(f"'{name}': {doubt.said}." for name in scope.lost for doubt in _unseen(found, name)))
    parts = [replace(part, into=scope.into[name]) for name in scope.lost for part in _chosen(at, found, name)]
    for part in parts:
        limits = f", of secrets {part.limits}" if part.limits else ""
        on = ", ".join(part.on)
        at.screen.say(
            f"  '{part.source}': backup {part.backup} of policy '{part.policy}'",
            f"    made {part.made_at}{limits}: {plural(part.secrets, 'secret')}, on {on}",
        )
        said = f"trusted, and on {plural(len(part.on), 'target')}: {on}"
        at.record.prove(RecoveryStep.LOCATE, "choice of backups", said, of=part.backup)
    without = [name for name in scope.lost if name not in {part.source for part in parts}]
    at.record.note(RecoveryEntryKind.PARTS, RecoveryStep.LOCATE, parts=tuple(parts))
    lacking = [f"No backup with values brings back '{name}'." for name in without]
    if not parts:
        return MissingPiece(" ".join(lacking), hint=_NO_BACKUP)
    at.screen.say(*(f"  {line} It is left out." for line in lacking))
    at.record.left(*(f"{line} {_NO_BACKUP}" for line in lacking))
    return None


def _chosen(at: RecoveryTools, found: LossSurvey, name: str) -> tuple[RecoveryPart, ...]:
    """Return the backups of a source: from before the damage, if the newest has the damaged values.

    What is merely missing from the newest comes out of earlier ones, so that is no reason to leave it.
    """
    parts, sound = found.parts.get(name, ()), found.sound.get(name)
    if sound is None or not parts:
        return parts
    question = (
        f"Which backup of '{name}' is restored: '{sound.backup}', made {sound.made_at}, the last that was "
        f"found sound; or 'newest', made {parts[-1].made_at}?"
    )
    if at.ask.one(f"from.{name}", question, (sound.backup, "newest"), sound.backup) == "newest":
        return parts
    later = (
        f"strongroom restore --full-restore --backup {parts[-1].backup} --to {at.record.recovery.into(name)}"
    )
    at.record.left(
        f"Secrets that were made after {sound.made_at} are in a newer backup. This adds them: {later}"
    )
    return (sound,)


_NO_BACKUP = (
    "See what there is: 'strongroom backups list --from-target TARGET'. Mount another copy, or the medium "
    "from the safe."
)
