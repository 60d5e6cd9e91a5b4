"""What every source, and every destination, holds to.

A test module subclasses :class:`SourceConformance` (or :class:`DestinationConformance`) and
says in fixtures how its adapter comes to hold given secrets. What an adapter cannot keep by
its nature (a plain file has no tags) it says in ``kept``; what it adds of its own (a server
its times and ids) it takes off in ``seen``; what it cannot hold at all (a service no empty
value) it has other secrets for.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import ClassVar

import pytest

from strongroom.errors import SourceError
from strongroom.model import (
    ListedSecret,
    Media,
    RotationSchedule,
    Secret,
    SecretBytes,
    SecretVersion,
    VersionState,
)
from strongroom.sources import Destination, SecretChange, Source
from strongroom.system.errors import Conflict

Filled = Callable[[Sequence[Secret]], Source]


def secret(
    name: str, value: str | bytes = "CANARY-value", *, number: int = 1, **attributes: object
) -> Secret:
    """Make a secret of one version."""
    raw = value.encode() if isinstance(value, str) else value
    versions = (SecretVersion(number=number, value=SecretBytes(raw)),)
    return Secret(name=name, versions=versions, **attributes)  # type: ignore[arg-type]


def versions(*numbers: int) -> tuple[SecretVersion, ...]:
    """Make live versions of these numbers, each with a value of its own."""
    return tuple(
        SecretVersion(number=number, value=SecretBytes(f"CANARY-{number}".encode())) for number in numbers
    )


SECRETS = (
    secret("DATABASE_PASSWORD", "CANARY-p#ss 'w\"ord$"),
    secret("EMPTY", ""),
    secret("UNICODE", "CANARY-пароль-密码"),
    secret("MULTI_LINE", "-----BEGIN CANARY-----\nabc\n-----END CANARY-----\n"),
)
RICH = Secret(
    name="prod/db/password-ü",
    versions=(
        SecretVersion(number=3, value=SecretBytes(b"CANARY-old"), created_at="2024-01-01T00:00:00Z"),
        SecretVersion(number=5, state=VersionState.DELETED),
        SecretVersion(number=6, value=SecretBytes(b'{"a": 1.50}'), media=Media.JSON),
        SecretVersion(
            number=9, value=SecretBytes(b"CANARY\x00\xff"), media=Media.BINARY, created_at="2025-01-01"
        ),
    ),
    type="database_password",
    tags={"priority": "critical", "category": "database"},
    created_at="2024-01-01T00:00:00Z",
    updated_at="2025-01-01T00:00:00.123456+02:00",
    expires_at="2027-01-01",
    rotation=RotationSchedule(days=90, enabled=False),
    metadata={"description": "CANARY", "big": 2**80, "nested": {"list": [1, 2.5, None, True]}},
)


class SourceConformance:
    """The contract of :class:`~strongroom.sources.Source`.

    Fixtures: ``filled``, a function that takes secrets and returns a source which holds just these (their
    names are upper-case words, their values text, of which one is empty and one has several lines; it may be
    called with 10,000); ``away``, sources that cannot be read, if a test can have them.

    Attributes: ``secrets``, for what a source cannot hold; ``many`` and ``largest``, for what it cannot hold
    so much of; ``refilled``, if a second call of ``filled`` changes what the source of the first one reads.
    """

    secrets: Sequence[Secret] = SECRETS
    many = 10_000
    largest = 100_000
    refilled: ClassVar = False

    @pytest.fixture
    def filled(self) -> Filled:
        """Give a function that takes secrets and returns a source that holds just these."""
        raise NotImplementedError

    @pytest.fixture
    def away(self) -> Sequence[Source]:
        """Give sources that are not there, or hold the word CANARY where no secret can be read: what they
        raise is a SourceError."""
        return ()

    def kept(self, held: Secret) -> Secret:
        """Return what this kind of source can keep of a secret."""
        return held

    def seen(self, found: Secret) -> Secret:
        """Return what was read without what the source itself added."""
        return found

    def read_all(self, source: Source, entries: Sequence[ListedSecret]) -> list[Secret | None]:
        """Read, and take off what the source added."""
        return [held and self.seen(held) for held in source.read(entries)]

    def test_a_listing_yields_every_secret_once(self, filled: Filled) -> None:
        listed = [entry.name for entry in filled(self.secrets).list()]
        assert sorted(listed) == sorted(held.name for held in self.secrets)

    def test_its_parts_together_list_the_same(self, filled: Filled) -> None:
        source = filled(self.secrets)
        parts = source.parts(3)
        listed = [entry.name for part in parts for entry in part.list()]
        assert sorted(listed) == sorted(held.name for held in self.secrets)

    def test_a_listing_can_be_repeated_and_dropped_halfway(self, filled: Filled) -> None:
        source = filled(self.secrets)
        assert len(list(islice(source.list(), 2))) == 2
        gc.collect()
        assert len(list(source.list())) == len(self.secrets)

    def test_tags_are_listed_when_asked_for(self, filled: Filled) -> None:
        tagged = secret("TAGGED", tags={"priority": "critical"})
        (entry,) = filled([tagged]).list(with_tags=True)
        assert entry.tags == self.kept(tagged).tags

    def test_tags_are_never_unknown_when_asked_for(self, filled: Filled) -> None:
        assert all(entry.tags is not None for entry in filled(self.secrets).list(with_tags=True))

    def test_tags_are_listed_only_when_asked_for(self, filled: Filled) -> None:
        source = filled([secret("TAGGED", tags={"priority": "critical"})])
        assert [entry.tags for entry in source.list()] == [None]

    def test_tags_are_read_too(self, filled: Filled) -> None:
        tagged = secret("TAGGED", tags={"priority": "critical"})
        source = filled([tagged])
        [found] = self.read_all(source, list(source.list()))
        assert found is not None
        assert found.tags == self.kept(tagged).tags

    def test_what_changes_is_read_as_it_is_then(self, filled: Filled) -> None:
        if self.refilled:
            source = filled([secret("CHANGED", "CANARY-before"), secret("GONE")])
            assert len(self.read_all(source, list(source.list()))) == 2
            filled([secret("CHANGED", "CANARY-after-that")])
            [found] = self.read_all(source, list(source.list()))
            assert found == self.kept(secret("CHANGED", "CANARY-after-that"))
            assert self.read_all(source, [ListedSecret("GONE", 0)]) == [None]

    def test_what_its_store_raises_comes_as_a_typed_error_without_values(
        self, away: Sequence[Source]
    ) -> None:
        for source in away:
            with pytest.raises(SourceError) as listed:
                list(source.list())
            with pytest.raises(SourceError) as read:
                list(source.read([ListedSecret("A", 1)]))
            for error in (listed.value, read.value):
                assert "CANARY" not in f"{error.message} {error.hint}"

    def test_a_size_covers_the_value(self, filled: Filled) -> None:
        (entry,) = filled([secret("LARGE", "x" * self.largest)]).list()
        assert entry.size >= self.largest

    def test_each_secret_is_read_as_it_is(self, filled: Filled) -> None:
        source = filled(self.secrets)
        found = {held.name: held for held in self.read_all(source, list(source.list())) if held}
        assert found == {held.name: self.kept(held) for held in self.secrets}

    def test_reading_keeps_the_order_that_was_asked_for(self, filled: Filled) -> None:
        source = filled(self.secrets)
        entries = sorted(source.list(), key=lambda entry: entry.name, reverse=True)
        entries += entries[:1]
        found = [held.name for held in source.read(entries) if held]
        assert found == [entry.name for entry in entries]

    def test_a_secret_is_found_by_its_name_alone(self, filled: Filled) -> None:
        source = filled(self.secrets)
        entries = [ListedSecret(held.name, 0) for held in self.secrets]
        assert self.read_all(source, entries) == [self.kept(held) for held in self.secrets]

    def test_a_secret_that_is_not_there_reads_as_none(self, filled: Filled) -> None:
        source = filled(self.secrets)
        first, missing, last = source.read(
            [ListedSecret("EMPTY", 0), ListedSecret("GONE", 0), ListedSecret("UNICODE", 0)]
        )
        assert first is not None
        assert missing is None
        assert last is not None

    @pytest.mark.parametrize("name", ["", "a\x00b", "a\udcff", "../a", "'", '"', "%", "x" * 5_000])
    def test_an_odd_name_that_is_not_there_reads_as_none(self, filled: Filled, name: str) -> None:
        assert list(filled(self.secrets).read([ListedSecret(name, 0)])) == [None]

    def test_reading_nothing_yields_nothing(self, filled: Filled) -> None:
        assert list(filled(self.secrets).read([])) == []

    def test_many_secrets_are_all_read(self, filled: Filled) -> None:
        many = [secret(f"SECRET_{number:05}", f"CANARY-{number}") for number in range(self.many)]
        source = filled(many)
        found = self.read_all(source, sorted(source.list(), reverse=True, key=lambda entry: entry.name))
        assert found == [self.kept(held) for held in reversed(many)]

    def test_an_instance_that_was_used_survives_a_fork(self, filled: Filled) -> None:
        source = filled(self.secrets)
        before = _all(source)
        assert in_a_child(lambda: _all(source) == before)
        assert _all(source) == before

    def test_an_instance_serves_several_threads(self, filled: Filled) -> None:
        source = filled(self.secrets)
        expected, found = _all(source), []
        threads = [threading.Thread(target=lambda: found.append(_all(source))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 4

    def test_it_has_a_name_and_shows_no_value(self, filled: Filled) -> None:
        source = filled(self.secrets)
        assert source.name
        found = list(source.read(list(source.list(with_tags=True))))
        assert "CANARY" not in f"{source!r} {source} {found!r}"
        assert "CANARY" not in repr(list(source.list()))

    def test_what_no_backup_contains_is_said_in_lines_without_values(self, filled: Filled) -> None:
        source = filled(self.secrets)
        lines = source.not_contained()
        assert isinstance(lines, tuple), "one line each, and a string is many"
        assert all(line.strip() and line.isprintable() and "CANARY" not in line for line in lines)


class DestinationConformance(SourceConformance):
    """The contract of :class:`~strongroom.sources.Destination`. Fixture: ``destination``, an empty one."""

    rich = RICH

    @pytest.fixture
    def destination(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def filled(self, destination: Destination) -> Filled:
        def fill(secrets: Sequence[Secret]) -> Source:
            destination.write(_new(*secrets))
            return destination

        return fill

    def test_an_empty_destination_lists_nothing(self, destination: Destination) -> None:
        assert list(destination.list()) == []

    def test_everything_known_of_a_secret_comes_back(self, destination: Destination) -> None:
        assert destination.write(_new(self.rich)) == 1
        assert self.seen(_read(destination, self.rich.name)) == self.kept(self.rich)

    def test_what_came_back_whole_is_no_loss(self, destination: Destination) -> None:
        destination.write(_new(*self.secrets, secret("OTHER", tags={"a": "b"})))
        assert destination.losses() == ()

    def test_version_numbers_of_an_absent_secret_are_kept_exactly(self, destination: Destination) -> None:
        destination.write(_new(Secret(name="A", versions=versions(2, 7, 30))))
        assert self.seen(_read(destination, "A")).versions == versions(2, 7, 30)

    def test_restored_versions_go_on_top_of_an_existing_history(self, destination: Destination) -> None:
        destination.write(_new(Secret(name="A", versions=versions(1, 4))))
        restored = Secret(name="A", versions=versions(2, 9), tags={"from": "backup"})
        destination.write([SecretChange(secret=restored, expected=4)])
        found = _read(destination, "A")
        assert [version.number for version in found.versions] == [1, 4, 5, 6]
        assert _values(found) == [b"CANARY-1", b"CANARY-4", b"CANARY-2", b"CANARY-9"]
        assert found.tags == {"from": "backup"}

    def test_a_history_grows_with_every_write(self, destination: Destination) -> None:
        for number in range(5):
            change = SecretChange(secret=secret("A", f"CANARY-{number}"), expected=number or None)
            destination.write([change])
        assert _values(_read(destination, "A")) == [b"CANARY-%d" % number for number in range(5)]

    def test_heads_are_the_current_versions_of_what_exists(self, destination: Destination) -> None:
        destination.write(_new(Secret(name="A", versions=versions(1, 4)), secret("B")))
        assert destination.heads(["A", "B", "C"]) == {"A": 4, "B": 1}
        assert destination.heads([]) == {}
        assert destination.heads(["A\udcff", "B\x00", ""]) == {}

    @pytest.mark.parametrize("expected", [None, 3, 5])
    def test_a_secret_that_changed_meanwhile_is_a_conflict(
        self, destination: Destination, expected: int | None
    ) -> None:
        destination.write(_new(Secret(name="A", versions=versions(1, 4))))
        with pytest.raises(Conflict, match="A'"):
            destination.write([SecretChange(secret=secret("A", "CANARY-new"), expected=expected)])
        assert self.seen(_read(destination, "A")).versions == versions(1, 4)

    def test_a_secret_that_vanished_meanwhile_is_a_conflict(self, destination: Destination) -> None:
        with pytest.raises(Conflict, match="no version"):
            destination.write([SecretChange(secret=secret("A"), expected=1)])
        assert list(destination.list()) == []

    def test_a_batch_with_a_conflict_is_not_written_at_all(self, destination: Destination) -> None:
        changes = [*_new(secret("A"), secret("B")), SecretChange(secret=secret("C"), expected=7)]
        with pytest.raises(Conflict):
            destination.write(changes)
        assert destination.heads(["A", "B", "C"]) == {}

    def test_what_is_refused_keeps_no_other_secret_from_being_written(self, destination: Destination) -> None:
        destination.write(_new(secret("TAKEN")))
        gone = SecretChange(secret=secret("GONE"), expected=7)
        changes = [
            *_new(secret("A"), Secret(name="BAD", versions=()), secret("TAKEN")),
            gone,
            *_new(secret("B")),
        ]
        refused: dict[str, str] = {}
        written = destination.write(changes, refuse=lambda name, error: refused.update({name: error.code}))
        assert written == 2
        assert refused == {"BAD": "SourceError", "TAKEN": "Conflict", "GONE": "Conflict"}
        assert destination.heads(["A", "B", "BAD", "GONE", "TAKEN"]) == {"A": 1, "B": 1, "TAKEN": 1}

    def test_two_changes_of_one_secret_follow_each_other(self, destination: Destination) -> None:
        first, second = secret("A", "CANARY-1"), secret("A", "CANARY-2")
        destination.write(
            [SecretChange(secret=first, expected=None), SecretChange(secret=second, expected=1)]
        )
        assert _values(_read(destination, "A")) == [b"CANARY-1", b"CANARY-2"]

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param(Secret(name="A", versions=()), id="no version"),
            pytest.param(
                Secret(name="A", versions=(SecretVersion(number=1),)), id="a live version without value"
            ),
            pytest.param(Secret(name="A", versions=versions(2, 1)), id="versions that descend"),
            pytest.param(Secret(name="A", versions=versions(1, 1)), id="two versions of one number"),
            pytest.param(secret(""), id="no name"),
            pytest.param(secret("A\x00B"), id="a name with a NUL"),
            pytest.param(secret("A\udcff"), id="a name that is not text"),
        ],
    )
    def test_what_could_not_be_read_back_is_refused(self, destination: Destination, bad: Secret) -> None:
        with pytest.raises(SourceError):
            destination.write(_new(secret("GOOD"), bad))
        assert list(destination.list()) == []

    def test_a_deleted_secret_is_gone_with_its_history(self, destination: Destination) -> None:
        destination.write(_new(Secret(name="A", versions=versions(1, 2)), secret("B")))
        assert destination.delete(["A", "NEVER"]) == 1
        assert [entry.name for entry in destination.list()] == ["B"]
        destination.write(_new(secret("A", "CANARY-again")))
        assert _values(_read(destination, "A")) == [b"CANARY-again"]

    def test_a_secret_deleted_after_the_listing_reads_as_none(self, destination: Destination) -> None:
        destination.write(_new(*self.secrets))
        entries = list(destination.list())
        destination.delete(["EMPTY"])
        gone = [
            entry.name for entry, held in zip(entries, destination.read(entries), strict=True) if not held
        ]
        assert gone == ["EMPTY"]

    def test_a_secret_made_anew_after_the_listing_is_read_as_it_is_now(
        self, destination: Destination
    ) -> None:
        destination.write(_new(secret("A", "CANARY-before")))
        entries = list(destination.list())
        destination.delete(["A"])
        destination.write(_new(secret("A", "CANARY-after")))
        (found,) = destination.read(entries)
        assert found is not None
        assert _values(found) == [b"CANARY-after"]

    def test_writing_and_reading_may_alternate(self, destination: Destination) -> None:
        destination.write(_new(*self.secrets))
        for held in destination.read(list(destination.list())):
            assert held is not None
            destination.write([SecretChange(secret=held, expected=held.current.number)])
        assert set(destination.heads([held.name for held in self.secrets]).values()) == {2}

    def test_writing_works_on_both_sides_of_a_fork(self, destination: Destination) -> None:
        destination.write(_new(secret("A")))
        assert in_a_child(lambda: destination.write(_new(secret("B"))) == 1)
        destination.write(_new(secret("C")))
        assert {"A", "C"} <= {entry.name for entry in destination.list()}


def _new(*secrets: Secret) -> list[SecretChange]:
    return [SecretChange(secret=held, expected=None) for held in secrets]


def _read(source: Source, name: str) -> Secret:
    (found,) = source.read([ListedSecret(name, 0)])
    assert found is not None
    return found


def _values(held: Secret) -> list[bytes]:
    return [version.value.reveal() for version in held.versions if version.value]


def _all(source: Source) -> dict[str, Secret | None]:
    entries = list(source.list())
    return dict(zip((entry.name for entry in entries), source.read(entries), strict=True))


def in_a_child(check: Callable[[], bool]) -> bool:
    """Say whether ``check`` held in a forked child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
