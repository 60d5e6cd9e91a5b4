"""A key is sealed once for the recipients while the program is still being loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from strongroom.container.wrapping import Stanza
from strongroom.keys import Recipient
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.operations.backup.capture import sealed_ahead
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.state.records import Ticket
from strongroom.targets.directory import DirectoryTarget
from tests.operations.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    return make_world(tmp_path).with_stage(stage)


class Watched(PassphraseRecipient):
    """Remembers by which threads it was asked to wrap."""

    __slots__ = ("asked_by", "failure")

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__("CANARY enough words for a passphrase", iterations=100_000)
        self.asked_by: list[str] = []
        self.failure = failure

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        self.asked_by.append(threading.current_thread().name)
        if self.failure is not None:
            raise self.failure
        return super().wrap(key, context=context)


def backed_up(
    world: World, path: Path, recipients: Sequence[Recipient], watch: Callable[[Ticket], None] | None = None
) -> None:
    with sealed_ahead(recipients) as sealed:
        backup_to_file(
            path,
            source=world.source,
            recipients=recipients,
            services=world.services(),
            sealed=sealed,
            watch=watch,
        )


def test_it_is_done_in_a_thread_that_has_ended_before_the_first_step(world: World, tmp_path: Path) -> None:
    recipient = Watched()
    alive: list[str] = []

    def watch(ticket: Ticket) -> None:
        alive.extend(thread.name for thread in threading.enumerate() if thread.name.startswith("seal"))

    backed_up(world, tmp_path / "a", [recipient], watch)
    assert recipient.asked_by[0].startswith("seal")
    assert alive == []


def test_what_a_key_service_refuses_is_raised_and_no_file_is_left(world: World, tmp_path: Path) -> None:
    with pytest.raises(KeyServiceUnavailable, match="CANARY away"):
        backed_up(world, tmp_path / "a", [Watched(KeyServiceUnavailable("CANARY away"))])
    assert list(tmp_path.glob("a*")) == []
