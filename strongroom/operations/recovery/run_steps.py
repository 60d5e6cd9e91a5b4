"""What a recovery run does besides a restore: a look at the host, and at each secret that came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from strongroom.model import ListedSecret, prepare
from strongroom.operations.drills.environment import of_host, proved
from strongroom.operations.drills.facts import Proved
from strongroom.operations.findings import Finding
from strongroom.operations.readiness.destinations import destination
from strongroom.operations.restore.facts import RestoreFacts, options_of
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.operations.validation import live
from strongroom.state.records import Run, RunStep


class RunValidated(Struct, frozen=True, kw_only=True):
    """How many secrets were looked at by themselves, and what stood out: counts by check, and no name."""

    secrets: int
    wrong: Mapping[str, int] = {}
    remarks: Mapping[str, int] = {}


class RecoveryFacts(RestoreFacts, frozen=True, kw_only=True):
    """What is known of a recovery run."""

    recovery_check: Proved | None = None
    recovery_validate: RunValidated | None = None


prepare(RunValidated, RecoveryFacts)


def recovery_facts_of(run: Run) -> RecoveryFacts:
    """Return what is known of a recovery run."""
    return read_facts(run, RecoveryFacts)


def check_environment(run: Run, step: RunStep, services: Services) -> Proved:
    """Look whether this host may recover, and whether the destination lets itself be written to."""
    return proved(_findings(run, services))


def _findings(run: Run, services: Services) -> Iterator[Finding]:
    entry = services.store.backup(run.spec.backup)
    yield from of_host(run, services, made={} if entry is None else {entry.backup: entry.created_at})
    yield from destination(services.destination(options_of(run).destination))


def validate_restored(run: Run, step: RunStep, services: Services) -> RunValidated:
    """Look at each secret that came back by itself: whether it is there, holds, and is what it says it is."""
    there = services.destination(options_of(run).destination)
    found = live.values(there, _restored(run, services), now=datetime.now(UTC))
    wrong = Counter(
        finding.check for finding in found.findings if finding.wrong and finding.check in live.OTHERWISE
    )
    remarks = Counter(
        finding.check for finding in found.findings if not (finding.wrong and finding.check in live.OTHERWISE)
    )
    return RunValidated(secrets=found.secrets, wrong=wrong, remarks=remarks)


def _restored(run: Run, services: Services) -> Iterator[ListedSecret]:
    work, relocation = services.restoring(run, services), options_of(run).relocation
    names = (secret.name for secret in work.secrets(work.open()))
    return (ListedSecret(relocation.there(name), 0) for name in names if relocation.covers(name))
