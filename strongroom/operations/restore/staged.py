"""A run's restore plan on the stage: sealed under the cluster work key, in pieces, signed by who made it.

A piece is what one step restores. The pieces are in waves: what others rest on (mounts before what lies in
them), then what is critical, then everything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.container.errors import Tampered
from strongroom.container.signing import verify_any
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.layout import staged_plan
from strongroom.operations.restore.facts import StagedPlan, facts_of
from strongroom.operations.restore.plan import PlanEntry, RestorePlan, comes_first, decode_entry, encode_entry
from strongroom.operations.runs.stage import get_sealed, put_sealed
from strongroom.operations.services import Services
from strongroom.sources import Destination
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run
from strongroom.timestamps import stamp

DOMAIN = b"strongroom/v1/run-restore-plan"
LEAST, MOST, PIECES = 100, 2_000, 64
"""Secrets of a piece at least and at most, and about how many pieces a plan is cut into in between."""

WaveOf = Callable[[str], int]
LAYERS, CRITICAL, REST = range(3)


class Spill:
    """Puts the entries of a plan onto the stage as they are made, each wave by itself.

    Args:
        wave_of: says which wave a secret of the backup belongs to.
        secrets: how many there are at most.
    """

    def __init__(self, run: Run, services: Services, wave_of: WaveOf, *, secrets: int) -> None:
        self._run = run
        self._services = services
        self._wave_of = wave_of
        self._size = min(max(LEAST, -(-secrets // PIECES)), MOST)
        self._open: dict[int, list[bytes]] = {LAYERS: [], CRITICAL: [], REST: []}
        self._put: dict[int, list[str]] = {LAYERS: [], CRITICAL: [], REST: []}

    def add(self, entry: PlanEntry) -> None:
        """Take an entry."""
        wave = self._wave_of(entry.name)
        lines = self._open[wave]
        lines.append(encode_entry(entry))
        if len(lines) >= self._size and wave != LAYERS:  # these are in an order of their own: one piece
            self._close(wave)

    def finish(self, head: RestorePlan) -> StagedPlan:
        """Put what is left, and return what the run remembers of the plan, signed."""
        for wave in self._open:
            self._close(wave)
        waves = [pieces for pieces in self._put.values() if pieces]
        return stage_plan(self._run, head, self._services, waves=waves)

    def _close(self, wave: int) -> None:
        lines, self._open[wave] = self._open[wave], []
        if lines:
            self._put[wave].append(_seal(self._run, b"".join(lines), self._services))


def stage_plan(
    run: Run, head: RestorePlan, services: Services, *, waves: Sequence[Sequence[str]] = ()
) -> StagedPlan:
    """Stage a plan's head, and return what the run remembers of the plan, signed.

    Args:
        waves: the digests of the pieces, which are staged already.
    """
    plan = StagedPlan(
        digest=head.digest,
        made_at=stamp(time.time()),
        backup=head.backup,
        destination=head.destination,
        counts=head.totals,
        head=_seal(run, canonical.encode(head), services),
        pieces=tuple(piece for pieces in waves for piece in pieces),
        waves=tuple(map(len, waves)),
        shortfall=head.shortfall.nameless if head.shortfall is not None else None,
        lost=head.lost.without_names if head.lost is not None else None,
    )
    signature = services.signers("recover").sign(DOMAIN, _signed_bytes(run, plan))
    return replace(plan, signature=signature.hex())


def _seal(run: Run, content: bytes, services: Services) -> str:
    place = partial(staged_plan, run.id)
    return put_sealed(
        services.stage, content, place=place, work_key=services.work_key, context=_context(run.id)
    )


def wave_of_names(backup: Salvaged, destination: Destination, first: Sequence[str]) -> WaveOf:
    """Return which wave each secret belongs to, by its type and tags; reads no value."""
    layers = frozenset(destination.layers())
    waves: dict[str, int] = {}
    for row in backup.rows():
        if row.type in layers:
            waves[row.name] = LAYERS
        elif comes_first(row.tags, first):
            waves[row.name] = CRITICAL
    return lambda name: waves.get(name, REST)


def staged_plan_of(run: Run, services: Services) -> StagedPlan:
    """Return a run's plan, refusing one that the recover role did not sign for this run."""
    plan = facts_of(run).restore_plan
    if plan is None:
        raise RecordRefused(f"run {run.id} does not record what it is to restore")
    try:
        signature = bytes.fromhex(plan.signature)
        verify_any(services.trusted("recover"), DOMAIN, _signed_bytes(run, plan), signature)
    except (ValueError, Tampered):
        raise RecordRefused(f"the restore plan of run {run.id} is not the one that was signed") from None
    return plan


def head_of(run: Run, plan: StagedPlan, services: Services) -> RestorePlan:
    """Return the head of a run's plan."""
    return canonical.decode(_read(run, plan.head, services), RestorePlan, "The head of the restore plan")


def entries_of(run: Run, plan: StagedPlan, piece: int, services: Services) -> list[PlanEntry]:
    """Return the entries of one piece."""
    if piece not in range(len(plan.pieces)):
        raise RecordRefused(f"the restore plan of run {run.id} has no piece {piece}")
    return list(_decoded(_read(run, plan.pieces[piece], services)))


def _decoded(lines: bytes) -> Iterator[PlanEntry]:
    yield from map(decode_entry, lines.splitlines(keepends=True))


def _read(run: Run, sha256: str, services: Services) -> bytes:
    name = staged_plan(run.id, sha256)
    return get_sealed(
        services.stage, name, sha256=sha256, work_key=services.work_key, context=_context(run.id)
    )


def _signed_bytes(run: Run, plan: StagedPlan) -> bytes:
    return _encode([run.id, run.spec, replace(plan, signature="")])


_encode = msgspec.json.Encoder(order="deterministic").encode


def _context(run: str) -> bytes:
    return b"strongroom/v1/restore-plan/" + run.encode()
