"""The shipped policies give what a backup and a restore need, and not one right more.

moto enforces actions, each as if on "*", so the policies are widened to that; and no conditions. That a
second factor is asked for, that nothing is deleted for good, and which secrets a policy reaches is
*not shown* here. Nor are KMS's own rights: moto asks for none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from strongroom.errors import SourceError
from strongroom.model import Secret
from strongroom.operations.restore.restore import restore
from strongroom.operations.rights.aws_policies import aws_policies
from strongroom.sources.aws import AwsSource
from tests.live import aws_account
from tests.live.conftest import use_credentials
from tests.live.moto import FOR_EVER, Moto
from tests.live.shipped import configured

ROLES = {"backup": "seal", "restore": "recover", "rearm": "rearm"}
SOURCE = 'state_dir = "/nowhere"\n[sources.main]\nkind = "aws"\nregion = "eu-central-1"\ndestination = true\n'
SERVICE = "secretsmanager:"
NUMBERS = (3, 6, 12, 19, 21, 30)


def shipped(name: str) -> dict[str, Any]:
    """Return a policy as it is printed, but on every resource."""
    policy = aws_policies(configured(SOURCE), [ROLES[name]])[ROLES[name]]
    return policy | {"Statement": [statement | {"Resource": "*"} for statement in policy["Statement"]]}


def actions(policy: dict[str, Any]) -> list[str]:
    """Return what a policy allows of Secrets Manager."""
    found: list[str] = []
    for statement in policy["Statement"]:
        given = statement["Action"]
        found += [given] if isinstance(given, str) else given
    return sorted(action for action in found if action.startswith(SERVICE))


def less(policy: dict[str, Any], action: str) -> dict[str, Any]:
    """Take one action away."""
    kept = []
    for statement in policy["Statement"]:
        given = statement["Action"]
        left = [one for one in ([given] if isinstance(given, str) else given) if one != action]
        kept += [statement | {"Action": left}] if left else []
    return policy | {"Statement": kept}


@pytest.fixture
def guarded(moto: Moto) -> Iterator[Moto]:
    """A server on which IAM decides, with secrets of every kind in it."""
    yield moto
    moto.enforce(after=FOR_EVER)


def act_as(moto: Moto, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    moto.enforce(after=FOR_EVER)
    for name, value in moto.user(policy).items():
        monkeypatch.setenv(name, value)
    moto.enforce()


def read_all(moto: Moto) -> list[Secret]:
    source = AwsSource(moto.options(in_flight=1), name="aws")
    return [held for held in source.read(list(source.list())) if held is not None]


def test_a_backup_needs_no_more_than_its_policy(guarded: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_account.fill(guarded, NUMBERS)
    act_as(guarded, shipped("backup"), monkeypatch)
    assert len(read_all(guarded)) == len(NUMBERS)


def test_a_backup_without_one_right_says_so_whichever_it_is(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, NUMBERS)
    hints = {}
    for action in actions(shipped("backup")):
        act_as(guarded, less(shipped("backup"), action), monkeypatch)
        with pytest.raises(SourceError, match="403") as caught:
            read_all(guarded)
        hints[action] = caught.value.hint
    assert [action for action, hint in hints.items() if "cluster rules aws" not in hint] == []


def test_a_backup_cannot_write(guarded: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_account.fill(guarded, (1,))
    held = read_all(guarded)
    guarded.reset()
    act_as(guarded, shipped("backup"), monkeypatch)
    with pytest.raises(SourceError, match="could not create secret"):
        restore(lambda: iter(held), AwsSource(guarded.options(), name="aws"), overwrite=True)


@pytest.fixture(scope="module")
def of_every_kind(shared_moto: Moto) -> tuple[list[str], list[Secret]]:
    """Secrets of every kind: their names, and what a backup read of them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_credentials(monkeypatch)
        shared_moto.reset()
        return aws_account.fill(shared_moto, NUMBERS), read_all(shared_moto)


@pytest.fixture
def backed_up(of_every_kind: tuple[list[str], list[Secret]], guarded: Moto) -> list[Secret]:
    """The same; what is there in their place needs every other kind of write."""
    names, held = of_every_kind[0], list(of_every_kind[1])
    client = guarded.client()
    for number, name in zip(NUMBERS, names, strict=True):
        if number in (6, 12):
            client.create_secret(Name=name, SecretString="CANARY", Tags=[{"Key": "strange", "Value": ""}])
        if number == 21:  # moto cannot take a description away, but change it
            client.create_secret(Name=name, SecretString="CANARY", Description="strange")
    client.delete_secret(SecretId=names[NUMBERS.index(6)])
    without = next(one for one in held if one.name == names[NUMBERS.index(30)])
    client.create_secret(Name=without.name, SecretString="CANARY")
    client.put_resource_policy(SecretId=names[NUMBERS.index(12)], ResourcePolicy="{}")
    held[held.index(_of(held, names[2]))] = _bare(_of(held, names[2]))
    return held


def _of(held: list[Secret], name: str) -> Secret:
    return next(one for one in held if one.name == name)


def _bare(held: Secret) -> Secret:
    """Return a secret without its resource policy, and with a tag."""
    metadata = json.loads(json.dumps(held.metadata))
    metadata["aws"].pop("policy")
    return Secret(name=held.name, versions=held.versions, tags={"team": "blue"}, metadata=metadata)


