"""Who a backup is sealed for is told by its signed envelopes: no row hides a reader, or promises one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli.shared.render_run import as_document
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, StrongroomError
from strongroom.keys.errors import (
    KeyDenied,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyServiceUnavailable,
)
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import Pinned, Services
from strongroom.state.records import Run, RunState, StepKind, Ticket
from tests.operations.test_run_integrity import edit
from tests.operations.world import POLICY, World, make_world, names_on


class KeyService(KeyFileRecipient):
    """One that is away, or lost for good."""

    __slots__ = ("away", "why")

    def __init__(self, label: str, *, away: bool = False) -> None:
        super().__init__(os.urandom(32), label=label)
        self.away = away
        self.why: type[StrongroomError] = KeyServiceUnavailable

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        if self.away:
            raise self.why(f"{self.label} cannot be used")
        return super().wrap(key, context=context)


class Place:
    """A policy that seals for two key services, of which one may be away."""

    def __init__(self, folder: Path, *, away: bool) -> None:
        self.recipients = (KeyService("main"), KeyService("other", away=away))
        pins = tuple(pin_recipient(one.label, one) for one in self.recipients)
        self.world: World = make_world(folder, pieces=1).with_spec(recipients=pins)

    def services(self) -> Services:
        pinned = Pinned(spec=self.world.spec, recipients=self.recipients)
        opener = (KeyFileIdentity(self.recipients[0]._key.reveal()),)
        return self.world.services(pinned=lambda _: pinned, identities=lambda: opener)

    def back_up(self, table: str = "", column: str = "", where: str = "1", change: Any = None) -> Run:
        """Back up; once a capture is recorded, edit what it or the run says."""
        services = self.services()
        run, tickets = submit_backup(services, policy=POLICY)
        done: list[Ticket] = []

        def watch(ticket: Ticket) -> None:
            if table and ticket.step.kind is StepKind.CAPTURE and not done:
                done.append(ticket)
                edit(self.world, table, column, where, change)

        return drive(run, tickets, services, processes=1, watch=watch)

    def sealed_for(self, run: Run) -> list[str]:
        manifest = read_manifest(self.world.targets["eu"], run.id, trusted=None)
        return [one.name for one in manifest.recipients]


def test_a_key_service_that_is_away_is_left_out_of_the_manifest_and_told(tmp_path: Path) -> None:
    place = Place(tmp_path, away=True)
    run = place.back_up()
    assert (run.state, place.sealed_for(run)) == (RunState.DEGRADED, ["main"])
    assert "not sealed to other" in str(run.error)
    shown = as_document(run, place.world.services().store.rows(run.id))
    assert (run.facts["left_out"], len(shown["recipients"])) == (["other"], 1)


@pytest.mark.parametrize("said", [[], ["main"], ["other"]])
@pytest.mark.parametrize("away", [True, False])
def test_whatever_a_capture_s_row_says_the_envelopes_decide(
    tmp_path: Path, said: list[str], *, away: bool
) -> None:
    place = Place(tmp_path, away=away)
    run = place.back_up("steps", "result", "kind = 'capture'", lambda result: {**result, "absent": said})
    assert place.sealed_for(run) == (["main"] if away else ["main", "other"])
    assert run.state is (RunState.DEGRADED if away else RunState.DONE)


def test_a_run_s_row_that_leaves_out_who_can_open_makes_no_manifest(tmp_path: Path) -> None:
    place = Place(tmp_path, away=False)
    run = place.back_up("runs", "spec", "1", lambda spec: {**spec, "recipients": spec["recipients"][:1]})
    assert (run.state, "RecordRefused" in str(run.error)) == (RunState.FAILED, True)
    assert all(names_on(target) == [] for target in place.world.targets.values())


def test_a_run_s_row_that_promises_somebody_else_is_not_believed(tmp_path: Path) -> None:
    place = Place(tmp_path, away=False)

    def promise(spec: dict[str, Any]) -> dict[str, Any]:
        return {**spec, "recipients": [*spec["recipients"], {**spec["recipients"][0], "name": "nobody"}]}

    run = place.back_up("runs", "spec", "1", promise)
    assert (run.state, "'recipients'" in str(run.error)) == (RunState.FAILED, True)
    assert all(names_on(target) == [] for target in place.world.targets.values())


LOST = (KeyNotFound, KeyDisabled, KeyDenied, KeyPendingDeletion, KeyServiceUnavailable, ConfigError)


@pytest.mark.parametrize("why", LOST)
def test_a_key_that_is_lost_stops_no_backup_for_the_others(
    tmp_path: Path, why: type[StrongroomError]
) -> None:
    place = Place(tmp_path, away=True)
    place.recipients[1].why = why
    run = place.back_up()
    assert (run.state, place.sealed_for(run), run.facts["left_out"]) == (
        RunState.DEGRADED,
        ["main"],
        ["other"],
    )
    assert "not sealed to other" in str(run.error)
    assert "take it out of the policy's recipients" in str(run.error)


def test_where_every_key_is_lost_there_is_no_backup_and_the_reason_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path, away=True)
    for recipient in place.recipients:
        recipient.away, recipient.why = True, KeyDisabled
    run = place.back_up()
    assert (run.state, "KeyDisabled" in str(run.error)) == (RunState.FAILED, True)
