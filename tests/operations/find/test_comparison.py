"""How two sides differ, and what facts differ in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace

from strongroom.errors import UsageError
from strongroom.model import Secret, SecretBytes, SecretVersion, Selection, VersionState
from strongroom.operations.archive import find
from strongroom.operations.archive.find import Findings, SecretFacts, changes, facts_of
from strongroom.operations.archive.history import LiveSide, Telling, compare, digest_for_now
from strongroom.sources.memory import MemoryStore

ONE = SecretFacts(
    name="one",
    version=3,
    state=VersionState.LIVE,
    written_at=None,
    tags={},
    expires_at=None,
    digest=b"a" * 16,
)


class Facts:
    """A side of a comparison."""

    def __init__(self, *facts: SecretFacts) -> None:
        self._facts = facts

    def told(self, telling: Telling) -> Iterator[bytes]:
        return telling(self._facts)


def never(facts: SecretFacts) -> bool:
    return False


def differ(
    earlier: Sequence[SecretFacts], later: Sequence[SecretFacts], *, by_value: bool = False
) -> tuple[object, ...]:
    found = compare(Facts(*earlier), Facts(*later), by_value=by_value, has_expired=never)
    return found.added, [one.name for one in found.changed], found.removed, found.same


def test_each_name_is_added_changed_removed_or_the_same() -> None:
    new, gone, same = (replace(ONE, name=name) for name in ("new", "gone", "same"))
    found = differ([ONE, gone, same], [same, replace(ONE, version=4), new])
    assert found == (("new",), ["one"], ("gone",), 1)


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (replace(ONE, digest=b"b" * 16), ("another value under the same version 3",)),
        (replace(ONE, version=4, digest=b"b" * 16), ("version 3 to 4",)),
        (replace(ONE, state=VersionState.DELETED, digest=b""), ("live to deleted",)),
        (replace(ONE, tags={"env": "prod"}), ("tag env: none to prod",)),
        (replace(ONE, expires_at="2031-01-31"), ("expires 2031-01-31 (before: never)",)),
        (ONE, ()),
    ],
)
def test_what_differs_is_said_in_words(after: SecretFacts, what: tuple[str, ...]) -> None:
    assert changes(ONE, after) == what
    assert differ([ONE], [after])[1] == (["one"] if what else [])


def test_by_value_an_equal_value_under_another_number_is_the_same() -> None:
    renumbered = replace(ONE, version=1)
    assert differ([ONE], [renumbered], by_value=True) == ((), [], (), 1)
    assert differ([ONE], [renumbered]) == ((), ["one"], (), 0)


def test_where_a_side_has_no_values_they_make_no_difference() -> None:
    store = MemoryStore(
        [Secret(name="one", versions=(SecretVersion(number=3, value=SecretBytes(b"CANARY")),))]
    )
    live = LiveSide(store, Selection(), digest_for_now(), values=False)
    found = compare(live, Facts(replace(ONE, digest=b"")), by_value=False, has_expired=never)
    assert found.same == 1


def test_what_expired_is_told_of_what_both_sides_have() -> None:
    new = replace(ONE, name="new")
    found = compare(
        Facts(replace(ONE, expires_at="2031-01-31")),
        Facts(replace(ONE, expires_at="2031-01-31"), replace(new, expires_at="2031-01-31")),
        by_value=False,
        has_expired=lambda _: True,
    )
    assert (found.expired, found.same, found.added) == (("one",), 1, ("new",))


def test_a_source_beside_its_backup_is_read_through_its_selection() -> None:
    secrets = [
        Secret(name=name, versions=(SecretVersion(number=1, value=SecretBytes(b"CANARY-VALUE")),))
        for name in ("in/a", "out/b")
    ]
    digest = digest_for_now()
    live = LiveSide(MemoryStore(secrets), Selection(include=("in/*",)), digest)
    expected = facts_of(secrets[0], {1: digest("in/a", 1, b"CANARY-VALUE")})
    assert (list(live), live.unread) == ([expected], {})


def test_more_than_a_person_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "MOST_NAMES", 1)
    findings = Findings()
    findings.add(ONE, "b", source="s")
    findings.add(ONE, "a", source="s")
    with pytest.raises(UsageError):
        findings.add(replace(ONE, name="two"), "b", source="s")