def test_a_restore_needs_no_more_than_its_policy(
    guarded: Moto, backed_up: list[Secret], monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as(guarded, shipped("restore"), monkeypatch)
    destination = AwsSource(guarded.options(), name="aws")
    done = restore(lambda: iter(backed_up), destination, overwrite=True)
    assert (done.created, done.changed) == (2, 4)


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("action", actions(shipped("restore")))
def test_a_restore_without_one_right_says_so(
    guarded: Moto, backed_up: list[Secret], monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    act_as(guarded, less(shipped("restore"), action), monkeypatch)
    destination = AwsSource(guarded.options(in_flight=1), name="aws")
    if action == f"{SERVICE}ListSecrets":
        with pytest.raises(SourceError, match="403"):
            list(destination.list())
        return
    with pytest.raises(SourceError, match="403"):
        restore(lambda: iter(backed_up), destination, overwrite=True)


def test_switching_rotation_on_needs_a_right_of_its_own(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, (10,))
    held = read_all(guarded)
    act_as(guarded, shipped("restore"), monkeypatch)
    destination = AwsSource(guarded.options(rearm_rotation=True), name="aws")
    guarded.enforce(after=FOR_EVER)
    guarded.client().cancel_rotate_secret(SecretId=held[0].name)
    guarded.enforce()
    destination.settle(held)
    (line,) = destination.losses()
    assert line.startswith("rotation could not be switched on again")
    assert actions(shipped("rearm")) == ["secretsmanager:RotateSecret"]


def told_rights(moto: Moto) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {
        right.path: (right.missing, right.excess) for right in AwsSource(moto.options(), name="aws").rights()
    }


def test_a_credential_with_the_shipped_policy_is_just_right(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, (1,))
    act_as(guarded, shipped("backup"), monkeypatch)
    assert told_rights(guarded) == {"all secrets": ((), ()), "secrets like prod/team-1/*": ((), ())}


def test_each_right_that_a_backup_lacks_is_named(guarded: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_account.fill(guarded, (1,))
    missing: dict[str, list[str]] = {}
    for action in actions(shipped("backup")):
        act_as(guarded, less(shipped("backup"), action), monkeypatch)
        if action == f"{SERVICE}ListSecrets":
            with pytest.raises(SourceError, match="403"):
                told_rights(guarded)
            continue
        missing[action] = [name for named, _ in told_rights(guarded).values() for name in named]
    assert len(missing) == len(actions(shipped("backup"))) - 1
    assert missing == {action: [action.removeprefix(SERVICE)] for action in missing}


def test_each_right_that_a_backup_has_too_many_is_named_and_nothing_is_changed(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, (1,))
    before = aws_account.told(guarded)
    policy = shipped("backup")
    excess = {}
    for action in sorted({*actions(shipped("restore")), f"{SERVICE}RotateSecret"}):
        more = {"Effect": "Allow", "Action": action, "Resource": "*"}
        act_as(guarded, policy | {"Statement": [*policy["Statement"], more]}, monkeypatch)
        excess[action] = [name for _, named in told_rights(guarded).values() for name in named]
    own = actions(policy)
    assert excess == {action: [] if action in own else [action.removeprefix(SERVICE)] for action in excess}
    guarded.enforce(after=FOR_EVER)
    assert still(aws_account.told(guarded)) == still(before)


def test_where_secrets_are_rotated_the_right_to_that_is_needed_and_not_too_many(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, (1,))
    policy = shipped("backup")
    act_as(guarded, policy, monkeypatch)
    source = AwsSource(guarded.options(rotates=True), name="aws")
    assert source.rights()[1].missing == ("RotateSecret",)
    more = {"Effect": "Allow", "Action": f"{SERVICE}RotateSecret", "Resource": "*"}
    act_as(guarded, policy | {"Statement": [*policy["Statement"], more]}, monkeypatch)
    told = AwsSource(guarded.options(rotates=True), name="aws").rights()[1]
    assert (told.missing, told.excess) == ((), ())


def still(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out what moto tells anew each time."""
    return {
        name: {key: one for key, one in about.items() if key != "Versions"} for name, about in told.items()
    }


def test_rights_to_change_are_found_on_an_account_that_holds_nothing(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = less(shipped("restore"), f"{SERVICE}BatchGetSecretValue")
    act_as(guarded, less(policy, f"{SERVICE}GetSecretValue"), monkeypatch)
    found = told_rights(guarded)
    assert found["all secrets"] == (("BatchGetSecretValue",), ())
    missing, excess = found["secrets like *"]
    assert not missing
    assert "PutSecretValue" in excess


def told_write_rights(moto: Moto) -> tuple[tuple[str, ...], tuple[str, ...]]:
    _, found = AwsSource(moto.options(), name="aws").write_rights()
    return found.missing, found.excess


def test_a_destination_with_the_shipped_policy_is_just_right(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, (1,))
    act_as(guarded, shipped("restore"), monkeypatch)
    assert told_write_rights(guarded) == ((), ())


def test_each_right_that_a_restore_lacks_is_named_before_anything_is_written(
    guarded: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws_account.fill(guarded, (1,))
    before = aws_account.told(guarded)
    found = {}
    for action in sorted({*actions(shipped("restore"))} - {*actions(shipped("backup"))}):
        act_as(guarded, less(shipped("restore"), action), monkeypatch)
        found[action] = told_write_rights(guarded)
    assert found == {action: ((action.removeprefix(SERVICE),), ()) for action in found}
    guarded.enforce(after=FOR_EVER)
    assert still(aws_account.told(guarded)) == still(before)
