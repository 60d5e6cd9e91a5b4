"""What must hold after a run, whatever was killed: each broken promise in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from strongroom.container.manifest import Manifest
from strongroom.container.marks import HEAD
from strongroom.errors import StrongroomError
from strongroom.keys import roles
from strongroom.model import Secret
from strongroom.operations.archive.open import open_backup
from strongroom.operations.engine.layout import container_name, manifest_name
from strongroom.state.records import Run, RunState, StepKind, StepState
from strongroom.state.store import RunStore
from strongroom.targets.directory import MARKER
from tests.chaos.monkey import Killed
from tests.chaos.place import REGIONS, Place, files_of_backups, left_on_stage, odd_indexes


def broken(
    place: Place, store: RunStore, run: Run, secrets: list[Secret], killed: Sequence[Killed]
) -> list[str]:
    """Return every promise that a run broke; the cluster must have stopped."""
    if run.state is not RunState.DONE:
        return [f"ended {run.state}: {run.error}", *_unsettled(store, run)]
    return [
        *_verified(store, run),
        *_captures(store, run, killed),
        *_left_on_stage(place),
        *_crashes(place),
        *(words for region in REGIONS for words in _on_target(place, region, run, secrets)),
    ]


def _unsettled(store: RunStore, run: Run) -> Iterator[str]:
    for row in store.rows(run.id):
        if row.state is not StepState.DONE:
            yield f"{row.step} is {row.state} after {row.attempts} starts: {row.error}"


def _verified(store: RunStore, run: Run) -> Iterator[str]:
    replicas = {replica.target: replica for replica in store.replicas(run.id)}
    for region in REGIONS:
        replica = replicas.get(region)
        if replica is None or not replica.good or replica.verified is not run.spec.depth:
            yield f"{region} is not verified: {replica}"


def _captures(store: RunStore, run: Run, killed: Sequence[Killed]) -> Iterator[str]:
    rows = store.rows(run.id, StepKind.CAPTURE)
    attempts = sum(row.attempts for row in rows)
    if attempts > len(rows) + len(killed):
        yield f"{attempts} captures of {len(rows)} pieces after {len(killed)} kills"


def _crashes(place: Place) -> Iterator[str]:
    """Nobody but the monkey ends a process by a signal: a crash of its own is a bug, healed or not."""
    logs = [place.root / "supervisor.log", *sorted((place.state / "logs").glob("*.log"))]
    for log in logs:
        for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
            if _CRASH.search(line):
                yield f"a process crashed: {line[:300]}"


_CRASH = re.compile(r"SIG(SEGV|ABRT|BUS|FPE|ILL)|\"process-exited\".*\"status\": -(?!9\b|15\b)\d")


def _left_on_stage(place: Place) -> Iterator[str]:
    if left := left_on_stage(place.stage):
        yield f"left on the stage: {sorted(left)[:5]} ({len(left)} in all)"


def _on_target(place: Place, region: str, run: Run, secrets: list[Secret]) -> Iterator[str]:
    target = place.target(region)
    trusted = roles.installation_fingerprint(place.state / "keys" / "roles")
    try:
        backup = open_backup(target, run.id, identities=[place.identity], trusted=frozenset({trusted}))
        found = {secret.name: secret.current.value for secret in backup.secrets()}
    except StrongroomError as error:
        yield f"{region} cannot be opened: {error}"
        return
    if found != {secret.name: secret.current.value for secret in secrets}:
        yield f"{region} gives back other secrets than were put in"
    yield from _orphans(region, files_of_backups(place.region(region)), backup.manifest)
    if odd := odd_indexes(place.region(region)):
        yield f"{region} has odd indexes of names: {sorted(odd)[:5]}"


def _orphans(region: str, files: set[str], manifest: Manifest) -> Iterator[str]:
    backup = manifest.backup_id
    named = {container_name(backup, entry.sha256) for entry in manifest.containers}
    expected = named | {MARKER, manifest_name(backup)}
    files = {file for file in files if not file.startswith(HEAD.prefix)}  # of the ledger, and of no backup
    if files != expected:
        yield f"{region} has {sorted(files - expected)[:5]} too much and lacks {sorted(expected - files)[:5]}"
