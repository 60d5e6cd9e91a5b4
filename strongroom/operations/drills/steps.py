"""The steps of a drill: pick, prove, restore, compare, tear down, and a look at the source.

No result names a secret. What does not come back is counted, so that the report can be handed on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from msgspec.structs import replace

from strongroom.container.cobblestone import value_digester
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import Selection
from strongroom.operations.archive.live_comparison import SecretState, beside, selected, standing
from strongroom.operations.checks import live as look
from strongroom.operations.checks import machine
from strongroom.operations.drills.facts import (
    LOCAL,
    DrillComparison,
    DrillFacts,
    DrillPlan,
    EnvironmentCheck,
    Live,
    Proved,
    Rehearsed,
    TornDown,
    options_of,
    picked_of,
)
from strongroom.operations.drills.work import DrillWork
from strongroom.operations.engine import process_lock
from strongroom.operations.engine.findings import Finding, FindingState, good, wrong
from strongroom.operations.engine.jobs import read_facts
from strongroom.operations.engine.services import Services
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.restore import plan_restore
from strongroom.operations.restore.restore import restore as restore_secrets
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sources import Destination, ScratchPlace
from strongroom.state.errors import RecordRefused, RunNotFound
from strongroom.state.records import Run, RunStep
from strongroom.words import plural


def pick(run: Run, step: RunStep, services: Services) -> DrillPlan:
    """Pick the backup that is rehearsed, and the targets that are cut off."""
    began = time.monotonic()
    picked = services.drilling(run, services).pick()
    return DrillPlan(picked=replace(picked, seconds=time.monotonic() - began))


# -- Before anything is restored: could this host recover at all? If not, the drill has failed ---


KEYS, PLACE = "keys", "place"


def prove(run: Run, step: RunStep, services: Services) -> Proved:
    """Check this host as on the worst day. What earlier drills left is removed on the way."""
    return proved(_findings(run, services.drilling(run, services), services))


def proved(findings: Iterable[Finding]) -> Proved:
    """Return what a look at this host found, and how long it took."""
    began = time.monotonic()
    checks = tuple(map(_checked, findings))
    return Proved(checks=checks, seconds=time.monotonic() - began)


def of_host(openers: Callable[[], Sequence[Opener]], *, made: Mapping[str, str]) -> Iterator[Finding]:
    """Look at this host: its keys, its cryptography, and what it would leave of a secret.

    Args:
        openers: returns what opens, or raises what is missing.
        made: when backups were made (RFC 3339): this host's clock cannot be before that.
    """
    try:
        found = openers()
    except StrongroomError as error:
        yield wrong(KEYS, error)
    else:
        yield good(KEYS, f"this host has {plural(len(found), 'key')} that may open backups")
    yield from machine.algorithms()
    yield from machine.randomness()
    yield from machine.cores()
    yield from machine.swap()
    yield from machine.clock(made)


def _findings(run: Run, drill: DrillWork, services: Services) -> Iterator[Finding]:
    picked, options = picked_of(run), options_of(run)
    yield from of_host(drill.openers, made={picked.backup: picked.created_at})
    if options.only_open:
        return
    if options.into == LOCAL:
        yield from machine.disk(drill.folder, picked.size)
    try:
        _remove_left(drill.place, services)
    except StrongroomError as error:
        yield wrong(PLACE, error)
    else:
        local = options.into == LOCAL
        yield good(PLACE, "a scratch store of this host" if local else f"a new mount on '{options.into}'")


def _remove_left(place: ScratchPlace, services: Services) -> None:
    """Remove what drills left whose process was killed.

    A drill that still goes on is left alone, and so is any that is not on this record: it may be another
    installation's, which uses the same server.
    """
    for run in place.left():
        with suppress(RunNotFound):
            ended = services.store.load(run).state.final
            if ended and not process_lock.status(services.state_dir, run).alive:
                with suppress(StrongroomError):  # the next drill tries again, and this one need not wait
                    place.remove(run)


def _checked(finding: Finding) -> EnvironmentCheck:
    """A finding as the record keeps it: what could not be looked at is no reason to recover nothing."""
    code = finding.code if finding.state is FindingState.WRONG else ""
    return EnvironmentCheck(
        check=finding.check, state=finding.state.value, what=finding.what, to_do=finding.to_do, code=code
    )


# -- Restore, compare, tear down ------------------------------------------------------------------


def restore(run: Run, step: RunStep, services: Services) -> Rehearsed:
    """Restore what the drill is about into an empty place of its own, or open all of it."""
    began = time.monotonic()
    drill = services.drilling(run, services)
    rehearsal = drill.open()
    account, would = RestoreAccount(), None
    with drill.counting() as progress:
        if options_of(run).only_open:
            there = drill.live(rehearsal.source)
            assert there is not None  # whoever asks for this says where
            would = plan_restore(rehearsal.secrets, there, overwrite=True)
            done = Restored(created=would.total, versions=would.versions)
        else:
            store = drill.place.make(run.id)
            done = restore_secrets(
                rehearsal.secrets, store, overwrite=False, account=account, progress=progress
            )
            if _is_of_a_host(run):
                (drill.folder / run.id / WHOLE).touch()
    return Rehearsed(
        backup=rehearsal.backup,
        created_at=rehearsal.created_at,
        source=rehearsal.source,
        tags=rehearsal.tags,
        expected=rehearsal.expected(),
        secrets=done.created,
        versions=done.versions,
        not_done=account.by_code,
        gave=dict(rehearsal.gave),
        seconds=time.monotonic() - began,
        shortfall=rehearsal.lacks(),
        would=would,
    )


def compare(run: Run, step: RunStep, services: Services) -> DrillComparison:
    """Compare every value that came back with what was backed up."""
    began = time.monotonic()
    drill = services.drilling(run, services)
    here = not _is_of_a_host(run) or (drill.folder / run.id / WHOLE).exists()
    store = drill.place.open(run.id) if here else _restored_here(run, drill)
    counts = drill.open().compare(store)
    stand_out = _stand_out(store) if options_of(run).drill is DrillScope.EMERGENCY else None
    return DrillComparison(
        compared=counts.total(),
        differ=counts["differ"],
        missing=counts["missing"],
        stand_out=stand_out,
        seconds=time.monotonic() - began,
    )


WHOLE = "whole"
"""The file that a scratch store of a host has once all of a drill is in it."""


def _is_of_a_host(run: Run) -> bool:
    """Tell whether the scratch store is on one of several hosts, any of which may compare it."""
    return run.spec.stage is not None and options_of(run).into == LOCAL


def _restored_here(run: Run, drill: DrillWork) -> Destination:
    """Restore again what another host restored, which may be gone: its time is on record, its store is
    there."""
    store = drill.place.make(run.id)
    restore_secrets(drill.open().secrets, store, overwrite=False)
    return store


def _stand_out(store: Destination) -> int:
    """Look at each value by itself, as after a real recovery: certificates, keys, dates."""
    found = look.values(store, selected(store, Selection()), now=datetime.now(UTC))
    return len(found.findings)


def tear_down(run: Run, step: RunStep, services: Services) -> TornDown:
    """Remove the place. The run's report and the next drill do so too, if this is never reached."""
    began = time.monotonic()
    services.drilling(run, services).place.remove(run.id)
    return TornDown(seconds=time.monotonic() - began)


