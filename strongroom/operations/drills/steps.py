"""The steps of a drill that handle secrets: restore, compare, tear down, and a look at the source."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Never, TypeVar

from strongroom.container.cobblestone import value_digester
from strongroom.errors import ConfigError, SourceError, StrongroomError, TargetError
from strongroom.model import Secret, Selection
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.live_comparison import (
    Digests,
    SecretState,
    batches,
    beside,
    selected,
    standing,
)
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.checks import live as look
from strongroom.operations.checks import machine
from strongroom.operations.drills.facts import (
    LOCAL,
    DrillComparison,
    DrillFacts,
    DrillOptions,
    EnvironmentCheck,
    Live,
    Picked,
    Proved,
    Rehearsed,
    TornDown,
    options_of,
)
from strongroom.operations.engine import process_lock
from strongroom.operations.engine.findings import Finding, FindingState, good, wrong
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.services import Services, openers
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.by_record import open_anywhere, shortfall_of
from strongroom.operations.restore.journal import RestoreAccount
from strongroom.operations.restore.restore import chosen, present
from strongroom.operations.restore.restore import restore as restore_secrets
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sources import Destination, ScratchPlace
from strongroom.sources.local import LocalStore
from strongroom.state.errors import RecordRefused, RunNotFound
from strongroom.state.records import Run, RunStep, TargetPin
from strongroom.targets import Target
from strongroom.words import nearest, plural

# -- Where a drill restores into: a place that it makes, that nobody else uses, and that goes with it


FOLDER = "drills"


class LocalPlace:
    """Local stores below a folder, each sealed under a master key that goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, run: str) -> LocalStore:
        """Return an empty store."""
        self.remove(run)
        return self.open(run)

    def open(self, run: str) -> LocalStore:
        """Return a drill's store."""
        return LocalStore(self._folder / run)

    def remove(self, run: str) -> None:
        """Delete a drill's store; its master key goes with it."""
        try:
            shutil.rmtree(self._folder / run)
        except FileNotFoundError:
            return
        except OSError as error:
            raise SourceError(
                f"the scratch store '{self._folder / run}' could not be removed: {error.strerror}",
                hint="It holds restored secrets, sealed, and their key: remove it by hand.",
            ) from None

    def left(self) -> Sequence[str]:
        """Return the runs whose stores are there."""
        return [path.name for path in sorted(self._folder.glob("*"))]


def place_of(run: Run, services: Services) -> ScratchPlace:
    """Return where a drill restores into.

    Raises:
        ConfigError: this process has no such place.
    """
    into = options_of(run).into
    return LocalPlace(services.state_dir / FOLDER) if into == LOCAL else services.scratch(into)


def remove_left(place: ScratchPlace, services: Services) -> None:
    """Remove what drills left whose process was killed.

    A drill that still goes on is left alone, and so is any that is not on this record: it may be another
    installation's, which uses the same server.
    """
    for run in _over(place.left(), services):
        with suppress(StrongroomError):  # the next drill tries again, and this one need not wait for it
            place.remove(run)


def _over(runs: Sequence[str], services: Services) -> Iterator[str]:
    for name in runs:
        with suppress(RunNotFound):
            ended = services.store.load(name).state.final
            if ended and not process_lock.status(services.state_dir, name).alive:
                yield name


# -- Which secrets of a backup a drill brings back ----------------------------------------------


Names = frozenset[str] | None
"""``None`` for every secret there is."""
T = TypeVar("T")


def names_of(run: Run, backup: Replicated) -> Names:
    """Return the names that a drill is about. Asked again it says the same, so no record has to name them.

    Raises:
        NothingSelected: the backup holds no such secret.
    """
    options = options_of(run)
    if options.drill is DrillScope.SINGLE:
        return frozenset({options.secret or _any(run, [row.name for row in backup.rows()], "a secret")})
    if options.drill is DrillScope.CATEGORY:
        tags = tags_of(run, backup)
        named = frozenset(row.name for row in backup.rows() if tags.items() <= row.tags.items())
        return named or _none("such a tag")
    return None


