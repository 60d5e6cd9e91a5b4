"""How a later backup, or the source now, differs from an earlier backup: by names and keyed digests.

Memory is bounded by what differs, and by a number for each secret: sixteen bytes, so a million take 16 MB.
The earlier side is read twice for that.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.digests import SIZE, ValueDigester, keyed_hash
from strongroom.errors import StrongroomError
from strongroom.model import Secret, Selection
from strongroom.operations.archive.live_comparison import Numbers, batches, digests_of, read_each, selected
from strongroom.operations.find.facts import SearchableBackup, SecretFacts, changes, facts_of
from strongroom.sources import Source

Side = Callable[[], Iterator[SecretFacts]]
"""One side of a comparison, as often as it is asked for."""
_SEEN = 0
"""The number of a name that both sides have: no state has it."""


class Changed(Struct, frozen=True, kw_only=True):
    """A secret that is otherwise on the later side, and in what."""

    name: str
    what: tuple[str, ...]


class Difference(Struct, frozen=True, kw_only=True):
    """How the later side differs. ``expired`` are secrets of it whose time ran out since the earlier one."""

    added: tuple[str, ...]
    changed: tuple[Changed, ...]
    removed: tuple[str, ...]
    expired: tuple[str, ...]
    same: int


def compare(
    earlier: Side, later: Side, *, by_value: bool, has_expired: Callable[[SecretFacts], bool]
) -> Difference:
    """Compare two sides."""
    states = Numbers()
    for facts in earlier():
        states.set(facts.name, _state(facts, by_value=by_value))
    added, otherwise, expired, same = list[str](), dict[str, SecretFacts](), list[str](), 0
    for facts in later():
        before = states.get(facts.name)
        if before is None:
            added.append(facts.name)
            continue
        same += (alike := before == _state(facts, by_value=by_value))
        otherwise |= {} if alike else {facts.name: facts}
        expired += [facts.name] if has_expired(facts) else []
        states.set(facts.name, _SEEN)
    changed, removed = _looked_up(earlier, states, otherwise, by_value=by_value)
    return Difference(
        added=tuple(sorted(added)),
        changed=tuple(sorted(changed, key=lambda changed_secret: changed_secret.name)),
        removed=tuple(sorted(removed)),
        expired=tuple(sorted(expired)),
        same=same,
    )


def _looked_up(
    earlier: Side, states: Numbers, otherwise: dict[str, SecretFacts], *, by_value: bool
) -> tuple[list[Changed], list[str]]:
    """Say of each secret that differs in what, and which ones are on the earlier side alone."""
    changed, removed = list[Changed](), list[str]()
    for before in earlier():
        if (after := otherwise.get(before.name)) is not None:
            changed.append(Changed(name=before.name, what=changes(before, after, by_value=by_value)))
        elif states.get(before.name) != _SEEN:
            removed.append(before.name)
    return changed, removed


def _state(facts: SecretFacts, *, by_value: bool) -> int:
    """Return a number for what is compared. Each process keys hashes anew, so nobody makes two meet."""
    tags = tuple(sorted(facts.tags.items()))
    version = "" if by_value and facts.digest else str(facts.version)
    told = (version, facts.digest, facts.state.value, tags, facts.expires_at or "")
    return hash(told) % (2**63 - 1) + 1


def digests_held(backup: SearchableBackup) -> Side:
    """Return a backup as a side, by the digests that lie in it: no value is read."""
    return lambda: (facts_of(*row) for row in backup.digested_rows())


def without_values(side: Side) -> Side:
    """Return a side of which no value is compared, for the other one has none."""
    return lambda: (replace(facts, digest=b"") for facts in side())


def values_held(backup: SearchableBackup, digest: ValueDigester) -> Side:
    """Return a backup as a side, by digests made now of the values in it."""
    return lambda: (facts_of(secret, digests_of(secret, digest)) for secret in backup.secrets())


class LiveSide:
    """A source as a side. ``unread`` has the secrets that it does not give, and why."""

    def __init__(self, source: Source, selection: Selection, digest: ValueDigester) -> None:
        self._source = source
        self._selection = selection
        self._digest = digest
        self.unread: dict[str, str] = {}

    def __call__(self) -> Iterator[SecretFacts]:
        for batch in batches(selected(self._source, self._selection)):
            for entry, live in zip(batch, read_each(self._source, batch), strict=True):
                if isinstance(live, Secret):
                    yield facts_of(live, digests_of(live, self._digest))
                elif isinstance(live, StrongroomError):
                    self.unread[entry.name] = f"{live.code}: {live.message}"


def digest_for_now() -> ValueDigester:
    """Return a digester under a key of this process: equal values of one secret have equal digests."""
    compute = keyed_hash(secrets.token_bytes(32))

    def digest(name: str, number: int, value: bytes) -> bytes:
        encoded = name.encode()
        return compute(len(encoded).to_bytes(4, "big") + encoded + value)[:SIZE]

    return digest
