"""What must hold once a storm is over, each broken rule in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from strongroom.container.manifest import parse_manifest
from strongroom.container.marks import HEAD
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.open import manifest_bytes, open_backup
from strongroom.operations.engine.layout import container_name, manifest_name
from strongroom.state.records import Run, RunKind, RunState
from strongroom.targets.directory import MARKER
from tests.chaos.errands import DELETED
from tests.chaos.place import POLICY, REGIONS, files_of_backups, left_on_stage, odd_indexes
from tests.chaos.site import Site

if TYPE_CHECKING:
    from tests.chaos.storm import Storm

GOOD = (RunState.DONE, RunState.DEGRADED)


def broken(at: Site, storm: Storm, made: Sequence[Run]) -> Iterator[str]:
    """Yield every rule that was broken. Repairs what is degraded, and makes another backup, which has to
    sweep what others left; stops the cluster."""
    accepted = storm.accepted.count("backup")
    if len(made) < accepted:
        yield f"{accepted} submissions were accepted, and {len(made)} are on record"
    for run in made:
        yield from _ended(at, run)
    for run in made:
        if _is_backup(at, run) and run.state is not RunState.DONE:
            yield from _repaired(at, storm, run)
    yield from _another(at, storm)
    yield from _stopped(at)
    yield from _places(at)
    yield from _record(at)


def _ended(at: Site, run: Run) -> Iterator[str]:
    if run.state is not RunState.DONE and not run.error:
        yield f"{run.id} ended {run.state} and does not say why"
    good = [replica.target for replica in at.store.replicas(run.id) if replica.good]
    if run.state in GOOD and len(good) < 2:
        yield f"{run.id} is {run.state} with good replicas on {good} alone"
    for target in good:
        yield from _whole(at, run, target)


def _is_backup(at: Site, run: Run) -> bool:
    """Tell whether a run made a backup: one that failed may have, if its commit was cut off."""
    return run.state in GOOD or at.store.backup(run.id) is not None


def _whole(at: Site, run: Run, target: str) -> Iterator[str]:
    """Read a replica back that was said to be good: as the product does, and every value by hand."""
    code, _, said = at.cli("backups", "verify", target, "--backup", run.id, "--depth", "compared")
    if code:
        yield f"{run.id} was said to be good on {target}, and backups verify ends with {code}: {said[:200]}"
    try:
        backup = open_backup(at.place.target(target), run.id, identities=[at.place.identity], trusted=None)
        found = {secret.name: secret.current.value for secret in backup.secrets()}
    except StrongroomError as error:
        yield f"{run.id} was said to be good on {target}, and does not open: {error}"
        return
    if found != {secret.name: secret.current.value for secret in at.secrets}:
        yield f"{run.id} gives other values back from {target} than were put in"


def _repaired(at: Site, storm: Storm, run: Run) -> Iterator[str]:
    """A degraded backup is brought up by one repair, now that nothing is away."""
    code, _, said = at.cli("backups", "repair", "--cluster", run.id)
    if code:
        yield f"the repair of {run.id} was not accepted: {code} {said[:200]}"
        return

    def repairs() -> list[Run]:
        return [one for one in at.store.runs() if one.spec.kind is RunKind.REPAIR]

    if not storm.wait(lambda: bool(repairs()) and not at.store.active()):
        yield f"the repair of {run.id} has not ended"
        return
    newest = repairs()[0]
    if newest.state is not RunState.DONE:
        missed = "; ".join(f"{row.step}: {row.error}" for row in at.store.rows(newest.id) if row.error)
        yield f"the repair of {run.id} ended {newest.state}: {newest.error} ({missed[:300]})"
    shallow = [one.target for one in at.store.replicas(run.id) if not one.good or one.verified is None]
    if shallow:
        yield f"after the repair of {run.id} these are not good: {shallow}"


def _another(at: Site, storm: Storm) -> Iterator[str]:
    before = {run.id for run in at.store.runs_of(POLICY, RunKind.BACKUP, limit=100)}
    code, _, said = at.cli("backup", "--cluster", "--policy", POLICY)
    if code:
        yield f"a backup under a clear sky was not accepted: {code} {said[:200]}"
        return

    def newer() -> list[Run]:
        return [run for run in at.store.runs_of(POLICY, RunKind.BACKUP, limit=100) if run.id not in before]

    if not storm.wait(lambda: bool(newer()) and not at.store.active()):
        yield "a backup under a clear sky has not ended"
        return
    depths = {one.verified for one in at.store.replicas(newer()[0].id)}
    if newer()[0].state is not RunState.DONE or depths != {Depth.COMPARED}:
        yield f"a backup under a clear sky ended {newer()[0].state}: {newer()[0].error}"


def _stopped(at: Site) -> Iterator[str]:
    status = at.cluster.stop()
    if status:
        yield f"the supervisor ended with {status}"
    if left := at.cluster.left_over():
        yield f"still running: {left}"


def _places(at: Site) -> Iterator[str]:
    """Each target has what its backups name, and nothing else but indexes of names; the stage has nothing."""
    good = [run for run in at.store.runs_of(POLICY, RunKind.BACKUP, limit=100) if _is_backup(at, run)]
    for region in REGIONS:
        expected = {MARKER}
        for run in good:
            if not _is_pruned(at, region, run):
                expected |= _named(at, region, run)
        folder = at.place.region(region)
        files = {name for name in files_of_backups(folder) if not name.startswith((HEAD.prefix, DELETED))}
        if files != expected:
            much, little = sorted(files - expected)[:4], sorted(expected - files)[:4]
            yield f"{region} has {much} too much and lacks {little}"
        if odd := odd_indexes(folder):
            yield f"{region} has odd indexes of names: {sorted(odd)[:4]}"
    if left := left_on_stage(at.place.stage):
        yield f"left on the stage: {sorted(left)[:5]} ({len(left)} in all)"


def _is_pruned(at: Site, region: str, run: Run) -> bool:
    folder = at.place.region(region)
    return (folder / DELETED / run.id).exists() and not (folder / manifest_name(run.id)).exists()


def _named(at: Site, region: str, run: Run) -> set[str]:
    try:
        manifest = parse_manifest(manifest_bytes(at.place.target(region), run.id, trusted=None), trusted=None)
    except StrongroomError:
        return {manifest_name(run.id)}  # which lacks, and so is told
    return {manifest_name(run.id)} | {container_name(run.id, one.sha256) for one in manifest.containers}


def _record(at: Site) -> Iterator[str]:
    if at.postgres is None:
        with closing(sqlite3.connect(at.place.state / "state.db")) as connection:
            (said,) = connection.execute("PRAGMA integrity_check").fetchone()
        if said != "ok":
            yield f"state.db is damaged: {said}"