def tags_of(run: Run, backup: Replicated) -> dict[str, str]:
    """Return the tags that make the category of a drill; of any other drill none."""
    options = options_of(run)
    if options.drill is not DrillScope.CATEGORY:
        return {}
    return dict(options.tags) or dict([_any(run, _tags(backup), "a tag")])


def secrets_of(backup: Replicated, names: Names) -> Callable[[], Iterable[Secret]]:
    """Return what gives these secrets of a backup, anew each time."""
    if names is not None and len(names) == 1:  # as a person would: with a few ranged reads
        return lambda: chosen(backup, names=tuple(names))
    return lambda: (secret for secret in backup.secrets() if names is None or secret.name in names)


def _tags(backup: Replicated) -> list[tuple[str, str]]:
    return sorted({tag for row in backup.rows() for tag in row.tags.items()})


def _any(run: Run, choices: Sequence[T], what: str) -> T:
    """Return any of them: the same one whenever this run asks."""
    return Random(run.id).choice(choices) if choices else _none(what)  # noqa: S311 - no key is made of it


def _none(what: str) -> T:  # type: ignore[type-var]
    raise NothingSelected(
        f"The backup holds no secret with {what}, so nothing was rehearsed.",
        hint="A category is what has one tag: 'strongroom set NAME --tag KEY=VALUE'. Then back up again.",
    )


# -- Targets that are cut off for one drill: a region is gone for it, and for nobody else -------


