"""What keys open alone, what they open together, and what would be lost without one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.wrapping import Stanza
from strongroom.keys import Recipient
from strongroom.keys.allof import AllOfRecipient, recipient_key
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import Pinned
from strongroom.operations.keys.usage import KeyUse, pinned_key, survey
from tests.operations.world import World, make_world

HSM, SPARE, BOARD, ALONE = (KeyFileIdentity(os.urandom(32)).recipient() for _ in range(4))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def uses(world: World, *recipients: Recipient) -> dict[str, KeyUse]:
    """Back up for these recipients, and say what each key is good for."""
    spec = world.with_spec(recipients=tuple(pin_recipient(one.label, one) for one in recipients)).spec
    services = replace(world.services(), pinned=lambda _: Pinned(spec=spec, recipients=tuple(recipients)))
    world.back_up(services)
    return {use.key: use for use in survey(services, services.store.backups()).keys}


def counts(found: dict[str, KeyUse], key: Recipient) -> tuple[int, int, int]:
    use = found[recipient_key(key)]
    return len(use.backups), len(use.together), len(use.only)


def test_the_only_key_of_a_leg_is_needed_though_it_opens_nothing_alone(world: World) -> None:
    both = AllOfRecipient([[HSM, SPARE], [BOARD]], label="emergency")
    found = uses(world, both)
    assert counts(found, both) == (1, 0, 1)
    assert counts(found, BOARD) == (0, 1, 1)
    assert counts(found, HSM) == counts(found, SPARE) == (0, 1, 0)


def test_where_another_key_opens_alone_no_leg_is_needed(world: World) -> None:
    both = AllOfRecipient([[HSM], [BOARD]], label="emergency")
    found = uses(world, both, ALONE)
    assert counts(found, HSM) == counts(found, BOARD) == (0, 1, 0)
    assert counts(found, ALONE) == (1, 0, 0)


def test_a_key_that_is_in_every_way_in_is_needed(world: World) -> None:
    both = AllOfRecipient([[HSM], [BOARD]], label="emergency")
    assert counts(uses(world, both, HSM), HSM) == (1, 1, 1)


class AtService(KeyFileRecipient):
    """The recipient of a key service: known by its label, whatever the service calls the key."""

    type = "transit"

    @property
    def fingerprint(self) -> str:
        return "transit:what the service calls it now"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        return structs.replace(super().wrap(key, context=context), type=self.type)


def test_a_composition_with_a_key_of_a_key_service_is_the_one_that_its_policy_names(world: World) -> None:
    """Else the key would be called unused, and could be retired while backups need it."""
    service = AtService(os.urandom(32), label="service")
    both = AllOfRecipient([[service], [BOARD]], label="emergency")
    found = uses(world, both)
    assert pinned_key(pin_recipient("emergency", both)) == recipient_key(both)
    assert counts(found, both) == (1, 0, 1)
    assert [use.by_copy for use in found.values()] == [()] * len(found)
