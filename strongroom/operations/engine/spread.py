"""Trust lists on their way: from a host to every target, and from the targets to every other host.

So a key that is distrusted on one host counts for nothing on any other one after the next backup, without
anybody copying a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from strongroom.container.marks import TRUST_LIST, with_lists
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.keys import rolelist, roles
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import KEPT
from strongroom.operations.engine.trust_lists import adopt, lists_on, require_stated, unasked
from strongroom.system.attempts import run_all
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.reading import ManifestListing, original_name, put_beside, whole_copy

PATIENCE = 10.0
"""Seconds that a target is waited for which has to say no more than which lists it holds."""


RUNS = 32
"""Runs whose lists a process remembers: its threads may be at several."""


def put_lists(target: Target, lists: Mapping[str, bytes]) -> None:
    """Put trust lists, by their names, on a target that lacks them: before what states their number.

    Raises:
        TargetError, VerificationFailed: it does not take one.
    """
    for name, content in lists.items():
        _put(target, original_name(name), content)


def _put(target: Target, name: str, content: bytes) -> None:
    """Put a list there, beside what anybody or another host put under its name."""
    size, digest = len(content), hashlib.sha256(content).digest()
    if whole_copy(target, name, sha256=digest, most=TRUST_LIST.most) is not None:
        return
    target.put(name, [content], size=size, sha256=digest)
    there = whole_copy(target, name, sha256=digest, most=TRUST_LIST.most)
    if there is None:
        there = put_beside(target, name, lambda: [content], size=size, sha256=digest)
    if target.locks:
        target.extend_lock(there, datetime.now(UTC) + KEPT)


def spread(targets: Mapping[str, Target], lists: Mapping[str, bytes]) -> Mapping[str, str]:
    """Put trust lists on several targets; return why a target lacks one still."""
    works = {name: partial(put_lists, target, lists) for name, target in targets.items()}
    outcomes = run_all(PATIENCE, works, late=_late)
    return {
        name: f"{outcome.code}: {outcome.message}"
        for name, outcome in outcomes.items()
        if isinstance(outcome, StrongroomError)
    }


def adopted(services: Services, run: str, targets: Iterable[str], *, strict: bool) -> Services:
    """Return the services with who counts by the lists on a run's targets, which this host keeps from now on.

    A target that is away costs its patience, so each process asks once a run.

    Args:
        strict: whether the newest manifests there are asked which list they state.

    Raises:
        TrustListMissing: they state a newer one than any that was found.
    """
    known = services.known_lists.get(run)
    if known is None:
        known = _adopted(services, targets, strict=strict)
        while len(services.known_lists) >= RUNS:
            services.known_lists.pop(next(iter(services.known_lists), ""), None)
        services.known_lists[run] = known
    return replace(services, signer_fingerprints=known)


def _adopted(services: Services, targets: Iterable[str], *, strict: bool) -> Signers:
    pins = Signers() | services.signer_fingerprints
    asked = {name: services.target(name) for name in targets}
    known, answered = _learn(services.state_dir / rolelist.ROLES, pins, asked)
    for name in answered if strict else ():
        require_stated(ManifestListing(asked[name]), known)
    return known if strict else unasked(known)


def learn_lists(folder: Path, targets: Mapping[str, Target]) -> Signers:
    """Keep this installation's trust lists that some targets hold; return who counts by them here."""
    return _learn(folder, roles.believed(folder), targets)[0]


def _learn(folder: Path, pins: Signers, targets: Mapping[str, Target]) -> tuple[Signers, list[str]]:
    """Return who counts by the lists on some targets and those kept here, and which targets answered."""
    works = {name: partial(lists_on, target, pins) for name, target in targets.items()}
    answers = run_all(PATIENCE, works, late=_late)
    found = {name: answer for name, answer in answers.items() if not isinstance(answer, StrongroomError)}
    lists = [trust_list for each in found.values() for trust_list in each]
    adopt(folder, lists)
    known = with_lists(pins, [*rolelist.read_kept_list(folder), *(trust_list.signed for trust_list in lists)])
    return known, list(found)


def _late(name: str) -> type[StrongroomError]:
    return TargetUnavailable