def compare_with_source(run: Run, step: RunStep, services: Services) -> Live:
    """Compare what came back with what the source has now: news of the source, and no fault of the backup."""
    began = time.monotonic()
    rehearsed = read_facts(run, DrillFacts).drill_restore
    if rehearsed is None:
        raise RecordRefused(f"run {run.id} does not record what its drill brought back")
    source = services.source(rehearsed.source)
    digest = value_digester(services.digest_key, source.name)
    held = services.drilling(run, services).open().digested()
    stands = Counter(standing(now, captured, digest) for _, captured, now in beside(source, held))
    return Live(
        same=stands[SecretState.SAME],
        changed=stands[SecretState.CHANGED],
        missing=stands[SecretState.MISSING],
        unread=stands[SecretState.UNREAD],
        seconds=time.monotonic() - began,
    )


def least_seconds(run: Run, rehearsed: Rehearsed, services: Services) -> float:
    """Return how long the source itself takes at the least for what came back.

    The scratch store takes all that a disk can; a cloud lets only so many writes through, and
    would make a drill's time a promise that nobody can keep.
    """
    there = services.drilling(run, services).live(rehearsed.source)
    secrets = rehearsed.secrets if rehearsed.would is None else rehearsed.would.written
    if there is None or not secrets:
        return 0.0
    return there.least_seconds(secrets=secrets, versions=rehearsed.versions)
