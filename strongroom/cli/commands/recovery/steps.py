"""The first three steps: what is lost, whether this machine may recover, and which backups bring it back."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from strongroom.cli.commands.recovery.assess import Survey, destinations, survey, usual_destination
from strongroom.cli.commands.recovery.child import Shown
from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.terminal.output import in_line, plural, table
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.operations.archive.recoveries import About, Scope, SourceSeen, Step
from strongroom.words import verb


def assess(desk: Desk) -> Shown:
    """Find out what is lost, ask what is compromised, and put both on record."""
    try:
        found = survey(desk.arguments, desk.here)
    except StrongroomError as error:
        desk.prove(Step.ASSESS, "sources and targets", code=error.code)
        return Shown(error=error)
    desk.say(*(f"  {line}" for line in _sources(found)), *(f"  {line}" for line in _away(found)))
    names = [source.name for source in found.sources]
    lacking = [source.name for source in found.sources if source.lacks]
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
    desk.know_backups(Step.ASSESS)
    ran = desk.look("keys")
    for key in ran.document.get("keys", ()):
        if key["name"] in leaked:
            many = plural(len(key["backups"]), "backup")
            said = f"'{key['name']}' opens {many}, made from {key['oldest']} to {key['newest']}"
            desk.prove(Step.ASSESS, "keys", said, of=key["name"])
            desk.say(f"  {said}.")
    _show_readers(desk, leaked)
    desk.say("  Step 6 seals them again, and gives their secrets new values.")


def _show_readers(desk: Desk, leaked: tuple[str, ...]) -> None:
    """Say who opened those backups, as far as this host knows, and who knows of others.

    No incident is opened yet: it would put into quarantine what is to be restored first.
    """
    keys = [word for key in leaked for word in ("--key", key)]
    ran = desk.look("incident", "readers", *keys)
    found = [
        f"{one['who']} {one['did']}: {plural(one['times'], 'time')}, last at {one['last']}"
        for one in ran.document.get("readers", ())
    ]
    more = [f"and {len(found) - READERS:,} more"] if len(found) > READERS else []
    if ran.code and not found:
        said = ["not known on this host"]
    else:
        said = [*found[:READERS], *more] or ["nobody, by the record of this host"]
    desk.prove(Step.ASSESS, "who read them", *said, code=ran.code)
    desk.say("  Who opened them:", *(f"    {line}" for line in said))
    desk.say(*(f"    {in_line(line)}" for line in ran.document.get("left", ())))


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


# -- 2 ------------------------------------------------------------------------------------


def secure(desk: Desk) -> Shown:
    """Show that this machine could recover, and is a place where secrets may be."""
    desk.say(
        "  Check with your own eyes: you know who uses this machine, and nobody looks over your shoulder."
    )
    words = ["check-recovery-environment", *_where(desk)]
    ran = desk.run(Step.SECURE, *words)
    desk.say(*(f"  {line}" for line in _checks(ran.document)))
    if not ran.code:
        return Shown()
    desk.say(f"  To restore elsewhere, stop and type: {desk.goes_on} --assess")
    return ran.shown("Put that right, then try again.")


def _where(desk: Desk) -> list[str]:
    """Return what is asked about: without a configuration, the target that was named."""
    named = list(desk.from_targets())
    opening = [*desk.keys(), *desk.signers()]
    if named and not desk.is_configured:
        return ["--backup-file", named[1], *opening]
    scope = desk.recovery.scope
    into = dict.fromkeys(scope.into.values()) if scope else {}
    to = ["--to", next(iter(into))] if len(into) == 1 else []
    return [*to, *opening]


def _checks(document: Any) -> list[str]:
    """Return what is wrong or worth a look, and how much is good."""
    checks = [one for one in document.get("checks", ()) if isinstance(one, dict)]
    shown = [one for one in checks if one.get("state") != "good"]
    lines = [f"{one['state']}: {one['check']}: {in_line(str(one['what']))}" for one in shown]
    return [*lines, f"{plural(len(checks) - len(shown), 'check')} good."]


# -- 3 ------------------------------------------------------------------------------------


def locate(desk: Desk) -> Shown:
    """Choose the backups: for each lost source the newest that is trusted, whole and in no quarantine."""
    try:
        found = survey(desk.arguments, desk.here)
    except StrongroomError as error:
        desk.prove(Step.LOCATE, "choice of backups", code=error.code)
        return Shown(error=error)
    scope = desk.recovery.scope
    assert scope is not None
    parts = [
        replace(part, into=scope.into[name]) for name in scope.lost for part in found.parts.get(name, ())
    ]
    for line in found.passed:
        desk.say(f"  skipped: {line}")
    for part in parts:
        limits = f", of secrets {part.limits}" if part.limits else ""
        on = ", ".join(part.on)
        desk.say(
            f"  '{part.source}': backup {part.backup} of policy '{part.policy}'",
            f"    made {part.made_at}{limits}: {plural(part.secrets, 'secret')}, whole on {on}",
        )
        said = f"trusted and whole on {plural(len(part.on), 'target')}: {on}"
        desk.prove(Step.LOCATE, "choice of backups", said, of=part.backup)
    without = [name for name in scope.lost if name not in {part.source for part in parts}]
    desk.note(About.PARTS, Step.LOCATE, parts=tuple(parts))
    if without:
        return Shown(
            error=MissingPiece(f"No backup with values brings back '{without[0]}'.", hint=_NO_BACKUP)
        )
    return Shown()


_NO_BACKUP = (
    "See what there is: 'strongroom catalog list --from-target TARGET'. Mount another copy, or the medium "
    "from the safe."
)
