"""What the steps of a drill work with: in a cluster by the record of its run, or as a person opened a backup.

The cluster's is :mod:`~strongroom.operations.drills.by_record`. Who types ``drill local`` needs no
configuration, and has no digest key: there the values are compared with the backup, which is read once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from strongroom.container.errors import VerificationFailed
from strongroom.keys import Opener
from strongroom.model import Secret, Selection
from strongroom.operations.archive.live_comparison import Digests
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.drills.facts import Picked
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.batch import Choose, Progress, present
from strongroom.operations.restore.restorable import Restorable
from strongroom.operations.restore.scratch import scratch
from strongroom.sources import Destination, ScratchPlace
from strongroom.sources.batches import batched_secrets, matches
from strongroom.sources.local import LocalStore
from strongroom.system.errors import TargetFull
from strongroom.words import plural


class RehearsedPart(Struct, frozen=True, kw_only=True):
    """What of a backup a drill brings back.

    Args:
        secrets: gives them, anew each time.
        expected: says how many have to come back, once they were all given.
        gave: how many secrets each target gave so far.
        compare: counts the values of a place that are the same, that differ and that are missing.
        lacks: returns what the backup lacks of those before it, without a name.
        digested: yields each secret's name, and the keyed digests of its values at capture.
    """

    backup: str
    created_at: str
    source: str
    tags: Mapping[str, str]
    secrets: Choose
    expected: Callable[[], int]
    compare: Callable[[Destination], Counter[str]]
    lacks: Callable[[], Shortfall | None]
    gave: Mapping[str, int] = {}
    digested: Callable[[], Iterator[tuple[str, Digests]]] = lambda: iter(())


class DrillWork(Protocol):
    """What the steps of a drill work with. ``folder`` is where a scratch store of this host lies."""

    @property
    def folder(self) -> Path: ...
    @property
    def place(self) -> ScratchPlace:
        """Where the drill restores into. Raises ConfigError: this process has no such place."""
        ...

    def pick(self) -> Picked:
        """Pick the backup. Raises NothingToRehearse."""
        ...

    def openers(self) -> Sequence[Opener]:
        """Return what opens the backup; raise what to do where nothing does."""
        ...

    def open(self) -> RehearsedPart: ...
    def live(self, source: str) -> Destination | None:
        """Return where a recovery would restore into, if it is known and may be written to."""
        ...

    def counting(self) -> AbstractContextManager[Progress]: ...


# -- As a person opened it -------------------------------------------------------------------------


NAMED = 5
"""Secrets that an error names: more would hide what it says."""


class SecretCount(Struct, frozen=True):
    """A number of secrets, and of all their versions."""

    secrets: int = 0
    versions: int = 0

    def __str__(self) -> str:
        return f"{plural(self.secrets, 'secret')} ({plural(self.versions, 'version')})"


class AttendedDrill:
    """The rehearsal of a backup that a person opens. Its scratch store is gone with this process.

    Args:
        opened: opens the backup, when it is picked.
        folder: where the scratch store lies.
        into: where a recovery would restore into.
        selection: which secrets of the backup.
        name: the only secret, if one is rehearsed.
        told: is told what the backup lacks of those before it.
        counting: gives what is told of each secret that came back.
        store_at: makes the store in its directory.
    """

    def __init__(
        self,
        opened: Callable[[], Restorable],
        folder: Path,
        into: Destination,
        *,
        selection: Selection = Selection(),
        name: str | None = None,
        told: Callable[[Shortfall], object] = lambda _: None,
        counting: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(lambda _: None),
        store_at: Callable[[Path], LocalStore] = LocalStore,
    ) -> None:
        self.folder, self.count, self._counting = folder, SecretCount(), counting
        self.place = HeldPlace(folder, store_at)
        self.backup: Restorable | None = None
        self.lacks: Shortfall | None = None
        self._opened, self._into, self._selection = opened, into, selection
        self._name, self._told = name, told

    def live(self, source: str) -> Destination:
        return self._into

    def pick(self) -> Picked:
        self.backup = self._opened()
        manifest = self.backup.manifest
        return Picked(
            backup=manifest.backup_id if manifest is not None else "",
            created_at=manifest.created_at if manifest is not None else "",
            source=manifest.source if manifest is not None else "",
            secrets=self.backup.total,
            size=sum(entry.size for entry in manifest.containers) if manifest is not None else 0,
            among=1,
            cut_off=(),
        )

    @contextmanager
    def counting(self) -> Iterator[Progress]:
        try:
            with self._counting() as advance:
                yield advance
        except TargetFull as error:
            raise TargetFull(error.message, hint=_FULL) from None

    def openers(self) -> Sequence[Opener]:
        backup = self._picked
        backup.unlock()
        return backup.openers

    @property
    def _picked(self) -> Restorable:
        assert self.backup is not None  # the first step opened it
        return self.backup

    def open(self) -> RehearsedPart:
        manifest = self._picked.manifest
        return RehearsedPart(
            backup=manifest.backup_id if manifest is not None else "",
            created_at=manifest.created_at if manifest is not None else "",
            source=manifest.source if manifest is not None else "",
            tags=self._selection.tags,
            secrets=self._secrets,
            expected=self._expected,
            compare=self._compare,
            lacks=self._lacks,
        )

    def _secrets(self) -> Iterator[Secret]:
        """Yield what is rehearsed, and count it.

        All of the backup is read, whatever is selected of it, so that it is held to its manifest.

        Raises:
            VerificationFailed: at the end, if the backup gave more or less than its manifest says.
        """
        backup, every, selected = self._picked, [0, 0], [0, 0]
        for secret in backup.select(Selection()) if self._name is None else [backup.find(self._name)]:
            _add(every, secret)
            if matches(self._selection, secret):
                _add(selected, secret)
                yield secret
        self.count = SecretCount(*selected)
        whole = SecretCount(secrets=backup.total, versions=backup.versions)
        if self._name is None and SecretCount(*every) != whole:
            raise VerificationFailed(f"the backup gave {SecretCount(*every)}, and its manifest says {whole}")

    def _expected(self) -> int:
        if not self.count.secrets:
            raise NothingSelected(
                "The filter matches no secret of the backup, so nothing was rehearsed.",
                hint="Check the filter: 'strongroom get NAME --backup-file FILE' shows a secret's tags.",
            )
        return self.count.secrets

    def _compare(self, store: Destination) -> Counter[str]:
        """Compare every secret, all versions of it, with the backup, which is read once more.

        Raises:
            VerificationFailed: names the first few that are not as the backup holds them.
        """
        counts: Counter[str] = Counter()
        names: list[str] = []
        for batch in batched_secrets(self._secrets(), by=lambda secret: secret):
            back = present(store, [secret.name for secret in batch])
            for secret in batch:
                counts["same"] += sum(version.value is not None for version in secret.versions)
                if back.get(secret.name) != secret:
                    counts["wrong"] += 1
                    names += [f"'{secret.name}'"] if len(names) < NAMED else []
        if wrong := counts.pop("wrong", 0):
            more = f" and {wrong - NAMED:,} more" if wrong > NAMED else ""
            said = f"{plural(wrong, 'secret')} did not come back as the backup holds them: "
            raise VerificationFailed(f"{said}{', '.join(names)}{more}", hint=_DIFFERS)
        if (there := sum(1 for _ in store.list())) != self.count.secrets:
            said = f"the scratch store holds {plural(there, 'secret')}, the backup {self.count}"
            raise VerificationFailed(said, hint=_DIFFERS)
        return counts

    def _lacks(self) -> Shortfall | None:
        if self._picked.earlier is None:
            return None
        self.lacks = self._picked.earlier.shortfall()
        self._told(self.lacks)
        return self.lacks.nameless


class HeldPlace:
    """A scratch store that this process holds, and that the next one removes if this one is killed."""

    def __init__(self, folder: Path, store_at: Callable[[Path], LocalStore]) -> None:
        self._folder, self._store_at, self._held = folder, store_at, ExitStack()
        self._store: LocalStore | None = None

    def make(self, run: str) -> LocalStore:
        """Return an empty store."""
        self._store = self._store_at(self._held.enter_context(scratch(self._folder)))
        self._held.callback(self._store.close)
        return self._store

    def open(self, run: str) -> LocalStore:
        """Return the store."""
        assert self._store is not None
        return self._store

    def remove(self, run: str) -> None:
        """Delete the store; its master key goes with it."""
        self._held.close()

    def left(self) -> Sequence[str]:
        """Return none: whose process was killed is told by its lock, and removed when another is made."""
        return ()


def _add(count: list[int], secret: Secret) -> None:
    count[0] += 1
    count[1] += len(secret.versions)


_FULL = "The scratch store is removed again. Free space, or name a larger place with --scratch."
_DIFFERS = (
    "The backup itself opened and agrees with its seals. Suspect this machine's memory or disk: rehearse "
    "once more, and on another machine."
)
