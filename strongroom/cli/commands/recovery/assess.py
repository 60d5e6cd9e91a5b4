"""Steps one and three: what is lost and what is compromised, and which backups bring it back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.commands.incident.arguments import FindReaders
from strongroom.cli.commands.incident.steps import key_of
from strongroom.cli.commands.recovery.arguments import Recover
from strongroom.cli.commands.recovery.tools import RecoveryTools, know_backups
from strongroom.cli.parameters import command_line
from strongroom.cli.shared import admission, backup_selection, sources
from strongroom.cli.shared.options import LOCAL, OpeningOptions
from strongroom.cli.shared.services import configured_keys, open_services
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import load_settings
from strongroom.container.errors import MissingPiece
from strongroom.container.marks import HoldMark
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.operations.archive.cases import StepOutcome, Suspicion
from strongroom.operations.archive.coverage import Asked, BackupChoice, describe_skipped, limits_of
from strongroom.operations.archive.recoveries import (
    RecoveryEntryKind,
    RecoveryPart,
    RecoveryScope,
    RecoveryStep,
    SourceSeen,
)
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shortfall import BackupDoubt, Earlier, Shortfall, Why
from strongroom.operations.keys.usage import KeyUse
from strongroom.operations.keys.usage import survey as survey_keys
from strongroom.operations.procedures.incident_opening import readers_of
from strongroom.sheet import Sheet, Table
from strongroom.sources.errors import SourceUnavailable
from strongroom.system.attempts import run_all
from strongroom.words import verb

# -- What is lost, and which backups bring it back: asked of sources and targets, without any key ---


PATIENCE: Final = 20.0
"""Seconds that a source has to answer: one that takes longer counts as lost until somebody says otherwise."""
_WHOLE_SERVER: Final = "raft"
"""Why a backup is passed over: a target that is away may have it whole."""


class LossSurvey(Struct, frozen=True, kw_only=True):
    """What was found: each source, the backups that bring it back (the older first), what the newest of
    everything lacks of those before it, the last that was sound where it has damaged values, the targets that
    do not answer, and what newer was passed over."""

    sources: tuple[SourceSeen, ...]
    parts: Mapping[str, tuple[RecoveryPart, ...]]
    lacking: Mapping[str, Shortfall]
    sound: Mapping[str, RecoveryPart]
    away: Mapping[str, str]
    passed: tuple[str, ...]


def survey(given: Recover, installation: InstallationPlace) -> LossSurvey:
    """Look at all sources and targets.

    Raises:
        UsageError: no target is configured, and none is named.
        TargetError: no target answers.
        NotABackup, UntrustedSigner, NotCovered: there is nothing to restore from.
    """
    until = given.origin.at
    known = admission.trusted_signers(installation, given.trust.signer)
    chooser = backup_selection.make_chooser(given.origin.from_target, installation, known)
    chooser.choose(Asked(partial=True, until=until))  # nothing at all to restore from is told here
    names = _names(chooser, installation, until)
    choices = {name: choices_of(chooser, name, until) for name in names}
    held = admission.read_record(installation).held
    lacking = {
        name: _shortfall(chooser, found[0], chooser.trusted, held)
        for name, found in choices.items()
        if found and not limits_of(found[0].manifest)
    }
    sound = {
        name: _part(chooser.choose(Asked(backup=doubt.sound, partial=True)), name)
        for name, found in lacking.items()
        for doubt in found.findings
        if doubt.sound and not doubt.fillable
    }
    parts = {name: tuple(_part(choice, name) for choice in found) for name, found in choices.items()}
    passed = {(passed_over.backup, passed_over.why): passed_over for passed_over in chooser.passed}
    return LossSurvey(
        sources=tuple(_seen(parts, lacking, installation)),
        parts=parts,
        lacking=lacking,
        sound=sound,
        away={name: f"{error.code}: {error.message}" for name, error in chooser.away.items()},
        passed=tuple(describe_skipped(passed.values())),
    )


def _names(chooser: Chooser, installation: InstallationPlace, until: float | None) -> list[str]:
    """Return the sources that full policies back up; where none is configured, those of the backups."""
    policies = installation.section("policies").values()
    configured = [str(policy.get("source") or LOCAL) for policy in policies if policy.get("kind") == "full"]
    if configured:
        return list(dict.fromkeys(configured))
    listed = chooser.listed(Asked(values=True, until=until))
    return list(
        dict.fromkeys(signed.manifest.source for signed, ours in listed if ours and signed.manifest.values)
    )


def _shortfall(
    chooser: Chooser, choice: BackupChoice, trusted: Signers, held: Mapping[str, HoldMark]
) -> Shortfall:
    """Return what the newest backup lacks of those before it, as far as is known without keys."""
    earlier = Earlier(choice, Asked(), chooser, identities=(), trusted=trusted, opened=None, held=held)
    return earlier.shortfall()


def choices_of(chooser: Chooser, source: str, until: float | None) -> list[BackupChoice]:
    """Return the backups that bring a source back, the older first."""
    whole = _newest(chooser, source, Asked(source=source, until=until))
    found = [] if whole is None else [whole]
    since = whole.manifest.created_at if whole is not None else ""
    policies = dict.fromkeys(
        signed.manifest.policy
        for signed, ours in chooser.listed(Asked(partial=True, until=until))
        if ours
        and signed.manifest.source == source
        and signed.manifest.values
        and limits_of(signed.manifest)
        and signed.manifest.created_at > since
    )
    for policy in policies:
        asked = Asked(source=source, policy=policy, partial=True, until=until)
        part = _newest(chooser, source, asked)
        if part is not None and part.manifest.created_at > since:
            found.append(part)
    return sorted(found, key=lambda choice: choice.manifest.created_at)


def _newest(chooser: Chooser, source: str, asked: Asked) -> BackupChoice | None:
    return next((choice for choice in chooser.choices(asked) if choice.manifest.source == source), None)


def _part(choice: BackupChoice, source: str) -> RecoveryPart:
    manifest = choice.manifest
    return RecoveryPart(
        source=source,
        policy=manifest.policy,
        backup=manifest.backup_id,
        made_at=manifest.created_at,
        secrets=manifest.counts.secrets,
        on=tuple(replica.name for replica in choice.replicas),
        into=source,
        limits=limits_of(manifest),
    )


# -- the sources ------------------------------------------------------------------------


def _seen(
    parts: Mapping[str, tuple[RecoveryPart, ...]],
    lacking: Mapping[str, Shortfall],
    installation: InstallationPlace,
) -> Iterator[SourceSeen]:
    works = {
        name: partial(_count, name, installation) for name in parts if not _is_server(name, installation)
    }
    counted = run_all(PATIENCE, works, late=lambda _: SourceUnavailable)
    for name, found in parts.items():
        held = max((part.secrets for part in found), default=0)
        if name in lacking and lacking[name].findings:  # what is missing there is no wish of anybody's
            held = max(held, lacking[name].holds + lacking[name].missing)
        outcome: Any = counted.get(name, 0)
        if isinstance(outcome, StrongroomError):
            yield SourceSeen(name=name, there=None, held=held, why=f"{outcome.code}: {outcome.message}")
        elif _is_server(name, installation):
            yield SourceSeen(
                name=name, there=held, held=held, why="a whole server: restore-snapshot replaces it"
            )
        else:
            yield SourceSeen(name=name, there=outcome, held=held, why=_remark(outcome, held, found))


def _count(name: str, installation: InstallationPlace) -> int:
    if name not in installation.section("sources") and name != LOCAL:
        raise SourceUnavailable(f"no source '{name}' is configured on this machine")
    return sum(1 for _ in sources.source_of(name, installation).list())


def _is_server(name: str, installation: InstallationPlace) -> bool:
    return installation.section("sources").get(name, {}).get("kind") == _WHOLE_SERVER


def _remark(there: int, held: int, found: tuple[RecoveryPart, ...]) -> str:
    if not found:
        return "no backup of it has values"
    if there == 0:
        return "it is empty"
    return f"{held - there:,} fewer than were backed up" if there < held else ""


def destinations(installation: InstallationPlace) -> list[str]:
    """Return where a recovery may restore into: the local store, and what is configured and takes writes."""
    configured = installation.section("sources")
    takes = [name for name, table in configured.items() if sources.takes_writes(table)]
    return list(dict.fromkeys((LOCAL, *takes)))


def usual_destination(source: SourceSeen, installation: InstallationPlace) -> str:
    """Return where a source is restored into if nobody says otherwise.

    A login to the same place that is marked as a destination: the one that backs up may mostly only read.
    Else the source itself; but if it does not answer, or takes no writes, another marked destination of its
    kind, or the local store, which takes every name. Nobody knows the kind of a source that is not configured
    here: any marked destination may do.
    """
    known, tables = destinations(installation), installation.section("sources")
    own = tables.get(source.name, {})
    marked = [name for name, table in tables.items() if table.get("destination") and name in known]
    here = _where(own, installation)
    same = [name for name in marked if _where(tables[name], installation) == here]
    if source.name in marked or same:
        return source.name if source.name in marked else same[0]
    if source.there is not None and source.name in known:
        return source.name
    alike = [name for name in marked if tables[name].get("kind") == own.get("kind")]
    usual = alike if own else marked
    return next(iter(usual), source.name if source.name in known else LOCAL)


def _where(table: Mapping[str, Any], installation: InstallationPlace) -> tuple[object, ...]:
    """Return what tells one place from another, whoever logs in."""
    login = installation.section("vaults").get(str(table.get("vault")), {})
    server = tuple(login.get(key) for key in ("address", "namespace"))
    return (*server, *(table.get(key) for key in ("kind", "region", "endpoint_url", "path")))


# -- Steps one and three: what is lost and what is compromised, and which backups bring it back ---


def assess(at: RecoveryTools) -> StrongroomError | None:
    """Find out what is lost, ask what is compromised, and put both on record."""
    try:
        found = survey(at.given, at.here)
    except StrongroomError as error:
        at.record.prove(RecoveryStep.ASSESS, "sources and targets", code=error.code)
        return error
    at.screen.say(*(f"  {line}" for line in _sources(found)), *(f"  {line}" for line in _away(found)))
    at.screen.say(*(f"  {line}" for line in _doubts(found)))
    names = [source.name for source in found.sources]
    lacking = [
        source.name for source in found.sources if source.lacks or _doubted(found, source.name, _AFTER)
    ]
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
        (
            source.name,
            "no answer" if source.there is None else source.there,
            source.held,
            in_line(source.why)[:100] or "nothing is missing",
        )
        for source in found.sources
    ]
    head = ("Source", "Secrets there", "In its backup", "Remark")
    return Sheet(parts=[Table(head, rows)]).text().splitlines()


def _doubts(found: LossSurvey) -> Iterator[str]:
    """Say what the newest backup of a source lacks of those before it, and what speaks against it."""
    for name, shortfall in found.lacking.items():
        if lines := list(shortfall.lines()):
            yield f"The newest backup of '{name}', made {shortfall.created_at}: {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])


_NEWER: Final = (Why.LOST, Why.DAMAGED, Why.AHEAD)
"""What speaks for a newer backup that cannot be read, or not be trusted to be newer."""
_AFTER: Final = (Why.SHRUNK, Why.MASS_CHANGE)
"""What says that a backup was made after the damage, so that a source that is like it is lost."""


def _doubted(found: LossSurvey, name: str, why: Collection[Why]) -> list[BackupDoubt]:
    """Return what speaks against the newest backup of a source, of some kinds."""
    return (
        [doubt for doubt in found.lacking[name].findings if doubt.why in why] if name in found.lacking else []
    )


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
    looked = at.apart.run(_uses, dict[str, KeyUse], typed="strongroom keys list")
    for name, use in (looked.answer or {}).items():
        if name in leaked:
            many = plural(len(use.backups), "backup")
            said = f"'{name}' opens {many}, made from {use.oldest} to {use.newest}"
            at.record.prove(RecoveryStep.ASSESS, "keys", said, of=name)
            at.screen.say(f"  {said}.")
    _show_readers(at, leaked)
    at.screen.say("  Step 6 seals them again, and gives their secrets new values.")


def _uses(opening: OpeningOptions, output: Output) -> dict[str, KeyUse]:
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
    typed = command_line("incident readers", FindReaders(key=leaked))
    looked = at.apart.run(partial(_readers, leaked=leaked, again=typed), StepOutcome, typed=typed)
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


def _readers(opening: OpeningOptions, output: Output, *, leaked: Sequence[str], again: str) -> StepOutcome:
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
        found = survey(at.given, at.here)
    except StrongroomError as error:
        at.record.prove(RecoveryStep.LOCATE, "choice of backups", code=error.code)
        return error
    scope = at.record.recovery.scope
    assert scope is not None
    for line in found.passed:
        at.screen.say(f"  skipped: {line}")
    at.screen.say(*(f"  {line}" for line in _doubts(found)))
    at.record.left(
        *(f"'{name}': {doubt.said}." for name in scope.lost for doubt in _doubted(found, name, _NEWER))
    )
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
