"""What the steps of a drill work with in a cluster: what the record of their run names.

Nobody is asked: what the record names must be what this process's own configuration and keys say.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Never, TypeVar

from strongroom.container.cobblestone import value_digester
from strongroom.errors import SourceError, TargetError
from strongroom.keys import Opener
from strongroom.model import Secret, Selection
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.live_comparison import Digests, batches
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.backup.verify import restorable
from strongroom.operations.drills.facts import LOCAL, DrillFacts, Picked, cut_off, options_of, picked_of
from strongroom.operations.drills.work import RehearsedPart
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.services import Services, openers
from strongroom.operations.errors import NothingSelected, NothingToRehearse
from strongroom.operations.restore.batch import Progress, present
from strongroom.operations.restore.by_record import open_anywhere, shortfall_of
from strongroom.operations.restore.restore import chosen
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sources import Destination, ScratchPlace
from strongroom.sources.local import LocalStore
from strongroom.state.errors import RecordRefused
from strongroom.state.records import CatalogEntry, Run
from strongroom.targets import Target
from strongroom.words import plural

T = TypeVar("T")
FOLDER = "drills"
Names = frozenset[str] | None
"""``None`` for every secret there is."""
Digested = tuple[str, Digests]
"""The name of a secret, and the keyed digests of its values at capture."""


class RecordedDrill:
    """A drill as its run's record names it."""

    def __init__(self, run: Run, services: Services) -> None:
        self._run, self._services, self._options = run, services, options_of(run)
        if self._options.only_open or not self._options.live:
            raise RecordRefused(f"run {run.id} is to rehearse less than a recovery")
        self.folder = services.state_dir / FOLDER

    @property
    def place(self) -> ScratchPlace:
        into = self._options.into
        return LocalPlace(self.folder) if into == LOCAL else self._services.scratch(into)

    def openers(self) -> Sequence[Opener]:
        return openers(self._run.spec, self._services)

    def live(self, source: str) -> Destination | None:
        there = self._services.sources.get(source)
        return there if isinstance(there, Destination) else None

    def counting(self) -> AbstractContextManager[Progress]:
        return nullcontext(lambda _: None)

    def pick(self) -> Picked:
        """Pick a backup of the policy: the newest, or a random one of the last days."""
        among = self._candidates()
        entry = Random(self._run.id).choice(among) if self._options.within_days else among[0]  # noqa: S311 - no key is made
        return Picked(
            backup=entry.backup,
            created_at=entry.created_at,
            source=entry.source,
            secrets=entry.secrets,
            size=entry.size,
            among=len(among),
            cut_off=cut_off(self._run.spec.targets, self._options),
        )

    def _candidates(self) -> Sequence[CatalogEntry]:
        policy, days = self._run.spec.policy, self._options.within_days
        entries = list(restorable(self._services, policy))
        if not entries:
            raise NothingToRehearse(f"there is no backup of policy '{policy}' to recover from")
        if not days:
            return entries
        since = datetime.fromtimestamp(self._run.created_at, UTC) - timedelta(days=days)
        recent = [entry for entry in entries if datetime.fromisoformat(entry.created_at) >= since]
        if not recent:
            last = plural(round(days), "day")
            raise NothingToRehearse(f"policy '{policy}' has no backup of the last {last}")
        return recent

    def open(self) -> RehearsedPart:
        backup = self._backup()
        names, tags, manifest = self._names(backup), self._tags(backup), backup.manifest
        backup.gave.clear()
        return RehearsedPart(
            backup=manifest.backup_id,
            created_at=manifest.created_at,
            source=manifest.source,
            tags=tags,
            secrets=lambda: _secrets_of(backup, names),
            expected=lambda: manifest.counts.secrets if names is None else len(names),
            compare=lambda store: self._compared(backup, names, store),
            lacks=lambda: self._lacks(backup),
            digested=lambda: _digested(backup, names),
            gave=backup.gave,
        )

    def _backup(self) -> Replicated:
        """Open the backup that the drill rehearses, from the targets that are not cut off.

        If it is quarantined by now, the one before it is rehearsed.
        """
        earlier = read_facts(self._run, DrillFacts).drill_restore
        backup = earlier.backup if earlier is not None else picked_of(self._run).backup
        return open_anywhere(self._run, self._within_reach(), backup=backup, or_newest=earlier is None)

    def _within_reach(self) -> Services:
        """Return services to which the targets of the drill that are cut off refuse everything."""
        away = {name: CutOff(self._services.target(name)) for name in picked_of(self._run).cut_off}
        return replace(self._services, targets={**self._services.targets, **away})

    def _names(self, backup: Replicated) -> Names:
        """Return the names that the drill is about. Asked again it says the same, so no record names them.

        Raises:
            NothingSelected: the backup holds no such secret.
        """
        options = self._options
        if options.drill is DrillScope.SINGLE:
            return frozenset({options.secret or self._any([row.name for row in backup.rows()], "a secret")})
        if options.drill is DrillScope.CATEGORY:
            tags = self._tags(backup)
            named = frozenset(row.name for row in backup.rows() if tags.items() <= row.tags.items())
            return named or _none("such a tag")
        return None

    def _tags(self, backup: Replicated) -> dict[str, str]:
        """Return the tags that make the category of the drill; of any other drill none."""
        if self._options.drill is not DrillScope.CATEGORY:
            return {}
        there = sorted({tag for row in backup.rows() for tag in row.tags.items()})
        return dict(self._options.tags) or dict([self._any(there, "a tag")])

    def _any(self, choices: Sequence[T], what: str) -> T:
        """Return any of them: the same one whenever this run asks."""
        return Random(self._run.id).choice(choices) if choices else _none(what)  # noqa: S311 - no key is made of it

    def _lacks(self, backup: Replicated) -> Shortfall | None:
        """Return nothing of a drill of one secret. The backup is held against what its policy means, and
        against what the targets show that are not cut off."""
        if self._options.drill is DrillScope.SINGLE:
            return None
        meant = backup.manifest.selection
        tags = {**meant.tags, **self._tags(backup)}
        asked = Asked(
            backup=backup.manifest.backup_id,
            selection=Selection(include=meant.include, exclude=meant.exclude, tags=tags),
            partial=True,
            use_quarantined=True,
        )
        lacking = shortfall_of(self._run, self._within_reach(), asked)
        return None if lacking is None else lacking.nameless

    def _compared(self, backup: Replicated, names: Names, store: Destination) -> Counter[str]:
        """Compare every value with its digest at capture."""
        comparison = _Comparison(backup, store, self._services.digest_key)
        for batch in batches(_digested(backup, names)):
            comparison.add(batch)
        return comparison.counts


def _secrets_of(backup: Replicated, names: Names) -> Iterable[Secret]:
    if names is not None and len(names) == 1:  # as a person would: with a few ranged reads
        return chosen(backup, names=tuple(names))
    return (secret for secret in backup.secrets() if names is None or secret.name in names)


def _digested(backup: Replicated, names: Names) -> Iterator[Digested]:
    return (digested for digested in backup.digested() if names is None or digested[0] in names)


def _none(what: str) -> T:  # type: ignore[type-var]
    raise NothingSelected(
        f"The backup holds no secret with {what}, so nothing was rehearsed.",
        hint="A category is what has one tag: 'strongroom set NAME --tag KEY=VALUE'. Then back up again.",
    )


class _Comparison:
    """Counts the values that are the same, that differ and that are missing, by their keyed digests."""

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


# -- Targets that are cut off for one drill: a region is gone for it, and for nobody else -------


class CutOff(Target):
    """A target that refuses everything. It is not asked, so a drill finds out nothing through it."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.place)

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TargetError(f"target '{self.name}' is cut off for this drill")

    put = read = stat = list = delete = abort_incomplete = _refuse
