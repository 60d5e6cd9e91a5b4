"""Before anything is restored: could this host recover at all? If not, the drill has failed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from strongroom.errors import StrongroomError
from strongroom.operations.drills.facts import LOCAL, EnvironmentCheck, Picked, Proved, options_of
from strongroom.operations.drills.places import FOLDER, place_of, remove_left
from strongroom.operations.drills.step_facts import picked_of
from strongroom.operations.findings import Finding, FindingState, good, wrong
from strongroom.operations.identities import openers
from strongroom.operations.readiness import machine
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunStep
from strongroom.words import plural

KEYS, PLACE = "keys", "place"


def prove(run: Run, step: RunStep, services: Services) -> Proved:
    """Check this host as on the worst day. What earlier drills left is removed on the way."""
    return proved(_findings(run, picked_of(run), services))


def proved(findings: Iterable[Finding]) -> Proved:
    """Return what a look at this host found, and how long it took."""
    began = time.monotonic()
    checks = tuple(map(_checked, findings))
    return Proved(checks=checks, seconds=time.monotonic() - began)


def of_host(run: Run, services: Services, *, made: Mapping[str, str]) -> Iterator[Finding]:
    """Look at this host: its keys, its cryptography, and what it would leave of a secret.

    Args:
        made: when backups were made (RFC 3339): this host's clock cannot be before that.
    """
    yield from _keys(run, services)
    yield from machine.algorithms()
    yield from machine.randomness()
    yield from machine.cores()
    yield from machine.swap()
    yield from machine.clock(made)


def _findings(run: Run, picked: Picked, services: Services) -> Iterator[Finding]:
    yield from of_host(run, services, made={picked.backup: picked.created_at})
    if options_of(run).into == LOCAL:
        yield from machine.disk(services.state_dir / FOLDER, picked.size)
    yield from _place(run, services)


def _keys(run: Run, services: Services) -> Iterator[Finding]:
    try:
        found = openers(run.spec, services)
    except StrongroomError as error:
        yield wrong(KEYS, error)
    else:
        yield good(KEYS, f"this host has {plural(len(found), 'key')} that may open backups")


def _place(run: Run, services: Services) -> Iterator[Finding]:
    into = options_of(run).into
    try:
        remove_left(place_of(run, services), services)
    except StrongroomError as error:
        yield wrong(PLACE, error)
    else:
        yield good(PLACE, "a scratch store of this host" if into == LOCAL else f"a new mount on '{into}'")


def _checked(finding: Finding) -> EnvironmentCheck:
    """A finding as the record keeps it: what could not be looked at is no reason to recover nothing."""
    code = finding.code if finding.state is FindingState.WRONG else ""
    return EnvironmentCheck(
        check=finding.check, state=finding.state.value, what=finding.what, to_do=finding.to_do, code=code
    )
