"""What a restore run is asked for, its plan on the stage, and what people approve of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from glob import escape

import msgspec
from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.container.errors import Tampered
from strongroom.container.signing import verify_any
from strongroom.model import COMMAND, EVERY_POLICY, ApprovalAction, Role, Selection, prepare
from strongroom.operations.archive.salvage import LostParts, Salvaged
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.engine.approvals import UNKNOWN, ApprovalRequest, shown, shown_lines
from strongroom.operations.engine.approving import require_approval
from strongroom.operations.engine.integrity import UNSIGNED
from strongroom.operations.engine.jobs import read_facts, read_options
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.stage import stage_of, staged_plan
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.plan import (
    FIRST,
    IN_PLACE,
    NamedDestination,
    PlanEntry,
    Relocation,
    RestorePlan,
    comes_first,
    decode_entry,
    encode_entry,
    name_destination,
    require_same_place,
)
from strongroom.operations.restore.scratch import OBJECTIVES, DrillScope
from strongroom.sources import Destination
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunKind
from strongroom.times import stamp

# -- What a restore run is asked for, and what its steps find out: no secret's name is in any result


LOSSES = 100
"""Losses that a run's facts name; the record on the host has all of them."""


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore run is asked for, as its spec's options keep it.

    ``first`` are tags: the secrets that have one of them come back before the others. ``requester`` is who
    asked. ``relocation`` is what they are called there. ``objective_seconds`` is how long it may take (0:
    that of its scope). ``secret_version`` is which version of the one secret comes back (its newest).

    A person at a command line may do without what a cluster always does: ``planned`` says whether a plan is
    made before, ``compare`` whether everything is read once more at the end. With ``only_plan`` the run ends
    with its plan.
    """

    destination: str
    names: tuple[str, ...] = ()
    overwrite: bool = False
    requester: str = ""
    first: tuple[str, ...] = FIRST
    objective_seconds: float = 0.0
    relocation: Relocation = IN_PLACE
    secret_version: int | None = None
    planned: bool = True
    compare: bool = True
    only_plan: bool = False


class UndoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an undo run is asked for: which restore, and who asked. ``destination`` is that of the restore.
    ``selection`` is which of its secrets are meant. With ``only_plan`` the run ends with its plan."""

    undoes: str
    destination: str = ""
    requester: str = ""
    selection: Selection = Selection()
    only_plan: bool = False


class FixedBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The backup that every step of the run reads, by the digest of its manifest."""

    manifest: str


class StagedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A restore plan that lies sealed on the stage, as the recover role signed it.

    ``digest`` is the plan's own: what people approve. ``head`` and ``pieces`` are the digests of the objects
    on the stage, the pieces in the order in which they are done. ``waves`` says how many pieces are done at
    the same time: what others rest on, then what is critical, then the rest. ``made_at`` is when it was made,
    to the microsecond: the folders of its pieces are named by it, and those of a later plan come after them.
    ``shortfall`` is what the backup lacks of those before it, and ``lost`` what of it could not be read. Both
    are without a name.
    """

    digest: str
    made_at: str
    backup: str
    destination: NamedDestination
    counts: Restored
    head: str
    pieces: tuple[str, ...]
    waves: tuple[int, ...]
    shortfall: Shortfall | None = None
    lost: LostParts | None = None
    signature: str = ""

    @property
    def less(self) -> str:
        """Why the backup is not all that is known; empty if it is, but for what was deleted."""
        error = self.shortfall.error() if self.shortfall is not None else None
        return error.message if error is not None else ""


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """A run may go on: nothing asks for approvals, or enough were there. Each piece asks again."""


class RunRestored(Restored, frozen=True, kw_only=True):
    """What a piece of a restore run did, or all of them. ``losses`` could not be restored in full,
    ``not_done_by`` counts what was not restored by the code of the error. ``record`` is the folder that
    names each. ``aside`` names objects next to the backup that do not count. ``away`` says what was wrong
    with each target that did not give the backup whole: another one did. ``carried`` says which record of it
    the stage has, of a piece alone."""

    backup: str
    losses: tuple[str, ...] = ()
    not_done_by: Mapping[str, int] = {}
    record: str = ""
    aside: tuple[str, ...] = ()
    away: Mapping[str, str] = {}
    carried: str = ""

    def with_piece(self, piece: RunRestored) -> RunRestored:
        """Add what another piece did."""
        codes = {**self.not_done_by, **piece.not_done_by}
        by_code = {code: self.not_done_by.get(code, 0) + piece.not_done_by.get(code, 0) for code in codes}
        return RunRestored(
            **msgspec.structs.asdict(self.plus(piece)),
            backup=self.backup,
            losses=tuple(dict.fromkeys((*self.losses, *piece.losses)))[:LOSSES],
            not_done_by=by_code,
            record=piece.record or self.record,
            aside=tuple(dict.fromkeys((*self.aside, *piece.aside))),
            away={**self.away, **piece.away},
        )


class RestoreComparison(msgspec.Struct, frozen=True, kw_only=True):
    """How the destination compares with the backup once everything is done: all that was asked for is read
    once more. ``seconds`` is how long the run had taken by then, ``objective`` how long it may take."""

    same: int
    differ: int
    seconds: float
    objective: float


class RestoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a restore, or of an undo, which is about no manifest."""

    manifest: str = ""
    restore_plan: StagedPlan | None = None
    restore: RunRestored | None = None
    restore_compare: RestoreComparison | None = None


prepare(
    RestoreOptions,
    UndoOptions,
    FixedBackup,
    StagedPlan,
    Approved,
    RunRestored,
    RestoreComparison,
    RestoreFacts,
)


def options_of(run: Run) -> RestoreOptions:
    """Return what a restore run is asked for."""
    return read_options(run, RestoreOptions, "a restore")


def named_or_tagged(names: Sequence[str], tags: Mapping[str, str] | None) -> Selection:
    """Return what an undo of these secrets means; without any, all. A name is no pattern."""
    return Selection(include=tuple(map(escape, names)), tags=dict(tags or {}))


def objective_of(options: RestoreOptions, selection: Selection) -> float:
    """Return within how many seconds a restore of so much is to be done."""
    return options.objective_seconds or OBJECTIVES[scope_of(options, selection)]


def scope_of(options: RestoreOptions, selection: Selection) -> DrillScope:
    """Return how much is brought back."""
    if len(options.names) == 1:
        return DrillScope.SINGLE
    return DrillScope.CATEGORY if options.names or selection != Selection() else DrillScope.FULL


def facts_of(run: Run) -> RestoreFacts:
    """Return what is known of a restore run."""
    return read_facts(run, RestoreFacts)


# -- A run's restore plan on the stage: sealed under the cluster work key, in pieces, signed by who made it
#
# A piece is what one step restores. The pieces are in waves: what others rest on (mounts before what lies in
# them), then what is critical, then everything else.


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
    signature = services.signers(Role.RECOVER).sign(DOMAIN, _signed_bytes(run, plan))
    return replace(plan, signature=signature.hex())


def _seal(run: Run, content: bytes, services: Services) -> str:
    place = partial(staged_plan, run.id)
    return stage_of(run, services).seal(content, name=place, context=_context(run.id))


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
    if not _is_signed(run, plan, services):
        raise RecordRefused(f"the restore plan of run {run.id} is not the one that was signed", hint=UNSIGNED)
    return plan


def _is_signed(run: Run, plan: StagedPlan, services: Services) -> bool:
    trusted = services.trusted(Role.RECOVER, run.created_at)
    for signed in (_signed_bytes(run, plan), _signed_before(run, plan)):
        with suppress(ValueError, Tampered):
            verify_any(trusted, DOMAIN, signed, bytes.fromhex(plan.signature))
            return True
    return False


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
    stage = stage_of(run, services)
    return stage.open(staged_plan(run.id, sha256), sha256=sha256, context=_context(run.id))


def _signed_bytes(run: Run, plan: StagedPlan) -> bytes:
    return _encode([run.id, run.spec, replace(plan, signature="")])


def _signed_before(run: Run, plan: StagedPlan) -> bytes:
    """Return the same as a version signed it that knew no stage: an upgrade may find its plan waiting for
    approvals, or half done."""
    parts = msgspec.to_builtins([run.id, run.spec, replace(plan, signature="")], order="deterministic")
    if parts[1]["stage"] is None:
        del parts[1]["stage"]
    return msgspec.json.encode(parts)


_encode = msgspec.json.Encoder(order="deterministic").encode


def _context(run: str) -> bytes:
    return b"strongroom/v1/restore-plan/" + run.encode()


# -- What people approve of a restore run, or of an undo: the very plan that its workers signed and will do


def require_plan_approval(run: Run, plan: StagedPlan, services: Services) -> None:
    """Return if the plan may be done. Whoever edits the rows of steps gets past the step, and not past this.

    Raises:
        PlanMismatch: the destination's name stands for another place by now than people approved.
        ApprovalNeeded, NotApproved: as :func:`~strongroom.operations.engine.approving.require_approval`.
    """
    name = plan.destination.name
    require_same_place(plan.destination, name_destination(services.destination(name), name))
    require_approval(services, _request(run, plan), holder=run.id)


def _request(run: Run, plan: StagedPlan) -> ApprovalRequest:
    named = run.spec.policy not in (COMMAND, EVERY_POLICY)
    return plan_request(
        ApprovalAction.UNDO if run.spec.kind is RunKind.UNDO else ApprovalAction.RESTORE,
        subject=run.id,
        digest=plan.digest,
        requester=str(run.spec.options.get("requester") or UNKNOWN),
        policy=run.spec.policy if named else "",
        plan=plan,
        relocation=IN_PLACE if run.spec.kind is RunKind.UNDO else options_of(run).relocation,
    )


def plan_request(
    action: ApprovalAction,
    *,
    subject: str,
    digest: str,
    requester: str,
    policy: str,
    plan: StagedPlan | RestorePlan,
    relocation: Relocation = IN_PLACE,
) -> ApprovalRequest:
    """Return what people approve of a plan."""
    counts = plan.counts if isinstance(plan, StagedPlan) else plan.totals
    undoes, to = action is ApprovalAction.UNDO, plan.destination
    rest = f"remove {counts.removed:,}" if undoes else f"leave {counts.left:,} that differ"
    return ApprovalRequest(
        action=action,
        subject=subject,
        digest=digest,
        requester=shown(requester),
        destination=to.name,
        policy=policy,
        size=counts.written,
        lines=shown_lines(
            (
                f"{plan.backup if undoes else f'restore backup {plan.backup}'}, planned at {plan.made_at}",
                f"into {to.kind} '{to.name}' {to.address}".rstrip(),
                *(
                    [f"what is called '{relocation.source}…' becomes '{relocation.to}…'"]
                    if relocation != IN_PLACE
                    else []
                ),
                f"create {counts.created:,}, change {counts.changed:,}, {rest}",
            )
        ),
    )
