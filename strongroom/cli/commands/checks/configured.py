"""Whether this machine could recover what its configuration names. Looking makes nothing, and asks nobody."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.cli.commands.checks import single_file
from strongroom.cli.commands.checks.arguments import CheckMachine
from strongroom.cli.commands.checks.single_file import run_guarded
from strongroom.cli.shared import admission, custodians, identities, sources
from strongroom.cli.shared.options import LOCAL, choose_named
from strongroom.cli.shared.services import existing_run_store, try_key
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.failures import from_os
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.config import PassphraseKey, Pkcs11Key, Settings, load_settings
from strongroom.config.checks.stores import secret_files
from strongroom.container.errors import DAMAGE, MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.container.signing import Signers
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Opener
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.passphrase import unasked
from strongroom.model import COMMAND, Selection
from strongroom.operations.archive.coverage import BackupPlace
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.checks import backups
from strongroom.operations.checks import machine as readiness_machine
from strongroom.operations.checks.backups import DESTINATION, OPENS, Looked, Want, damaged, having, opens
from strongroom.operations.checks.machine import CORE
from strongroom.operations.engine.findings import Finding, FindingState, good, remark, wrong
from strongroom.operations.judge.fact_records import HostFacts
from strongroom.operations.judge.host import exposed_files, files
from strongroom.operations.keys.trial import Diagnosed
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import CatalogEntry
from strongroom.system.attempts import run_all
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.reading import MANIFESTS
from strongroom.targets.resilient import bare
from strongroom.wiring import adapters
from strongroom.wiring import keys as wired
from strongroom.wiring.jobs import keyless

# -- Which configured keys work here, and which newest backups they open. Nobody is asked for anything


KEYS = "key"
PATIENCE = 20.0
"""Seconds in which a target, a source or a key service has to answer. All are asked at once."""


class TriedKey(NamedTuple):
    """The result of trying a configured key, and what it opens with here."""

    trial: Diagnosed
    openers: tuple[Opener, ...]


Tries = Mapping[str, TriedKey | StrongroomError]


class OpeningMeans(NamedTuple):
    """With what backups are opened."""

    settings: Settings
    openers: tuple[Opener, ...]
    trusted: frozenset[str]


def impatient_target(name: str, settings: Settings) -> Target:
    """Return a target without patience: its first failure is what is said of it."""
    return bare(adapters.target(name, settings, prepare=False))


# -- keys ------------------------------------------------------------------------------------


def is_asked(settings: Settings, name: str) -> bool:
    """Tell whether a person is asked before a key opens: that is not done here."""
    given = bool({"STRONGROOM_PASSPHRASE", "STRONGROOM_PASSPHRASE_FILE"} & os.environ.keys())
    match settings.keys[name]:
        case PassphraseKey(file=None):
            return not given
        case Pkcs11Key(module=Path(), pin_file=None):
            return True
        case key:
            return wired.sealed_file(key) is not None and not given


def attempt(name: str, settings: Settings) -> TriedKey:
    """Try a key for real, and find out what opens for it here."""
    with unasked():
        trial = try_key(name, settings, None)
        return TriedKey(trial, _openers(name, settings, trial))


def _openers(name: str, settings: Settings, trial: Diagnosed) -> tuple[Opener, ...]:
    """Return what opens for a key here. One that may not seal may open all the same; one whose keeper is away
    is not waited for twice."""
    if trial.problem is not None and trial.problem.code == KeyServiceUnavailable.__name__:
        return ()
    try:
        return tuple(wired.identity(name, settings, None))
    except StrongroomError:  # the trial has said so
        return ()


def at_hand(tries: Tries) -> Iterator[Opener]:
    """Yield what opens here, of all keys that were tried."""
    for outcome in tries.values():
        if isinstance(outcome, TriedKey):
            yield from outcome.openers


def standing(
    tries: Mapping[str, TriedKey | StrongroomError], settings: Settings, *, needed: bool
) -> Iterator[Finding]:
    """Say how each key stands. One that fails is wrong only where a backup does not open without it."""
    for name in settings.keys:
        yield _stands(tries.get(name), needed=needed).on(target=name)


def _stands(outcome: TriedKey | StrongroomError | None, *, needed: bool) -> Finding:
    if outcome is None:
        return remark(KEYS, "somebody is asked before it opens, so it was not tried", _TRY)
    if isinstance(outcome, StrongroomError):
        return wrong(KEYS, outcome) if needed else remark(KEYS, outcome.message, outcome.hint)
    trial, problem = outcome.trial, outcome.trial.problem
    if problem is None:
        words = "sealed and opened" if trial.opens_here else "seals; what opens it is not on this machine"
        return good(KEYS, f"{words}: {trial.describes}")
    if not needed:
        return remark(KEYS, f"{problem.message} ({problem.code})", problem.hint)
    return Finding(
        check=KEYS,
        state=FindingState.WRONG,
        what=problem.message,
        to_do=problem.hint,
        code=problem.code,
        exit_code=problem.exit_code,
    )


_TRY = "'strongroom check keys --no-backups' tries it, and asks."


# -- what opens --------------------------------------------------------------------------------


def opening_findings(
    newest: Mapping[str, Manifest], looked: Looked, means: OpeningMeans
) -> Iterator[Finding]:
    """Open the newest backup of each policy, all at once."""
    works = {
        policy: partial(_open, manifest, having(policy, manifest.backup_id, looked), means)
        for policy, manifest in newest.items()
    }
    for policy, outcome in run_all(PATIENCE, works, late=lambda _: TargetUnavailable).items():
        found = [wrong(OPENS, outcome)] if isinstance(outcome, StrongroomError) else outcome
        yield from (finding.on(policy=policy, backup=newest[policy].backup_id) for finding in found)


def _open(manifest: Manifest, names: Sequence[str], means: OpeningMeans) -> list[Finding]:
    """Open a backup from the first target that gives it; what another one gave instead is a remark."""
    asked = frozenset(name for name in means.settings.keys if is_asked(means.settings, name))
    failed: dict[str, StrongroomError] = {}
    for name in names:
        try:
            with unasked():
                place = impatient_target(name, means.settings)
                found = opens(place, manifest, means.openers, trusted=means.trusted, asked=asked)
        except StrongroomError as error:
            failed[name] = error
        else:
            return [*(_not_from(key_name, error, manifest) for key_name, error in failed.items()), found]
    raise next(iter(failed.values()), MissingPiece("no target has it"))


def _not_from(name: str, error: StrongroomError, manifest: Manifest) -> Finding:
    mend = f"'strongroom backups repair {manifest.backup_id}' copies it from a good replica."
    hint = mend if isinstance(error, DAMAGE) else error.hint
    return remark(OPENS, f"not from there: {error.message} ({error.code})", hint).on(target=name)


# -- Whether this machine could recover what its configuration names. Looking makes nothing, and asks nobody


CONFIGURATION, STATE, APPROVALS = "configuration", "state", "approvals"
_ALLOWED = "Bring the file of allowed signers: the escrow has a copy. See docs/how-to/approve.md."


class RecordedBackups(NamedTuple):
    """What the record here knows: each policy's newest backup, where that was found bad, and what commands
    wrote."""

    newest: Mapping[str, CatalogEntry]
    bad: Mapping[str, frozenset[str]]
    commands: Sequence[CatalogEntry]


def check_configured(given: CheckMachine, output: Output) -> Answer:
    return single_file.answer(list(_findings(given, output, place.find())), None)


def _findings(given: CheckMachine, output: Output, installation: InstallationPlace) -> Iterator[Finding]:
    """Yield a finding for each thing that recovering needs here."""
    try:
        settings = load_settings()
    except ConfigError as error:
        yield from single_file.machine_alone(CORE)
        yield wrong(CONFIGURATION, error)
        return
    yield from single_file.machine_alone(tuple({*CORE, "SQLAlchemy", "alembic", *_needed(settings)}))
    yield good(CONFIGURATION, "valid")
    yield from readiness_machine.plugins()
    yield from _approvals(settings)
    exposed, private = exposed_files(settings.state_dir, secret_files(settings).values())
    yield from files(HostFacts(name=socket.gethostname(), private=private, exposed=exposed))
    record, said = _record(settings)
    yield from said
    yield from _recovery(given, output, installation, settings, record)
    yield backups.escrow(record.commands)


def _approvals(settings: Settings) -> Iterator[Finding]:
    """Tell whether what has to be approved could be: without keys of those people nothing of it is done."""
    if not settings.approvals.rules:
        return
    lacks = list(keyless(settings))
    if lacks:
        yield wrong(APPROVALS, ConfigError(" ".join(lacks), hint=_ALLOWED))
    else:
        yield good(APPROVALS, "everybody who may approve has a key here")


def _needed(settings: Settings) -> set[str]:
    """Return the libraries that the configured sources, targets and keys need."""
    sections = (settings.sources, settings.targets, settings.stages, settings.keys)
    return {entry.LIBRARY for section in sections for entry in section.values() if entry.LIBRARY}


def _record(settings: Settings) -> tuple[RecordedBackups, list[Finding]]:
    """Read the record. A recovery needs none, so one that is lost, or does not answer, is a remark."""
    try:
        outcome = run_all(PATIENCE, {"": partial(_read, settings)}, late=lambda _: StateUnavailable)[""]
    except OSError as error:
        outcome = from_os(error)
    if isinstance(outcome, StrongroomError):
        return RecordedBackups({}, {}, ()), [
            remark(STATE, f"{outcome.message} ({outcome.code})", outcome.hint)
        ]
    if outcome is None:
        words = "no state database here yet: the backups on targets are checked without one"
        return RecordedBackups({}, {}, ()), [good(STATE, words)]
    return outcome, [good(STATE, "the state database answers")]


def _read(settings: Settings) -> RecordedBackups | None:
    if (store := existing_run_store(settings)) is None:
        return None
    newest = {name: next(iter(store.backups(policy=name, limit=1)), None) for name in settings.policies}
    known = {name: entry for name, entry in newest.items() if entry is not None}
    replicas = store.replicas_of([entry.backup for entry in known.values()])
    bad = {
        name: frozenset(replica.target for replica in each if not replica.good)
        for name, each in replicas.items()
    }
    return RecordedBackups(known, bad, store.backups(policy=COMMAND))


# -- what is asked, all at once -----------------------------------------------------------


def _recovery(
    given: CheckMachine,
    output: Output,
    installation: InstallationPlace,
    settings: Settings,
    record: RecordedBackups,
) -> Iterator[Finding]:
    trusted, unread = single_file.believed(installation, given.trust)
    known = {name: entry.backup for name, entry in record.newest.items()}
    into = _into(given.to, settings)
    asked = run_all(PATIENCE, dict(_works(settings, installation, into)), late=_late)
    answers: dict[str, Target | StrongroomError] = _of("target", asked)
    chooser, looked = _looked(answers, settings, installation, trusted, known)
    newest = backups.newest_of(looked)
    if settings.policies:  # a new machine names none yet: then whatever lies there is looked at
        newest = {key: manifest for key, manifest in newest.items() if key in settings.policies}
    yield from unread or backups.signers(len(trusted), looked)
    wanted = list(_wanted(settings))
    yield from backups.targets(looked, wanted, known, passed=chooser.passed)
    yield from backups.passed_over(chooser, settings.policies)
    yield from backups.default_backup(chooser)
    yield from damaged(looked, wanted, record.bad)
    tries: Tries = _of("key", asked)
    openers = [*identities.typed_identities(given.opening, output), *at_hand(tries)]
    openers += custodians.custodians_of(given.opening, output, installation, ask=False)
    valued = {key: manifest for key, manifest in newest.items() if manifest.values}
    opened = list(
        opening_findings(valued, looked, OpeningMeans(settings, wired.together(tuple(openers)), trusted))
    )
    yield from opened
    yield from standing(tries, settings, needed=any(finding.exit_code for finding in opened))
    yield from _destinations(_of("source", asked), into)
    yield from single_file.room(installation, _largest(newest))
    yield from readiness_machine.clock(
        {manifest.backup_id: manifest.created_at for manifest in newest.values()}
    )


def _looked(
    answers: Mapping[str, Target | StrongroomError],
    settings: Settings,
    installation: InstallationPlace,
    trusted: Signers,
    known: Mapping[str, str],
) -> tuple[Chooser, Looked]:
    """Choose as a restore does, of the targets that answered; what becomes silent later is not waited for."""

    def look() -> tuple[Chooser, Looked]:
        record = admission.read_record(installation)
        holders = [BackupPlace(name, partial(_answered, target)) for name, target in answers.items()]
        chooser = record.chooser(holders, trusted=trusted)
        looked = backups.choose_backups(chooser, settings.policies, recorded=known)
        return chooser, {name: looked[name] for name in answers}

    outcome = run_all(PATIENCE, {"target": look}, late=_late)["target"]
    if isinstance(outcome, StrongroomError):
        return Chooser([], trusted=trusted), dict.fromkeys(answers, outcome)
    return outcome


def _works(
    settings: Settings,
    installation: InstallationPlace,
    into: Mapping[str, bool],
) -> Iterator[tuple[str, Callable[[], object]]]:
    used = dict.fromkeys(name for policy in settings.policies.values() for name in policy.targets)
    for name in used or settings.targets:
        yield f"target {name}", partial(_on_target, name, settings)
    for name in settings.keys:
        if not is_asked(settings, name):
            yield f"key {name}", partial(attempt, name, settings)
    for name in into:
        yield f"source {name}", partial(_source, name, settings, installation)


def _late(name: str) -> type[StrongroomError]:
    return _LATE[name.partition(" ")[0]]


_LATE: Mapping[str, type[StrongroomError]] = {
    "key": KeyServiceUnavailable,
    "source": SourceUnavailable,
    "target": TargetUnavailable,
}


def _of(kind: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.partition(" ")[2]: answer for name, answer in asked.items() if name.partition(" ")[0] == kind
    }


def _on_target(name: str, settings: Settings) -> Target:
    """Return a target that answers."""
    target = impatient_target(name, settings)
    next(iter(target.list(MANIFESTS)), None)
    return target


def _answered(outcome: Target | StrongroomError) -> Target:
    if isinstance(outcome, StrongroomError):
        raise outcome
    return outcome


def _wanted(settings: Settings) -> Iterator[Want]:
    required = {
        name: policy
        for name, policy in settings.policies.items()
        if policy.kind == "full" and not policy.offline
    }
    whole = [name for name, policy in required.items() if policy.selection == Selection()]
    for name, policy in settings.policies.items():
        within = tuple(
            policy_name
            for policy_name in whole
            if required[policy_name].source == policy.source and policy_name != name
        )
        yield Want(
            policy=name,
            targets=policy.targets,
            values=policy.kind == "full",
            required=name in required,
            within=within,
        )


def _source(name: str, settings: Settings, installation: InstallationPlace) -> list[Finding]:
    found = settings.sources.get(name)
    if found is not None and not found.WRITABLE:
        return [backups.read_only(found.kind)]
    there = partial(sources.source_of, name, installation)
    return list(run_guarded(DESTINATION, lambda: backups.destination(there())))


def _into(to: str | None, settings: Settings) -> dict[str, bool]:
    """Return the sources that a recovery may restore into, and whether it needs them.

    Needed are those that a person names; or else those that are marked as destinations; or else those
    whose values are backed up.
    """
    if to is not None:
        return dict.fromkeys(choose_named([to], {LOCAL, *settings.sources}), True)
    marked = {name for name, source in settings.sources.items() if source.restored_into}
    full = {policy.source for policy in settings.policies.values() if policy.kind == "full"}
    known = [*(policy.source for policy in settings.policies.values()), *sorted(marked)]
    return {name: name in (marked or full) for name in known}


def _destinations(
    asked: Mapping[str, list[Finding] | StrongroomError], into: Mapping[str, bool]
) -> Iterator[Finding]:
    """Say how each source stands as a place to restore into."""
    for name, outcome in asked.items():
        said = [wrong(DESTINATION, outcome)] if isinstance(outcome, StrongroomError) else outcome
        for finding in said:
            yield (finding if into[name] or not finding.exit_code else _only_said(finding)).on(target=name)


def _only_said(finding: Finding) -> Finding:
    return remark(finding.check, f"{finding.what} ({finding.code})", finding.to_do)


def _largest(newest: Mapping[str, Manifest]) -> int:
    return max((manifest.counts.size for manifest in newest.values() if manifest.values), default=0)