class CutOff(Target):
    """A target that refuses everything. It is not asked, so a drill finds out nothing through it."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.place)

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TargetError(f"target '{self.name}' is cut off for this drill")

    put = read = stat = list = delete = abort_incomplete = _refuse


def cut_off(pins: tuple[TargetPin, ...], options: DrillOptions) -> tuple[str, ...]:
    """Return the targets that a drill does without.

    Raises:
        ConfigError: the policy does not store on the target that is named, or nothing would be left.
    """
    known = {pin.name: pin for pin in pins}
    if options.target and options.target not in known:
        raise ConfigError(
            f"The policy does not store on '{options.target}'.", hint=nearest(options.target, known)
        )
    if options.drill is not DrillScope.FAILOVER:
        return tuple(name for name in known if options.target and name != options.target)
    lost = known[options.target].region if options.target else pins[0].region
    away = tuple(pin.name for pin in pins if pin.region == lost)
    if len(away) == len(pins):
        raise ConfigError(
            f"All targets of the policy are in region '{lost}': without it, nothing is left to recover from.",
            hint="Store on a target in another region too.",
        )
    return away


def within_reach(picked: Picked, services: Services) -> Services:
    """Return services to which the targets of a drill that are cut off refuse everything."""
    away = {name: CutOff(services.target(name)) for name in picked.cut_off}
    return replace(services, targets={**services.targets, **away})


# -- What the steps of a drill read of those before them; a record that lacks it is refused -----


def picked_of(run: Run) -> Picked:
    """Return the backup that was picked."""
    picked = read_facts(run, DrillFacts).picked
    if picked is None:
        raise RecordRefused(f"run {run.id} does not record which backup its drill picked")
    return picked


def rehearsed_of(run: Run) -> Rehearsed:
    """Return what came back."""
    rehearsed = read_facts(run, DrillFacts).drill_restore
    if rehearsed is None:
        raise RecordRefused(f"run {run.id} does not record what its drill brought back")
    return rehearsed


def open_picked(run: Run, services: Services) -> Replicated:
    """Open the backup that a drill rehearses, from the targets that are not cut off.

    If it is quarantined by now, the one before it is rehearsed.
    """
    earlier = read_facts(run, DrillFacts).drill_restore
    picked = picked_of(run)
    backup = earlier.backup if earlier is not None else picked.backup
    return open_anywhere(run, within_reach(picked, services), backup=backup, or_newest=earlier is None)


def lacking(run: Run, backup: Replicated, services: Services) -> Shortfall | None:
    """Return what the backup lacks of those before it, without a name; nothing of a drill of one secret.

    It is held against what its policy means, and against what the targets show that are not cut off.
    """
    if options_of(run).drill is DrillScope.SINGLE:
        return None
    meant = backup.manifest.selection
    tags = {**meant.tags, **tags_of(run, backup)}
    asked = Asked(
        backup=backup.manifest.backup_id,
        selection=Selection(include=meant.include, exclude=meant.exclude, tags=tags),
        partial=True,
        use_quarantined=True,
    )
    found = shortfall_of(run, within_reach(picked_of(run), services), asked)
    return None if found is None else found.nameless


# -- The steps of a drill that handle secrets: restore, compare, tear down, and a look at the source
#
# No result names a secret. What does not come back is counted, so that the report can be handed on.


Digested = tuple[str, Digests]
"""The name of a secret, and the keyed digests of its values at capture."""


def restore(run: Run, step: RunStep, services: Services) -> Rehearsed:
    """Restore what the drill is about into an empty place of its own."""
    began = time.monotonic()
    backup = open_picked(run, services)
    names = names_of(run, backup)
    account = RestoreAccount()
    backup.gave.clear()
    done = restore_secrets(
        secrets_of(backup, names), place_of(run, services).make(run.id), overwrite=False, account=account
    )
    return Rehearsed(
        backup=backup.manifest.backup_id,
        created_at=backup.manifest.created_at,
        source=backup.manifest.source,
        tags=tags_of(run, backup),
        expected=backup.manifest.counts.secrets if names is None else len(names),
        secrets=done.created,
        versions=done.versions,
        not_done=account.by_code,
        gave=dict(backup.gave),
        seconds=time.monotonic() - began,
        shortfall=lacking(run, backup, services),
    )


def least_seconds(rehearsed: Rehearsed, services: Services) -> float:
    """Return how long the source itself takes at the least for what came back.

    The scratch store takes all that a disk can; a cloud lets only so many writes through, and
    would make a drill's time a promise that nobody can keep.
    """
    source = services.sources.get(rehearsed.source)
    if not isinstance(source, Destination):
        return 0.0
    return source.least_seconds(secrets=rehearsed.secrets, versions=rehearsed.versions)


# -- compare -------------------------------------------------------------------


def compare(run: Run, step: RunStep, services: Services) -> DrillComparison:
    """Compare every value that came back with its digest at capture."""
    began = time.monotonic()
    backup = open_picked(run, services)
    store = place_of(run, services).open(run.id)
    comparison = _Comparison(backup, store, services.digest_key)
    for batch in batches(_digested(backup, names_of(run, backup))):
        comparison.add(batch)
    stand_out = _stand_out(store) if options_of(run).drill is DrillScope.EMERGENCY else None
    counts = comparison.counts
    return DrillComparison(
        compared=counts.total(),
        differ=counts["differ"],
        missing=counts["missing"],
        stand_out=stand_out,
        seconds=time.monotonic() - began,
    )


def _digested(backup: Replicated, names: Names) -> Iterator[Digested]:
    return (found for found in backup.digested() if names is None or found[0] in names)


class _Comparison:
    """Counts the values that are the same, that differ and that are missing."""

    def __init__(self, backup: Replicated, store: Destination, key: bytes) -> None:
        self.counts: Counter[str] = Counter()
        self._backup = backup
        self._store = store
        self._digest = value_digester(key, backup.manifest.source)

    def add(self, batch: Sequence[Digested]) -> None:
        restored = present(self._store, [name for name, _ in batch])
        for name, captured in batch:
            back = restored.get(name)
            self.counts.update(self._compared(back, number, digest) for number, digest in captured.items())

    def _compared(self, back: Secret | None, number: int, digest: bytes) -> str:
        value = None if back is None else value_of(back, number)
        if back is None or value is None:
            return "missing"
        same = self._digest(back.name, number, value) == digest
        return "same" if same or self._is_spelled_otherwise(back, number, digest) else "differ"

    def _is_spelled_otherwise(self, back: Secret, number: int, digest: bytes) -> bool:
        """Tell whether a store that spells JSON in its own way has what was captured."""
        wanted = self._backup.find(back.name)
        value = None if wanted is None else value_of(wanted, number)
        if wanted is None or value is None or self._digest(back.name, number, value) != digest:
            return False
        return self._store.kept(wanted).versions == self._store.kept(back).versions


def value_of(secret: Secret, number: int) -> bytes | None:
    """Return the value of a version, if it has one."""
    versions = (version for version in secret.versions if version.number == number)
    return next((version.value.reveal() for version in versions if version.value is not None), None)


def _stand_out(store: Destination) -> int:
    """Look at each value by itself, as after a real recovery: certificates, keys, dates."""
    found = look.values(store, selected(store, Selection()), now=datetime.now(UTC))
    return len(found.findings)


# -- teardown ------------------------------------------------------------------


def tear_down(run: Run, step: RunStep, services: Services) -> TornDown:
    """Remove the place. The run's report and the next drill do so too, if this is never reached."""
    began = time.monotonic()
    place_of(run, services).remove(run.id)
    return TornDown(seconds=time.monotonic() - began)


