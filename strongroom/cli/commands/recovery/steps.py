"""Steps one and three: what is lost and what is compromised, and which backups bring it back."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import Final

from msgspec.structs import replace

from strongroom.cli.commands.incident.suspected import key_of
from strongroom.cli.commands.recovery.assess import Survey, destinations, survey, usual_destination
from strongroom.cli.commands.recovery.backups import know_backups
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.commands.recovery.forked_step import Shown
from strongroom.cli.shared.configured_keys import configured_keys
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, in_line, plural, table
from strongroom.config import load_settings
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.operations.archive.incidents import Outcome, Suspicion
from strongroom.operations.archive.recoveries import About, Part, Scope, SourceSeen, Step
from strongroom.operations.archive.shortfall import Finding, Why
from strongroom.operations.incident.readers import readers_of
from strongroom.operations.key_management.usage import KeyUse
from strongroom.operations.key_management.usage import survey as survey_keys
from strongroom.words import verb


def assess(desk: Desk) -> Shown:
    """Find out what is lost, ask what is compromised, and put both on record."""
    try:
        found = survey(desk.arguments, desk.here)
    except StrongroomError as error:
        desk.prove(Step.ASSESS, "sources and targets", code=error.code)
        return Shown(error=error)
    desk.say(*(f"  {line}" for line in _sources(found)), *(f"  {line}" for line in _away(found)))
    desk.say(*(f"  {line}" for line in _doubts(found)))
    names = [source.name for source in found.sources]
    lacking = [one.name for one in found.sources if one.lacks or _is_doubted(found, one.name)]
    lost = desk.dialogue.choose("lost", "Which sources are lost?", names, lacking)
    leaked = _leaked(desk)
    if leaked:
        _show_exposed(desk, leaked)
    scope = Scope(
        sources=found.sources, away=found.away, lost=lost, leaked=leaked, into=_into(desk, found, lost)
    )
    desk.note(About.SCOPE, Step.ASSESS, scope=scope)
    desk.prove(Step.ASSESS, "sources", f"{plural(len(lost), 'source')} lost of {len(names)}")
    desk.prove(
        Step.ASSESS,
        "targets",
        f"{plural(len(found.away), 'target')} {verb(len(found.away), 'do')} not answer",
    )
    return Shown()


def _sources(found: Survey) -> list[str]:
    rows = [
        (one.name, "no answer" if one.there is None else one.there, one.held, _in_short(one))
        for one in found.sources
    ]
    return table(("SOURCE", "SECRETS THERE", "IN ITS BACKUP", "REMARK"), rows)


def _doubts(found: Survey) -> Iterator[str]:
    """Say what the newest backup of a source lacks of those before it, and what speaks against it."""
    for name, one in found.lacking.items():
        if lines := list(one.lines()):
            yield f"The newest backup of '{name}', made {one.created_at}: {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])


def _unseen(found: Survey, name: str) -> Iterator[Finding]:
    """Yield what speaks for a newer backup that cannot be read, or not be trusted to be newer."""
    if name in found.lacking:
        yield from (one for one in found.lacking[name].findings if one.why in _NEWER)


_NEWER: Final = (Why.LOST, Why.DAMAGED, Why.AHEAD)


def _is_doubted(found: Survey, name: str) -> bool:
    """Tell whether the newest backup was made after the damage, so that a source that is like it is lost."""
    return name in found.lacking and any(one.why in _AFTER for one in found.lacking[name].findings)


_AFTER: Final = (Why.SHRUNK, Why.MASS_CHANGE)


def _in_short(source: SourceSeen) -> str:
    return in_line(source.why)[:100] or "nothing is missing"


def _away(found: Survey) -> list[str]:
    if not found.away:
        return ["Every target answers."]
    return [f"Target '{name}' does not answer: {in_line(why)[:140]}" for name, why in found.away.items()]


def _leaked(desk: Desk) -> tuple[str, ...]:
    known = list(desk.here.section("keys"))
    if not known:
        return ()
    question = f"Which keys may be in wrong hands? There are: {', '.join(known)}."
    return desk.dialogue.choose("leaked", question, known, ())


def _show_exposed(desk: Desk, leaked: tuple[str, ...]) -> None:
    """Say which backups the leaked keys open, as far as this machine knows its backups."""
    know_backups(desk, Step.ASSESS)
    looked = desk.look(("keys", "list"), _uses, dict[str, KeyUse])
    for name, use in (looked.answer or {}).items():
        if name in leaked:
            many = plural(len(use.backups), "backup")
            said = f"'{name}' opens {many}, made from {use.oldest} to {use.newest}"
            desk.prove(Step.ASSESS, "keys", said, of=name)
            desk.say(f"  {said}.")
    _show_readers(desk, leaked)
    desk.say("  Step 6 seals them again, and gives their secrets new values.")


def _uses(arguments: Namespace, output: Output) -> dict[str, KeyUse]:
    """Return what each configured key opens of the backups on record here."""
    settings = load_settings()
    services = open_services(settings)
    looked = survey_keys(services, services.store.backups())
    named, _ = configured_keys(settings)
    return {name: use for name, one in named.items() if (use := looked.of(one.key)) is not None}


def _show_readers(desk: Desk, leaked: tuple[str, ...]) -> None:
    """Say who opened those backups, as far as this host knows, and who knows of others.

    No incident is opened yet: it would put into quarantine what is to be restored first.
    """
    keys = [word for key in leaked for word in ("--key", key)]
    again = " ".join(("strongroom incident readers", *keys))
    looked = desk.look(("incident", "readers", *keys), partial(_readers, again=again), Outcome)
    found = looked.answer or Outcome()
    lines = [f"{one.who} {one.did}: {plural(one.times, 'time')}, last at {one.last}" for one in found.readers]
    more = [f"and {len(lines) - READERS:,} more"] if len(lines) > READERS else []
    if looked.answer is None or (found.missing and not lines):
        said = ["not known on this host"]
    else:
        said = [*lines[:READERS], *more] or ["nobody, by the record of this host"]
    desk.prove(Step.ASSESS, "who read them", *said, code=looked.code)
    desk.say("  Who opened them:", *(f"    {line}" for line in said))
    desk.say(*(f"    {in_line(line)}" for line in found.left))


def _readers(arguments: Namespace, output: Output, *, again: str) -> Outcome:
    settings = load_settings()
    keys = tuple(sorted(key_of(word, settings) for word in arguments.key))
    return readers_of(open_services(settings), Suspicion(keys=keys), again=again)


READERS: Final = 20
"""Readers that are shown and kept on record, the latest first: 'strongroom incident readers' has all."""


def _into(desk: Desk, found: Survey, lost: tuple[str, ...]) -> dict[str, str]:
    known = destinations(desk.here)
    into: dict[str, str] = {}
    for source in found.sources:
        if source.name in lost:
            usual = usual_destination(source, desk.here)
            question = f"Where is '{source.name}' restored into? There is: {', '.join(known)}."
            into[source.name] = desk.dialogue.one(f"into.{source.name}", question, known, usual)
    return into


# -- 3 ------------------------------------------------------------------------------------


def locate(desk: Desk) -> Shown:
    """Choose the backups: for each lost source the newest that is trusted and in no quarantine."""
    try:
        found = survey(desk.arguments, desk.here)
    except StrongroomError as error:
        desk.prove(Step.LOCATE, "choice of backups", code=error.code)
        return Shown(error=error)
    scope = desk.recovery.scope
    assert scope is not None
    for line in found.passed:
        desk.say(f"  skipped: {line}")
    desk.say(*(f"  {line}" for line in _doubts(found)))
    desk.left(*(f"'{name}': {one.said}." for name in scope.lost for one in _unseen(found, name)))
    parts = [
        replace(part, into=scope.into[name]) for name in scope.lost for part in _chosen(desk, found, name)
    ]
    for part in parts:
        limits = f", of secrets {part.limits}" if part.limits else ""
        on = ", ".join(part.on)
        desk.say(
            f"  '{part.source}': backup {part.backup} of policy '{part.policy}'",
            f"    made {part.made_at}{limits}: {plural(part.secrets, 'secret')}, on {on}",
        )
        said = f"trusted, and on {plural(len(part.on), 'target')}: {on}"
        desk.prove(Step.LOCATE, "choice of backups", said, of=part.backup)
    without = [name for name in scope.lost if name not in {part.source for part in parts}]
    desk.note(About.PARTS, Step.LOCATE, parts=tuple(parts))
    lacking = [f"No backup with values brings back '{name}'." for name in without]
    if not parts:
        return Shown(error=MissingPiece(" ".join(lacking), hint=_NO_BACKUP))
    desk.say(*(f"  {line} It is left out." for line in lacking))
    desk.left(*(f"{line} {_NO_BACKUP}" for line in lacking))
    return Shown()


def _chosen(desk: Desk, found: Survey, name: str) -> tuple[Part, ...]:
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
    if desk.dialogue.one(f"from.{name}", question, (sound.backup, "newest"), sound.backup) == "newest":
        return parts
    later = f"strongroom restore --full-restore --backup {parts[-1].backup} --to {desk.into(name)}"
    desk.left(f"Secrets that were made after {sound.made_at} are in a newer backup. This adds them: {later}")
    return (sound,)


_NO_BACKUP = (
    "See what there is: 'strongroom backups list --from-target TARGET'. Mount another copy, or the medium "
    "from the safe."
)
