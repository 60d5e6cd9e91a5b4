"""What part of all replicas was read within the span, in words and figures, and what is put on record."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from strongroom.model import EVERY_POLICY, Depth, prepare
from strongroom.operations.archive.inventory import in_a_file
from strongroom.operations.backup.order import MANIFEST, MOST, SKEW, DueContainer, Terms, slice_limit
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.state.records import HeldReplica, ReadContainers, RunKind
from strongroom.state.store import RunStore
from strongroom.times import about, for_people, if_any
from strongroom.words import plural

# -- What part of all replicas was read within the span: the facts that status, health and alerts tell


RECENT = 10
"""Slices that are looked through for the newest that was planned."""
_DEPTHS = tuple(Depth)


class VerificationScope(Terms, frozen=True, kw_only=True):
    """What is verified, and how often.

    ``offline`` names policies whose media lie in a safe, and ``media`` the targets that are nothing else:
    a person who brings one has it read.
    """

    offline: tuple[str, ...] = ()
    media: tuple[str, ...] = ()


prepare(VerificationScope)


def scope_of(entry: Scheduled, at: float) -> VerificationScope:
    """Return what an entry of the calendar asks for in a slot."""
    return msgspec.convert({**entry.options, "interval": entry.interval(at)}, VerificationScope)


class Coverage(Struct, frozen=True, kw_only=True):
    """How much of one target's replicas, or of all, was read within the span.

    Args:
        containers: how many there are, manifests included; ``read`` of them within the span.
        late: those that were not, though they have been there for longer than that.
        never: those that nobody ever read.
        depths: of those that were read, how many to which depth.
        oldest: the one that was not read for longest, and since when (epoch seconds): since its backup was
            made, if it was never read.
        ends_at: when all will have been read, at the pace that a slice may have; ``None`` if all were.
    """

    containers: int
    read: int
    late: int
    never: int
    depths: Mapping[Depth, int]
    oldest: DueContainer | None
    oldest_since: float | None
    ends_at: float | None

    @property
    def share(self) -> float:
        """The part that was read within the span, from 0 to 1; 1 where there is nothing to read."""
        return self.read / self.containers if self.containers else 1.0


def coverage(items: Sequence[DueContainer], terms: Terms, *, now: float) -> Coverage:
    """Judge items by when they were read. Pure."""
    since = now - terms.span
    read = [item for item in items if item.read_at(now) > since]
    depths: Counter[Depth | None] = Counter()
    for item in read:
        depths[item.depth] += item.count
    oldest = min(items, key=lambda item: item.read_at(now) or item.made_at, default=None)
    # When the slowest target will have been read, if a slice of each is as large as it may be.
    ends = [_end_of_target(mine, terms, now) for mine in by_target(items).values()]
    return Coverage(
        containers=sum(item.count for item in items),
        read=sum(item.count for item in read),
        late=sum(item.count for item in items if (item.read_at(now) or item.made_at) <= since),
        never=sum(item.count for item in items if not item.read_at(now)),
        depths={depth: depths[depth] for depth in Depth if depth in depths},
        oldest=oldest,
        oldest_since=None if oldest is None else oldest.read_at(now) or oldest.made_at,
        ends_at=max((end for end in ends if end is not None), default=None),
    )


def by_target(items: Iterable[DueContainer]) -> dict[str, list[DueContainer]]:
    """Return items by the target that they lie on."""
    found: dict[str, list[DueContainer]] = {}
    for item in items:
        found.setdefault(item.target, []).append(item)
    return dict(sorted(found.items()))


def _end_of_target(items: Sequence[DueContainer], terms: Terms, now: float) -> float | None:
    late = sum(item.weight for item in items if item.read_at(now) <= now - terms.span)
    return now + math.ceil(late / slice_limit(items, terms)) * terms.interval if late else None


class VerificationState(Struct, frozen=True, kw_only=True):
    """How verification stands: over all, and by target.

    What is not covered stands apart: ``outside`` counts the backups on each target that the record does not
    know, ``going`` those that are marked for deletion, both by the newest slice, and ``offline`` the
    containers on media in a safe.
    """

    span: float
    all: Coverage
    targets: Mapping[str, Coverage]
    outside: Mapping[str, int] = {}
    going: int = 0
    offline: int = 0


def standing(
    store: RunStore, scope: VerificationScope, *, now: float, gone: frozenset[str] = frozenset()
) -> VerificationState:
    """Return how verification stands, by the record.

    Args:
        gone: backups that are destroyed, or to be.
    """
    # What the newest slice that was planned saw.
    runs = store.runs_of(EVERY_POLICY, RunKind.SCRUB, limit=RECENT)
    uncovered_containers = msgspec.convert(
        next((run.facts for run in runs if "outside" in run.facts), {}), _UncoveredContainers
    )
    replicas = replicas_on_record(store, without=gone.union(uncovered_containers.going))
    here = [replica for replica in replicas if replica.policy not in scope.offline]
    items = _known_together(store, here, scope, now=now)
    found = coverage(items, scope, now=now)
    targets = {
        name: _named(store, coverage(mine, scope, now=now), now=now)
        for name, mine in by_target(items).items()
    }
    return VerificationState(
        span=scope.span,
        all=structs.replace(found, oldest=found.oldest and targets[found.oldest.target].oldest),
        targets=targets,
        outside=uncovered_containers.outside,
        going=len(uncovered_containers.going),
        offline=sum(1 + replica.containers for replica in replicas if replica.policy in scope.offline),
    )


def _known_together(
    store: RunStore, replicas: Sequence[HeldReplica], terms: Terms, *, now: float
) -> list[DueContainer]:
    """Return what is known of the containers of replicas, many at once: what a replica's own row says holds
    of each. Only where that is not enough its containers are counted, and none is looked at alone."""
    since, until = now - terms.span, now + SKEW
    whole: list[HeldReplica] = []
    others: list[HeldReplica] = []
    for replica in replicas:
        deep = replica.verified is not None and replica.verified is not Depth.PRESENT
        fresh = since < (replica.verified_at or 0.0) <= until
        (whole if deep and fresh else others).append(replica)
    read = store.read_counts(
        [(replica.backup, replica.target) for replica in others], since=since, until=until
    )
    items = [
        *_read_whole(whole),
        *(
            item
            for replica in others
            for item in _read_in_part(replica, read.get((replica.backup, replica.target), ()))
        ),
    ]
    return [item for item in items if item.count]


def _read_whole(replicas: Iterable[HeldReplica]) -> Iterator[DueContainer]:
    """Yield the containers, and the manifests, of replicas that were all read whole."""
    together: dict[tuple[str, Depth], list[HeldReplica]] = {}
    for replica in replicas:
        depth = min(replica.verified or Depth.DIGEST, Depth.COMPARED, key=_DEPTHS.index)
        together.setdefault((replica.target, depth), []).append(replica)
    for (target, depth), some in together.items():
        oldest = min(some, key=lambda replica: replica.verified_at or 0.0)
        manifests = DueContainer(
            backup=oldest.backup,
            target=target,
            piece=MANIFEST,
            size=0,
            made_at=oldest.made_at,
            depth=Depth.DIGEST,
            checked_at=oldest.verified_at,
            count=len(some),
        )
        yield manifests
        yield structs.replace(
            manifests,
            size=sum(replica.size for replica in some),
            depth=depth,
            count=sum(replica.containers for replica in some),
        )


def _read_in_part(replica: HeldReplica, read: Sequence[ReadContainers]) -> Iterator[DueContainer]:
    """Yield the containers of a replica of which some were not read within the span, or never."""
    size = replica.size // max(1, replica.containers)
    never = DueContainer(
        backup=replica.backup,
        target=replica.target,
        piece=MANIFEST,
        size=size * replica.containers,
        made_at=replica.made_at,
        count=1 + replica.containers,
    )
    for some in read:
        part = size * (some.containers - some.manifests)
        never = structs.replace(never, size=never.size - part, count=never.count - some.containers)
        yield structs.replace(
            never, size=part, depth=some.depth, checked_at=some.oldest, count=some.containers
        )
    yield never


def _named(store: RunStore, found: Coverage, *, now: float) -> Coverage:
    """Say which container of a replica it is that was not read for longest."""
    if (oldest := found.oldest) is None:
        return found
    where, until = (oldest.backup, oldest.target), now + SKEW
    piece = (
        store.first_unread(*where, until=until)
        if oldest.checked_at is None
        else store.oldest_read(*where, until=until)
    )
    named = structs.replace(oldest, piece=MANIFEST if piece is None else piece, count=1)
    return structs.replace(found, oldest=named)


class _UncoveredContainers(Struct, frozen=True, kw_only=True):
    """What a slice saw on the targets that is not covered."""

    outside: Mapping[str, int] = {}
    going: tuple[str, ...] = ()


prepare(_UncoveredContainers)


# -- what there is to read -----------------------------------------------------


def replicas_on_record(store: RunStore, *, without: frozenset[str] = frozenset()) -> list[HeldReplica]:
    """Return every good replica on record, those on media in a safe among them. No target is asked.

    Args:
        without: backups that are to be destroyed, or deleted.
    """
    held = store.held_replicas()
    return [replica for replica in held if not in_a_file(replica) and replica.backup not in without]


def items_on_record(
    store: RunStore, replicas: Iterable[HeldReplica], *, now: float, apart: int = MOST
) -> list[DueContainer]:
    """Return every container of some replicas. On each target those that were not read for longest stand by
    themselves, so many of them (``apart``); of the others those of a replica that was read whole are one."""
    on_target: dict[str, list[HeldReplica]] = {}
    for replica in sorted(replicas, key=lambda replica: replica.backup, reverse=True):
        on_target.setdefault(replica.target, []).append(replica)
    return [item for mine in on_target.values() for item in _items_of_target(store, mine, now, apart)]


def _items_of_target(
    store: RunStore, replicas: Sequence[HeldReplica], now: float, apart: int
) -> list[DueContainer]:
    waiting = deque(
        sorted(zip(map(_whole, replicas), replicas, strict=True), key=lambda it: it[0].read_at(now))
    )
    found: list[DueContainer] = []
    while waiting and sum(item.read_at(now) <= waiting[0][0].read_at(now) for item in found) < apart:
        some, containers = [], 0
        while waiting and containers < apart:
            some.append(waiting.popleft()[1])
            containers += 1 + some[-1].containers
        found += _apart(store, some)
    return [*found, *(item for item, _ in waiting)]


def _whole(replica: HeldReplica) -> DueContainer:
    """Return all containers of a replica as one: none of them was read longer ago than its row says."""
    deep = replica.verified not in (None, Depth.PRESENT)
    return DueContainer(
        backup=replica.backup,
        target=replica.target,
        piece=MANIFEST,
        size=replica.size,
        made_at=replica.made_at,
        depth=replica.verified if deep else None,
        checked_at=replica.verified_at if deep else None,
        count=1 + replica.containers,
    )


def _apart(store: RunStore, replicas: Sequence[HeldReplica]) -> Iterator[DueContainer]:
    """Yield each container of some replicas."""
    known = store.checks({replica.backup for replica in replicas})
    checks = {(check.backup, check.target, check.piece): check for check in known}
    for replica in replicas:
        size = replica.size // max(1, replica.containers)
        for piece in range(MANIFEST, replica.containers):
            check = checks.get((replica.backup, replica.target, piece))
            yield DueContainer(
                backup=replica.backup,
                target=replica.target,
                piece=piece,
                size=0 if piece == MANIFEST else size,
                made_at=replica.made_at,
                depth=check.depth if check else None,
                checked_at=check.checked_at if check else None,
            )


# -- How verification stands, in words: the same in status, health and alerts -------------------


def describe(found: VerificationState, *, now: float) -> Iterator[str]:
    """Yield a line for what is covered, and one for each thing that is not."""
    yield describe_coverage(found.all, span=found.span, now=now)
    for target, count in found.outside.items():
        yield describe_outside(target, count)
    if found.going:
        yield f"{plural(found.going, 'backup')} marked for deletion: not verified any more"
    if found.offline:
        yield (
            f"{found.offline:,} lie on media in a safe and are not verified by themselves: mount one, then "
            "'strongroom backups verify' with its target"
        )


def describe_coverage(found: Coverage, *, span: float, now: float) -> str:
    """Say how much was read within the span, how deep, what was not read for longest, and when it will be."""
    if found.oldest is None or found.oldest_since is None:
        return "there is nothing to verify yet"
    share = f"{found.read:,} of {found.containers:,} containers and manifests read within {about(span)}"
    depths = ", ".join(f"{count:,} {depth.value}" for depth, count in found.depths.items())
    oldest = f"the longest ago: {name_item(found.oldest)}, {about(now - found.oldest_since)}"
    oldest += "" if found.oldest.read_at(now) else " old and never read"
    ends = f"; all will be read by {for_people(found.ends_at)}" if found.ends_at is not None else ""
    return f"{percent(found.share)} verified: {share}{f' ({depths})' if depths else ''}; {oldest}{ends}"


def describe_outside(target: str, count: int) -> str:
    """Say that backups of a target are not covered."""
    return (
        f"target '{target}' has {plural(count, 'backup')} that the record does not know: not verified. "
        f"'strongroom backups rebuild --from {target}' enters those that this installation signed"
    )


def name_item(item: DueContainer) -> str:
    """Name a container."""
    what = "the manifest" if item.piece == MANIFEST else f"container {item.piece}"
    return f"{what} of {item.backup} on {item.target}"


def percent(share: float) -> str:
    """Write a share; what is not all is never written as 100 %."""
    return "100 %" if share >= 1 else f"{min(share * 100, 99.9):.1f} %"


def coverage_document(found: VerificationState, *, now: float) -> dict[str, Any]:
    """Return how verification stands for machines: over all, and by target."""
    return {
        "span_days": found.span / 86_400,
        **_document(found.all, now),
        "targets": {target: _document(coverage, now) for target, coverage in found.targets.items()},
        "not_on_record": dict(found.outside),
        "marked_for_deletion": found.going,
        "offline": found.offline,
    }


def _document(found: Coverage, now: float) -> dict[str, Any]:
    oldest, since = found.oldest, found.oldest_since
    return {
        "containers": found.containers,
        "verified": found.read,
        "late": found.late,
        "never": found.never,
        "share": round(found.share, 4),
        "depths": {depth.value: count for depth, count in found.depths.items()},
        "oldest": oldest and {"backup": oldest.backup, "target": oldest.target, "container": oldest.piece},
        "oldest_age_seconds": None if since is None else round(now - since, 1),
        "ends_at": if_any(found.ends_at),
    }
