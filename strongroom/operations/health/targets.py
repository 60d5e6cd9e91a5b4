"""The targets as they are now: what the record says of replicas says nothing of a target that is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from strongroom.errors import StrongroomError
from strongroom.operations.findings import Finding, good, wrong
from strongroom.targets import Target
from strongroom.targets.manifest_listing import MANIFESTS
from strongroom.words import plural

TARGETS = "targets"
AT_ONCE = 16


def answering(targets: Mapping[str, Target]) -> Iterator[Finding]:
    """Say which targets do not answer: all are asked at once, so that one that is dead delays no other."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        asked = dict(zip(targets, threads.map(_ask, targets.values()), strict=True))
    silent = {name: error for name, error in asked.items() if error is not None}
    yield from (wrong(TARGETS, error).on(target=name) for name, error in silent.items())
    if not silent and targets:
        yield good(TARGETS, f"{plural(len(targets), 'target')}: each answers")


def _ask(target: Target) -> StrongroomError | None:
    try:
        next(iter(target.list(MANIFESTS)), None)
    except StrongroomError as error:
        return error
    return None
