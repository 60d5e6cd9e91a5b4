"""Rotating secrets of the local store in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from strongroom.errors import UsageError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes
from strongroom.operations.rotation.secret_plan import SecretRotationResult, plan_rotation
from strongroom.operations.rotation.secrets_job import rotate_secrets
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.local import LocalStore
from strongroom.state.records import RunState
from tests.operations.rotators.world import (
    OLD,
    REASON,
    command_rotator,
    held,
    random_rotator,
    script,
    services_for,
    store_world,
    values,
)
from tests.patience import PATIENCE


def test_a_random_value_becomes_the_current_version_and_the_former_one_stays_in_the_history(
    tmp_path: Path,
) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db", tags={"team": "a"})])
    services = services_for(world, store, random_rotator())
    rotated = rotate_secrets(services, ["prod/db"], source="local", reason=REASON)
    assert (rotated.done, rotated.failed, rotated.no_rotator) == (("prod/db",), (), ())
    former, new = values(store, "prod/db")
    assert (former, len(new)) == (OLD, 24)
    assert store.get("prod/db").tags == {"team": "a"}
    assert services.store.load(rotated.run).state is RunState.DONE


def test_what_no_rotator_is_for_is_told_and_left_and_the_run_is_degraded(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db"), held("test/db")])
    services = services_for(world, store, random_rotator())
    rotated = rotate_secrets(services, ["prod/db", "test/db", "prod/gone"], source="local", reason=REASON)
    assert (rotated.done, rotated.no_rotator) == (("prod/db",), ("test/db",))
    assert rotated.missing == ("prod/gone",)
    assert values(store, "test/db") == [OLD]
    assert "test/db: no rotator is for it: give it a new value by hand" in rotated.to_do
    assert "prod/gone: it is not there" in rotated.to_do
    assert services.store.load(rotated.run).state is RunState.DEGRADED


def test_one_field_of_a_json_value_changes_and_every_other_byte_of_its_fields_stays(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    text = '{"user":"app","port":5432.0,"password":"CANARY-old","more":{"b":1,"a":1e400}}'
    store.set("prod/db", SecretBytes(text.encode()), media=Media.JSON)
    rotate_secrets(
        services_for(world, store, random_rotator(field="password")),
        ["prod/db"],
        source="local",
        reason=REASON,
    )
    new = values(store, "prod/db")[-1]
    password = json.loads(new)["password"]
    assert len(password) == 24
    assert new == text.replace("CANARY-old", password)


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        ('{"user":"CANARY-u","password":"CANARY-p"}', "", "has 2 fields, and the rotator names none"),
        ('{"user":"CANARY-u"}', "password", "has no field 'password'"),
        ('{"password":{"now":"CANARY-p"}}', "password", "is no text"),
        ("CANARY-p", "password", "is no JSON object"),
    ],
)
def test_a_value_without_the_one_place_that_is_meant_is_left_as_it_is(
    tmp_path: Path, text: str, field: str, why: str
) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db", text)])
    services = services_for(world, store, random_rotator(field=field))
    rotated = rotate_secrets(services, ["prod/db"], source="local", reason=REASON)
    assert rotated.failed == ("prod/db",)
    assert why in rotated.secrets[0].why
    assert "CANARY" not in str(rotated)
    assert values(store, "prod/db") == [text]


def test_a_command_gets_the_new_value_on_its_standard_input_and_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "CANARY-token")
    world, store = store_world(tmp_path)
    store.import_([held("prod/db")])
    program = script(tmp_path / "set", f"cat > {tmp_path}/got", f"env > {tmp_path}/env")
    services = services_for(world, store, command_rotator(program))
    assert rotate_secrets(services, ["prod/db"], source="local", reason=REASON).done == ("prod/db",)
    assert (tmp_path / "got").read_text() == values(store, "prod/db")[-1]
    told = (tmp_path / "env").read_text()
    assert "ROTATE_SECRET=prod/db\n" in told
    assert "CANARY" not in told


@pytest.mark.parametrize(
    ("line", "seconds", "why"),
    [
        ("exit 3", PATIENCE, "ended with status 3"),
        ("exec sleep 600", 0.5, "did not end within 0.5 s, and was ended"),
    ],
)
def test_the_former_value_is_current_again_if_the_command_fails(
    tmp_path: Path, line: str, seconds: float, why: str
) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db")])
    rotator = command_rotator(script(tmp_path / "set", line, timeout=seconds))
    rotated = rotate_secrets(services_for(world, store, rotator), ["prod/db"], source="local", reason=REASON)
    assert rotated.failed == ("prod/db",)
    assert why in rotated.secrets[0].why
    assert "The former value is current again, as version 3" in rotated.secrets[0].why
    (to_do,) = rotated.secrets[0].to_do
    assert "Version 2 at the source has the value that was refused" in to_do
    assert [value == OLD for value in values(store, "prod/db")] == [True, False, True]


def test_the_former_value_is_current_again_if_the_check_does_not_take_the_new_one(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db")])
    rotator = random_rotator(check=script(tmp_path / "check", f'[ "$(cat)" = {OLD} ]'))
    rotated = rotate_secrets(services_for(world, store, rotator), ["prod/db"], source="local", reason=REASON)
    assert rotated.failed == ("prod/db",)
    assert (
        "the check of rotator 'passwords' for secret 'prod/db' ended with status 1" in rotated.secrets[0].why
    )
    assert values(store, "prod/db")[-1] == OLD


def test_one_that_fails_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/a"), held("prod/b"), held("prod/c")])
    program = script(tmp_path / "set", '[ "$ROTATE_SECRET" != prod/b ]')
    services = services_for(world, store, command_rotator(program))
    rotated = rotate_secrets(services, ["prod/a", "prod/b", "prod/c"], source="local", reason=REASON)
    assert (rotated.done, rotated.failed) == (("prod/a", "prod/c"), ("prod/b",))


def test_in_an_incident_each_secret_is_rotated_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/a"), held("prod/b")])
    services = services_for(world, store, random_rotator())
    rotate_secrets(services, ["prod/a"], source="local", reason=REASON, incident="case-1")
    again = rotate_secrets(services, ["prod/a", "prod/b"], source="local", reason=REASON, incident="case-1")
    assert [one.result for one in again.secrets] == [SecretRotationResult.ALREADY, SecretRotationResult.DONE]
    assert services.store.load(again.run).state is RunState.DONE
    assert (len(values(store, "prod/a")), len(values(store, "prod/b"))) == (2, 2)
    other = rotate_secrets(services, ["prod/a"], source="local", reason=REASON, incident="case-2")
    assert other.secrets[0].result is SecretRotationResult.DONE


def test_in_an_incident_a_value_that_was_brought_back_is_rotated_again(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/a")])
    services = services_for(world, store, random_rotator())
    for _ in range(2):
        again = rotate_secrets(services, ["prod/a"], source="local", reason=REASON, incident="case-1")
        assert again.secrets[0].result is SecretRotationResult.DONE
        store.set("prod/a", SecretBytes(OLD.encode()))  # as a restore does


def test_in_an_incident_the_fields_that_were_left_are_told(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/a", '{"user":"CANARY-u","password":"CANARY-p","token":"CANARY-t"}')])
    services = services_for(world, store, random_rotator(field="password"))
    rotated = rotate_secrets(services, ["prod/a"], source="local", reason=REASON, incident="case-1")
    assert (
        "its 2 other fields kept their values: change those that others may know" in rotated.secrets[0].to_do
    )


def test_a_plan_names_each_secret_with_its_rotator_and_changes_nothing(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db"), held("test/db"), held("test/web", tags={"rotate": "random"})])
    tagged = random_rotator(
        name="tagged", selection=random_rotator().selection.__class__(tags={"rotate": "random"})
    )
    services = services_for(world, store, random_rotator(), tagged)
    plan = plan_rotation(services, ["prod/db", "test/db", "test/web"], source="local")
    assert [one.rotator for one in plan.secrets] == ["passwords", "", "tagged"]
    assert [one.name for one in plan.to_rotate] == ["prod/db", "test/web"]
    assert values(store, "prod/db") == [OLD]
    assert plan.digest != plan_rotation(services, ["prod/db"], source="local").digest


def test_a_source_that_does_not_answer_is_raised_and_nothing_is_changed(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db")])
    services = services_for(world, Away(tmp_path, name="local"), random_rotator())
    with pytest.raises(SourceUnavailable, match="it is away"):
        rotate_secrets(services, ["prod/db"], source="local", reason=REASON)
    assert values(store, "prod/db") == [OLD]


class Away(LocalStore):
    """A source that does not answer."""

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:  # noqa: ARG002
        raise SourceUnavailable("it is away")


def test_a_rotation_without_a_reason_or_a_name_is_refused(tmp_path: Path) -> None:
    world, store = store_world(tmp_path)
    services = services_for(world, store, random_rotator())
    with pytest.raises(UsageError, match="needs a reason"):
        rotate_secrets(services, ["prod/db"], source="local", reason=" ")
    with pytest.raises(UsageError, match="no secret to rotate"):
        rotate_secrets(services, [], source="local", reason=REASON)


def test_no_value_and_no_name_is_in_the_state_database_beside_the_names_that_were_asked_for(
    tmp_path: Path,
) -> None:
    world, store = store_world(tmp_path)
    store.import_([held("prod/db")])
    services = services_for(world, store, random_rotator())
    rotated = rotate_secrets(services, ["prod/db"], source="local", reason=REASON)
    new = values(store, "prod/db")[-1]
    services.store.close()
    database = b"".join(path.read_bytes() for path in tmp_path.glob("*.db*"))
    assert rotated.run.encode() in database
    assert new.encode() not in database
    events = services.store.events(run=rotated.run)
    assert {"secret.rotating", "secret.rotated"} <= {event.kind for event in events}
    assert "prod/db" not in str([event.detail for event in events])
