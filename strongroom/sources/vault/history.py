"""What has to be written so that a key ends up with a given history.

Version numbers of a key begin at 1 and have no gaps. So numbers that the backup does not have are
written too, as placeholders, and taken away again: those that the key's limit of versions had
pushed out are pushed out again, those that were destroyed are destroyed, and those that were deleted are
deleted. A placeholder says what it is, should somebody undelete it.
"""

from __future__ import annotations

from msgspec import Struct

from strongroom.model import Secret, SecretVersion, VersionState
from strongroom.sources.history import on_top
from strongroom.sources.vault.kv_form import kept
from strongroom.sources.vault.records import MountConfig
from strongroom.sources.vault.secrets import VaultFacts, facts_of

PLACEHOLDER = b'{"strongroom":"a placeholder: the data of this version was not in the backup"}'
DEFAULT_VERSIONS = 10
"""Versions that a key keeps if neither it nor its mount says anything: ``AddVersion``."""


class HistoryPlan(Struct, frozen=True, kw_only=True):
    """Versions to write, which of all to delete and destroy, and the limit of versions meanwhile.

    ``stamped`` are live versions that are to delete themselves one day. ``oldest`` is the
    first version that shall be left.
    """

    write: tuple[SecretVersion, ...]
    delete: tuple[int, ...] = ()
    destroy: tuple[int, ...] = ()
    stamped: frozenset[int] = frozenset()
    limit: int = 0
    oldest: int = 0

    @property
    def is_stamped_first(self) -> bool:
        """Whether versions may delete themselves from the first on."""
        live = next((version.number for version in self.write if version.value is not None), None)
        return live is None or live in self.stamped


def plan(secret: Secret, found: Secret | None, config: MountConfig) -> HistoryPlan:
    """Say what to write for ``secret``, given what is there."""
    head = found.current.number if found else 0
    facts = facts_of(secret) or VaultFacts()
    if found is None or is_unfinished(secret, found):
        return _whole(secret, head, facts, config)
    versions = on_top(secret.versions, head)
    moved = {version.number: new.number for version, new in zip(secret.versions, versions, strict=True)}
    first = min(version.number for version in found.versions) if head else 1
    needed = versions[-1].number - max(first, 1) + 1
    return _plan(versions, versions, moved, facts, limit=_at_least(needed, facts, config), oldest=0)


def is_unfinished(wanted: Secret, found: Secret) -> bool:
    """Say whether what is there is the beginning of what is wanted: a restore that was interrupted,
    or a key that has not been written to since an earlier time. Of what is wanted nothing may be missing
    so far: what was deleted since has to come back on top."""
    goal, secret = kept(wanted), kept(found)
    head = found.current.number
    if head > wanted.current.number or secret == goal:
        return False
    goals = {version.number: version for version in goal.versions if version.number <= head}
    held = {version.number: version for version in secret.versions}
    return all(_fits(held.get(number), goals.get(number)) for number in goals | held)


def _fits(version: SecretVersion | None, goal: SecretVersion | None) -> bool:
    value = version.value if version else None
    if goal is None or goal.value is None:
        return value is None or value.reveal() == PLACEHOLDER
    return version is not None and (value, version.media) == (goal.value, goal.media)


def _whole(secret: Secret, head: int, facts: VaultFacts, config: MountConfig) -> HistoryPlan:
    given = {version.number: version for version in secret.versions}
    last, lowest = secret.current.number, min(given)
    oldest = facts.oldest_version if facts_of(secret) else (lowest if lowest > 1 else 0)
    versions = [
        given.get(number, SecretVersion(number=number, state=VersionState.DESTROYED))
        for number in range(1, last + 1)
    ]
    limit = _exactly(last, oldest, facts, config)
    same = {number: number for number in given}
    return _plan(tuple(versions[head:]), tuple(versions), same, facts, limit=limit, oldest=oldest)


def _plan(
    write: tuple[SecretVersion, ...],
    versions: tuple[SecretVersion, ...],
    moved: dict[int, int],
    facts: VaultFacts,
    *,
    limit: int,
    oldest: int,
) -> HistoryPlan:
    live = {version.number for version in versions if version.value is not None}
    stamped = {moved[int(number)] for number in facts.deletion_times if int(number) in moved}
    by = {
        state: tuple(
            v.number for v in versions if v.value is None and v.state is state and v.number >= oldest
        )
        for state in VersionState
    }
    return HistoryPlan(
        write=write,
        delete=by[VersionState.DELETED],
        destroy=by[VersionState.DESTROYED],
        stamped=frozenset(stamped & live),
        limit=limit,
        oldest=oldest,
    )


def _exactly(last: int, oldest: int, facts: VaultFacts, config: MountConfig) -> int:
    """Return the limit under which versions before ``oldest`` are pushed out, and no others.

    The server counts ``oldest`` as 0 until it has pushed out, or could have, a first one.
    """
    if _left(last, effective(facts.max_versions, config)) == oldest:
        return facts.max_versions
    return last - oldest + 1


def _at_least(needed: int, facts: VaultFacts, config: MountConfig) -> int:
    """Return a limit under which nothing is pushed out: what was there has to stay for a way back."""
    return facts.max_versions if effective(facts.max_versions, config) >= needed else needed


def effective(limit: int, config: MountConfig) -> int:
    """Return how many versions a key keeps."""
    return max(limit, config.max_versions) or DEFAULT_VERSIONS


def _left(last: int, limit: int) -> int:
    return last - limit + 1 if last >= limit else 0
