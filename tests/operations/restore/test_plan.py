"""A restore plan: what it says is what is done, and what moved since is left and told."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from msgspec.structs import replace

from strongroom.container.errors import Malformed
from strongroom.model import Secret
from strongroom.operations.errors import PlanMismatch
from strongroom.operations.restore.journal import RestoreAccount, Restored
from strongroom.operations.restore.plan import (
    NamedDestination,
    PlanEntry,
    Relocation,
    RestoreAction,
    RestorePlan,
    decode_entry,
    encode_entry,
)
from strongroom.operations.restore.plan_file import make_plan
from strongroom.operations.restore.restore import restore
from strongroom.plugins.conformance.sources import secret
from strongroom.sources import Foreseen, SecretChange
from strongroom.sources.memory import MemoryStore

ASKED = RestorePlan(
    id="01-plan",
    made_at="2026-11-27T00:00:00Z",
    by="ada",
    backup="b",
    manifest="0" * 64,
    destination=NamedDestination(name="there", kind="memory", address=""),
    overwrite=True,
)
BACKUP = [secret(name, "CANARY-old") for name in ("app/new", "app/other", "app/same", "app/gone")]


def there() -> MemoryStore:
    return MemoryStore(
        [
            secret("app/other", "CANARY-now"),
            secret("app/same", "CANARY-old"),
            secret("app/gone", "CANARY-now"),
        ]
    )


def plan_of(
    store: MemoryStore, asked: RestorePlan = ASKED, backup: Sequence[Secret] = BACKUP
) -> tuple[RestorePlan, list[PlanEntry]]:
    entries: list[PlanEntry] = []
    return make_plan(asked, lambda: iter(backup), store, note=entries.append), entries


def apply(store: MemoryStore, entries: Sequence[PlanEntry], **options: object) -> RestoreAccount:
    account = RestoreAccount()
    restore(lambda: iter(BACKUP), store, plan=entries, account=account, **options)  # type: ignore[arg-type]
    return account


def put(store: MemoryStore, name: str, value: str) -> None:
    store.write([SecretChange(secret=secret(name, value), expected=store.heads([name]).get(name))])


def values(store: MemoryStore) -> dict[str, str]:
    found = (store.read([entry]) for entry in store.list())
    return {one.name: one.current.value.reveal().decode() for (one,) in found if one and one.current.value}


def test_a_plan_names_each_secret_with_what_is_there_and_what_will_be_done() -> None:
    head, entries = plan_of(there())
    assert [(entry.name, entry.action, entry.expected) for entry in entries] == [
        ("app/new", RestoreAction.CREATE, None),
        ("app/other", RestoreAction.CHANGE, 1),
        ("app/same", RestoreAction.SAME, 1),
        ("app/gone", RestoreAction.CHANGE, 1),
    ]
    assert head.totals == Restored(created=1, changed=2, unchanged=1, versions=3)


def test_a_plan_is_done_as_it_says_also_where_it_replaces() -> None:
    store = there()
    _, entries = plan_of(store)
    assert apply(store, entries).counts == Restored(created=1, changed=2, unchanged=1, versions=3, compared=3)
    assert set(values(store).values()) == {"CANARY-old"}


def test_what_moved_since_the_plan_is_left_and_told() -> None:
    store = there()
    _, entries = plan_of(store)
    put(store, "app/other", "CANARY-later")
    put(store, "app/same", "CANARY-later")
    put(store, "app/new", "CANARY-later")
    store.delete(["app/gone"])
    account = apply(store, entries)
    assert account.moved == ["app/new", "app/other", "app/same", "app/gone"]
    assert account.counts == Restored(moved=4)
    assert values(store) == dict.fromkeys(("app/other", "app/same", "app/new"), "CANARY-later")


def test_what_is_as_in_the_backup_by_now_has_not_moved_so_a_plan_can_be_done_twice() -> None:
    store = there()
    _, entries = plan_of(store)
    apply(store, entries)
    assert apply(store, entries).counts == Restored(unchanged=4)


def test_a_change_that_was_interrupted_between_its_versions_is_ours_and_has_not_moved() -> None:
    store = MemoryStore([secret("app/other", "CANARY-now")])
    backup = [
        replace(secret("app/other", "CANARY-old"), versions=(*secret("app/other", "CANARY-1").versions,))
    ]
    _, entries = plan_of(store, backup=backup)
    put(store, "app/other", "CANARY-half")
    ours, others = RestoreAccount(), RestoreAccount()
    restore(lambda: backup, store, plan=entries, account=others)
    assert others.moved == ["app/other"]
    restore(lambda: backup, store, plan=entries, account=ours, tried=frozenset({"app/other"}))
    assert ours.counts.changed == 1


def test_what_a_plan_leaves_is_left_even_if_the_restore_is_told_to_overwrite() -> None:
    store = there()
    _, entries = plan_of(store, replace(ASKED, overwrite=False))
    account = apply(store, entries, overwrite=True)
    assert account.left == ["app/other", "app/gone"]
    assert values(store)["app/other"] == "CANARY-now"


def test_what_a_plan_cannot_restore_is_refused_with_its_reason_and_not_tried() -> None:
    store = there()
    _, entries = plan_of(store)
    cannot = [
        replace(entries[0], action=RestoreAction.CANNOT, why="no right to create it", code="RightMissing"),
        *entries[1:],
    ]
    account = apply(store, cannot)
    assert [(one.name, one.code, one.why) for one in account.not_done] == [
        ("app/new", "RightMissing", "no right to create it")
    ]
    assert "app/new" not in values(store)


def test_a_restore_refuses_a_plan_that_is_of_other_secrets() -> None:
    store = there()
    _, entries = plan_of(store)
    with pytest.raises(PlanMismatch):
        apply(MemoryStore(), entries[:-1])
    with pytest.raises(PlanMismatch):
        apply(MemoryStore(), [*entries, replace(entries[0], name="x", to="x")])


def test_entries_may_come_in_another_order_than_the_secrets() -> None:
    store = there()
    _, entries = plan_of(store)
    assert apply(store, entries[::-1]).counts.changed == 2


def test_the_digest_of_a_plan_covers_head_and_entries() -> None:
    head, _ = plan_of(there())
    again, _ = plan_of(there())
    assert head.digest == again.digest
    store = there()
    put(store, "app/other", "CANARY-later")
    assert plan_of(store)[0].digest != head.digest
    assert plan_of(there(), replace(ASKED, by="eve"))[0].digest != head.digest


def test_an_entry_has_one_spelling() -> None:
    _, entries = plan_of(there())
    line = encode_entry(entries[1])
    assert decode_entry(line) == entries[1]
    with pytest.raises(Malformed):
        decode_entry(line.replace(b'":', b'": '))


def test_a_relocated_plan_takes_what_lies_below_and_writes_it_elsewhere() -> None:
    store = MemoryStore()
    relocation = Relocation(source="app/", to="copy/app-")
    backup = [*BACKUP, secret("web/a", "CANARY-old")]
    _, entries = plan_of(store, replace(ASKED, relocation=relocation), backup)
    assert [(entry.name, entry.to) for entry in entries][:1] == [("app/new", "copy/app-new")]
    account = RestoreAccount()
    restore(lambda: iter(backup), store, plan=entries, relocation=relocation, account=account)
    assert sorted(values(store)) == ["copy/app-gone", "copy/app-new", "copy/app-other", "copy/app-same"]


def test_a_plan_counts_what_cannot_be_restored_also_if_that_is_all() -> None:
    class Refusing(MemoryStore):
        def foresee(self, secrets: Sequence[Secret], *, made: Collection[str]) -> list[Foreseen]:  # noqa: ARG002
            return [Foreseen(refusal="too large for it") for _ in secrets]

    head, entries = plan_of(Refusing())
    assert head.totals == Restored(not_done=4)
    assert {(entry.why, entry.code) for entry in entries} == {("too large for it", "SourceError")}


def test_what_changed_without_a_new_version_has_moved_too() -> None:
    _, entries = plan_of(there())
    later = MemoryStore(
        [
            replace(secret("app/other", "CANARY-now"), updated_at="2026-11-27T01:00:00Z"),
            secret("app/same", "CANARY-old", tags={"team": "web"}),
            secret("app/gone", "CANARY-now"),
        ]
    )
    assert apply(later, entries).moved == ["app/other", "app/same"]
