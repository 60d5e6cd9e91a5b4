"""An account's secrets for the round trip: filled by the SDK alone, and told by the SDK alone."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from tests.live.moto import REGION, Moto

A = TypeVar("A")
B = TypeVar("B")

OTHER_REGION = "us-east-1"
POLICY = {"Version": "2012-10-17", "Statement": [{"Sid": "Nobody", "Effect": "Deny", "Principal": "*"}]}
FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:turn"


def fill(moto: Moto, numbers: Iterable[int]) -> list[str]:
    """Make the secrets of these numbers, which decide what is odd about each; return their names."""
    client = moto.client()
    make_function(moto)
    return _each(lambda number: _make(client, number), numbers)


def _each(work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """Do it for several at once: half of a request's time is the client's own."""
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(work, items))


def _make(client: Any, number: int) -> str:
    name = f"prod/team-{number % 7}/secret_{number:03}+x=y.z@w"
    about: dict[str, Any] = {"Description": f"CANARY description {number}"} if number % 2 else {}
    if number % 3:
        about["Tags"] = [
            {"Key": "team", "Value": str(number % 7)},
            {"Key": "strongroom:type", "Value": "api_key"},
        ]
    if number % 7 == 0:
        about["KmsKeyId"] = f"arn:aws:kms:{REGION}:123456789012:key/{number}"
    if number % 40 == 39:  # announced, and never given a value
        client.create_secret(Name=name, **about)
        return name
    client.create_secret(Name=name, ClientRequestToken=_token(number, 0), **_value(number, 0), **about)
    for turn in range(1, number % 4 + 1):
        client.put_secret_value(
            SecretId=name, ClientRequestToken=_token(number, turn), **_value(number, turn)
        )
    _complicate(client, name, number)
    return name


def _complicate(client: Any, name: str, number: int) -> None:
    if number % 4 == 3:  # a label of the team's own, on a version that has no other
        client.update_secret_version_stage(
            SecretId=name, VersionStage="team/blue", MoveToVersionId=_token(number, 1)
        )
    if number % 8 == 2:  # rolled back: what is current is not what is newest
        client.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            RemoveFromVersionId=_token(number, 2),
            MoveToVersionId=_token(number, 0),
        )
    if number % 6 == 0:
        client.put_resource_policy(SecretId=name, ResourcePolicy=json.dumps(POLICY))
    if number % 10 == 0:
        turn(client, name, days=30 + number % 3)
    if number % 15 == 4:
        client.replicate_secret_to_regions(SecretId=name, AddReplicaRegions=[{"Region": OTHER_REGION}])
    elif number % 20 == 3:
        client.delete_secret(SecretId=name, RecoveryWindowInDays=7 + number % 20)


def turn(client: Any, name: str, *, days: int) -> None:
    """Switch a secret's rotation on."""
    client.rotate_secret(
        SecretId=name,
        RotationLambdaARN=FUNCTION,
        RotationRules={"AutomaticallyAfterDays": days},
        RotateImmediately=False,
    )


def make_function(moto: Moto) -> None:
    """Make a function for rotation, which does nothing."""
    moto.without_docker()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("turn.py", "def handle(event, context): pass")
    role = moto.client("iam").create_role(RoleName="turn", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    moto.client("lambda").create_function(
        FunctionName="turn",
        Runtime="python3.12",
        Role=role,
        Handler="turn.handle",
        Code={"ZipFile": packed.getvalue()},
    )


def _token(number: int, turn: int) -> str:
    return str(uuid.UUID(int=(number << 64) + turn))


def _value(number: int, turn: int) -> dict[str, Any]:
    if number % 5 == 0:
        return {"SecretBinary": b"CANARY\x00\xff%d-%d" % (number, turn)}
    return {"SecretString": json.dumps({"password": f"CANARY-{number}-{turn} пароль"}, ensure_ascii=False)}


def told(moto: Moto) -> dict[str, dict[str, Any]]:
    """Return all that the service tells of each secret, by name."""
    client = moto.client()
    return dict(_each(lambda name: (name, _told(client, name)), _names(client)))


def replicas(moto: Moto) -> dict[str, Any]:
    """Return the names and primary regions of what lies in the other region."""
    client = moto.client(region_name=OTHER_REGION)
    return {item["Name"]: item["PrimaryRegion"] for item in client.list_secrets()["SecretList"]}


def _names(client: Any) -> Iterator[str]:
    for page in client.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True):
        for item in page["SecretList"]:
            yield item["Name"]


def _told(client: Any, name: str) -> dict[str, Any]:
    """Labels are sets: moto lists one that was moved twice, twice."""
    found = _without_trace(client.describe_secret(SecretId=name))
    listed = client.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)["Versions"]
    found["Versions"] = {one["VersionId"]: _version(client, name, one) for one in listed}
    found["ResourcePolicy"] = client.get_resource_policy(SecretId=name).get("ResourcePolicy")
    found["Tags"] = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
    found["VersionIdsToStages"] = {
        id_: sorted(set(labels)) for id_, labels in found.get("VersionIdsToStages", {}).items()
    }
    return found


def _version(client: Any, name: str, listed: dict[str, Any]) -> dict[str, Any]:
    return {
        "stages": sorted(set(listed["VersionStages"])),
        "listed": listed["CreatedDate"],
        "value": _asked(client, SecretId=name, VersionId=listed["VersionId"]),
    }


def _asked(client: Any, **which: str) -> dict[str, Any]:
    try:
        answer = client.get_secret_value(**which)
    except ClientError as error:
        return {"refused": error.response["Error"]["Code"]}
    return _without_trace(answer) | {"VersionStages": sorted(set(answer["VersionStages"]))}


def _without_trace(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}
