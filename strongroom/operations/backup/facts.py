"""What is known of a run that places and reads back replicas: a backup, a verification or a repair."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom.container.manifest import Counts
from strongroom.model import prepare
from strongroom.operations.runs.job import read_facts
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run


class PlannedPieces(Struct, frozen=True, kw_only=True):
    """How many containers a backup has."""

    pieces: int


class ReplicaFacts(Struct, frozen=True, kw_only=True):
    """What such a run found out; each fact is there from the step on that finds it out.

    ``manifest`` is the digest of the backup's manifest. A repair leaves targets alone that ``held`` a good
    replica by the record, and cannot ask the ``away`` ones. ``lacking`` names target and number of each
    container to copy. ``doubted`` are those that it reads on a replica of which the record vouches for the
    rest, since that was read not long ago. A verification says in ``unread`` why it could not ask a target.
    ``unplaced`` says why one did not take the manifest, ``unlocked`` why a replica is not locked. ``ending``
    is how a run ends that ends early.
    """

    plan: PlannedPieces | None = None
    manifest: str | None = None
    held: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    lacking: tuple[tuple[str, int], ...] = ()
    doubted: tuple[tuple[str, int], ...] = ()
    unread: Mapping[str, str] = {}
    unplaced: Mapping[str, str] = {}
    unlocked: Mapping[str, str] = {}
    counts: Counts | None = None
    ending: str | None = None

    def is_read_in_part(self, target: str) -> bool:
        """Tell whether only what is doubted of a replica is read."""
        return any(name == target for name, _ in self.doubted)

    def pieces_read(self, target: str) -> list[int]:
        """Return the numbers of the containers that are read back from a target."""
        doubted = [piece for name, piece in self.doubted if name == target]
        return doubted or list(range(self.plan.pieces if self.plan else 0))


prepare(ReplicaFacts)


def replica_facts(run: Run) -> ReplicaFacts:
    """Return what is known of such a run."""
    return read_facts(run, ReplicaFacts)


def has_manifest(run: Run) -> bool:
    """Tell whether a run's record names a manifest. Any value counts: doubt removes nothing."""
    return "manifest" in run.facts


def pieces_of(run: Run) -> int:
    """Return how many containers the backup has that a run makes or is about."""
    plan = replica_facts(run).plan
    if plan is None:
        raise RecordRefused(f"run {run.id} has no plan on record")
    return plan.pieces
