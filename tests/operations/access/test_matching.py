"""Who came to backups, and what of that our own record has."""

from __future__ import annotations

from msgspec import structs

from strongroom.operations.access.look import BACKUPS, SLACK, STRANGERS, Activity, Stranger, Watch, strangers
from strongroom.operations.access.parsers import Did, Read
from tests.operations.access.lines import BACKUP, CONTAINER, ROLE, THIEF

NOW = 1_795_824_000.0
READ = Read(
    at=NOW, who=THIEF, origin="203.0.113.9", what=f"acme-eu/{CONTAINER}", did=Did.READ, how="GetObject"
)
WATCH = Watch(places=("acme-eu/",), keys=("transit//backup", "arn:key"))
VERIFIED = Activity(began=NOW - 10, ended=NOW + 10, backups=frozenset((BACKUP,)))


def told(
    *reads: Read, watch: Watch = WATCH, ours: tuple[Activity, ...] = (), policy: str = "daily"
) -> list[str]:
    return [one.kind for one in found(*reads, watch=watch, ours=ours, policy=policy)]


def found(
    *reads: Read, watch: Watch = WATCH, ours: tuple[Activity, ...] = (), policy: str = "daily"
) -> tuple[Stranger, ...]:
    return strangers(reads, watch, ours, {BACKUP: policy}, {})


def test_a_read_that_nobody_recorded_is_told_with_who_what_and_when() -> None:
    (one,) = found(READ)
    assert (one.kind, one.who, one.origin, one.backups) == (
        "access.unrecorded",
        THIEF,
        READ.origin,
        (BACKUP,),
    )
    assert (one.times, one.first, one.last) == (1, NOW, NOW)


def test_a_read_that_a_run_explains_is_no_news() -> None:
    assert told(READ, ours=(VERIFIED,)) == []
    assert told(READ, ours=(Activity(began=NOW, ended=NOW, policy="daily"),)) == []


def test_a_run_of_another_backup_policy_or_time_explains_nothing() -> None:
    late = structs.replace(READ, at=VERIFIED.ended + SLACK + 1)
    assert told(late, ours=(VERIFIED,)) == ["access.unrecorded"]
    other = structs.replace(VERIFIED, backups=frozenset(("another",)))
    assert told(READ, ours=(other,)) == ["access.unrecorded"]
    assert told(READ, ours=(Activity(began=NOW, ended=NOW, policy="weekly"),)) == ["access.unrecorded"]


def test_a_stranger_is_told_even_while_a_run_reads_the_same_backup() -> None:
    watch = structs.replace(
        WATCH, ours=("arn:aws:sts::*:assumed-role/strongroom-*",), networks=("10.2.0.0/16",)
    )
    inside = structs.replace(READ, who=ROLE, origin="10.2.0.9")
    assert told(inside, watch=watch, ours=(VERIFIED,)) == []
    assert told(structs.replace(inside, who=THIEF), watch=watch, ours=(VERIFIED,)) == ["access.unrecorded"]
    assert told(structs.replace(inside, origin="203.0.113.9"), watch=watch, ours=(VERIFIED,)) == [
        "access.unrecorded"
    ]
    assert told(structs.replace(inside, origin="nonsense"), watch=watch, ours=(VERIFIED,)) == [
        "access.unrecorded"
    ]


def test_a_key_that_a_verification_at_rest_does_not_use_is_told() -> None:
    used = structs.replace(READ, did=Did.OPENED, what="transit/decrypt/backup")
    assert told(used, ours=(VERIFIED,)) == ["access.key-used"]
    assert told(used, ours=(structs.replace(VERIFIED, opens=True),)) == []
    assert told(structs.replace(used, what="transit/decrypt/other")) == []
    assert told(structs.replace(used, what="arn:key")) == ["access.key-used"]


def test_a_change_of_permissions_is_told_whoever_made_it() -> None:
    changed = structs.replace(READ, did=Did.CHANGED, what="acme-eu")
    assert told(changed, ours=(VERIFIED,)) == ["access.changed"]
    assert told(structs.replace(changed, what="another-bucket")) == []
    assert told(structs.replace(changed, did=Did.UNLOCKED, what=READ.what)) == ["access.unlocked"]


def test_of_vault_its_policies_its_logs_and_our_mounts_are_guarded_and_other_mounts_are_not() -> None:
    changed = structs.replace(READ, did=Did.CHANGED)
    for what in (
        "sys/policies/acl/any",
        "sys/audit/file",
        "sys/mounts/transit",
        "transit/keys/backup/config",
    ):
        assert told(structs.replace(changed, what=what)) == ["access.changed"], what
    for what in ("sys/mounts/another", "transit/keys/other/config"):
        assert told(structs.replace(changed, what=what)) == [], what


def test_refusals_in_a_row_are_told_and_one_is_not() -> None:
    refused = structs.replace(READ, did=Did.REFUSED)
    assert told(*[refused] * 4) == []
    (one,) = found(*[refused] * 7)
    assert (one.kind, one.times) == ("access.refused", 7)
    assert told(*[refused] * 4, READ, *[refused] * 4, ours=(VERIFIED,)) == []


def test_manifests_are_read_by_everybody_of_ours_and_by_no_stranger() -> None:
    manifest = structs.replace(READ, what=f"acme-eu/manifests/{BACKUP}.json")
    assert told(manifest) == []
    assert told(manifest, watch=structs.replace(WATCH, ours=(ROLE,))) == ["access.unrecorded"]


def test_a_thief_of_ten_thousand_objects_is_told_once_and_many_thieves_fill_no_disk() -> None:
    names = [structs.replace(READ, what=f"acme-eu/containers/b{number}/x") for number in range(10_000)]
    (one,) = found(*names)
    assert one.times == 10_000
    assert len(one.backups) == BACKUPS
    thieves = [structs.replace(READ, who=f"thief-{number}") for number in range(1000)]
    many = found(*thieves)
    assert len(many) == STRANGERS
    assert sum(one.times for one in many) == 1000