# -- the source ----------------------------------------------------------------


def compare_with_source(run: Run, step: RunStep, services: Services) -> Live:
    """Compare what came back with what the source has now: news of the source, and no fault of the backup."""
    began = time.monotonic()
    source = services.source(rehearsed_of(run).source)
    backup = open_picked(run, services)
    digest = value_digester(services.digest_key, source.name)
    held = _digested(backup, names_of(run, backup))
    stands = Counter(standing(now, captured, digest) for _, captured, now in beside(source, held))
    return Live(
        same=stands[SecretState.SAME],
        changed=stands[SecretState.CHANGED],
        missing=stands[SecretState.MISSING],
        unread=stands[SecretState.UNREAD],
        seconds=time.monotonic() - began,
    )


# -- Before anything is restored: could this host recover at all? If not, the drill has failed ---


KEYS, PLACE = "keys", "place"


def prove(run: Run, step: RunStep, services: Services) -> Proved:
    """Check this host as on the worst day. What earlier drills left is removed on the way."""
    return proved(_findings(run, picked_of(run), services))


def proved(findings: Iterable[Finding]) -> Proved:
    """Return what a look at this host found, and how long it took."""
    began = time.monotonic()
    checks = tuple(map(_checked, findings))
    return Proved(checks=checks, seconds=time.monotonic() - began)


def of_host(run: Run, services: Services, *, made: Mapping[str, str]) -> Iterator[Finding]:
    """Look at this host: its keys, its cryptography, and what it would leave of a secret.

    Args:
        made: when backups were made (RFC 3339): this host's clock cannot be before that.
    """
    yield from _keys(run, services)
    yield from machine.algorithms()
    yield from machine.randomness()
    yield from machine.cores()
    yield from machine.swap()
    yield from machine.clock(made)


def _findings(run: Run, picked: Picked, services: Services) -> Iterator[Finding]:
    yield from of_host(run, services, made={picked.backup: picked.created_at})
    if options_of(run).into == LOCAL:
        yield from machine.disk(services.state_dir / FOLDER, picked.size)
    yield from _place(run, services)


def _keys(run: Run, services: Services) -> Iterator[Finding]:
    try:
        found = openers(run.spec, services)
    except StrongroomError as error:
        yield wrong(KEYS, error)
    else:
        yield good(KEYS, f"this host has {plural(len(found), 'key')} that may open backups")


def _place(run: Run, services: Services) -> Iterator[Finding]:
    into = options_of(run).into
    try:
        remove_left(place_of(run, services), services)
    except StrongroomError as error:
        yield wrong(PLACE, error)
    else:
        yield good(PLACE, "a scratch store of this host" if into == LOCAL else f"a new mount on '{into}'")


def _checked(finding: Finding) -> EnvironmentCheck:
    """A finding as the record keeps it: what could not be looked at is no reason to recover nothing."""
    code = finding.code if finding.state is FindingState.WRONG else ""
    return EnvironmentCheck(
        check=finding.check, state=finding.state.value, what=finding.what, to_do=finding.to_do, code=code
    )
