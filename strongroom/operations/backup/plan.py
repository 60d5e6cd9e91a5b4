"""plan: list the source, spill the names, cut them into ranges."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import msgspec

from strongroom.container import cobblestone
from strongroom.container.manifest import parse_manifest
from strongroom.errors import StrongroomError
from strongroom.model import COMMAND, Selection, prepare
from strongroom.operations.approval.changes import require_known_recipients
from strongroom.operations.archive.coverage import limits_on
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup import name_list
from strongroom.operations.backup.facts import PlannedPieces
from strongroom.operations.backup.same_server import check_homes
from strongroom.operations.errors import NothingSelected, NothingSelectedYet
from strongroom.operations.listing import InProcessListing, ListingLost
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.sources import Source
from strongroom.sources.errors import EmptySource, EmptySourceYet
from strongroom.state.records import Run, RunStep, Spec
from strongroom.system.gc_pause import uncollected

MAX_PIECES = 65_536
PIECE_SECRETS = 65_536
"""However small they are: who captures a piece holds its list of names, some 400 bytes each."""


class ListedPieces(PlannedPieces, frozen=True, kw_only=True):
    """What the plan found, as the run's facts keep it. The name key is sealed under the
    cluster work key: the state database must not be able to tell which names exist.
    ``not_contained`` is what the source says that it has and does not list; ``unfinished``, how many of
    its secrets an interrupted restore left half-written."""

    secrets: int
    size: int
    chunks: tuple[name_list.ChunkRef, ...]
    name_key: str
    not_contained: tuple[str, ...] = ()
    unfinished: int = 0


class BackupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that a backup begins with. ``previous`` is the digest of the policy's manifest before it,
    ``trust`` the number of the newest trust list that is known here, or 0."""

    plan: ListedPieces
    previous: str | None
    trust: int


prepare(BackupPlan)


@uncollected()
def plan(run: Run, step: RunStep, services: Services) -> BackupPlan:
    """List, spill and cut; the result becomes the run's facts."""
    spec = run.spec
    source = services.source(spec.source)
    check_homes(spec, source, services)
    require_known_recipients(services, spec.policy, spec.recipients)
    spilled, name_key = _spill_names(run, source, spec.selection, services)
    if not spilled.secrets:
        raise _why_empty(source, spec, services)
    plan = ListedPieces(
        pieces=_count_pieces(spilled, spec.container_bytes),
        secrets=spilled.secrets,
        size=spilled.size,
        chunks=spilled.chunks,
        name_key=cobblestone.seal(services.work_key, name_key, context=_context(run.id)).hex(),
        not_contained=source.not_contained(),
        unfinished=source.unfinished(),
    )
    trust = services.signers("control").trust
    return BackupPlan(plan=plan, previous=_previous_manifest(spec, services), trust=trust)


def _count_pieces(spilled: name_list.Spilled, container_bytes: int) -> int:
    by_size = -(-spilled.size // container_bytes)
    by_count = -(-spilled.secrets // PIECE_SECRETS)
    return min(max(1, by_size, by_count), spilled.secrets, MAX_PIECES)


def plan_of(run: Run) -> BackupPlan:
    """Return what the plan of a run found."""
    return read_facts(run, BackupPlan)


def open_name_key(run: Run, plan: ListedPieces, services: Services) -> bytes:
    """Unseal the run's name key."""
    sealed = bytes.fromhex(plan.name_key)
    return cobblestone.open_(services.work_key, sealed, context=_context(run.id))


def _previous_manifest(spec: Spec, services: Services) -> str | None:
    """Return the digest of the policy's manifest before this one: a chain shows a gap.

    The catalog only says which backup that is. Its rows can be edited, so the digest is that of a signed
    manifest on a target; without one there is none.
    """
    newest = services.store.backups(policy=spec.policy, limit=1)
    for pin in spec.targets if newest and spec.policy != COMMAND else ():
        with suppress(StrongroomError):
            content = manifest_bytes(
                services.target(pin.name), newest[0].backup, trusted=services.signer_fingerprints
            )
            if parse_manifest(content, trusted=services.signer_fingerprints).policy == spec.policy:
                return hashlib.sha256(content).hexdigest()
    return None


def _spill_names(
    run: Run, source: Source, selection: Selection, services: Services
) -> tuple[name_list.Spilled, bytes]:
    """Spill the names, and return the key that they were hashed with."""
    for listing in (services.listing(source, selection), InProcessListing(source, selection)):
        with suppress(ListingLost):
            spilled = name_list.spill(services.stage, run.id, listing, work_key=services.work_key)
            return spilled, listing.name_key
    raise AssertionError("a listing made here is not lost")


def _why_empty(source: Source, spec: Spec, services: Services) -> StrongroomError:
    """Say why there is nothing to back up. Where there was something before, it is a loss (invariant 7)."""
    asked = spec.policy == COMMAND or services.store.backups(policy=spec.policy, limit=1)
    never = f", and policy '{spec.policy}' never had a backup"
    if next(source.list(), None) is None:
        nothing = f"source '{source.name}' holds no secret"
        return EmptySource(nothing) if asked else EmptySourceYet(nothing + never)
    nothing = f"source '{source.name}' has no secret {limits_on(spec.selection)}"
    hint = _how_to_tag(source, spec)
    return NothingSelected(nothing, hint=hint) if asked else NothingSelectedYet(nothing + never, hint=hint)


def _how_to_tag(source: Source, spec: Spec) -> str | None:
    """Say how secrets are tagged where they are, if a tag is what is missing."""
    if not spec.selection.tags:
        return None
    key, value = next(iter(spec.selection.tags.items()))
    if not (how := source.how_to_tag(key, value)):
        return None
    again = f" Then 'strongroom backup --policy {spec.policy}'." if spec.policy != COMMAND else ""
    return f"Nothing was written. {how}{again}"


def _context(run: str) -> bytes:
    return b"strongroom/v1/name-key/" + run.encode()
