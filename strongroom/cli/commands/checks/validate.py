"""validate --production: all sources that policies name, against their newest backups; nothing is made."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from strongroom.cli.commands.validation.render import answer
from strongroom.cli.shared import identities, own_record, sources, trust
from strongroom.cli.shared.services import existing_run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.progress import counting
from strongroom.config import PolicySettings, Settings, load_settings
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys import Opener
from strongroom.model import ListedSecret, Selection
from strongroom.operations.archive.choice import BackupPlace
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.validation import live as validating
from strongroom.operations.validation import policies
from strongroom.operations.validation.live import Validated
from strongroom.operations.validation.policies import PolicyComparison
from strongroom.operations.validation.value_checks import SecretFinding
from strongroom.sources import Source
from strongroom.sources.select import matches
from strongroom.state.store import RunStore
from strongroom.wiring import adapters


def validate_production(arguments: Namespace, output: Output) -> Answer:
    return answer(*look_at_production(arguments, output))


def look_at_production(
    arguments: Namespace, output: Output
) -> tuple[Sequence[Validated], Sequence[PolicyComparison]]:
    """Look at each source once, and at the backup of each policy that a restore would take.

    Raises:
        ConfigError: no policy is configured, so nobody knows what production is.
    """
    settings, installation = load_settings(), place.find()
    if not settings.policies:
        raise ConfigError(
            "No policy is configured, so nobody knows which sources production has.",
            hint="Name one under 'policies', or validate a source: 'strongroom check secrets --source NAME'.",
        )
    trusted = trust.trusted_signers(installation, arguments.signer)
    means = _Means(
        settings,
        installation,
        output,
        existing_run_store(settings),
        identities.identities_of(arguments, output, installation),
        trusted,
        _chooser(settings, installation, trusted),
    )
    looked: list[Validated] = []
    held: list[PolicyComparison] = []
    for name in dict.fromkeys(policy.source for policy in settings.policies.values()):
        if settings.sources[name].kind == "raft":
            looked.append(_as_a_whole(name))
        else:
            validated, against = _source(name, means)
            looked.append(validated)
            held += against
    return looked, held


class _Means(NamedTuple):
    """With what to look."""

    settings: Settings
    here: InstallationPlace
    output: Output
    store: RunStore | None
    opens: Sequence[Opener]
    trusted: frozenset[str]
    chooser: Chooser


def _source(name: str, means: _Means) -> tuple[Validated, list[PolicyComparison]]:
    """Look at one source; one that does not answer must not hide the others."""
    of_it = {
        key: policy_settings
        for key, policy_settings in means.settings.policies.items()
        if policy_settings.source == name
    }
    looked, held = Validated(source=name, secrets=0, findings=()), list[PolicyComparison]()
    try:
        source = sources.source_of(name, means.here)
        with counting(means.output, f"looking at {name}", None) as advance:
            entries = _meant(source, [policy.selection for policy in of_it.values()])
            looked = validating.values(source, entries, now=datetime.now(UTC), progress=advance)
        if not looked.secrets:
            looked = replace(looked, findings=(policies.nothing_there(name),))
        for key, policy in of_it.items():
            held.append(_held(key, policy, source, means))
    except StrongroomError as error:
        unreadable = policies.unreadable(name, error)
        looked = replace(looked, findings=(*looked.findings, unreadable))
    return looked, held


def _meant(source: Source, selections: Sequence[Selection]) -> Iterator[ListedSecret]:
    tagged = any(selection.tags for selection in selections)
    for entry in source.list(with_tags=tagged):
        if any(matches(selection, entry) for selection in selections):
            yield entry


def _held(key: str, policy: PolicySettings, source: Source, means: _Means) -> PolicyComparison:
    try:
        choice = means.chooser.choose(Asked(policy=key, values=False, partial=True))
    except StrongroomError as error:
        known = means.store is not None and bool(means.store.backups(policy=key, limit=1))
        return policies.no_backup(key, source.name, error, known=known)
    held = policies.hold(key, source, policy.selection, choice, identities=means.opens, trusted=means.trusted)
    return policies.passed_over(held, means.chooser.passed)


def _chooser(settings: Settings, installation: InstallationPlace, trusted: frozenset[str]) -> Chooser:
    """Look at the targets that policies name, as a restore does."""
    names = dict.fromkeys(name for policy in settings.policies.values() for name in policy.targets)
    holders = [BackupPlace(name, partial(adapters.target, name, settings, prepare=False)) for name in names]
    return own_record.read_record(installation).chooser(holders, trusted=trusted)


def _as_a_whole(name: str) -> Validated:
    text = "it is a whole server, of which only a snapshot tells: nothing in it was checked"
    finding = SecretFinding(secret="", source=name, check="not-checked", text=text, wrong=False)
    return Validated(source=name, secrets=0, findings=(finding,))
