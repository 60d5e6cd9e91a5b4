"""rehearsal: bring a backup back on this machine as on the worst day, compare, and take it away again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from strongroom.container.errors import VerificationFailed
from strongroom.model import Secret, Selection
from strongroom.operations.errors import NothingSelected
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.restore import Choose, Progress, plan_restore, present, restore
from strongroom.operations.restore.scratch import scratch
from strongroom.sources import Destination
from strongroom.sources.batches import batched_secrets, matches
from strongroom.sources.local import LocalStore
from strongroom.system.errors import TargetFull
from strongroom.words import plural

NAMED = 5
"""Secrets that an error names: more would hide what it says."""


class Phase(StrEnum):
    """What a rehearsal is at. A dry run reads where another restores and compares."""

    OPEN = "open"
    READ = "read"
    RESTORE = "restore"
    COMPARE = "compare"
    TEARDOWN = "teardown"


class Phases:
    """How many seconds each phase took, those included that ended in an error.

    Args:
        watch: called with each phase that begins.
    """

    def __init__(self, watch: Callable[[Phase], object] = lambda _: None) -> None:
        self.seconds: dict[str, float] = {}
        self._watch = watch
        self._began = time.monotonic()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Measure a phase."""
        began = time.monotonic()
        try:
            self._watch(name)
            yield
        finally:
            self.seconds[name.value] = time.monotonic() - began

    @property
    def total(self) -> float:
        """Seconds since all of it began."""
        return time.monotonic() - self._began


class Count(Struct, frozen=True):
    """A number of secrets, and of all their versions."""

    secrets: int = 0
    versions: int = 0

    def __str__(self) -> str:
        return f"{plural(self.secrets, 'secret')} ({plural(self.versions, 'version')})"


class RehearsedPart:
    """What of a backup is rehearsed: read again each time, and counted on the way.

    Args:
        read: gives the secrets of the backup, or of it the one that is asked for.
        selection: which of those are selected.
        whole: how many ``read`` has to give, as the manifest says; ``None`` where it says nothing of them.
    """

    def __init__(
        self, read: Choose, *, selection: Selection = Selection(), whole: Count | None = None
    ) -> None:
        self.count = Count()
        self._read = read
        self._selection = selection
        self._whole = whole

    def __iter__(self) -> Iterator[Secret]:
        """Yield the selected secrets.

        Raises:
            VerificationFailed: at the end, if the backup gave more or less than its manifest says.
        """
        seen, selected = [0, 0], [0, 0]
        for secret in self._read():
            _add(seen, secret)
            if matches(self._selection, secret):
                _add(selected, secret)
                yield secret
        self.count = Count(*selected)
        if self._whole is not None and Count(*seen) != self._whole:
            raise VerificationFailed(f"the backup gave {Count(*seen)}, and its manifest says {self._whole}")


def _add(count: list[int], secret: Secret) -> None:
    count[0] += 1
    count[1] += len(secret.versions)


def look_through(part: RehearsedPart, destination: Destination) -> Restored:
    """Open, authenticate and decode all selected secrets, in memory; return what a restore would do.

    Raises:
        NothingSelected: no secret is selected.
        VerificationFailed: the counts are wrong.
    """
    plan = plan_restore(lambda: part, destination, overwrite=True)
    _require_some(part)
    return plan


def rehearse(
    part: RehearsedPart,
    folder: Path,
    phases: Phases,
    *,
    store_at: Callable[[Path], LocalStore] = LocalStore,
    progress: Progress | None = None,
) -> Restored:
    """Restore into a scratch store below ``folder``, compare all of it with the backup, and remove it.

    Args:
        store_at: makes the store in its directory.

    Raises:
        NothingSelected: no secret is selected.
        VerificationFailed: something did not come back as the backup holds it, or the counts are wrong.
        StrongroomError: as :func:`~strongroom.operations.restore.scratch.scratch` and reading a backup do.
    """
    with _scratch_store(folder, phases, store_at) as store:
        with phases.phase(Phase.RESTORE):
            done = restore(lambda: part, store, overwrite=False, progress=progress)
            _require_some(part)
        with phases.phase(Phase.COMPARE):
            compare(part, store)
    return done


@contextmanager
def _scratch_store(
    folder: Path, phases: Phases, store_at: Callable[[Path], LocalStore]
) -> Iterator[LocalStore]:
    with ExitStack() as around:
        teardown = around.enter_context(ExitStack())
        store = store_at(around.enter_context(scratch(folder)))
        # What is entered last is left first: the clock starts, the store goes, the clock stops.
        around.callback(lambda: teardown.enter_context(phases.phase(Phase.TEARDOWN)))
        around.callback(store.close)
        try:
            yield store
        except TargetFull as error:
            raise TargetFull(error.message, hint=_FULL) from None


def _require_some(part: RehearsedPart) -> None:
    if not part.count.secrets:
        raise NothingSelected(
            "The filter matches no secret of the backup, so nothing was rehearsed.",
            hint="Check the filter: 'strongroom get NAME --backup-file FILE' shows a secret's tags.",
        )


def compare(part: RehearsedPart, store: LocalStore) -> None:
    """Compare every secret, all versions of it, with the backup, which is read once more.

    Raises:
        VerificationFailed: names the first few that are not as the backup holds them.
    """
    wrong = _Wrong()
    for batch in batched_secrets(part, by=lambda secret: secret):
        back = present(store, [secret.name for secret in batch])
        wrong.add(secret.name for secret in batch if back.get(secret.name) != secret)
    wrong.require_none()
    if (count := sum(1 for _ in store.list())) != part.count.secrets:
        raise VerificationFailed(
            f"the scratch store holds {plural(count, 'secret')}, the backup {part.count}", hint=_DIFFERS
        )


class _Wrong:
    """How many secrets did not come back, and the names of a few."""

    def __init__(self) -> None:
        self._count = 0
        self._names: list[str] = []

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            self._count += 1
            if self._count <= NAMED:
                self._names.append(f"'{name}'")

    def require_none(self) -> None:
        if self._count:
            more = f" and {self._count - NAMED:,} more" if self._count > NAMED else ""
            raise VerificationFailed(
                f"{plural(self._count, 'secret')} did not come back as the backup holds them: "
                f"{', '.join(self._names)}{more}",
                hint=_DIFFERS,
            )


_FULL = "The scratch store is removed again. Free space, or name a larger place with --scratch."
_DIFFERS = (
    "The backup itself opened and agrees with its seals. Suspect this machine's memory or disk: rehearse "
    "once more, and on another machine."
)
